#include "congestion/dctcp.h"

#include <algorithm>

namespace millrace::congestion {
namespace {

// RFC 8257 section 4.2: the estimation gain g = 1/16.
constexpr uint32_t gain_divisor = 16;

uint32_t add_saturated(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>(
        std::min<uint64_t>(uint64_t{a} + b, std::numeric_limits<uint32_t>::max()));
}

}  // namespace

void Dctcp::begin(Window& window, Instant now) {
    *this = Dctcp();
    growth_.begin(window, now);
}

void Dctcp::begin_round(Seq end) {
    window_end_ = end;
    acked_ = 0;
    marked_ = 0;
}

/// RFC 8257 section 3.3: the fraction of marked bytes, once for each window of data.
void Dctcp::on_ecn(Window&, const Ack& ack) {
    if (!observing_) {
        observing_ = true;
        begin_round(ack.snd_nxt);
    }
    acked_ = add_saturated(acked_, ack.acked);
    if (ack.ece) marked_ = add_saturated(marked_, ack.acked);
    if (ack.snd_una < window_end_ || acked_ == 0) return;
    const auto fraction = static_cast<uint32_t>(uint64_t{marked_} * one / acked_);
    // Rounded up on the way down, so that alpha comes to zero where nothing is marked any more.
    alpha_ -= (alpha_ + gain_divisor - 1) / gain_divisor;
    alpha_ = std::min(alpha_ + fraction / gain_divisor, one);
    begin_round(ack.snd_nxt);
}

uint32_t Dctcp::ssthresh(Window& window, const Ack& ack) {
    const uint32_t half = growth_.ssthresh(window, ack);
    // RFC 8257 section 3.5: to loss DCTCP reacts as everybody does.
    if (ack.newly_lost > 0 || !ack.ece) return half;
    // RFC 8257 section 3.3: cwnd * (1 - alpha / 2).
    const auto cut = static_cast<uint32_t>(uint64_t{window.cwnd} * alpha_ / (2 * one));
    return std::max(window.cwnd - cut, 2U * window.mss);
}

/// What was in flight is forgotten: a new window of observation.
void Dctcp::on_timeout(Window& window, const Ack& ack) {
    growth_.on_timeout(window, ack);
    observing_ = false;
}

}  // namespace millrace::congestion
