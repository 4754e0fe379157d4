// The model of the path that BBR keeps, and what it makes of it: rate and window.

#include <algorithm>

#include "congestion/bbr.h"
#include "congestion/rate.h"

// Section numbers are those of draft-ietf-ccwg-bbr-06.

namespace millrace::congestion {
namespace {

using namespace literals;

// Section 5.6.2: below what was measured, so that a queue drains.
constexpr uint64_t pacing_margin_percent = 1;
// Section 2.8: 2 % of what was in flight; 0.7; 0.15; four segments.
constexpr uint64_t loss_thresh_divisor = 50;
constexpr uint64_t beta_percent = 70;
constexpr uint64_t headroom_percent = 15;
constexpr uint32_t min_pipe_segments = 4;
// Section 2.9.2: how long the least round trip is remembered, and how often it is looked for.
constexpr Duration min_rtt_filter_length = 10_s;
constexpr Duration probe_rtt_interval = 5_s;
// Half of section 2.12's ten rounds: two bins of it are kept.
constexpr uint64_t extra_acked_bin_rounds = 5;
// Section 5.6.3.
constexpr uint64_t send_quantum_max = 64 * 1024;

/// Bytes that pass in `time` at `bw`; all ones where that does not fit.
uint64_t volume(uint64_t bw, Duration time) {
    uint64_t product = 0;
    if (__builtin_mul_overflow(bw, static_cast<uint64_t>(std::max<int64_t>(time.ns(), 0)),
                               &product))
        return std::numeric_limits<uint64_t>::max();
    return product / 1'000'000'000;
}

uint32_t min_pipe(uint16_t mss) { return min_pipe_segments * mss; }

}  // namespace

// ---- Signals ------------------------------------------------------------------------------------

bool Bbr::app_limited(const Ack& ack) const {
    const uint64_t sent_at = ack.rate.prior_delivered;
    return ack.rate.app_limited || (sent_at >= limited_from_ && sent_at <= limited_until_);
}

/// Section 5.5.10.2, IsInflightTooHigh.
bool Bbr::too_high(const Flight& flight, const Ack& ack) {
    return flight.lost * loss_thresh_divisor > flight.tx_in_flight ||
           (flight.lost > 0 && !ack.selective_acks);
}

/// Section 5.5.10.2. Inside an episode of recovery the state that an undo wants is the one it began
/// with, which `ssthresh` has saved: a later round must not save what the losses have made of it.
void Bbr::note_loss(const Window& window, const Ack& ack) {
    if (!loss_in_round_) {
        loss_round_delivered_ = ack.delivered;
        if (!in_recovery_) save_state_upon_loss(window);
    }
    loss_in_round_ = true;
}

/// Section 5.5.10.2, HandleLostPacket and InflightAtLoss.
void Bbr::on_lost_segment(const Window& window, const Ack& ack) {
    note_loss(window, ack);
    if (loss_events_in_round_ < std::numeric_limits<uint8_t>::max()) ++loss_events_in_round_;
    const LossSample& loss = ack.loss;
    if (!is_bw_probe_sample_ || loss.size == 0) return;
    if (!too_high({loss.tx_in_flight, loss.lost, loss.app_limited}, ack)) return;
    // The segment may be a large one: only a prefix of it was within the threshold.
    const uint64_t before = loss.tx_in_flight - std::min(loss.tx_in_flight, loss.size);
    const uint64_t lost_before = loss.lost - std::min(loss.lost, loss.size);
    const uint64_t allowed = before / loss_thresh_divisor;
    const uint64_t prefix = allowed <= lost_before ? 0
                                                   : (allowed - lost_before) * loss_thresh_divisor /
                                                         (loss_thresh_divisor - 1);
    handle_inflight_too_high(window, {before + prefix, loss.lost, loss.app_limited});
}

void Bbr::update_latest_delivery_signals(const Ack& ack) {
    rate_ = rate_of(ack.rate.delivered, ack.rate.interval);
    loss_round_start_ = false;
    bw_latest_ = std::max(bw_latest_, rate_);
    inflight_latest_ = std::max(inflight_latest_, ack.rate.delivered);
    if (ack.newly_delivered > 0 && ack.rate.prior_delivered >= loss_round_delivered_) {
        loss_round_delivered_ = ack.delivered;
        loss_round_start_ = true;
    }
}

void Bbr::update_congestion_signals(const Window& window, const Ack& ack) {
    update_max_bw(ack);
    if (ece_) loss_in_round_ = true;
    if (!loss_round_start_) return;
    adapt_lower_bounds(window);
    loss_in_round_ = false;
}

/// Sections 5.5.1 and 5.5.5.
void Bbr::update_max_bw(const Ack& ack) {
    round_start_ = ack.newly_delivered > 0 && ack.rate.prior_delivered >= next_round_delivered_;
    if (round_start_) {
        start_round();
        ++round_count_;
        if (rounds_since_probe_up_ < unbounded) ++rounds_since_probe_up_;
    }
    // What the application held back shows what it needed, not what the path gives: unless more.
    if (rate_ > 0 && (rate_ >= max_bandwidth() || !app_limited(ack)))
        max_bw_filter_[1] = std::max(max_bw_filter_[1], rate_);
}

/// Section 5.5.6; a cycle without a sample does not push the last one out.
void Bbr::advance_max_bw_filter() {
    if (max_bw_filter_[1] == 0) return;
    max_bw_filter_[0] = max_bw_filter_[1];
    max_bw_filter_[1] = 0;
}

/// Section 5.5.10.3: once a round trip with loss, down towards what was delivered in it.
void Bbr::adapt_lower_bounds(const Window& window) {
    if (is_probing() || !loss_in_round_) return;
    if (bw_shortterm_ == unbounded_bw) bw_shortterm_ = max_bandwidth();
    // After a timeout cwnd is what recovery made of it, not what the path was thought to bear.
    if (inflight_shortterm_ == unbounded)
        inflight_shortterm_ = in_recovery_ ? std::max(window.cwnd, prior_cwnd_) : window.cwnd;
    bw_shortterm_ = std::max(bw_latest_, bw_shortterm_ * beta_percent / 100);
    inflight_shortterm_ =
        std::max(inflight_latest_,
                 static_cast<uint32_t>(uint64_t{inflight_shortterm_} * beta_percent / 100));
}

/// Section 5.5.9.
void Bbr::update_ack_aggregation(const Window& window, const Ack& ack) {
    uint64_t expected = volume(bw_, ack.now - extra_acked_start_);
    if (extra_acked_delivered_ <= expected) {
        extra_acked_delivered_ = 0;
        extra_acked_start_ = ack.now;
        expected = 0;
    }
    extra_acked_delivered_ += ack.newly_delivered;
    const uint64_t extra = std::min<uint64_t>(extra_acked_delivered_ - expected, window.cwnd);
    const uint64_t bin = full_bw_reached_ ? extra_acked_bin_rounds : 1;
    if (round_start_ && round_count_ - extra_acked_bin_round_ >= bin) {
        extra_acked_bin_round_ = round_count_;
        extra_acked_[0] = full_bw_reached_ ? extra_acked_[1] : 0;
        extra_acked_[1] = 0;
    }
    extra_acked_[1] = std::max(extra_acked_[1], static_cast<uint32_t>(extra));
}

/// Section 5.3.4.3.
void Bbr::update_min_rtt(const Ack& ack) {
    probe_rtt_expired_ = ack.now > probe_rtt_min_stamp_ + probe_rtt_interval;
    if (ack.rtt > Duration() && (ack.rtt < probe_rtt_min_delay_ || probe_rtt_expired_)) {
        probe_rtt_min_delay_ = ack.rtt;
        probe_rtt_min_stamp_ = ack.now;
    }
    const bool expired = ack.now > min_rtt_stamp_ + min_rtt_filter_length;
    if (probe_rtt_min_delay_ < min_rtt_ || expired) {
        min_rtt_ = probe_rtt_min_delay_;
        min_rtt_stamp_ = probe_rtt_min_stamp_;
    }
}

void Bbr::reset_congestion_signals() {
    loss_in_round_ = false;
    bw_latest_ = 0;
    inflight_latest_ = 0;
}

void Bbr::reset_shortterm_model() {
    bw_shortterm_ = unbounded_bw;
    inflight_shortterm_ = unbounded;
}

/// Section 5.5.10.2: once a probe, and not below what CUBIC would come down to.
void Bbr::handle_inflight_too_high(const Window& window, const Flight& flight) {
    prev_probe_too_high_ = true;
    is_bw_probe_sample_ = false;
    if (!flight.app_limited) {
        const uint64_t floor = uint64_t{target_inflight(window)} * beta_percent / 100;
        inflight_longterm_ = static_cast<uint32_t>(
            std::min<uint64_t>(std::max(flight.tx_in_flight, floor), Window::max_size));
    }
    if (state_ != State::probe_bw_up) return;
    undo_state_ = UndoState::probe_bw_up;
    start_down();
}

// ---- Control parameters -------------------------------------------------------------------------

void Bbr::save_cwnd(const Window& window) {
    if (!in_recovery_ && state_ != State::probe_rtt)
        prior_cwnd_ = window.cwnd;
    else
        prior_cwnd_ = std::max(prior_cwnd_, window.cwnd);
}

void Bbr::restore_cwnd(Window& window) const { window.set(std::max(window.cwnd, prior_cwnd_)); }

/// Section 5.5.11.1.
void Bbr::save_state_upon_loss(const Window& window) {
    save_cwnd(window);
    undo_state_ = UndoState::none;
    undo_bw_shortterm_ = bw_shortterm_;
    undo_inflight_shortterm_ = inflight_shortterm_;
    undo_inflight_longterm_ = inflight_longterm_;
}

/// Section 5.6.2.
void Bbr::init_pacing_rate(uint32_t cwnd, Duration rtt) {
    pacing_rate_ = std::max<uint64_t>(rate_of(cwnd, rtt) * pacing_gain_percent() / 100, 1);
}

void Bbr::set_pacing_rate(uint64_t gain_percent) {
    const uint64_t rate = bw_ * gain_percent * (100 - pacing_margin_percent) / 10'000;
    if (rate > 0 && (full_bw_reached_ || rate > pacing_rate_)) pacing_rate_ = rate;
}

uint32_t send_quantum(uint64_t rate, uint16_t mss) {
    const uint64_t of_a_millisecond = std::min(rate / 1000, send_quantum_max);
    return std::max<uint32_t>(static_cast<uint32_t>(of_a_millisecond), 2U * mss);
}

/// Section 5.6.4.2; the initial window before the first sample of the round trip.
uint32_t Bbr::bdp_multiple(uint64_t bw, uint32_t gain_percent) const {
    if (min_rtt_ == Duration::max()) return initial_cwnd_;
    const uint64_t bdp = std::min<uint64_t>(volume(bw, min_rtt_), Window::max_size);
    return static_cast<uint32_t>(std::min<uint64_t>(bdp * gain_percent / 100, Window::max_size));
}

uint32_t Bbr::quantization_budget(uint64_t inflight, uint16_t mss) const {
    // Section 5.5.8.1: one quantum at the pacer, one in the NIC, one at the receiver.
    inflight = std::max<uint64_t>(inflight, 3 * send_quantum(pacing_rate_, mss));
    inflight = std::max<uint64_t>(inflight, min_pipe(mss));
    if (state_ == State::probe_bw_up) inflight += 2U * mss;
    return static_cast<uint32_t>(std::min<uint64_t>(inflight, Window::max_size));
}

uint32_t Bbr::inflight(uint64_t bw, uint32_t gain_percent, uint16_t mss) const {
    return quantization_budget(bdp_multiple(bw, gain_percent), mss);
}

uint32_t Bbr::inflight_with_headroom(uint16_t mss) const {
    if (inflight_longterm_ == unbounded) return unbounded;
    const auto headroom = std::max<uint32_t>(
        static_cast<uint32_t>(uint64_t{inflight_longterm_} * headroom_percent / 100), mss);
    return std::max(inflight_longterm_ - std::min(headroom, inflight_longterm_), min_pipe(mss));
}

/// Section 5.6.4.5.
uint32_t Bbr::probe_rtt_cwnd(uint16_t mss) const {
    return std::max(bdp_multiple(bw_, cwnd_gain_percent()), min_pipe(mss));
}

/// Section 5.6.4.6: up by what was delivered, down at once.
void Bbr::set_cwnd(Window& window, const Ack& ack) {
    const uint64_t aggregated = std::max(extra_acked_[0], extra_acked_[1]);
    const uint32_t most =
        quantization_budget(bdp_multiple(bw_, cwnd_gain_percent()) + aggregated, window.mss);
    uint64_t cwnd = window.cwnd;
    if (full_bw_reached_)
        cwnd = std::min<uint64_t>(cwnd + ack.newly_delivered, most);
    else if (cwnd < most || ack.delivered < initial_cwnd_)
        cwnd += ack.newly_delivered;
    cwnd = std::clamp<uint64_t>(cwnd, min_pipe(window.mss), Window::max_size);
    window.set(static_cast<uint32_t>(cwnd));
    if (state_ == State::probe_rtt) window.set(std::min(window.cwnd, probe_rtt_cwnd(window.mss)));
    bound_cwnd_for_model(window);
}

/// Section 5.6.4.7.
void Bbr::bound_cwnd_for_model(Window& window) const {
    uint32_t cap = unbounded;
    if (state_ == State::probe_rtt || state_ == State::probe_bw_cruise)
        cap = inflight_with_headroom(window.mss);
    else if (is_probe_bw())
        cap = inflight_longterm_;
    cap = std::max(std::min(cap, inflight_shortterm_), min_pipe(window.mss));
    window.set(std::min(window.cwnd, cap));
}

}  // namespace millrace::congestion
