// Reno: slow start and congestion avoidance of RFC 5681, counting bytes (RFC 3465). Fast recovery
// is not in here: PRR (RFC 6937) rules the window there, the same for each algorithm but BBR.
#pragma once

#include <algorithm>
#include <cstdint>

#include "congestion/growth.h"
#include "congestion/window.h"

namespace millrace::congestion {

/// RFC 5681 equation (4): half of what is outstanding, at least two segments. What limited transmit
/// has put out beyond the window does not count (RFC 5681 section 3.2 step 2), nor does a window
/// that the application has not filled.
inline uint32_t half_of_flight(const Window& window, const Ack& ack) {
    const uint32_t flight = ack.snd_nxt > ack.snd_una ? distance(ack.snd_una, ack.snd_nxt) : 0;
    return std::max(std::min(flight, window.cwnd) / 2, 2U * window.mss);
}

/// Owned by one core, inside its connection.
class Reno {
public:
    void begin(Window&, Instant) { credit_ = 0; }

    void on_ack(Window& window, const Ack& ack) {
        // RFC 7661 section 4.3: a window that was not used has not been validated.
        if (!ack.window_limited) return;
        uint32_t acked = ack.acked;
        if (window.in_slow_start()) {
            acked = slow_start(window, acked);
            if (acked == 0) return;
        }
        avoidance(window, acked, credit_);
    }

    uint32_t ssthresh(Window& window, const Ack& ack) {
        credit_ = 0;
        return half_of_flight(window, ack);
    }
    void on_timeout(Window&, const Ack&) { credit_ = 0; }
    void undo(Window&) {}
    void on_ecn(Window&, const Ack&) {}
    void on_idle(Window&, Duration, Duration, Instant) {}
    void on_recovery_exit(Window&, const Ack&) {}
    bool is_fresh() const { return true; }  // the window itself is all that it knows

private:
    uint32_t credit_ = 0;  // bytes acknowledged towards the next segment of congestion avoidance
};

}  // namespace millrace::congestion
