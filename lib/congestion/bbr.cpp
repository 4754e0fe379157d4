#include "congestion/bbr.h"

#include <algorithm>

// Section numbers are those of draft-ietf-ccwg-bbr-06.

namespace millrace::congestion {
namespace {

using namespace literals;

// Section 2.5: 4 ln 2 doubles the rate each round trip.
constexpr uint32_t startup_pacing_gain = 277;
constexpr uint32_t drain_pacing_gain = 50;
// Section 2.6 and the table of section 5.6.1.
constexpr uint32_t default_cwnd_gain = 200;
constexpr uint32_t up_cwnd_gain = 225;
constexpr uint32_t up_pacing_gain = 125;
constexpr uint32_t down_pacing_gain = 90;
// Section 2.16.
constexpr uint32_t probe_rtt_cwnd_gain = 50;
constexpr Duration probe_rtt_duration = 200_ms;
// Section 5.3.1: three rounds with less than a quarter more; six losses in a round.
constexpr uint8_t full_bw_rounds = 3;
constexpr uint8_t full_loss_count = 6;
constexpr uint64_t drain_rounds = 3;
// Section 5.3.3.8: 62 or 63 round trips, 2 to 3 seconds.
constexpr uint32_t reno_rounds_max = 63;
constexpr Duration probe_wait_base = 2_s;

/// SplitMix64: enough to keep flows from probing in step.
uint64_t mixed(uint64_t x) {
    x += 0x9e37'79b9'7f4a'7c15;
    x = (x ^ (x >> 30)) * 0xbf58'476d'1ce4'e5b9;
    x = (x ^ (x >> 27)) * 0x94d0'49bb'1331'11eb;
    return x ^ (x >> 31);
}

}  // namespace

/// Section 5.2.1.
void Bbr::begin(Window& window, Instant now) {
    *this = Bbr();
    now_ = now;
    min_rtt_stamp_ = now;
    probe_rtt_min_stamp_ = now;
    extra_acked_start_ = now;
    cycle_stamp_ = now;
    initial_cwnd_ = window.cwnd;
    seed_ = static_cast<uint64_t>(now.ns());
    // The first flight leaves a path that was idle: however long the handshake took, the first
    // sample of the round trip needs no ProbeRTT.
    idle_restart_ = true;
    init_pacing_rate(window.cwnd, 1_ms);
}

uint32_t Bbr::pacing_gain_percent() const {
    switch (state_) {
        case State::startup: return startup_pacing_gain;
        case State::drain: return drain_pacing_gain;
        case State::probe_bw_down: return down_pacing_gain;
        case State::probe_bw_up: return up_pacing_gain;
        case State::probe_bw_cruise:
        case State::probe_bw_refill:
        case State::probe_rtt: break;
    }
    return 100;
}

uint32_t Bbr::cwnd_gain_percent() const {
    if (state_ == State::probe_bw_up) return up_cwnd_gain;
    if (state_ == State::probe_rtt) return probe_rtt_cwnd_gain;
    return default_cwnd_gain;
}

bool Bbr::is_probe_bw() const {
    return state_ == State::probe_bw_down || state_ == State::probe_bw_cruise ||
           state_ == State::probe_bw_refill || state_ == State::probe_bw_up;
}

bool Bbr::is_probing() const {
    return state_ == State::startup || state_ == State::probe_bw_refill ||
           state_ == State::probe_bw_up;
}

/// Section 5.2.3.
void Bbr::on_ack(Window& window, const Ack& ack) {
    now_ = ack.now;
    delivered_ = ack.delivered;
    seed_ ^= static_cast<uint64_t>(ack.now.ns()) + ack.snd_una.value();
    if (!has_seen_rtt_ && ack.srtt > Duration()) {
        has_seen_rtt_ = true;
        init_pacing_rate(initial_cwnd_, ack.srtt);
    }
    if (ack.newly_lost > 0) on_lost_segment(window, ack);

    update_latest_delivery_signals(ack);
    update_congestion_signals(window, ack);
    update_ack_aggregation(window, ack);
    check_full_bw_reached(ack);
    check_startup_high_loss(ack);
    check_startup_and_drain_done(window, ack);
    update_cycle_phase(window, ack);
    update_min_rtt(ack);
    check_probe_rtt(window, ack);
    if (loss_round_start_) {  // section 5.5.10.3, AdvanceLatestDeliverySignals
        bw_latest_ = rate_;
        inflight_latest_ = ack.rate.delivered;
    }
    bw_ = std::min(max_bandwidth(), bw_shortterm_);
    ece_ = false;

    set_pacing_rate(pacing_gain_percent());
    set_cwnd(window, ack);
}

/// BBR has no ssthresh: its own cwnd carries on, and is bounded by the model.
uint32_t Bbr::ssthresh(Window& window, const Ack& ack) {
    save_state_upon_loss(window);
    in_recovery_ = true;
    // A timer may have found the loss: then no ACK will tell of it.
    if (ack.newly_lost > 0) note_loss(window, ack);
    return window.ssthresh;
}

/// The round trips that follow tell nothing of how full the pipe is.
void Bbr::on_timeout(Window&, const Ack& ack) {
    now_ = ack.now;
    reset_full_bw();
    loss_in_round_ = true;
}

void Bbr::on_recovery_exit(Window& window, const Ack&) {
    in_recovery_ = false;
    restore_cwnd(window);
    bound_cwnd_for_model(window);
}

/// Section 5.5.11.2.
void Bbr::undo(Window& window) {
    in_recovery_ = false;
    restore_cwnd(window);
    loss_in_round_ = false;
    reset_full_bw();
    bw_shortterm_ = std::max(bw_shortterm_, undo_bw_shortterm_);
    inflight_shortterm_ = std::max(inflight_shortterm_, undo_inflight_shortterm_);
    inflight_longterm_ = std::max(inflight_longterm_, undo_inflight_longterm_);
    const UndoState undone = undo_state_;
    undo_state_ = UndoState::none;
    if (undone == UndoState::startup && state_ != State::startup) {
        full_bw_reached_ = false;
        if (state_ != State::probe_rtt) state_ = State::startup;
    } else if (undone == UndoState::probe_bw_up && state_ != State::probe_bw_up &&
               state_ != State::probe_rtt) {
        start_refill();
    }
}

void Bbr::on_ecn(Window&, const Ack& ack) { ece_ = ack.ece; }

/// Section 5.4.1: the path has drained; exactly its rate, and no ProbeRTT.
void Bbr::on_idle(Window& window, Duration, Duration, Instant now) {
    now_ = now;
    idle_restart_ = true;
    extra_acked_start_ = now;
    if (is_probe_bw())
        set_pacing_rate(100);
    else if (state_ == State::probe_rtt)
        check_probe_rtt_done(window);
}

// ---- Startup and Drain --------------------------------------------------------------------------

void Bbr::reset_full_bw() {
    full_bw_ = 0;
    full_bw_count_ = 0;
    full_bw_now_ = false;
}

/// Section 5.3.1.2.
void Bbr::check_full_bw_reached(const Ack& ack) {
    if (full_bw_now_ || !round_start_ || rate_ == 0 || app_limited(ack)) return;
    if (rate_ >= full_bw_ + full_bw_ / 4) {
        reset_full_bw();
        full_bw_ = rate_;
        return;
    }
    full_bw_now_ = ++full_bw_count_ >= full_bw_rounds;
    full_bw_reached_ = full_bw_reached_ || full_bw_now_;
}

/// Section 5.3.1.3. A loss event is an ACK that marks something lost, as in Linux: the ranges that
/// one ACK marks are most often one.
void Bbr::check_startup_high_loss(const Ack& ack) {
    if (state_ == State::startup && !full_bw_reached_) {
        const Flight sampled{ack.rate.tx_in_flight, ack.rate.lost, ack.rate.app_limited};
        const bool heavy = loss_events_in_round_ >= full_loss_count || !ack.selective_acks;
        const bool lossy = loss_round_start_ && ack.in_recovery && heavy && too_high(sampled, ack);
        if (lossy || ece_) leave_startup_for_congestion();
    }
    if (loss_round_start_) loss_events_in_round_ = 0;
}

void Bbr::leave_startup_for_congestion() {
    undo_state_ = UndoState::startup;
    full_bw_reached_ = true;
    inflight_longterm_ = std::max(bdp_multiple(max_bandwidth(), 100), inflight_latest_);
}

void Bbr::check_startup_and_drain_done(const Window& window, const Ack& ack) {
    if (state_ == State::startup && full_bw_reached_) {
        state_ = State::drain;
        drain_start_round_ = round_count_;
    }
    if (state_ == State::drain && (ack.in_flight <= inflight(bw_, 100, window.mss) ||
                                   round_count_ > drain_start_round_ + drain_rounds))
        start_down();
}

// ---- ProbeBW ------------------------------------------------------------------------------------

/// Section 5.3.3.9.
void Bbr::update_cycle_phase(const Window& window, const Ack& ack) {
    if (!full_bw_reached_) return;
    if (adapt_longterm_model(window, ack)) return;
    switch (state_) {
        case State::probe_bw_down:
            if (is_time_to_probe(window)) return;
            if (is_time_to_cruise(window, ack)) state_ = State::probe_bw_cruise;
            return;
        case State::probe_bw_cruise: is_time_to_probe(window); return;
        case State::probe_bw_refill:
            if (!round_start_) return;
            is_bw_probe_sample_ = true;
            start_up(window);
            return;
        case State::probe_bw_up:
            if (!is_time_to_go_down(window, ack)) return;
            prev_probe_too_high_ = false;
            start_down();
            return;
        case State::startup:
        case State::drain:
        case State::probe_rtt: return;
    }
}

void Bbr::start_down() {
    reset_congestion_signals();
    probe_up_acked_per_inc_ = unbounded;
    pick_probe_wait();
    cycle_stamp_ = now_;
    ack_phase_ = AckPhase::probe_stopping;
    start_round();
    state_ = State::probe_bw_down;
}

void Bbr::start_refill() {
    reset_shortterm_model();
    bw_probe_up_rounds_ = 0;
    bw_probe_up_acked_ = 0;
    prev_probe_precautionary_ = false;
    ack_phase_ = AckPhase::refilling;
    start_round();
    state_ = State::probe_bw_refill;
}

void Bbr::start_up(const Window& window) {
    ack_phase_ = AckPhase::probe_starting;
    start_round();
    reset_full_bw();
    full_bw_ = rate_;
    state_ = State::probe_bw_up;
    raise_longterm_slope(window);
}

/// Section 5.3.3.8.3: by chance, so that flows do not probe in step.
void Bbr::pick_probe_wait() {
    seed_ = mixed(seed_);
    rounds_since_probe_up_ = static_cast<uint32_t>(seed_ & 1);
    bw_probe_wait_ =
        probe_wait_base + Duration::from_us(static_cast<int64_t>((seed_ >> 8) % 1'000'000));
}

uint32_t Bbr::target_inflight(const Window& window) const {
    return std::min(bdp_multiple(bw_, 100), window.cwnd);
}

/// Section 5.3.3.8.3: by the clock, or as often as Reno would have filled this path.
bool Bbr::is_time_to_probe(const Window& window) {
    const uint32_t reno_rounds = std::min(target_inflight(window) / window.mss, reno_rounds_max);
    if (now_ <= cycle_stamp_ + bw_probe_wait_ && rounds_since_probe_up_ < reno_rounds) return false;
    start_refill();
    return true;
}

bool Bbr::is_time_to_cruise(const Window& window, const Ack& ack) const {
    return ack.in_flight <= inflight_with_headroom(window.mss) &&
           ack.in_flight <= inflight(max_bandwidth(), 100, window.mss);
}

/// Sections 5.3.3.6 and 5.3.3.7.
bool Bbr::is_time_to_go_down(const Window& window, const Ack& ack) {
    if (prev_probe_too_high_ && ack.in_flight >= inflight_longterm_) {
        prev_probe_precautionary_ = true;
        return true;
    }
    if (ack.window_limited && window.cwnd >= inflight_longterm_) {
        // The bound, not the path, keeps the rate from growing.
        reset_full_bw();
        full_bw_ = rate_;
        return false;
    }
    return full_bw_now_;
}

/// How fast inflight_longterm rises: by 1, 2, 4, ... segments a round trip.
void Bbr::raise_longterm_slope(const Window& window) {
    const uint32_t growth = 1U << bw_probe_up_rounds_;
    bw_probe_up_rounds_ = std::min(bw_probe_up_rounds_ + 1, 30U);
    probe_up_acked_per_inc_ = std::max<uint32_t>(window.cwnd / growth, window.mss);
}

void Bbr::probe_longterm_upward(const Window& window, const Ack& ack) {
    if (!ack.window_limited || window.cwnd < inflight_longterm_) return;
    bw_probe_up_acked_ += ack.newly_delivered;
    const uint64_t steps = bw_probe_up_acked_ / probe_up_acked_per_inc_;
    bw_probe_up_acked_ -= steps * probe_up_acked_per_inc_;
    inflight_longterm_ = static_cast<uint32_t>(
        std::min<uint64_t>(inflight_longterm_ + steps * window.mss, Window::max_size));
    if (round_start_) raise_longterm_slope(window);
}

/// Section 5.3.3.9. True: the state has changed.
bool Bbr::adapt_longterm_model(const Window& window, const Ack& ack) {
    if (ack_phase_ == AckPhase::probe_starting && round_start_)
        ack_phase_ = AckPhase::probe_feedback;
    if (ack_phase_ == AckPhase::probe_stopping && round_start_) {
        is_bw_probe_sample_ = false;
        ack_phase_ = AckPhase::init;
        if (is_probe_bw() && !app_limited(ack)) advance_max_bw_filter();
        if (is_probe_bw() && prev_probe_precautionary_ && !prev_probe_too_high_) {
            start_refill();
            return true;
        }
    }
    const Flight sampled{ack.rate.tx_in_flight, ack.rate.lost, app_limited(ack)};
    if (too_high(sampled, ack) || ece_) {
        if (!is_bw_probe_sample_) return false;
        const bool was_up = state_ == State::probe_bw_up;
        handle_inflight_too_high(window, sampled);
        return was_up;
    }
    if (inflight_longterm_ == unbounded) return false;
    inflight_longterm_ = std::max(inflight_longterm_, ack.rate.tx_in_flight);
    if (state_ == State::probe_bw_up) probe_longterm_upward(window, ack);
    return false;
}

// ---- ProbeRTT -----------------------------------------------------------------------------------

/// Section 5.3.4.3.
void Bbr::check_probe_rtt(Window& window, const Ack& ack) {
    if (state_ != State::probe_rtt && probe_rtt_expired_ && !idle_restart_) {
        save_cwnd(window);
        state_ = State::probe_rtt;
        probe_rtt_holding_ = false;
        ack_phase_ = AckPhase::probe_stopping;
        start_round();
        limited_from_ = ack.delivered;
    }
    if (state_ == State::probe_rtt) handle_probe_rtt(window, ack);
    if (ack.newly_delivered > 0) idle_restart_ = false;
}

void Bbr::handle_probe_rtt(Window& window, const Ack& ack) {
    limited_until_ = ack.delivered + ack.in_flight;
    if (!probe_rtt_holding_) {
        if (ack.in_flight > probe_rtt_cwnd(window.mss)) return;
        probe_rtt_holding_ = true;
        probe_rtt_done_stamp_ = ack.now + probe_rtt_duration;
        probe_rtt_round_done_ = false;
        start_round();
        return;
    }
    probe_rtt_round_done_ = probe_rtt_round_done_ || round_start_;
    if (probe_rtt_round_done_) check_probe_rtt_done(window);
}

/// Sections 5.3.4.3 and 5.3.4.4.
void Bbr::check_probe_rtt_done(Window& window) {
    if (!probe_rtt_holding_ || now_ <= probe_rtt_done_stamp_) return;
    probe_rtt_min_stamp_ = now_;
    restore_cwnd(window);
    reset_shortterm_model();
    if (!full_bw_reached_) {
        state_ = State::startup;
        return;
    }
    // A probe is a cycle away; the queue is empty, so that DOWN has nothing to do.
    start_down();
    state_ = State::probe_bw_cruise;
}

}  // namespace millrace::congestion
