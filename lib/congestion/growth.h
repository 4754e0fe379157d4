// How a window grows by counted bytes (RFC 3465): what Reno, CUBIC and DCTCP have in common.
//
// Counting bytes instead of ACKs is what makes ACK division worthless: a segment acknowledged in a
// thousand pieces earns one segment's growth.
#pragma once

#include <algorithm>
#include <cstdint>

#include "congestion/window.h"

namespace millrace::congestion {

/// RFC 5681 section 3.1 equation (2) with RFC 3465 section 2.2: the window grows by what was
/// acknowledged, up to ssthresh. Returns the bytes of `acked` that are left for congestion
/// avoidance. RFC 3465's limit of one or two segments guards against ACKs that cover what left the
/// network long ago; `Ack::acked` counts that when it was SACKed, so, as in Linux, the limit is not
/// needed, and one ACK may answer a whole burst.
inline uint32_t slow_start(Window& window, uint32_t acked) {
    const uint32_t step = std::min(acked, window.ssthresh - window.cwnd);
    window.grow(step);
    return acked - step;
}

/// RFC 3465 section 2.1: a segment for each window of bytes acknowledged; `credit` is what has been
/// acknowledged towards the next one.
inline void avoidance(Window& window, uint32_t acked, uint32_t& credit) {
    // No single ACK earns more than a segment, so that one that covers much makes no burst.
    const uint64_t counted = uint64_t{credit} + std::min(acked, window.cwnd);
    if (counted < window.cwnd) {
        credit = static_cast<uint32_t>(counted);
        return;
    }
    credit = static_cast<uint32_t>(std::min<uint64_t>(counted - window.cwnd, window.cwnd));
    window.grow(window.mss);
}

}  // namespace millrace::congestion
