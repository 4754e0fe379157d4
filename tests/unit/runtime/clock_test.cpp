#include "runtime/clock.h"

#include <ctime>

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

int64_t kernel_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

// DPDK's own figure is off by up to two parts in a thousand.
TEST(Clock, counts_nanoseconds_as_the_kernel_does) {
    const Clock clock;
    // Each reading lies between two of the kernel's, however long this thread was kept waiting.
    const int64_t a = kernel_ns();
    const Instant start = clock.now();
    const int64_t b = kernel_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const int64_t c = kernel_ns();
    const Instant end = clock.now();
    const int64_t d = kernel_ns();
    const int64_t passed = (end - start).ns();
    EXPECT_GE(passed, (c - b) - (c - b) / 5000);
    EXPECT_LE(passed, (d - a) + (d - a) / 5000);
}

TEST(Clock, too_short_a_time_measures_nothing) {
    const uint64_t before = tsc_hz();
    measure_tsc_hz(TscReading::take());
    EXPECT_EQ(tsc_hz(), before);
}

}  // namespace
}  // namespace millrace::runtime
