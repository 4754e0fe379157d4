// Open-loop schedules: how many by when.
#include "load/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace millrace::apps {
namespace {

using namespace literals;

constexpr Instant start = Instant::from_ns(5'000'000'000);
constexpr double for_ever = std::numeric_limits<double>::infinity();

uint64_t count_before(Schedule& schedule, Duration end) {
    uint64_t count = 0;
    for (; schedule.next() < start + end; schedule.take()) ++count;
    return count;
}

TEST(Schedule, has_nothing_before_it_begins) {
    Schedule schedule({{1, 100, 100}}, 1, 0, Arrivals::even, 1);
    EXPECT_EQ(schedule.next(), Instant::never());
    EXPECT_EQ(Schedule().next(), Instant::never());
}

TEST(Schedule, an_even_rate_comes_at_equal_distances) {
    Schedule schedule({{for_ever, 1000, 1000}}, 1, 0, Arrivals::even, 1);
    schedule.begin(start);
    for (int i = 0; i < 5000; ++i) EXPECT_EQ(schedule.take(), start + Duration::from_ms(i));
    schedule.end();
    EXPECT_EQ(schedule.next(), Instant::never());
}

TEST(Schedule, stays_accurate_after_millions) {
    Schedule schedule({{for_ever, 1e7, 1e7}}, 1, 0, Arrivals::even, 1);
    schedule.begin(start);
    for (int i = 0; i < 3'000'000; ++i) schedule.take();
    EXPECT_EQ(schedule.next(), start + 300_ms);
}

TEST(Schedule, ends_with_its_last_piece) {
    Schedule schedule({{2, 50, 50}, {1, 200, 200}}, 1, 0, Arrivals::even, 1);
    schedule.begin(start);
    EXPECT_EQ(count_before(schedule, 2_s), 100U);
    EXPECT_EQ(schedule.next(), start + 2_s);
    EXPECT_EQ(count_before(schedule, 100_s), 200U);
    EXPECT_EQ(schedule.next(), Instant::never());
}

TEST(Schedule, a_ramp_comes_up_evenly) {
    Schedule schedule({{10, 0, 1000}, {for_ever, 1000, 1000}}, 1, 0, Arrivals::even, 1);
    schedule.begin(start);
    EXPECT_EQ(schedule.next(), start);
    uint64_t taken = 0;
    for (int s = 1; s <= 10; ++s) {
        taken += count_before(schedule, Duration::from_s(s));
        // The integral of 100 t.
        EXPECT_EQ(taken, static_cast<uint64_t>(50 * s * s)) << s;
    }
    EXPECT_EQ(count_before(schedule, 11_s), 1000U);
}

TEST(Schedule, a_rate_of_zero_is_a_pause) {
    Schedule schedule({{1, 10, 10}, {5, 0, 0}, {1, 10, 10}}, 1, 0, Arrivals::even, 1);
    schedule.begin(start);
    EXPECT_EQ(count_before(schedule, 1_s), 10U);
    EXPECT_EQ(schedule.next(), start + 6_s);
    EXPECT_EQ(count_before(schedule, 100_s), 10U);
}

TEST(Schedule, shares_of_cores_interleave_and_add_up) {
    std::vector<Instant> all;
    for (int core = 0; core < 4; ++core) {
        Schedule schedule({{1, 400, 400}}, 0.25, core / 4.0, Arrivals::even, 1);
        schedule.begin(start);
        while (schedule.next() != Instant::never()) all.push_back(schedule.take());
    }
    std::ranges::sort(all);
    ASSERT_EQ(all.size(), 400U);
    for (size_t i = 0; i < all.size(); ++i)
        EXPECT_EQ(all[i], start + Duration::from_us(static_cast<int64_t>(2500 * i)));
}

TEST(Schedule, poisson_arrivals_are_independent_and_as_many) {
    Schedule schedule({{100, 1000, 1000}}, 1, 0, Arrivals::poisson, 7);
    schedule.begin(start);
    std::vector<double> gaps;
    for (Instant last = start; schedule.next() != Instant::never();) {
        const Instant at = schedule.take();
        gaps.push_back((at - last).seconds());
        last = at;
    }
    // 100,000 +- 316; of exponential gaps 1/e are longer than the mean.
    EXPECT_NEAR(static_cast<double>(gaps.size()), 100'000, 1500);
    const auto longer = std::ranges::count_if(gaps, [](double gap) { return gap > 0.001; });
    EXPECT_NEAR(static_cast<double>(longer) / static_cast<double>(gaps.size()), std::exp(-1.0),
                0.01);
}

}  // namespace
}  // namespace millrace::apps
