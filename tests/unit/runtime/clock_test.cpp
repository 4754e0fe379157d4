#include "runtime/clock.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

namespace millrace::runtime {
namespace {

using namespace literals;

TEST(Clock, never_runs_backwards) {
    const Clock clock;
    Instant last = clock.now();
    EXPECT_GE(last, Instant());
    for (int i = 0; i < 100000; ++i) {
        const Instant now = clock.now();
        ASSERT_GE(now, last);
        last = now;
    }
}

TEST(Clock, all_clocks_of_a_process_count_from_one_origin) {
    const Clock first;
    const Instant before = first.now();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const Clock second;  // would start anew if its origin were its own
    const Instant between = second.now();
    EXPECT_GE(between, before + 5_ms);
    EXPECT_LE(between, first.now());
}

TEST(Clock, is_the_same_in_every_thread) {
    const Clock here;
    const Instant before = here.now();
    Instant there;
    std::thread([&] { there = Clock().now(); }).join();
    EXPECT_GE(there, before);
    EXPECT_LE(there, here.now());
}

TEST(Clock, counts_nanoseconds) {
    using std::chrono::steady_clock;
    const auto ns = [](steady_clock::duration d) {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
    };
    const Clock clock;
    // Each reading lies between two of the system's, however long this thread was kept waiting.
    const auto a = steady_clock::now();
    const Instant start = clock.now();
    const auto b = steady_clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto c = steady_clock::now();
    const Instant end = clock.now();
    const auto d = steady_clock::now();
    const int64_t passed = (end - start).ns();
    EXPECT_GE(passed, ns(c - b) * 99 / 100);
    EXPECT_LE(passed, ns(d - a) * 101 / 100);
}

}  // namespace
}  // namespace millrace::runtime
