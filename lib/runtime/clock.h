// The one clock of a process: the TSC, as nanoseconds.
#pragma once

#include <rte_cycles.h>

#include <millrace/time.h>

namespace millrace::runtime {

/// Counts from the first use in this process; the same on every core (invariant TSC). Read once a
/// turn, about 10 ns.
class Clock {
public:
    Clock()
        : origin_(process_origin()),
          // Nanoseconds per cycle in 32.32 fixed point: exact to 0.25 ns per second at 1 GHz.
          scale_((uint64_t{1'000'000'000} << 32) / rte_get_tsc_hz()) {}

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
