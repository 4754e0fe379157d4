// Rates: so much in so much time.
#pragma once

#include <algorithm>
#include <cstdint>

#include <millrace/time.h>

namespace millrace::congestion {

/// No path is faster, in bytes a second; what an ACK claims beyond that would overflow.
inline constexpr uint64_t fastest = uint64_t{1} << 40;

/// Bytes a second; `bytes` are those of a window: below 2^34. 0: no time has passed.
inline uint64_t rate_of(uint64_t bytes, Duration interval) {
    if (interval <= Duration()) return 0;
    return std::min(bytes * 1'000'000'000 / static_cast<uint64_t>(interval.ns()), fastest);
}

}  // namespace millrace::congestion
