#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "load/histogram.h"

namespace millrace::apps {
namespace {

using namespace literals;

Duration ns(int64_t value) { return Duration::from_ns(value); }

/// What the histogram promises: the smallest value that at least `fraction` do not exceed.
Duration exact(std::vector<Duration> values, double fraction) {
    std::ranges::sort(values);
    const double rank = std::ceil(fraction * static_cast<double>(values.size()) - 1e-9);
    return values[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

TEST(Histogram, is_zero_while_nothing_has_been_counted) {
    const Histogram empty;
    EXPECT_EQ(empty.count(), 0U);
    EXPECT_EQ(empty.max(), Duration());
    for (const double fraction : {0.0, 0.5, 1.0}) EXPECT_EQ(empty.percentile(fraction), Duration());
}

TEST(Histogram, below_2048_ns_every_value_is_exact) {
    std::vector<Duration> values;
    Histogram histogram;
    for (int64_t i = 2047; i >= 0; --i) {
        histogram.add(ns(i));
        values.push_back(ns(i));
    }
    EXPECT_EQ(histogram.count(), 2048U);
    EXPECT_EQ(histogram.min(), ns(0));
    EXPECT_EQ(histogram.max(), ns(2047));
    EXPECT_EQ(histogram.mean(), ns(1023));
    for (int percent = 0; percent <= 100; ++percent)
        EXPECT_EQ(histogram.percentile(percent / 100.0), exact(values, percent / 100.0)) << percent;
}

TEST(Histogram, a_rank_between_two_values_is_the_higher_one) {
    Histogram histogram;
    for (int64_t i = 1; i <= 10; ++i) histogram.add(ns(i));
    EXPECT_EQ(histogram.percentile(0.90), ns(9));
    EXPECT_EQ(histogram.percentile(0.91), ns(10)) << "nine of ten are not 91 %";
    EXPECT_EQ(histogram.percentile(0.999), ns(10));
    EXPECT_EQ(histogram.percentile(0.10), ns(1));
    EXPECT_EQ(histogram.percentile(0.11), ns(2));
}

TEST(Histogram, has_three_significant_digits_from_1_us_to_60_s) {
    for (const uint64_t seed : {5, 6, 7, 8}) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Random random(seed);
        std::vector<Duration> values;
        Histogram histogram;
        for (int i = 0; i < 20000; ++i) {
            // Every order of magnitude alike, as latencies have it: 1 us to 60 s.
            const double exponent = static_cast<double>(random.below(1'000'000'000)) / 1e9;
            const auto value = ns(static_cast<int64_t>(1e3 * std::pow(6e7, exponent)));
            values.push_back(value);
            histogram.add(value);
        }
        EXPECT_EQ(histogram.count(), values.size());
        EXPECT_EQ(histogram.min(), std::ranges::min(values));
        EXPECT_EQ(histogram.max(), std::ranges::max(values));
        double sum = 0;
        for (const Duration value : values) sum += static_cast<double>(value.ns());
        EXPECT_NEAR(static_cast<double>(histogram.mean().ns()), sum / 20000, 1);
        for (int permyriad = 0; permyriad <= 10000; ++permyriad) {
            const Duration truth = exact(values, permyriad / 10000.0);
            const Duration told = histogram.percentile(permyriad / 10000.0);
            EXPECT_GE(told, truth) << permyriad;
            EXPECT_LE(told.ns() - truth.ns(), truth.ns() / 1000) << permyriad;
        }
    }
}

TEST(Histogram, a_bucket_answers_with_its_end) {
    // 4096 to 8191 has 1024 buckets of 4: 4096..4099 is the first of them.
    Histogram histogram;
    histogram.add(ns(4096));
    histogram.add(ns(10001));
    EXPECT_EQ(histogram.percentile(0.5), ns(4099));
    // 8192 to 16383 has buckets of 8, but nothing was longer than the longest.
    EXPECT_EQ(histogram.percentile(1.0), ns(10001));
    histogram.add(ns(4099));
    histogram.add(ns(4100));
    EXPECT_EQ(histogram.percentile(0.5), ns(4099));
    EXPECT_EQ(histogram.percentile(0.75), ns(4103));
}

TEST(Histogram, values_out_of_range_count_at_its_ends) {
    Histogram histogram;
    histogram.add(Duration::from_ns(-5));
    EXPECT_EQ(histogram.percentile(1.0), Duration());
    EXPECT_EQ(histogram.max(), Duration());
    histogram.add(3600_s + 1_ns);
    histogram.add(Duration::max());
    EXPECT_EQ(histogram.count(), 3U);
    EXPECT_EQ(histogram.max(), 3600_s);
    EXPECT_EQ(histogram.percentile(0.3), Duration());
    EXPECT_EQ(histogram.percentile(0.6), 3600_s);
}

TEST(Histogram, cleared_it_is_as_new) {
    Histogram histogram;
    for (const Duration value : {1_ns, 5_us, 7_ms, 3599_s}) histogram.add(value);
    histogram.clear();
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_TRUE(histogram.buckets().empty());
    histogram.add(7_ms);
    EXPECT_EQ(std::ranges::count(histogram.buckets(), 0U) + 1,
              static_cast<ptrdiff_t>(histogram.buckets().size()));
    EXPECT_EQ(histogram.min(), 7_ms);
    EXPECT_EQ(histogram.percentile(0), 7_ms);
}

TEST(Histogram, merging_is_counting_together) {
    Random random(6);
    std::vector<Histogram> parts(3);
    Histogram whole;
    for (int i = 0; i < 3000; ++i) {
        const Duration value = ns(static_cast<int64_t>(random.below(10'000'000)));
        parts[static_cast<size_t>(i % 3)].add(value);
        whole.add(value);
    }
    Histogram merged;
    for (const Histogram& part : parts) merged += part;
    EXPECT_EQ(merged.count(), whole.count());
    EXPECT_EQ(merged.min(), whole.min());
    EXPECT_EQ(merged.max(), whole.max());
    EXPECT_TRUE(std::ranges::equal(merged.buckets(), whole.buckets()));
    for (int permille = 0; permille <= 1000; ++permille)
        EXPECT_EQ(merged.percentile(permille / 1000.0), whole.percentile(permille / 1000.0));
    merged += Histogram();
    EXPECT_EQ(merged.count(), 3000U);
    EXPECT_EQ(merged.max(), whole.max()) << "an empty one changes nothing";
}

}  // namespace
}  // namespace millrace::apps
