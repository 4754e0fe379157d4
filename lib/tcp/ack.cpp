// What an acknowledgment does: scoreboard, RACK, recovery, window; in that order.
#include <algorithm>

#include "tcp/calls.h"
#include "tcp/ecn.h"
#include "tcp/ingress.h"
#include "tcp/limits.h"
#include "tcp/rack.h"
#include "tcp/recovery.h"
#include "tcp/slow_timer.h"
#include "tcp/timers.h"

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;

namespace {

/// The peer's window as the segment says it (RFC 9293: SND.WL1 keeps old ones out). One
/// that moves SND.UNA is taken whatever its sequence, as in Linux: SND.UNA + SND.WND would lie
/// beyond what was ever offered.
void update_window(Env& env, Connection& c, const Segment& segment) {
    if (c.snd_wl1 > segment.seq && segment.ack <= c.snd_una) return;
    const uint32_t window = static_cast<uint32_t>(segment.window) << c.snd_wind_shift;
    c.snd_wl1 = segment.seq;
    if (window == c.snd_wnd) return;
    const bool opened = c.snd_wnd == 0;
    c.snd_wnd = window;
    c.max_snd_wnd = std::max(c.max_snd_wnd, window);
    if (opened) {
        // What was beyond the closed window was not taken: it goes again, and no timeout, no
        // congestion made it so.
        if (c.timed_out && c.sending != nullptr) c.sending->sent.mark_all_lost(env.now);
        c.timed_out = false;
        c.backoffs = 0;
        restart_retransmit_timer(env, c);
    }
    env.mark_dirty(c);
}

/// The larger part of RFC 5681 section 2's definition of a duplicate ACK.
bool is_plain(const Connection& c, const Segment& segment, uint32_t window_before) {
    return segment.ack == c.snd_una && segment.length() == 0 && c.snd_wnd == window_before;
}

/// What the scoreboard tells of a range that has arrived, whether by ACK or by SACK.
void note_delivered(Env& env, Connection& c, AckWork& work, const SentRange& range, uint32_t bytes,
                    bool by_sack) {
    work.delivered += bytes;
    rack::on_delivered(env, c, range, range.begin + bytes, work, by_sack);
    if (!range.retransmitted && range.end <= c.sending->recover) work.original_delivered = true;
    if (!work.has_newest || range.sent_at > work.newest_sent_at ||
        (range.sent_at == work.newest_sent_at && range.stamp.delivered > work.newest.delivered)) {
        work.has_newest = true;
        work.newest = range.stamp;
        work.newest_sent_at = range.sent_at;
        work.newest_retransmitted = range.retransmitted;
    }
}

/// A block that speaks of what the peer had already: a DSACK (RFC 2883). It can only be the first.
bool is_dsack(const wire::SackBlock& first, const Segment& segment) {
    if (first.begin < segment.ack) return true;
    const wire::TcpOptions& options = segment.options;
    return options.sack_count > 1 && first.begin >= options.sack[1].begin &&
           first.end <= options.sack[1].end;
}

/// Only duplicates of what was sent again since the window came down can take that back (attack
/// case 47). The network duplicates, too: what was never sent again proves nothing, and no more
/// duplicates than there were retransmissions (Linux's dsack_dups).
void take_dsack(Env& env, Connection& c, AckWork& work, const wire::SackBlock& block) {
    if (block.end > c.snd_nxt || block.end <= block.begin ||
        block.begin < c.snd_una - std::max(c.max_snd_wnd, uint32_t{65535})) {
        ++env.counters.tcp_sack_discard;
        return;
    }
    ++env.counters.tcp_dsack_recv;
    Sending& s = *c.sending;
    if (s.tlp_out && s.tlp_again != 0 && block.end == s.tlp_end) work.dsack_of_probe = true;
    s.dsack_dups += (distance(block.begin, block.end) - 1) / c.window.mss + 1;
    if (block.end > s.retransmitted_end || s.dsack_dups > s.total_retrans) return;
    work.dsack = true;
    if (!s.undo_possible || s.undo_retransmitted <= 0 || block.begin < s.undo_from) return;
    const auto bytes = static_cast<int32_t>(
        std::min<uint32_t>(distance(block.begin, block.end), 1U << 30));
    s.undo_retransmitted = std::max(s.undo_retransmitted - bytes, 0);
}

/// Ranges that a connection may have: a small MSS earns no more of them, and no connection takes
/// the core's (CVE-2019-11478).
size_t sent_ranges_bound(const Connection& c) {
    const uint32_t segment = std::max<uint32_t>(c.window.mss, rcv_mss_small);
    return std::min(c.outstanding() / segment + sent_ranges_spare, c.sending->sent.share());
}

/// The SACK option (RFC 2018). Blocks of what was never sent or is acknowledged are no use (attack
/// case 43).
void take_sacks(Env& env, Connection& c, AckWork& work, const Segment& segment) {
    Sending& s = *c.sending;
    const wire::TcpOptions& options = segment.options;
    for (size_t i = 0; i < options.sack_count; ++i) {
        const wire::SackBlock& block = options.sack[i];
        if (i == 0 && is_dsack(block, segment)) {
            take_dsack(env, c, work, block);
            continue;
        }
        if (block.end <= block.begin || block.end > c.snd_nxt || block.begin < segment.ack ||
            block.begin < c.snd_una) {
            ++env.counters.tcp_sack_discard;
            continue;
        }
        s.sent.sack(block.begin, block.end, sent_ranges_bound(c),
                    [&](const SentRange& range, uint32_t bytes) {
                        note_delivered(env, c, work, range, bytes, true);
                        work.sacked_new = true;
                        if (!range.retransmitted && (work.sacked_sent_at == Instant() ||
                                                     range.sent_at < work.sacked_sent_at))
                            work.sacked_sent_at = range.sent_at;
                    });
    }
}

/// The cumulative acknowledgment: what it covers leaves the scoreboard and the queue.
void take_ack(Env& env, Connection& c, AckWork& work, Seq ack) {
    Sending& s = *c.sending;
    const uint32_t bytes = distance(c.snd_una, ack);
    const bool fin = c.fin_sent() && ack == c.snd_nxt && ack > c.data_end();
    s.sent.acknowledge(ack, [&](const SentRange& range, uint32_t part) {
        if (range.sacked) return;  // was counted when the SACK came
        note_delivered(env, c, work, range, part, false);
        if (range.retransmitted) {
            work.retransmitted_acked = true;
            return;
        }
        if (work.first_sent_at == Instant()) work.first_sent_at = range.sent_at;
        work.last_sent_at = range.sent_at;
    });
    s.queue.acknowledge(std::min(bytes - (fin ? 1 : 0), s.queue.size()));
    c.snd_una = ack;
    if (fin) c.fin_acked = true;
    work.acked = bytes;
    work.una_advanced = true;
    c.timed_out = false;
    s.first_retransmit = env.now;  // R2 counts from the last progress
    if (c.probing != nullptr) check_probe_delivered(env, c);
    if (s.urgent && s.snd_up <= ack) s.urgent = false;
    if (s.cwr_out && ack >= s.cwr_end) s.cwr_out = false;
    s.small_end = max(s.small_end, ack);
    work.past_recover = ack > s.recover;
    if (work.past_recover) s.at_recover = false;
    s.recover = max(s.recover, c.snd_una);      // kept within reach of sequence comparison
    s.reordering_round = max(s.reordering_round, c.snd_una);
    s.retransmitted_end = max(s.retransmitted_end, c.snd_una);
}

/// RFC 6298 with Karn's rule: of what was sent once, else by the timestamp that came back (RFC 7323
/// section 4.1).
void take_rtt(Env& env, Connection& c, const AckWork& work) {
    const Instant sent_at =
        work.una_advanced && !work.retransmitted_acked && work.first_sent_at != Instant()
            ? work.first_sent_at
            : work.sacked_sent_at;
    if (sent_at != Instant()) {
        c.backoffs = 0;  // RFC 6298 section 5: the backed-off RTO stands until a valid sample
        c.rtt.sample(env.now - sent_at);
        const Instant latest = work.last_sent_at != Instant() ? work.last_sent_at : sent_at;
        c.rtt.sample_min(env.now - latest, env.now);
    } else if (work.una_advanced && work.has_ts_echo) {
        const auto rtt = timestamp_rtt(env.ms() + c.ts_offset, work.ts_echo);
        if (!rtt) return;
        c.backoffs = 0;
        c.rtt.sample(*rtt);
    }
}

/// What an acknowledged FIN of ours means, by state. True: the connection is over.
bool on_fin_acked(Env& env, Connection& c) {
    switch (c.state) {
        case State::fin_wait_1:
            set_state(env, c, State::fin_wait_2);
            if (!c.attached) start_fin_wait_2_timer(env, c);
            return false;
        case State::closing: set_state(env, c, State::time_wait); return false;
        case State::last_ack: finish(env, c, 0); return true;
        default: return false;
    }
}

/// The whole of it, for a segment whose ACK is acceptable: scoreboard, RACK, recovery, window.
void process_ack(Env& env, Connection& c, const Segment& segment, uint32_t window_before) {
    Sending& s = *c.sending;
    AckWork work;
    work.prior_una = c.snd_una;
    work.prior_in_flight = c.in_flight();
    work.has_ts_echo = c.timestamps && segment.options.has_timestamps;
    work.ts_echo = segment.options.ts_echo;
    work.highest_before = s.highest_delivered;
    work.plain = is_plain(c, segment, window_before);
    work.duplicate = work.plain && c.outstanding() > 0;
    work.ece = c.ecn && segment.has(wire::TcpFlags::ece) && segment.ack >= c.snd_una;
    if (c.sack && segment.options.sack_count > 0) take_sacks(env, c, work, segment);
    if (segment.ack > c.snd_una) take_ack(env, c, work, segment.ack);
    count_duplicates(c, work);
    if (work.delivered > 0) {
        c.delivered += work.delivered;
        s.delivered_at = env.now;
        if (work.has_newest) s.first_sent_at = std::max(s.first_sent_at, work.newest_sent_at);
        if (work.ece)
            env.counters.tcp_delivered_ce += (work.delivered + c.window.mss - 1) / c.window.mss;
    }
    if (c.ecn) s.control.on_ecn(c.window, congestion_ack(env, c, work));
    if (work.una_advanced || work.sacked_new) take_rtt(env, c, work);
    // An exchange that has had its answer does not pay for what nobody will ask.
    if (work.has_newest && c.queued() > 0) take_rate_sample(env, c, work);
    on_probe_answered(env, c, work);
    if (c.sack && (work.delivered > 0 || c.recovery != Recovery::open))
        rack::detect_loss(env, c, work);
    recover(env, c, work);
    rack::on_dsack(c, work);
    if (work.ece) ecn::on_echo(env, c, work);
    update_cwnd(c, work, congestion_ack(env, c, work));
    if ((work.una_advanced || work.sacked_new || s.sent.empty()) && !work.timer_settled)
        restart_retransmit_timer(env, c);
    wake_writer(env, c);
    env.mark_dirty(c);
}

/// The ACK of this segment has something to say of what was sent.
bool tells_of_sending(const Connection& c, const Segment& segment) {
    const Sending* s = c.sending;
    if (s == nullptr) return false;
    const bool sacks = segment.options.sack_count > 0;
    if (!is_at_rest(c)) return segment.ack >= c.snd_una || sacks;
    // An ACK from before SND.UNA still may report a duplicate; one of nothing may be its sign.
    return c.sack && (s->tlp_out || (sacks && s->undo_possible));
}

}  // namespace

namespace steps {

/// Fifth, RFC 9293 section 3.10.7.4.
Verdict check_ack(Env& env, Connection& c, const Segment& segment) {
    if (c.state == State::syn_received) {
        if (segment.ack <= c.snd_una || segment.ack > c.snd_nxt) {
            env.counters.drop(Drop::tcp_bad_ack);
            return Verdict::reset;
        }
        c.snd_una = segment.ack;
        c.snd_wl1 = segment.seq;
        c.snd_wnd = static_cast<uint32_t>(segment.window) << c.snd_wind_shift;
        established(env, c);
        return Verdict::done;
    }
    // RFC 5961 section 5: neither for what was never sent nor for what is long gone.
    if (segment.ack > c.snd_nxt ||
        segment.ack < c.snd_una - std::max(c.max_snd_wnd, uint32_t{65535})) {
        env.counters.drop(Drop::tcp_bad_ack);
        challenge_ack(env, c);
        return Verdict::drop;
    }
    c.last_received_ms = env.ms();
    c.probes_out = 0;  // whoever answers probes lives (MUST-37)
    // The peer is there: what was wrong on the way has passed. What is still to be told stays.
    if ((c.events & Event::soft_error) == 0) c.soft_error = 0;
    const uint32_t window_before = c.snd_wnd;
    const Seq una_before = c.snd_una;
    if (segment.ack >= c.snd_una) update_window(env, c, segment);
    if (tells_of_sending(c, segment)) process_ack(env, c, segment, window_before);
    if (c.fin_acked && c.snd_una != una_before) on_fin_acked(env, c);
    return Verdict::done;
}

}  // namespace steps

}  // namespace millrace::tcp
