// The one clock of a process: the TSC, as nanoseconds.
#pragma once

#include <rte_cycles.h>

#include <millrace/time.h>

namespace millrace::runtime {

/// What the TSC and the kernel's clock (CLOCK_MONOTONIC_RAW) said at the same moment: of a few
/// tries the one that was interrupted least.
struct TscReading {
    uint64_t tsc = 0;
    int64_t ns = 0;

    static TscReading take();
};

/// Sets `tsc_hz` by what has passed since that reading, where it was long enough (20 ms). Once,
/// before there are clocks.
void measure_tsc_hz(const TscReading& since);

/// Cycles of the TSC in a second. Where DPDK has to measure them it rounds to 10 MHz: that is up to
/// two parts in a thousand, and differs by four between two processes if the truth lies between two
/// such figures. This is as good as the kernel's clock; DPDK's figure where nothing was measured.
uint64_t tsc_hz();

/// Counts from the first use in this process; the same on every core (invariant TSC). Read once a
/// turn, about 10 ns.
class Clock {
public:
    Clock()
        : origin_(process_origin()),
          // Nanoseconds per cycle in 32.32 fixed point: exact to 0.25 ns per second at 1 GHz.
          scale_((uint64_t{1'000'000'000} << 32) / tsc_hz()) {}

    Instant now() const { return at(rte_rdtsc()); }
    /// The instant at which the TSC stood so.
    Instant at(uint64_t tsc) const {
        const auto cycles = static_cast<unsigned __int128>(tsc - origin_);
        return Instant::from_ns(static_cast<int64_t>((cycles * scale_) >> 32));
    }

private:
    static uint64_t process_origin() {
        static const uint64_t origin = rte_rdtsc();
        return origin;
    }
    uint64_t origin_;
    uint64_t scale_;
};

}  // namespace millrace::runtime
