#include "congestion/hystart.h"

#include <algorithm>

namespace millrace::congestion {
namespace {

// RFC 9406 section 4.3 recommends each of these.
constexpr uint32_t min_rtt_thresh_us = 4'000;
constexpr uint32_t max_rtt_thresh_us = 16'000;
constexpr uint32_t min_rtt_divisor = 8;
constexpr uint8_t rtt_samples = 8;
constexpr uint32_t css_growth_divisor = 4;
constexpr uint8_t css_rounds = 5;

}  // namespace

void HyStart::begin() { *this = HyStart(); }

uint32_t HyStart::growth(uint32_t acked) const {
    return in_css() ? acked / css_growth_divisor : acked;
}

void HyStart::begin_round(Seq end) {
    window_end_ = end;
    last_round_us_ = this_round_us_;
    this_round_us_ = infinite;
    samples_ = 0;
}

bool HyStart::on_ack(const Ack& ack) {
    if (phase_ == Phase::fresh) {
        phase_ = Phase::slow_start;
        begin_round(ack.snd_nxt);
    }
    if (ack.rtt > Duration()) {
        const int64_t us = std::clamp<int64_t>(ack.rtt.us(), 1, infinite - 1);
        this_round_us_ = std::min(this_round_us_, static_cast<uint32_t>(us));
        if (samples_ < rtt_samples) ++samples_;
        judge();
    }
    if (ack.snd_una < window_end_) return false;
    begin_round(ack.snd_nxt);
    // RFC 9406 section 4.2: the partial round in which CSS began counts towards the limit.
    if (phase_ != Phase::css || ++css_rounds_ < css_rounds) return false;
    end();
    return true;
}

/// RFC 9406 section 4.2: a round trip longer than the last round's by the threshold begins CSS; one
/// shorter than what began it shows that it was a false alarm.
void HyStart::judge() {
    if (samples_ < rtt_samples) return;
    if (phase_ == Phase::css) {
        if (this_round_us_ >= css_baseline_us_) return;
        css_baseline_us_ = infinite;
        phase_ = Phase::slow_start;
        return;
    }
    if (last_round_us_ == infinite) return;
    const uint32_t threshold =
        std::clamp(last_round_us_ / min_rtt_divisor, min_rtt_thresh_us, max_rtt_thresh_us);
    if (this_round_us_ < uint64_t{last_round_us_} + threshold) return;
    css_baseline_us_ = this_round_us_;
    css_rounds_ = 0;
    phase_ = Phase::css;
}

}  // namespace millrace::congestion
