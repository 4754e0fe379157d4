// BBR version 3 (draft-ietf-ccwg-bbr-06, "the draft" below): sends at the rate that it measures,
// and keeps in flight what that rate and the least round trip ask for.
//
// Startup doubles the rate until it grows no more, Drain empties the queue that this has built,
// then ProbeBW cycles for good: DOWN, CRUISE, REFILL, UP. ProbeRTT goes below the bandwidth-delay
// product each five seconds to see the path without a queue. Loss bounds the model on two time
// scales: for the round trips until the next probe ("shortterm"), and from one probe to the next
// ("longterm").
//
// Purpose here: the draft's names in our spelling, in the draft's order, so that the two can be
// read side by side. Rates are bytes per second, gains percent. What differs from the draft:
//   - "Application-limited" during ProbeRTT is remembered here, in a range of `delivered`, instead
//   of
//     being written into the sampler.
//   - The filter of extra_acked is two bins of five rounds, not a running maximum of ten (as
//   Linux).
//   - The state that an undo restores is saved once an episode of recovery, not each round of it.
//   - ECE is congestion (draft section 3.7 asks for that, not how): it ends Startup and a bandwidth
//     probe as too much loss does, and lowers the short-term bounds otherwise.
//
// Needs pacing. Owned by one core, borrowed from its pool by a connection that runs BBR.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "congestion/window.h"

namespace millrace::congestion {

/// How much may be sent at once at `rate` (draft section 5.6.3).
uint32_t send_quantum(uint64_t rate, uint16_t mss);

class Bbr {
public:
    enum class State : uint8_t {
        startup,
        drain,
        probe_bw_down,
        probe_bw_cruise,
        probe_bw_refill,
        probe_bw_up,
        probe_rtt
    };

    void begin(Window& window, Instant now);
    /// Every ACK, in recovery, too.
    void on_ack(Window& window, const Ack& ack);
    uint32_t ssthresh(Window& window, const Ack& ack);
    void on_timeout(Window& window, const Ack& ack);
    void undo(Window& window);
    void on_ecn(Window& window, const Ack& ack);
    void on_idle(Window& window, Duration idle, Duration rto, Instant now);
    void on_recovery_exit(Window& window, const Ack& ack);
    bool is_fresh() const { return false; }  // it knows the path's bandwidth

    /// Bytes per second; never zero after `begin`.
    uint64_t pacing_rate() const { return pacing_rate_; }

    State state() const { return state_; }
    uint64_t max_bandwidth() const { return std::max(max_bw_filter_[0], max_bw_filter_[1]); }
    uint64_t bandwidth() const { return bw_; }
    /// `Duration::max()` before the first sample.
    Duration min_rtt() const { return min_rtt_; }
    uint32_t inflight_longterm() const { return inflight_longterm_; }
    uint32_t inflight_shortterm() const { return inflight_shortterm_; }
    bool full_bandwidth_reached() const { return full_bw_reached_; }
    uint32_t pacing_gain_percent() const;
    uint32_t cwnd_gain_percent() const;

private:
    static constexpr uint64_t unbounded_bw = std::numeric_limits<uint64_t>::max();
    static constexpr uint32_t unbounded = std::numeric_limits<uint32_t>::max();

    /// What the ACKs that arrive tell of the probe (draft section 2.14).
    enum class AckPhase : uint8_t {
        init,
        refilling,
        probe_starting,
        probe_feedback,
        probe_stopping
    };
    /// What a loss ended that an undo brings back.
    enum class UndoState : uint8_t { none, startup, probe_bw_up };
    /// What a decision about a lost or sampled segment needs of it.
    struct Flight {
        uint64_t tx_in_flight;
        uint64_t lost;
        bool app_limited;
    };

    // Signals (draft sections 5.5.1 to 5.5.9).
    void note_loss(const Window& window, const Ack& ack);
    void on_lost_segment(const Window& window, const Ack& ack);
    void update_latest_delivery_signals(const Ack& ack);
    void update_congestion_signals(const Window& window, const Ack& ack);
    void update_max_bw(const Ack& ack);
    void adapt_lower_bounds(const Window& window);
    void update_ack_aggregation(const Window& window, const Ack& ack);
    void update_min_rtt(const Ack& ack);
    void advance_max_bw_filter();
    void start_round() { next_round_delivered_ = delivered_; }
    bool app_limited(const Ack& ack) const;
    static bool too_high(const Flight& flight, const Ack& ack);

    // Startup and Drain (sections 5.3.1 and 5.3.2).
    void check_full_bw_reached(const Ack& ack);
    void check_startup_high_loss(const Ack& ack);
    void leave_startup_for_congestion();
    void check_startup_and_drain_done(const Window& window, const Ack& ack);
    void reset_full_bw();

    // ProbeBW (section 5.3.3).
    bool is_probe_bw() const;
    bool is_probing() const;
    void update_cycle_phase(const Window& window, const Ack& ack);
    bool adapt_longterm_model(const Window& window, const Ack& ack);
    void handle_inflight_too_high(const Window& window, const Flight& flight);
    void raise_longterm_slope(const Window& window);
    void probe_longterm_upward(const Window& window, const Ack& ack);
    bool is_time_to_probe(const Window& window);
    bool is_time_to_cruise(const Window& window, const Ack& ack) const;
    bool is_time_to_go_down(const Window& window, const Ack& ack);
    void start_down();
    void start_refill();
    void start_up(const Window& window);
    void pick_probe_wait();
    void reset_congestion_signals();
    void reset_shortterm_model();

    // ProbeRTT (section 5.3.4).
    void check_probe_rtt(Window& window, const Ack& ack);
    void handle_probe_rtt(Window& window, const Ack& ack);
    void check_probe_rtt_done(Window& window);

    // Control parameters (section 5.6).
    void save_cwnd(const Window& window);
    void save_state_upon_loss(const Window& window);
    void restore_cwnd(Window& window) const;
    void init_pacing_rate(uint32_t cwnd, Duration rtt);
    void set_pacing_rate(uint64_t gain_percent);
    void set_cwnd(Window& window, const Ack& ack);
    void bound_cwnd_for_model(Window& window) const;
    uint32_t bdp_multiple(uint64_t bw, uint32_t gain_percent) const;
    uint32_t quantization_budget(uint64_t inflight, uint16_t mss) const;
    uint32_t inflight(uint64_t bw, uint32_t gain_percent, uint16_t mss) const;
    uint32_t inflight_with_headroom(uint16_t mss) const;
    uint32_t probe_rtt_cwnd(uint16_t mss) const;
    uint32_t target_inflight(const Window& window) const;

    Instant now_;             // of the ACK or call being handled
    uint64_t delivered_ = 0;  // the connection's, as of the last ACK
    uint64_t rate_ = 0;       // this ACK's sample of the delivery rate, zero: none
    uint64_t pacing_rate_ = 0;
    uint64_t bw_ = 0;                          // min(max_bw, bw_shortterm)
    std::array<uint64_t, 2> max_bw_filter_{};  // the cycle before, this cycle
    uint64_t bw_shortterm_ = unbounded_bw;
    uint64_t bw_latest_ = 0;
    uint64_t full_bw_ = 0;
    uint64_t next_round_delivered_ = 0;
    uint64_t loss_round_delivered_ = 0;
    uint64_t round_count_ = 0;
    uint64_t drain_start_round_ = 0;
    uint64_t limited_from_ = 1;   // what was sent while `delivered` lay in this range was
    uint64_t limited_until_ = 0;  // held back by ProbeRTT
    uint64_t seed_ = 0;

    Duration min_rtt_ = Duration::max();
    Instant min_rtt_stamp_;
    Duration probe_rtt_min_delay_ = Duration::max();
    Instant probe_rtt_min_stamp_;
    Instant probe_rtt_done_stamp_;  // meaningful while `probe_rtt_holding_`
    Instant cycle_stamp_;
    Duration bw_probe_wait_;
    Instant extra_acked_start_;
    uint64_t extra_acked_delivered_ = 0;
    std::array<uint32_t, 2> extra_acked_{};
    uint64_t extra_acked_bin_round_ = 0;

    uint32_t initial_cwnd_ = 0;
    uint32_t prior_cwnd_ = 0;
    uint32_t inflight_longterm_ = unbounded;
    uint32_t inflight_shortterm_ = unbounded;
    uint32_t inflight_latest_ = 0;
    uint32_t probe_up_acked_per_inc_ = unbounded;
    uint64_t bw_probe_up_acked_ = 0;
    uint32_t bw_probe_up_rounds_ = 0;
    uint32_t rounds_since_probe_up_ = 0;
    uint64_t undo_bw_shortterm_ = 0;
    uint32_t undo_inflight_shortterm_ = 0;
    uint32_t undo_inflight_longterm_ = 0;

    State state_ = State::startup;
    AckPhase ack_phase_ = AckPhase::init;
    UndoState undo_state_ = UndoState::none;
    uint8_t full_bw_count_ = 0;
    uint8_t loss_events_in_round_ = 0;
    bool has_seen_rtt_ = false;
    bool round_start_ = false;
    bool loss_round_start_ = false;
    bool loss_in_round_ = false;
    bool ece_ = false;
    bool in_recovery_ = false;
    bool full_bw_now_ = false;
    bool full_bw_reached_ = false;
    bool is_bw_probe_sample_ = false;
    bool prev_probe_too_high_ = false;
    bool prev_probe_precautionary_ = false;
    bool probe_rtt_expired_ = false;
    bool probe_rtt_holding_ = false;  // in flight is low enough, the 200 ms run
    bool probe_rtt_round_done_ = false;
    bool idle_restart_ = false;
};

}  // namespace millrace::congestion
