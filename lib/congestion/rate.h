// Rates: so much in so much time.
#pragma once

#include <algorithm>
#include <cstdint>

#include <millrace/time.h>

namespace millrace::congestion {

/// No path is faster, in bytes a second; what an ACK claims beyond that would overflow.
inline constexpr uint64_t fastest = uint64_t{1} << 40;

/// Bytes a second. 0: no time has passed.
inline uint64_t rate_of(uint32_t bytes, Duration interval) {
    if (interval <= Duration()) return 0;
    const auto ns = static_cast<uint64_t>(interval.ns());
    return std::min(uint64_t{bytes} * 1'000'000'000 / ns, fastest);
}

}  // namespace millrace::congestion
