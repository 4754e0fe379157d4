// Loss recovery: when it begins, what it does to the window, how it ends or is taken back.
//
// The sender's states are Linux's (`Recovery`). An ACK is worked in the order of DESIGN.md:
// scoreboard (ack.cpp), RACK (rack.cpp), recovery (here), congestion control (lib/congestion).
#pragma once

#include "congestion/window.h"
#include "tcp/env.h"

namespace millrace::tcp {

/// What one acknowledgment has changed: filled by the scoreboard, read by the later steps.
struct AckWork {
    Seq prior_una;
    uint32_t prior_in_flight = 0;
    uint32_t acked = 0;            ///< bytes, cumulatively
    uint32_t delivered = 0;        ///< bytes, cumulatively or by SACK, not counted twice
    uint32_t lost = 0;             ///< bytes marked lost
    Seq highest_before;            ///< what had been delivered before this ACK (RACK.fack)
    bool una_advanced = false;
    bool sacked_new = false;
    bool original_delivered = false;  ///< never sent again, sent before the last timeout
    bool retransmitted_acked = false;
    bool past_recover = false;     ///< SND.UNA has moved beyond `recover`
    bool plain = false;            ///< no text, no news of the window
    bool duplicate = false;        ///< RFC 5681 section 2
    bool dsack = false;
    bool dsack_of_probe = false;   ///< the duplicate is our tail loss probe
    bool ece = false;
    uint32_t ts_echo = 0;
    bool has_ts_echo = false;
    Instant first_sent_at;         ///< of the oldest and the newest not sent twice among what was
    Instant last_sent_at;          ///< acknowledged; Instant() where there is none
    Instant sacked_sent_at;        ///< of the oldest such among what was SACKed
    congestion::LossSample loss;   ///< of what was sent last among what was marked lost
    RateStamp newest;              ///< of what was sent last among what was delivered
    Instant newest_sent_at;
    bool newest_retransmitted = false;
    bool has_newest = false;
    bool timer_settled = false;    ///< RACK has armed the timer: nobody else does
};

/// Counts duplicate ACKs. Those of a peer without SACK stand for segments that have arrived
/// (RFC 5681 section 3.2, RFC 6582).
void count_duplicates(Connection& c, AckWork& work);
/// Duplicates may be of frames that the network has repeated, or of what is acknowledged by now:
/// they stand for no more than is in flight and not missing (Linux's tcp_limit_reno_sacked).
void limit_reno_sacked(Connection& c);
/// The fifth step's part for losses: enters, continues, leaves or undoes recovery.
void recover(Env& env, Connection& c, AckWork& work);
/// A retransmission timeout: everything is doubtful (RFC 6298 section 5, RFC 5682).
void enter_loss(Env& env, Connection& c);
/// The window comes down without a loss having been found (ECE, a probe that repaired a loss).
void enter_cwr(Env& env, Connection& c, const AckWork& work);
/// Congestion window after an ACK: growth, or proportional rate reduction.
void update_cwnd(Connection& c, const AckWork& work, const congestion::Ack& ack);
/// The congestion window holds the sender back; in slow start also while more than half of it is in
/// use (Linux's tcp_is_cwnd_limited).
bool is_window_limited(const Connection& c);
/// The tail loss probe has been answered, one way or another (RFC 8985 section 7.4.2).
void on_probe_answered(Env& env, Connection& c, const AckWork& work);
/// `range` is being marked lost.
void note_lost(Connection& c, AckWork& work, const SentRange& range);
/// What congestion control is told of this ACK.
congestion::Ack congestion_ack(Env& env, const Connection& c, const AckWork& work);
/// Keeps the delivery rate that this ACK shows (draft-cheng-iccrg-delivery-rate-estimation section
/// 3.3), for who looks; BBR's own samples are in its model.
void take_rate_sample(const Env& env, Connection& c, const AckWork& work);

}  // namespace millrace::tcp
