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

TEST(Histogram, below_256_ns_every_value_is_exact) {
    std::vector<Duration> values;
    Histogram histogram;
    for (int64_t i = 255; i >= 0; --i) {
        histogram.add(ns(i));
        values.push_back(ns(i));
    }
    EXPECT_EQ(histogram.count(), 256U);
    EXPECT_EQ(histogram.max(), ns(255));
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

TEST(Histogram, is_within_one_part_in_128_of_a_sorted_vector) {
    Random random(5);
    std::vector<Duration> values;
    Histogram histogram;
    for (int i = 0; i < 20000; ++i) {
        // Every order of magnitude alike, as latencies have it: up to 2^35 ns, about 34 s.
        const auto value = ns(static_cast<int64_t>(random.below(uint64_t{1} << random.below(36))));
        values.push_back(value);
        histogram.add(value);
    }
    EXPECT_EQ(histogram.count(), values.size());
    EXPECT_EQ(histogram.max(), std::ranges::max(values));
    for (const double fraction : {0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999,
                                  1.0}) {
        const Duration truth = exact(values, fraction);
        const Duration told = histogram.percentile(fraction);
        EXPECT_GE(told, truth) << fraction;
        EXPECT_LE(told.ns() - truth.ns(), truth.ns() / 128) << fraction;
    }
    EXPECT_EQ(histogram.percentile(1.0), histogram.max());
}

TEST(Histogram, a_bucket_answers_with_its_end) {
    // 1024 to 2047 has 128 buckets of 8: 1024..1031 is the first of them.
    Histogram histogram;
    histogram.add(ns(1024));
    histogram.add(ns(5000));
    EXPECT_EQ(histogram.percentile(0.5), ns(1031));
    // 4096 to 8191 has buckets of 32, but nothing was longer than the longest.
    EXPECT_EQ(histogram.percentile(1.0), ns(5000));
    histogram.add(ns(1031));
    histogram.add(ns(1032));
    EXPECT_EQ(histogram.percentile(0.5), ns(1031));
    EXPECT_EQ(histogram.percentile(0.75), ns(1039));
}

TEST(Histogram, values_out_of_range_count_at_its_ends) {
    Histogram histogram;
    histogram.add(Duration::from_ns(-5));
    EXPECT_EQ(histogram.percentile(1.0), Duration());
    EXPECT_EQ(histogram.max(), Duration());
    histogram.add(100_s);  // the buckets end at 68 s
    histogram.add(Duration::max());
    EXPECT_EQ(histogram.count(), 3U);
    EXPECT_EQ(histogram.max(), Duration::max());
    EXPECT_EQ(histogram.percentile(0.3), Duration());
    // Nobody knows how far beyond: the longest is the only honest upper bound.
    EXPECT_EQ(histogram.percentile(0.6), Duration::max());
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
    EXPECT_EQ(merged.max(), whole.max());
    for (int permille = 0; permille <= 1000; ++permille)
        EXPECT_EQ(merged.percentile(permille / 1000.0), whole.percentile(permille / 1000.0));
    merged += Histogram();
    EXPECT_EQ(merged.count(), 3000U);
    EXPECT_EQ(merged.max(), whole.max()) << "an empty one changes nothing";
}

}  // namespace
}  // namespace millrace::apps
