// HyStart++ (RFC 9406): leaves the first slow start when the round trip grows, before the
// bottleneck's queue overflows, by way of a phase of slower growth that forgives a false alarm.
//
// Owned by one core, inside CUBIC's state.
#pragma once

#include <cstdint>

#include "congestion/window.h"

namespace millrace::congestion {

class HyStart {
public:
    /// The connection begins, or begins anew: the first slow start.
    void begin();
    /// A loss, ECN or a whole CSS has ended the first slow start; there is no second one for
    /// HyStart++ (RFC 9406 section 4.3).
    void end() { phase_ = Phase::done; }

    /// Feeds an ACK in slow start. True: five rounds of CSS went by, slow start is over.
    bool on_ack(const Ack& ack);
    /// By how much the window grows for `acked` bytes (RFC 9406 section 4.2). L is unlimited, as
    /// for a sender that paces, and as in Linux: peers that merge what they receive answer a whole
    /// burst by one ACK, and with L = 8 that would be most of slow start.
    uint32_t growth(uint32_t acked) const;

    bool active() const { return phase_ != Phase::done; }
    bool in_css() const { return phase_ == Phase::css; }

private:
    enum class Phase : uint8_t { fresh, slow_start, css, done };
    void begin_round(Seq end);
    void judge();

    static constexpr uint32_t infinite = 0xffff'ffff;

    Seq window_end_;                     // the round ends when this is acknowledged
    uint32_t last_round_us_ = infinite;  // least round trip of the round before
    uint32_t this_round_us_ = infinite;
    uint32_t css_baseline_us_ = infinite;
    uint8_t samples_ = 0;
    uint8_t css_rounds_ = 0;
    Phase phase_ = Phase::fresh;
};

}  // namespace millrace::congestion
