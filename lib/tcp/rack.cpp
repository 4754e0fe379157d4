#include "tcp/rack.h"

#include <algorithm>

#include "tcp/limits.h"
#include "tcp/pacing.h"
#include "tcp/timers.h"

namespace millrace::tcp::rack {

namespace {

/// RFC 8985 section 6.2 step 3: (time, end) in the order of sending.
bool sent_after(Instant a, Seq a_end, Instant b, Seq b_end) {
    return a > b || (a == b && a_end > b_end);
}

/// Section 6.2 step 4.
Duration reordering_window(const Connection& c) {
    const Sending& s = *c.sending;
    if (!s.reordering_seen) {
        // Nothing has ever come out of order here: the third segment behind it is proof enough.
        if (c.recovery == Recovery::recovery || c.recovery == Recovery::loss) return {};
        if (s.sent.sacked() >= uint32_t{duplicate_acks_for_loss} * c.window.mss ||
            s.duplicate_acks >= duplicate_acks_for_loss)
            return {};
    }
    const Duration share = c.rtt.min_rtt() / 4 * s.reordering_steps;
    return std::min(share, c.rtt.srtt());
}

}  // namespace

void note_reordering(Env& env, Connection& c) {
    Sending& s = *c.sending;
    if (s.reordering_seen) return;
    s.reordering_seen = true;
    ++env.counters.tcp_sack_reorder;
}

void on_delivered(Env& env, Connection& c, const SentRange& range, Seq end, const AckWork& work,
                  bool by_sack) {
    Sending& s = *c.sending;
    if (!range.retransmitted) {
        // Step 3: something sent later had arrived before this ACK. What one ACK tells of at once
        // has no order among itself.
        if (end < work.highest_before) note_reordering(env, c);
    } else if (!by_sack && work.has_ts_echo) {
        // Step 2: the answer to the original, come late, says nothing of the retransmission. While
        // a hole is open the peer echoes what came before it (RFC 7323 section 4.3): what is SACKed
        // cannot be judged so.
        const auto sent_ts = static_cast<uint32_t>(range.sent_at.ns() / 1'000'000) + c.ts_offset;
        if (static_cast<int32_t>(work.ts_echo - sent_ts) < 0) return;
    }
    const Duration rtt = env.now - range.sent_at;
    if (range.retransmitted && rtt < c.rtt.min_rtt()) return;
    s.highest_delivered = max(s.highest_delivered, end);
    if (!sent_after(range.sent_at, end, s.rack_sent_at, s.rack_end)) return;
    s.rack_sent_at = range.sent_at;
    s.rack_end = end;
    // Not nothing: over the loopback what was just sent again would count as lost in the same turn.
    s.rack_rtt = std::max(rtt, Duration::from_us(1));
}

void on_dsack(Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    // A tail loss probe goes again by design (Linux's FLAG_DSACK_TLP).
    if (!work.dsack || work.dsack_of_probe || !s.reordering_seen) return;
    // Once a round trip: what we sent again had not been lost, so wait longer from now on.
    if (c.snd_una < s.reordering_round) return;
    s.reordering_round = c.snd_nxt;
    if (s.reordering_steps < UINT8_MAX) ++s.reordering_steps;
    s.reordering_persist = 16;
}

void detect_loss(Env& env, Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    if (s.rack_sent_at == Instant()) return;
    const Duration window = reordering_window(c);
    Duration wait;
    for (auto at = s.sent.by_time().begin(); at != s.sent.by_time().end();) {
        SentRange& range = *at++;
        if (!sent_after(s.rack_sent_at, s.rack_end, range.sent_at, range.end)) break;
        const Duration remaining = range.sent_at + s.rack_rtt + window - env.now;
        if (remaining > Duration()) {
            // Those behind it were sent later, up to the one that has arrived: the bound of step
            // 5's maximum, without a walk over them all.
            wait = s.rack_sent_at + s.rack_rtt + window - env.now;
            break;
        }
        if (range.retransmitted) ++env.counters.tcp_lost_retransmit;
        note_lost(c, work, range);
        s.sent.mark_lost(range);
    }
    if (wait == Duration()) return;
    s.timer_mode = TimerMode::reorder;
    s.retransmit_at = env.now + wait;
    arm_timer(env, c);
    work.timer_settled = true;
}

void on_reorder_timeout(Env& env, Connection& c) {
    AckWork work;
    work.prior_una = c.snd_una;
    work.prior_in_flight = c.in_flight();
    detect_loss(env, c, work);
    if (work.lost != 0) {
        recover(env, c, work);
        update_cwnd(c, work, congestion_ack(env, c, work));
        env.mark_dirty(c);
    }
    if (!work.timer_settled) restart_retransmit_timer(env, c);
}

bool schedule_probe(Env& env, Connection& c, bool progress) {
    if (env.tunables.tcp_early_retrans == 0 || !c.sack || !c.rtt.has_sample()) return false;
    if (c.recovery != Recovery::open && c.recovery != Recovery::cwr) return false;
    Sending& s = *c.sending;
    if (s.tlp_out || c.snd_wnd == 0 || s.sent.sacked() != 0 || c.timed_out) return false;
    // Section 7.2: two round trips; one segment alone may wait for a delayed ACK.
    Duration timeout = c.rtt.srtt() * 2;
    if (s.sent.size() == 1 && c.outstanding() <= c.window.mss)
        timeout += Duration::from_us(env.tunables.tcp_rto_min_us);
    else
        timeout += probe_slack;
    const Instant paced_until = env.now + pacing::delay(env, c);
    // Not later than the timeout, which a transmission does not put off (RFC 6298 (5.1)).
    const bool by_first = !progress && !s.sent.by_time().empty();
    const Duration wait = rto(env, c);
    const Instant rto_at =
        by_first ? std::max(env.now, s.sent.by_time().front().sent_at + wait) : paced_until + wait;
    s.timer_mode = TimerMode::loss_probe;
    s.retransmit_at = std::min(paced_until + timeout, rto_at);
    arm_timer(env, c);
    return true;
}

void on_probe_timeout(Env& env, Connection& c) {
    Sending& s = *c.sending;
    s.tlp_due = true;
    // Section 7.3: the retransmission timer watches over the probe, or stands in for it where none
    // can go out.
    s.timer_mode = TimerMode::retransmit;
    s.retransmit_at = env.now + rto(env, c);
    arm_timer(env, c);
    env.mark_dirty(c);
}

}  // namespace millrace::tcp::rack
