#include "time/wheel.h"

#include <map>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"

namespace millrace::time {
namespace {

using namespace literals;

struct Timer : WheelEntry {
    Instant deadline;
};

TEST(Wheel, fires_at_or_after_its_deadline_and_at_most_a_tick_late) {
    Random random(1);
    Wheel wheel(Instant{});
    std::vector<std::unique_ptr<Timer>> timers;
    size_t fired = 0;
    Instant now;
    for (int round = 0; round < 3000; ++round) {
        for (int i = 0; i < 3; ++i) {
            timers.push_back(std::make_unique<Timer>());
            // From nothing to beyond the horizon of every level.
            const uint64_t spread = uint64_t{1} << random.below(44);
            timers.back()->deadline =
                now + Duration::from_ns(static_cast<int64_t>(random.below(spread)));
            wheel.arm(*timers.back(), timers.back()->deadline);
        }
        now = std::max(now + 1_us, wheel.next_deadline());
        wheel.advance(now, SIZE_MAX, [&](WheelEntry& entry) {
            auto& timer = static_cast<Timer&>(entry);
            EXPECT_LE(timer.deadline, now);
            EXPECT_LE(now - timer.deadline, Wheel::tick);
            EXPECT_FALSE(timer.is_armed());
            ++fired;
        });
    }
    while (wheel.next_deadline() != Instant::never()) {
        now = std::max(now, wheel.next_deadline());
        wheel.advance(now, SIZE_MAX, [&](WheelEntry& entry) {
            EXPECT_LE(now - static_cast<Timer&>(entry).deadline, Wheel::tick);
            ++fired;
        });
    }
    EXPECT_EQ(fired, timers.size());
}

TEST(Wheel, cancelled_and_moved_timers_do_not_fire_at_their_old_time) {
    Wheel wheel(Instant{});
    Timer a;
    Timer b;
    wheel.arm(a, Instant() + 1_s);
    wheel.arm(b, Instant() + 1_s);
    Wheel::cancel(a);
    wheel.arm(b, Instant() + 3_s);
    int fired = 0;
    wheel.advance(Instant() + 2_s, SIZE_MAX, [&](WheelEntry&) { ++fired; });
    EXPECT_EQ(fired, 0);
    wheel.advance(Instant() + 4_s, SIZE_MAX, [&](WheelEntry& entry) {
        EXPECT_EQ(&entry, &b);
        ++fired;
    });
    EXPECT_EQ(fired, 1);
    EXPECT_EQ(wheel.next_deadline(), Instant::never());
}

TEST(Wheel, a_dying_timer_leaves_the_wheel) {
    Wheel wheel(Instant{});
    {
        Timer timer;
        wheel.arm(timer, Instant() + 1_s);
    }
    wheel.advance(Instant() + 2_s, SIZE_MAX, [](WheelEntry&) { FAIL(); });
}

/// In small; bench/ has ten million.
TEST(Wheel, case_60_the_budget_bounds_a_turn_and_nothing_is_lost) {
    Wheel wheel(Instant{});
    std::vector<std::unique_ptr<Timer>> timers;
    for (int i = 0; i < 10'000; ++i) {
        timers.push_back(std::make_unique<Timer>());
        wheel.arm(*timers.back(), Instant() + 10_s);  // all in one tick, far ahead
    }
    size_t fired = 0;
    int turns = 0;
    while (fired < timers.size()) {
        const size_t before = fired;
        EXPECT_LE(wheel.advance(Instant() + 11_s, 100, [&](WheelEntry&) { ++fired; }), 100U);
        EXPECT_LE(fired - before, 100U);
        ASSERT_LT(++turns, 1000);
    }
    EXPECT_EQ(fired, timers.size());
}

TEST(Wheel, arming_within_fire_works) {
    Wheel wheel(Instant{});
    Timer timer;
    wheel.arm(timer, Instant() + 1_ms);
    int fired = 0;
    Instant now;
    for (int i = 0; i < 100; ++i) {
        now = now + 1_ms;
        wheel.advance(now, SIZE_MAX, [&](WheelEntry& entry) {
            ++fired;
            wheel.arm(entry, now + 1_ms);
        });
    }
    EXPECT_GE(fired, 50);
    EXPECT_LE(fired, 100);
}

}  // namespace
}  // namespace millrace::time
