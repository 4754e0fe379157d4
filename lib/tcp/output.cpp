#include "tcp/output.h"

#include <algorithm>

#include "tcp/calls.h"
#include "tcp/delayed_ack.h"
#include "tcp/ecn.h"
#include "tcp/limits.h"
#include "tcp/pacing.h"
#include "tcp/receive_window.h"
#include "tcp/recovery.h"
#include "tcp/timers.h"
#include "tcp/trace.h"

namespace millrace::tcp {

using wire::Segment;
using wire::TcpFlags;

namespace {

/// Where an empty segment stands that is to be acceptable: at SND.NXT, or at the edge of a window
/// that has shrunk below it by more than rounding (Linux's tcp_acceptable_seq).
Seq acceptable_seq(const Connection& c) {
    const Seq edge = c.snd_una + c.snd_wnd;
    const uint32_t unit = 1U << c.snd_wind_shift;
    return edge < c.snd_nxt && distance(edge, c.snd_nxt) >= unit ? edge : c.snd_nxt;
}

/// Header of a segment at `seq`, with the options that every segment of this connection carries.
void start_plan(Env& env, Connection& c, TransmitPlan& plan, Seq seq, uint8_t flags) {
    plan = TransmitPlan();
    Segment& header = plan.header;
    header.source_port = c.key.local_port;
    header.destination_port = c.key.remote_port;
    header.seq = seq;
    header.flags = flags;
    plan.mss = c.snd_mss;
    if ((flags & TcpFlags::ack) != 0) {
        header.ack = c.rcv_nxt;
        header.window = advertise_window(env, c);
        if (c.ece && (flags & (TcpFlags::syn | TcpFlags::rst)) == 0)
            header.flags |= TcpFlags::ece;
    }
    if (c.timestamps) {
        header.options.has_timestamps = true;
        header.options.ts_value = env.ms() + c.ts_offset;
        header.options.ts_echo = (flags & TcpFlags::ack) != 0 ? c.ts_recent : 0;
    }
    if ((flags & TcpFlags::ack) != 0 && c.reassembly() != nullptr && c.sack)
        c.reassembly()->sack_blocks(header.options);
}

void plan_syn(Env& env, Connection& c, TransmitPlan& plan) {
    const bool answer = c.state == State::syn_received;  // simultaneous open
    start_plan(env, c, plan, c.snd_una, TcpFlags::syn | (answer ? TcpFlags::ack : 0));
    wire::TcpOptions& options = plan.header.options;
    options.mss = c.link_mss;
    options.has_timestamps = answer ? c.timestamps : env.tunables.tcp_timestamps != 0;
    options.ts_value = env.ms() + c.ts_offset;
    options.ts_echo = answer ? c.ts_recent : 0;
    options.has_window_scale = answer ? c.window_scaling : env.tunables.tcp_window_scaling != 0;
    options.window_scale = window_shift(env.tunables);
    options.sack_permitted = answer ? c.sack : env.tunables.tcp_sack != 0;
    options.sack_count = 0;
    // The window of a SYN is never scaled (RFC 7323 section 2.2).
    plan.header.window = syn_window(c);
    plan.retransmission = c.snd_nxt > c.snd_una;
    plan.header.flags |= ecn::syn_flags(env, c, plan.retransmission);
}

/// A window or keep-alive probe: an empty segment at SND.UNA - 1 (SHLD-12), old enough that the
/// peer must answer it; Linux's form of both.
void plan_probe(Env& env, Connection& c, TransmitPlan& plan) {
    start_plan(env, c, plan, c.snd_una - 1, TcpFlags::ack);
    plan.answer_wanted = true;
}

/// What the congestion window leaves to be sent now, bytes.
uint32_t quota(const Connection& c) {
    const uint32_t in_flight = c.in_flight();
    return c.window.cwnd > in_flight ? c.window.cwnd - in_flight : 0;
}

/// What the peer's window leaves beyond `from`, bytes. A window that has shrunk leaves nothing
/// (SHLD-15).
uint32_t window_left(const Connection& c, Seq from) {
    const Seq edge = c.snd_una + c.snd_wnd;
    return edge > from ? distance(from, edge) : 0;
}

/// TCP_CORK: a partial segment waits for more, at most 200 ms from when it first could have gone.
bool held_by_cork(Env& env, Connection& c) {
    Sending& s = *c.sending;
    if (!c.corked || s.cork_over) return false;
    if (s.cork_due == Instant::never()) {
        s.cork_due = env.now + cork_max;
        arm_timer(env, c);
    }
    return true;
}

/// How many bytes of new data from `offset` of the queue may go now, at most `pace`: sender's
/// silly-window avoidance (RFC 9293 section 3.8.6.2.1) with Nagle (RFC 1122 section 4.2.3.4).
uint32_t sendable(Env& env, Connection& c, uint32_t offset, uint32_t pace) {
    const uint32_t queued = c.queued() - offset;
    const uint32_t window = window_left(c, c.snd_nxt);
    const uint32_t allowed = quota(c);
    if (queued > 0 && allowed < std::min<uint32_t>({queued, window, c.snd_mss}))
        c.sending->window_limited = true;
    const uint32_t usable = std::min({window, allowed, pace});
    if (queued > usable) {
        // Whole segments only, unless the window is smaller than one ever was.
        const uint32_t whole = usable - usable % c.snd_mss;
        if (whole > 0) return whole;
        if (usable < window) return 0;  // the congestion window will open by itself
        // A probe is due: the override timeout of section 3.8.6.2.1, what fits goes.
        return c.probe_due || 2 * usable >= c.max_snd_wnd ? usable : 0;
    }
    if (queued % c.snd_mss == 0 || c.fin_queued || c.sending->urgent) return queued;
    const uint32_t whole = queued - queued % c.snd_mss;
    if (c.corked) return held_by_cork(env, c) ? whole : queued;
    // Nagle in Minshall's form, as in Linux: a partial segment waits for another partial one.
    if (c.no_delay || c.sending->small_end <= c.snd_una) return queued;
    return whole;
}

/// Linux's tcp_slow_start_after_idle (RFC 2861 section 3.1): after silence the window says little
/// of the path.
void restart_after_idle(Env& env, Connection& c) {
    if (c.outstanding() != 0 || c.last_sent_ms == 0) return;
    const Duration idle = Duration::from_ms(env.ms() - c.last_sent_ms);
    const Duration timeout = rto(env, c);
    if (idle <= timeout) return;
    if (env.tunables.tcp_slow_start_after_idle != 0 && !c.sending->control.controls_recovery()) {
        const uint32_t restart =
            std::min(env.tunables.initial_cwnd * c.window.mss, c.window.cwnd);
        c.window.ssthresh = std::max(c.window.ssthresh, c.window.cwnd / 4 * 3);
        uint32_t cwnd = c.window.cwnd;
        for (Duration left = idle - timeout; left > Duration() && cwnd > restart;
             left = left - timeout)
            cwnd /= 2;
        c.window.set(std::max(cwnd, restart));
    }
    c.sending->control.on_idle(c.window, idle, timeout, env.now);
}

/// SACK blocks take room from a segment's payload; where there is little, they wait for a pure ACK.
void fit_options(TransmitPlan& plan) {
    wire::TcpOptions& options = plan.header.options;
    if (plan.payload_size == 0 || options.sack_count == 0) return;
    const auto bytes = static_cast<uint16_t>(4 + 8 * options.sack_count);
    if (plan.mss < 4 * bytes)
        options.sack_count = 0;
    else
        plan.mss = static_cast<uint16_t>(plan.mss - bytes);
}

/// RFC 3168 sections 6.1.2 and 6.1.5: new data is ECN-capable and says that the window has come
/// down; what is sent again, probes and pure ACKs are not and do not.
void mark_new_data(const Connection& c, TransmitPlan& plan) {
    if (!c.ecn || plan.payload_size == 0) return;
    plan.ect = true;
    if (c.cwr_due) plan.header.flags |= TcpFlags::cwr;
}

/// New data, and the FIN behind it.
bool plan_data(Env& env, Connection& c, TransmitPlan& plan, uint32_t pace) {
    if (!is_synchronised(c.state) || c.sending == nullptr) return false;
    const bool data_state = may_send(c.state) || c.fin_queued;
    if (!data_state || c.fin_acked || c.fin_sent()) return false;
    if (!c.has_unsent()) return false;
    forget_stale_path_mtu(env, c);
    if (c.sending->sent.empty()) restart_after_idle(env, c);
    const uint32_t offset = distance(c.snd_una, c.snd_nxt);
    const uint32_t size = sendable(env, c, offset, pace);
    const bool last = offset + size == c.queued();
    // The FIN needs room in the window as an octet does, or no ACK behind it would be acceptable.
    const bool fin = last && c.fin_queued && window_left(c, c.snd_nxt) > size;
    if (size == 0 && !fin) return false;
    if (!c.sending->sent.can_append()) {
        ++env.counters.pool_dry_sent_ranges;
        env.counters.drop(observe::Drop::no_buffer);
        env.starve(c);
        return false;
    }
    start_plan(env, c, plan, c.snd_nxt, TcpFlags::ack);
    plan.offset = offset;
    plan.payload_size = size;
    if (size > 0) plan.payload = c.sending->queue.seek(offset);
    if (fin) plan.header.flags |= TcpFlags::fin;
    if (last && size > 0) plan.header.flags |= TcpFlags::psh;  // MUST-61
    c.probe_due = false;
    fit_options(plan);
    mark_new_data(c, plan);
    return true;
}

/// New data as a probe of the path's MTU (RFC 4821 section 7.4). `wait`: what is in flight leaves
/// it no room yet, and other new data must not take what ACKs will free.
bool plan_mtu_probe(Env& env, Connection& c, TransmitPlan& plan, bool& wait) {
    if (c.sending->sent.empty()) restart_after_idle(env, c);
    const uint32_t size = probe_size(env, c);
    if (size == 0 || !c.sending->sent.can_append()) return false;
    if (quota(c) < size || window_left(c, c.snd_nxt) < size + mtu_probe_followers * c.snd_mss) {
        wait = c.in_flight() > 0;
        return false;
    }
    start_plan(env, c, plan, c.snd_nxt, TcpFlags::ack);
    plan.offset = distance(c.snd_una, c.snd_nxt);
    plan.payload_size = size;
    plan.payload = c.sending->queue.seek(plan.offset);
    plan.mss = static_cast<uint16_t>(size);
    plan.mtu_probe = true;
    return true;
}

/// A range that has been sent before, or its first `bytes`.
void plan_again(Env& env, Connection& c, TransmitPlan& plan, const SentRange& range,
                uint32_t bytes) {
    start_plan(env, c, plan, range.begin, TcpFlags::ack);
    const Seq end = range.begin + bytes;
    const bool fin = c.fin_sent() && end == c.snd_nxt;
    plan.payload_size = bytes - (fin ? 1 : 0);
    plan.offset = distance(c.snd_una, range.begin);
    if (plan.payload_size > 0) plan.payload = buf::cursor_at(range.place);
    if (fin) plan.header.flags |= TcpFlags::fin;
    if (plan.payload_size > 0 && plan.offset + plan.payload_size == c.queued())
        plan.header.flags |= TcpFlags::psh;
    plan.retransmission = true;
    fit_options(plan);
}

/// The first of what is lost, as far as the windows allow.
bool plan_retransmission(Env& env, Connection& c, TransmitPlan& plan, uint32_t pace) {
    SentRange* range = c.sending->sent.first_lost();
    if (range == nullptr || c.sending->frto_new_data) return false;
    // SHLD-16: what lies beyond a window that has shrunk waits; SND.UNA itself never does.
    uint32_t window = window_left(c, range->begin);
    if (range->begin == c.snd_una) window = std::max<uint32_t>(window, c.snd_mss);
    const uint32_t allowed = std::min({window, quota(c), pace});
    uint32_t size = range->size();
    if (size > allowed) size = allowed - allowed % c.snd_mss;
    if (size == 0) return false;
    plan_again(env, c, plan, *range, size);
    return true;
}

/// What the application has written: lost parts again, then what is new.
bool plan_stream(Env& env, Connection& c, TransmitPlan& plan) {
    Sending& s = *c.sending;
    const SentRange* lost = s.sent.first_lost();
    if (lost == nullptr && !c.has_unsent()) return false;
    const uint32_t pace = pacing::allowance(env, c);
    if (pace == 0) {
        if (quota(c) > 0) pacing::wait(env, c);  // else the ACKs that make room come first
        return false;
    }
    if (plan_retransmission(env, c, plan, pace)) return true;
    // New data waits for what is lost, unless the peer's window holds that back.
    bool wait = lost != nullptr && !s.frto_new_data && lost->begin < c.snd_una + c.snd_wnd;
    if (!wait && c.probing != nullptr && plan_mtu_probe(env, c, plan, wait)) return true;
    if (!wait && plan_data(env, c, plan, pace)) return true;
    // RFC 5682 section 3.1 step 2b wanted new data, and there is none that may go.
    if (!s.frto_new_data || c.snd_nxt != s.recover) return false;
    s.frto = s.frto_new_data = false;
    return plan_retransmission(env, c, plan, pace);
}

/// RFC 8985 section 7.3: new data if there is any that may go, else the last segment again. The
/// probe goes whatever the congestion window says.
bool plan_loss_probe(Env& env, Connection& c, TransmitPlan& plan) {
    Sending& s = *c.sending;
    s.tlp_due = false;
    if (s.sent.empty() || s.tlp_out) return false;
    const uint32_t offset = distance(c.snd_una, c.snd_nxt);
    const uint32_t fresh = std::min({c.queued() > offset ? c.queued() - offset : 0,
                                     window_left(c, c.snd_nxt), uint32_t{c.snd_mss}});
    if (fresh > 0 && !c.fin_sent() && s.sent.can_append()) {
        start_plan(env, c, plan, c.snd_nxt, TcpFlags::ack);
        plan.offset = offset;
        plan.payload_size = fresh;
        plan.payload = s.queue.seek(offset);
        if (offset + fresh == c.queued()) plan.header.flags |= TcpFlags::psh;
        plan.loss_probe = true;
        fit_options(plan);
        mark_new_data(c, plan);
        return true;
    }
    SentRange* last = &s.sent.back();
    if (last->sacked || last->lost) return false;
    if (last->size() > c.snd_mss) {
        last = s.sent.split(*last, last->end - c.snd_mss, SentRanges::Purpose::transmission);
        if (last == nullptr) return false;
    }
    plan_again(env, c, plan, *last, last->size());
    plan.loss_probe = true;
    return true;
}

/// An ACK of its own for a segment of this turn.
bool plan_snapshot(Env& env, Connection& c, TransmitPlan& plan) {
    if (c.receiving == nullptr || c.receiving->snapshots.empty()) return false;
    AckSnapshot& snapshot = c.receiving->snapshots.front();
    c.receiving->snapshots.pop_front();
    start_plan(env, c, plan, acceptable_seq(c), TcpFlags::ack);
    plan.header.ack = snapshot.ack;
    // What has come since moved RCV.NXT; the window's right edge stays where it is (SHLD-14).
    plan.header.window = static_cast<uint16_t>(std::min<uint32_t>(
        distance(snapshot.ack, max(c.rcv_adv, c.rcv_nxt)) >> c.rcv_wind_shift, 65535));
    plan.header.flags = static_cast<uint8_t>(TcpFlags::ack | (snapshot.ece ? TcpFlags::ece : 0));
    plan.header.options.sack_count = snapshot.sack_count;
    plan.header.options.sack = snapshot.sack;
    env.snapshots.give_back(&snapshot);
    return true;
}

}  // namespace

bool next_ack(Env& env, Connection& c, TransmitPlan& plan) {
    if (!c.ack_now) return false;
    start_plan(env, c, plan, acceptable_seq(c), TcpFlags::ack);
    return true;
}

namespace {

/// Every reason that `next_plan` knows; most connections have none left when they are asked again.
bool has_reason(const Connection& c) {
    if (c.rst_due || c.syn_due || c.ack_now || c.probe_due || c.keepalive_due) return true;
    if (c.receiving != nullptr && !c.receiving->snapshots.empty()) return true;
    const Sending* s = c.sending;
    return s != nullptr && (s->tlp_due || s->sent.lost() != 0 || c.has_unsent());
}

}  // namespace

bool next_plan(Env& env, Connection& c, TransmitPlan& plan) {
    if (!has_reason(c)) return false;
    if (c.rst_due) {
        c.rst_due = false;
        start_plan(env, c, plan, acceptable_seq(c), TcpFlags::rst | TcpFlags::ack);
        plan.header.options = {};
        return true;
    }
    if (c.state == State::closed) return false;
    if (c.syn_due) {
        c.syn_due = false;
        plan_syn(env, c, plan);
        return true;
    }
    if (plan_snapshot(env, c, plan)) return true;
    if (c.sending != nullptr) {
        if (c.sending->tlp_due && plan_loss_probe(env, c, plan)) return true;
        if (plan_stream(env, c, plan)) return true;
    }
    if (c.probe_due) {
        c.probe_due = false;
        ++env.counters.tcp_zero_window_probes;
        plan_probe(env, c, plan);
        return true;
    }
    if (c.keepalive_due) {
        c.keepalive_due = false;
        plan_probe(env, c, plan);
        return true;
    }
    if (next_ack(env, c, plan)) return true;
    // Something waits for a window that nothing in flight will open: probe in time.
    if (c.outstanding() == 0 && c.has_unsent() && c.sending->retransmit_at == Instant::never() &&
        c.sending->cork_due == Instant::never())
        restart_retransmit_timer(env, c);
    return false;
}

namespace {

/// RFC 7661 section 4.4 in Linux's form (tcp_cwnd_application_limited): a window that has not been
/// needed for a round trip comes half-way down to what was. It may come back quickly: ssthresh
/// remembers three quarters of it.
void validate_window(Env& env, Connection& c, uint32_t in_flight) {
    if (is_window_limited(c)) {
        c.cwnd_used = 0;
        c.cwnd_used_ms = env.ms();
        return;
    }
    c.cwnd_used = std::max(c.cwnd_used, in_flight);
    if (env.tunables.tcp_slow_start_after_idle == 0 || c.sending->control.controls_recovery())
        return;
    if (Duration::from_ms(env.ms() - c.cwnd_used_ms) < rto(env, c)) return;
    if (c.recovery == Recovery::open && !c.want_writable) {
        const uint32_t used = std::max(c.cwnd_used, env.tunables.initial_cwnd * c.window.mss);
        if (used < c.window.cwnd) {
            c.window.ssthresh = std::max(c.window.ssthresh, c.window.cwnd / 4 * 3);
            c.window.set(c.window.cwnd / 2 + used / 2);
        }
    }
    c.cwnd_used = 0;
    c.cwnd_used_ms = env.ms();
}

/// Data or a FIN has gone out: the scoreboard, and what recovery and congestion control count.
void note_transmission(Env& env, Connection& c, const TransmitPlan& plan, uint32_t length) {
    Sending& s = *c.sending;
    const Seq begin = plan.header.seq;
    s.begun = true;
    if (s.sent.empty()) {
        s.delivered_at = s.first_sent_at = env.now;
        // Into an empty pipe: what this first flight measures is how it was filled.
        s.app_limited_until = std::max(s.app_limited_until, c.delivered + 1);
    }
    if (s.sent.empty() || c.snd_una >= s.usage_end) {  // the next window of data
        s.usage_end = c.snd_nxt + length;
        s.max_in_flight = 0;
        s.window_limited = false;
    }
    const uint32_t in_flight_before = c.in_flight();
    RateStamp stamp{.delivered = c.delivered,
                    .lost = s.lost,
                    .delivered_at = s.delivered_at,
                    .first_sent_at = s.first_sent_at,
                    .in_flight = in_flight_before + length,
                    .app_limited = s.app_limited_until > c.delivered};
    if (c.recovery == Recovery::cwr || c.recovery == Recovery::recovery) s.prr_out += length;
    if (plan.mtu_probe) probe_sent(c, begin, length);
    if (plan.retransmission) {
        // What came of a probe is unclear once anything is sent again, as in Linux.
        if (c.probing != nullptr) c.probing->size = 0;
        if (SentRange* range = s.sent.find(begin))
            s.sent.sent_again(*range, length, env.now, stamp);
        if (s.undo_possible) s.undo_retransmitted = std::max(s.undo_retransmitted, 0) +
                                                    static_cast<int32_t>(length);
        s.retransmitted_end = max(s.retransmitted_end, begin + length);
        if (!s.retransmits_stamped) {
            s.retransmits_stamped = true;
            s.first_retransmit_ts = plan.header.options.ts_value;
        }
    } else {
        if (!s.sent.append(begin, begin + length, env.now, buf::place_of(plan.payload), stamp))
            ++env.counters.pool_dry_sent_ranges;
        c.snd_nxt = begin + length;
        if (length % c.snd_mss != 0) s.small_end = c.snd_nxt;
        if (plan.header.has(TcpFlags::cwr)) {  // on the first segment of the plan
            c.cwr_due = false;
            s.cwr_out = true;
            s.cwr_end = begin + std::min<uint32_t>(length, plan.mss);
        }
    }
    if (plan.loss_probe) {
        ++env.counters.tcp_loss_probes;
        s.tlp_out = true;
        s.tlp_again = plan.retransmission ? length : 0;
        s.tlp_end = c.snd_nxt;
    }
    const uint32_t in_flight = c.in_flight();
    const bool more = c.has_unsent();
    s.max_in_flight = std::max(s.max_in_flight, in_flight);
    if (more && quota(c) < c.snd_mss) s.window_limited = true;
    pacing::spend(env, c, length);
    validate_window(env, c, in_flight);
    // Everything is on its way and the window has room: what is measured now is the application.
    if (!more && s.sent.lost() == 0 && in_flight < c.window.cwnd)
        s.app_limited_until = c.delivered + in_flight;
}

}  // namespace

void sent(Env& env, Connection& c, const TransmitPlan& plan, uint32_t payload_size,
          const buf::Cursor& after) {
    const Segment& header = plan.header;
    trace::out(env, &c, header, plan.retransmission, plan.mss, payload_size);
    // A snapshot may be behind what has come since.
    if (header.has_ack() && header.ack == c.rcv_nxt) acknowledged(c);
    if (header.rst()) ++env.counters.tcp_out_rsts;
    if (plan.retransmission) {
        const uint32_t segments = 1 + (payload_size > 0 ? (payload_size - 1) / plan.mss : 0);
        env.counters.tcp_retrans_segs += segments;
        if (header.syn()) ++env.counters.tcp_syn_retrans;
        if (header.fin()) ++env.counters.tcp_fin_retrans;
        c.sending->total_retrans += segments;
    }
    env.counters.payload_sent += payload_size;
    const bool fin = header.fin() && payload_size == plan.payload_size;
    const uint32_t length = payload_size + (fin ? 1 : 0);
    if (header.syn()) c.snd_nxt = header.seq + 1;
    if (length == 0 && !header.syn()) return;
    Sending& s = *c.sending;
    const bool first = c.outstanding() == 0 || header.syn();
    if (length > 0) note_transmission(env, c, plan, length);
    if (!plan.retransmission && payload_size > 0) {
        s.queue.remember(after, plan.offset + payload_size);
        s.cork_due = Instant::never();
        s.cork_over = false;
        note_answer(env, c);
        if (c.want_writable) wake_writer(env, c);
    }
    c.last_sent_ms = env.stamp();
    if (header.syn()) s.syn_sent_at = env.now;
    const bool idle_timer = s.retransmit_at == Instant::never();
    if (header.syn() ? idle_timer
                     : first || !plan.retransmission || plan.loss_probe || idle_timer)
        timer_after_transmission(env, c, plan.loss_probe);
}

}  // namespace millrace::tcp
