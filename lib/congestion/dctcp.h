// DCTCP (RFC 8257): the window comes down by the fraction of bytes that met congestion, not by
// half.
//
// For networks whose switches mark early and whose peers echo each mark: it asks for ECN on its
// SYN. Growth and the reaction to loss are Reno's. Owned by one core, inside its connection.
#pragma once

#include <cstdint>

#include "congestion/reno.h"
#include "congestion/window.h"

namespace millrace::congestion {

class Dctcp {
public:
    /// `alpha` in parts of this.
    static constexpr uint32_t one = 1U << 20;

    void begin(Window& window, Instant now);
    void on_ack(Window& window, const Ack& ack) { growth_.on_ack(window, ack); }
    uint32_t ssthresh(Window& window, const Ack& ack);
    void on_timeout(Window& window, const Ack& ack);
    void undo(Window& window) { growth_.undo(window); }
    void on_ecn(Window& window, const Ack& ack);
    void on_idle(Window&, Duration, Duration, Instant) {}
    void on_recovery_exit(Window&, const Ack&) {}

    bool is_fresh() const { return false; }

    uint32_t alpha() const { return alpha_; }

private:
    void begin_round(Seq end);

    Reno growth_;
    uint32_t alpha_ = one;  // RFC 8257 section 4.2: the worst is assumed first
    uint32_t acked_ = 0;    // bytes acknowledged in this observation window
    uint32_t marked_ = 0;   // those of them that an ACK with ECE acknowledged
    Seq window_end_;
    bool observing_ = false;
};

}  // namespace millrace::congestion
