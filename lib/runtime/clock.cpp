#include "runtime/clock.h"

#include <ctime>

#include <atomic>

namespace millrace::runtime {

namespace {

// 0: not measured, DPDK's figure is taken.
std::atomic<uint64_t> measured_hz{0};

int64_t kernel_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

}  // namespace

TscReading TscReading::take() {
    constexpr int tries = 8;
    TscReading best;
    uint64_t best_took = UINT64_MAX;
    for (int i = 0; i < tries; ++i) {
        const uint64_t before = rte_rdtsc();
        const int64_t ns = kernel_ns();
        const uint64_t took = rte_rdtsc() - before;
        if (took >= best_took) continue;
        best_took = took;
        best = {before + took / 2, ns};
    }
    return best;
}

void measure_tsc_hz(const TscReading& since) {
    // What a reading is off by, some 100 ns, is less than one part in 100,000 of that.
    constexpr int64_t least_ns = 20'000'000;
    const TscReading now = TscReading::take();
    if (now.ns - since.ns < least_ns) return;
    const auto cycles = static_cast<unsigned __int128>(now.tsc - since.tsc);
    measured_hz = static_cast<uint64_t>(cycles * 1'000'000'000 /
                                        static_cast<uint64_t>(now.ns - since.ns));
}

uint64_t tsc_hz() {
    const uint64_t measured = measured_hz;
    return measured != 0 ? measured : rte_get_tsc_hz();
}

}  // namespace millrace::runtime
