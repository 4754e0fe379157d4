#include "tcp/ingress.h"

#include <algorithm>
#include <cerrno>

#include "tcp/calls.h"
#include "tcp/delayed_ack.h"
#include "tcp/ecn.h"
#include "tcp/limits.h"
#include "tcp/slow_timer.h"
#include "tcp/timers.h"
#include "tcp/trace.h"
#include "tcp/urgent.h"

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;

Verdict ingress(Env& env, Connection& c, Segment& segment, BufferChain payload) {
    trace::in(env, &c, segment);
    if (c.state == State::closed) {
        env.counters.drop(Drop::tcp_state);
        return Verdict::done;
    }
    if (c.state == State::syn_sent) return steps::syn_sent(env, c, segment, std::move(payload));

    // The other half of a simultaneous open: its SYN we have had, what is left of it is an ACK.
    if (c.state == State::syn_received && segment.syn() && segment.has_ack() &&
        segment.seq + 1 == c.rcv_nxt && segment.ack == c.snd_nxt) {
        c.ecn = c.ecn && ecn::is_setup_answer(segment);
        segment.flags &= static_cast<uint8_t>(
            ~(wire::TcpFlags::syn | wire::TcpFlags::ece | wire::TcpFlags::cwr));
        segment.seq += 1;
        segment.window = static_cast<uint16_t>(segment.window >> c.snd_wind_shift);  // unscaled
        c.ack_now = true;
    }
    // First, check sequence number (with RFC 7323's PAWS before it).
    if (!steps::check_timestamps(env, c, segment)) return Verdict::done;
    const Seq first = segment.seq;
    wire::SackBlock old;
    if (!steps::check_sequence(env, c, segment, payload, old)) return Verdict::done;
    // Second, check the RST bit. (Third, security: nobody has built it.)
    if (segment.rst()) {
        steps::check_reset(env, c, segment);
        return Verdict::done;
    }
    // Fourth, check the SYN bit.
    if (segment.syn()) {
        steps::check_syn(env, c);
        return Verdict::done;
    }
    // Fifth, check the ACK field.
    if (!segment.has_ack()) {
        env.counters.drop(Drop::tcp_no_ack);
        return Verdict::done;
    }
    const Verdict verdict = steps::check_ack(env, c, segment);
    if (verdict != Verdict::done || c.state == State::closed) return verdict;
    steps::take_timestamp(env, c, segment, first);
    c.rcv_dscp = segment.dscp;
    // Sixth, check the URG bit.
    check_urgent(env, c, segment, first);
    // Seventh, process the segment text.
    if (!payload.empty()) steps::process_text(env, c, segment, std::move(payload));
    // Eighth, check the FIN bit.
    if (c.state != State::closed && (segment.fin() || c.fin_pending))
        steps::check_fin(env, c, segment);
    // One ACK says both what was repeated and how far we have come by the rest (RFC 2883 section
    // 4.1): an old number would count as a duplicate ACK.
    if (old.begin != old.end && c.state != State::closed) acknowledge_at_once(env, c, old);
    return Verdict::done;
}

void adopt_options(Env& env, Connection& c, const wire::TcpOptions& options, uint16_t window) {
    c.timestamps = env.tunables.tcp_timestamps != 0 && options.has_timestamps;
    c.window_scaling = env.tunables.tcp_window_scaling != 0 && options.has_window_scale;
    c.snd_wind_shift = c.window_scaling ? options.window_scale & 15 : 0;  // at most 14 (wire)
    c.rcv_wind_shift = c.window_scaling ? window_shift(env.tunables) & 15 : 0;
    if (c.timestamps) {
        c.ts_recent = options.ts_value;
        c.ts_recent_s = env.s();
    }
    c.peer_mss = options.mss;
    begin_path_mtu(env, c);
    c.rcv_mss = c.snd_mss;
    c.snd_wnd = window;  // never scaled on a SYN (RFC 7323 section 2.2)
    c.max_snd_wnd = std::max(c.max_snd_wnd, c.snd_wnd);
    c.sack = env.tunables.tcp_sack != 0 && options.sack_permitted;
    c.window = {.cwnd = env.tunables.initial_cwnd * c.snd_mss, .mss = c.snd_mss};
    begin_control(env, c, c.algorithm);
    c.quick_acks = quick_acks_initial;
}

void begin_estimates(Env& env, Connection& c, std::optional<Duration> rtt,
                     unsigned retransmissions) {
    if (rtt) {
        c.rtt.sample(*rtt);
        c.rtt.sample_min(*rtt, env.now);
    } else if (retransmissions > 0) {
        c.rtt.doubt();
    }
    // RFC 6928 section 2: more than one lost SYN speaks of congestion.
    if (retransmissions > 1) c.window.set(c.window.mss);
}

void established(Env& env, Connection& c) {
    set_state(env, c, State::established);
    c.syn_acked = true;
    c.syn_due = false;  // the burst that made it due may have ended the handshake, too
    c.backoffs = 0;
    c.timed_out = false;
    if (c.sending != nullptr) {
        // What the SYN needed is over; what follows begins behind it. Its timer would touch every
        // connection a second later, when it is cold.
        static_cast<Flight&>(*c.sending) = Flight(c.snd_una);
        time::Wheel::cancel(c.timer);
        c.sending->recover = c.snd_una;
    }
    c.last_received_ms = env.ms();
    start_keepalive(env, c);
    // The application closed before the handshake was over: its FIN goes now.
    if (c.fin_queued) set_state(env, c, State::fin_wait_1);
    env.notify(c, Event::connected);
    wake_writer(env, c);  // who has tried to send too early
    env.mark_dirty(c);
}

void challenge_ack(Env& env, Connection& c) {
    const auto limit = Duration::from_ms(env.tunables.tcp_invalid_ratelimit);
    const Duration since = Duration::from_ms(env.ms() - c.last_invalid_ack_ms);
    if (c.last_invalid_ack_ms != 0 && since < limit) {
        ++env.counters.tcp_skipped_acks;
        return;
    }
    c.last_invalid_ack_ms = env.stamp();
    ++env.counters.tcp_challenge_acks;
    acknowledge_at_once(env, c, {});
}

namespace steps {

/// How long ago TS.Recent was taken.
Duration ts_recent_age(const Env& env, const Connection& c) {
    return Duration::from_s(env.s() - c.ts_recent_s);
}

/// The network may bring pure ACKs in another order than they were sent in, and the SACK blocks of
/// an earlier one still count. Linux lets those pass that change nothing else and are no older than
/// a timeout (tcp_disordered_ack): an older one may be of the sequence space's last round.
bool is_disordered_ack(const Env& env, const Connection& c, const Segment& segment) {
    const uint32_t age_ms = c.ts_recent - segment.options.ts_value;
    return segment.has_ack() && segment.length() == 0 && segment.seq == c.rcv_nxt &&
           segment.ack == c.snd_una &&
           uint32_t{segment.window} << c.snd_wind_shift == c.snd_wnd &&
           Duration::from_ms(age_ms) <= rto(env, c);
}

/// RFC 7323 section 5.3 (R1): an old duplicate shows by its timestamp. True: go on.
bool check_timestamps(Env& env, Connection& c, const Segment& segment) {
    if (!c.timestamps || !segment.options.has_timestamps) return true;
    const uint32_t value = segment.options.ts_value;
    const bool older = static_cast<int32_t>(value - c.ts_recent) < 0;
    if (older && !segment.rst() && ts_recent_age(env, c) < paws_idle_max &&
        !is_disordered_ack(env, c, segment)) {
        env.counters.drop(Drop::tcp_paws);
        ++env.counters.tcp_paws_estab_rejected;
        challenge_ack(env, c);
        return false;
    }
    return true;
}

/// (R3), once the segment has proved acceptable, and its ACK: an outsider must not move TS.Recent.
/// Only what covers the last acknowledgment renews it (section 4.3 (2)).
void take_timestamp(Env& env, Connection& c, const Segment& segment, Seq first) {
    if (!c.timestamps || !segment.options.has_timestamps || first > c.last_ack_sent) return;
    if (static_cast<int32_t>(segment.options.ts_value - c.ts_recent) < 0 &&
        ts_recent_age(env, c) < paws_idle_max)
        return;
    c.ts_recent = segment.options.ts_value;
    c.ts_recent_s = env.s();
}

/// The part of a segment's text that was received before: what a DSACK reports.
wire::SackBlock duplicate_of(const Connection& c, const Segment& segment) {
    const Seq end = min(segment.seq + segment.payload_size, c.rcv_nxt);
    if (segment.payload_size == 0 || segment.seq >= end) return {};
    return {segment.seq, end};
}

/// A FIN alone lies beyond the window. It takes no buffer, and many a sender puts it behind data
/// that fills the window exactly; refused, it would cost the peer a timeout. Linux takes it, too.
bool is_fin_at_edge(const Segment& segment, Seq right_edge) {
    return segment.fin() && !segment.rst() && segment.end() == right_edge + 1;
}

/// RFC 9293 section 3.10.7.4, first: acceptable at all? Then cut to the window. True: go on;
/// `old` is the text that was cut off because we have it.
bool check_sequence(Env& env, Connection& c, Segment& segment, BufferChain& payload,
                    wire::SackBlock& old) {
    const Seq right_edge = max(c.rcv_adv, c.rcv_nxt);
    const uint32_t length = segment.length();
    const uint32_t window = distance(c.rcv_nxt, right_edge);
    bool acceptable = false;
    // What is empty may stand at the right edge itself, as in Linux: a peer that has filled our
    // window goes on acknowledging from there. Not a RST (RFC 5961 section 3.2).
    if (length == 0)
        acceptable =
            segment.seq >= c.rcv_nxt && segment.seq <= right_edge - (segment.rst() ? 1 : 0);
    else
        acceptable = (window != 0 && segment.seq < right_edge && segment.end() > c.rcv_nxt) ||
                     is_fin_at_edge(segment, right_edge);
    // An ACK, RST or URG at RCV.NXT counts even when the window is closed (MUST-66).
    const bool at_left_edge = segment.seq == c.rcv_nxt;
    if (!acceptable && !(window == 0 && at_left_edge)) {
        env.counters.drop(Drop::tcp_out_of_window);
        if (segment.rst()) return false;
        // RFC 9293: "an acknowledgment should be sent in reply". Data is answered each time: its
        // sender is no party to an ACK loop; empty segments and SYNs, whatever they carry, are
        // answered with a limit (RFC 5961 section 7).
        if ((segment.payload_size != 0 || segment.fin()) && !segment.syn()) {
            enter_quick_acks(c, quick_acks_initial);
            acknowledge_at_once(env, c, duplicate_of(c, segment));
        } else {
            challenge_ack(env, c);
        }
        return false;
    }
    // Trim what was received before, then what lies beyond the window.
    if (segment.seq < c.rcv_nxt && !segment.rst() && !segment.syn()) {
        old = duplicate_of(c, segment);
        payload.trim_front(distance(old.begin, old.end));
        segment.seq = c.rcv_nxt;
        segment.payload_size = static_cast<uint32_t>(payload.size());
    }
    const int32_t beyond = segment.end() - right_edge;
    if (beyond > 0 && !segment.rst() && !segment.syn() && !is_fin_at_edge(segment, right_edge)) {
        auto cut = static_cast<uint32_t>(beyond);
        if (segment.fin()) {  // the FIN is the last octet: it goes first
            segment.flags &= static_cast<uint8_t>(~wire::TcpFlags::fin);
            --cut;
        }
        payload.trim_back(std::min<size_t>(cut, payload.size()));
        segment.payload_size = static_cast<uint32_t>(payload.size());
        c.ack_now = true;
        env.mark_dirty(c);
    }
    return true;
}

/// Second: RFC 5961 section 3.2. Outside the window it has been dropped already.
void check_reset(Env& env, Connection& c, const Segment& segment) {
    if (segment.seq != c.rcv_nxt) {
        env.counters.drop(Drop::tcp_challenge);
        challenge_ack(env, c);
        return;
    }
    switch (c.state) {
        case State::syn_received:
            ++env.counters.tcp_attempt_fails;
            finish(env, c, ECONNREFUSED);
            return;
        case State::time_wait:
            if (env.tunables.tcp_rfc1337 == 0) finish(env, c, 0);
            return;
        case State::closing:
        case State::last_ack:
            // Only the ACK of our FIN is missing: the peer has all that there was, and is gone.
            if (c.queued() == 0) return finish(env, c, 0);
            [[fallthrough]];
        default:
            ++env.counters.tcp_estab_resets;
            finish(env, c, c.state == State::close_wait ? EPIPE : ECONNRESET);
            return;
    }
}

/// Fourth: a SYN in a synchronised state earns a challenge ACK, whatever its sequence
/// (RFC 5961 section 4.2).
void check_syn(Env& env, Connection& c) {
    env.counters.drop(Drop::tcp_challenge);
    ++env.counters.tcp_syn_challenge;
    challenge_ack(env, c);
}

}  // namespace steps

}  // namespace millrace::tcp
