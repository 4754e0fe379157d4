#include "tcp/listener.h"

#include <algorithm>

#include "tcp/calls.h"
#include "tcp/ecn.h"
#include "tcp/ingress.h"
#include "tcp/limits.h"
#include "tcp/receive_window.h"
#include "tcp/trace.h"

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;
using wire::TcpFlags;

namespace {
constexpr Duration syn_ack_timeout = Duration::from_s(1);  // RFC 6298 (2.1)

uint32_t offered_window(const Env& env) {
    return std::min<uint32_t>(initial_receive_buffer(env), 65535);
}

/// Who has asked may be forged: a SYN-ACK more goes out once in `tcp_invalid_ratelimit`, as in
/// Linux.
HalfOpenVerdict answer_again(Env& env, HalfOpen& entry) {
    if (!entry.answered) return HalfOpenVerdict::answer;
    if (entry.repeated_ms != 0 &&
        env.ms() - entry.repeated_ms < env.tunables.tcp_invalid_ratelimit) {
        ++env.counters.tcp_skipped_acks;
        return HalfOpenVerdict::drop;
    }
    entry.repeated_ms = std::max(env.ms(), 1U);
    return HalfOpenVerdict::answer;
}

/// Who has seen one of this entry's SYN-ACKs echoes a time at which one may have left. An old
/// duplicate from an earlier connection of the tuple may acknowledge the right number: ISNs advance
/// more slowly than data. Linux does so since 6.15, by the times of the first and the last SYN-ACK;
/// here all since the first count. An echo of zero is none, there as here.
bool echoes_syn_ack(const Env& env, const HalfOpen& entry, const Segment& segment) {
    const uint32_t echo = segment.options.ts_echo;
    if (!entry.timestamps || !segment.options.has_timestamps || echo == 0) return true;
    // TSecr counts where there is an ACK (RFC 7323 section 3.2); Linux looks at it in any RST.
    if (!segment.has_ack()) return true;
    // TCP_DEFER_ACCEPT may last longer than `answered_us` can tell, 71 minutes: by then so many
    // timeouts of at most 120 s each have passed. (Where tcp_rto_max_ms is less, the check ends
    // sooner; only a core that stood still for 71 minutes refuses who is honest.)
    constexpr uint8_t within_clock = 32;
    if (entry.retransmissions > within_clock) return true;
    const uint32_t since_first =
        (static_cast<uint32_t>(env.now.ns() / 1000) - entry.answered_us + 999) / 1000;
    const uint32_t ago = env.ms() + entry.ts_offset - echo;
    return ago <= since_first;
}

void count_bad_echo(const Env& env) {
    env.counters.drop(Drop::tcp_bad_echo);
    ++env.counters.tcp_tsecr_rejected;
}

}  // namespace

void begin(Env& env, HalfOpen& entry, const Segment& syn, const Address& local,
           std::optional<Seq> floor) {
    const wire::TcpOptions& options = syn.options;
    entry.iss = env.isn.isn_beyond(floor, entry.key, local, env.now);
    entry.irs = syn.seq;
    entry.peer_mss = options.mss;
    entry.peer_window = syn.window;
    entry.peer_shift = options.window_scale;
    entry.window_scaling = env.tunables.tcp_window_scaling != 0 && options.has_window_scale;
    entry.timestamps = env.tunables.tcp_timestamps != 0 && options.has_timestamps;
    if (entry.timestamps) entry.ts_offset = env.isn.timestamp_offset(entry.key, local);
    entry.ts_recent = options.ts_value;
    entry.sack = env.tunables.tcp_sack != 0 && options.sack_permitted;
    entry.ecn = ecn::agrees(env, syn);
}

HalfOpenVerdict on_segment(Env& env, HalfOpen& entry, const Segment& segment) {
    const Seq rcv_nxt = entry.irs + 1;
    const Seq right_edge = rcv_nxt + offered_window(env);
    // A retransmitted SYN: our answer was lost. A SYN with another ISN: the same answer makes a
    // peer that has started anew reset this entry (RFC 5961 section 4.2).
    if (segment.syn() && !segment.rst() && !segment.has_ack()) {
        if (segment.seq == entry.irs && entry.timestamps && segment.options.has_timestamps)
            entry.ts_recent = segment.options.ts_value;
        // The peer has fallen back (RFC 3168 section 6.1.1.1): from now on there is no ECN.
        if (!ecn::is_setup_syn(segment)) entry.ecn = false;
        return answer_again(env, entry);
    }
    // First, the sequence number.
    const bool acceptable = segment.seq >= rcv_nxt && segment.seq < right_edge;
    if (!acceptable) {
        env.counters.drop(Drop::tcp_out_of_window);
        return segment.rst() ? HalfOpenVerdict::drop : answer_again(env, entry);
    }
    if (entry.timestamps && segment.options.has_timestamps && !segment.rst() &&
        static_cast<int32_t>(segment.options.ts_value - entry.ts_recent) < 0) {
        env.counters.drop(Drop::tcp_paws);
        return HalfOpenVerdict::drop;
    }
    // Second, RST: exactly at RCV.NXT it ends the attempt, and nobody needs to be told.
    if (segment.rst()) {
        if (entry.answered && !echoes_syn_ack(env, entry, segment)) {
            count_bad_echo(env);
            return HalfOpenVerdict::drop;
        }
        if (segment.seq == rcv_nxt) {
            ++env.counters.tcp_attempt_fails;
            return HalfOpenVerdict::remove;
        }
        env.counters.drop(Drop::tcp_challenge);
        return HalfOpenVerdict::drop;
    }
    // Fourth, SYN (with ACK: no honest client sends that here).
    if (segment.syn()) {
        env.counters.drop(Drop::tcp_bad_flags);
        return HalfOpenVerdict::drop;
    }
    // Fifth, ACK.
    if (!segment.has_ack()) {
        env.counters.drop(Drop::tcp_no_ack);
        return HalfOpenVerdict::drop;
    }
    if (!entry.answered || segment.ack != entry.iss + 1) return HalfOpenVerdict::reset;
    if (!echoes_syn_ack(env, entry, segment)) {
        count_bad_echo(env);
        return answer_again(env, entry);
    }
    // TCP_DEFER_ACCEPT: nobody is told before there is something to be read.
    if (entry.retransmissions < entry.listener->defer_accept && segment.end() == rcv_nxt) {
        entry.acked = true;
        ++env.counters.tcp_defer_accept_drop;
        return HalfOpenVerdict::drop;
    }
    return HalfOpenVerdict::complete;
}

namespace {

void arm_answer(Env& env, HalfOpen& entry) {
    const Duration ceiling = Duration::from_ms(env.tunables.tcp_rto_max_ms);
    const Duration timeout =
        std::min(syn_ack_timeout * (int64_t{1} << std::min<unsigned>(entry.retransmissions, 20)),
                 ceiling);
    if (!entry.timer.is_armed()) env.wheel.arm(entry.timer, env.now + timeout);
}

}  // namespace

/// Linux's syn_ack_recalc: who has acknowledged is asked again only at the end of the time that
/// TCP_DEFER_ACCEPT gives him, so that his next ACK, or his data, may open the connection.
HalfOpenTimeout on_timer(Env& env, HalfOpen& entry) {
    const uint8_t defer = entry.listener->defer_accept;
    const bool deferred = defer != 0 && entry.acked;
    if (entry.retransmissions >= env.tunables.tcp_synack_retries &&
        (!deferred || entry.retransmissions >= defer)) {
        ++env.counters.tcp_attempt_fails;
        return HalfOpenTimeout::expire;
    }
    const bool again = !deferred || entry.retransmissions + 1 >= defer;
    ++entry.retransmissions;
    ++env.counters.tcp_timeouts;
    if (!again) {
        arm_answer(env, entry);
        return HalfOpenTimeout::wait;
    }
    ++env.counters.tcp_retrans_segs;
    ++env.counters.tcp_syn_retrans;
    return HalfOpenTimeout::answer;
}

void answered(Env& env, HalfOpen& entry) {
    // Karn: after a second one it is unclear which SYN-ACK was answered.
    entry.timed = !entry.answered;
    if (!entry.answered) entry.answered_us = static_cast<uint32_t>(env.now.ns() / 1000);
    entry.answered = true;
    arm_answer(env, entry);
}

Segment syn_ack(const Env& env, const HalfOpen& entry, uint16_t link_mss) {
    Segment segment;
    segment.source_port = entry.key.local_port;
    segment.destination_port = entry.key.remote_port;
    segment.seq = entry.iss;
    segment.ack = entry.irs + 1;
    segment.flags = TcpFlags::syn | TcpFlags::ack | (entry.ecn ? TcpFlags::ece : 0);
    segment.window = static_cast<uint16_t>(offered_window(env));
    // Only what the peer offered (defaults.md: habits on the wire).
    segment.options.mss = entry.listener->offered_mss(link_mss);
    segment.options.has_timestamps = entry.timestamps;
    segment.options.ts_value = env.ms() + entry.ts_offset;
    segment.options.ts_echo = entry.ts_recent;
    segment.options.sack_permitted = entry.sack;
    segment.options.has_window_scale = entry.window_scaling;
    segment.options.window_scale = window_shift(env.tunables);
    return segment;
}

void complete(Env& env, const HalfOpen& entry, const Segment& ack, Connection& c,
              uint16_t link_mss) {
    initialise(env, c, entry.listener->offered_mss(link_mss));
    const Listener::Marks& marks = entry.listener->marks(c.key.remote);
    c.dscp = marks.dscp;
    c.ttl = marks.ttl;
    c.ts_offset = entry.ts_offset;
    wire::TcpOptions options;
    options.mss = entry.peer_mss;
    options.has_timestamps = entry.timestamps;
    options.ts_value = entry.ts_recent;
    options.has_window_scale = entry.window_scaling;
    options.sack_permitted = entry.sack;
    options.window_scale = entry.peer_shift;
    adopt_options(env, c, options, entry.peer_window);
    c.ecn = entry.ecn;
    c.snd_una = c.snd_nxt = entry.iss + 1;
    c.snd_wl1 = entry.irs;
    c.rcv_nxt = entry.irs + 1;
    c.rcv_adv = c.rcv_nxt + offered_window(env);
    c.last_ack_sent = c.rcv_nxt;
    std::optional<Duration> rtt;
    if (entry.timed)
        rtt = Duration::from_us(static_cast<uint32_t>(env.now.ns() / 1000) - entry.answered_us);
    trace::opened(env, c, entry.irs, entry.peer_window, env.now - rtt.value_or(Duration()));
    established(env, c);
    if (const uint8_t ttl = entry.listener->min_ttl(c.key.remote); ttl != 0)
        own_settings(env, c).min_ttl = ttl;
    // Who was to speak first has answered when he liked, and the timer meant nothing.
    if (entry.acked) {
        begin_estimates(env, c, std::nullopt, 0);
        ++env.counters.tcp_passive_opens;
        return;
    }
    if (!rtt && entry.timestamps && ack.options.has_timestamps)
        rtt = timestamp_rtt(env.ms() + c.ts_offset, ack.options.ts_echo);
    begin_estimates(env, c, rtt, entry.retransmissions);
    ++env.counters.tcp_passive_opens;
}

}  // namespace millrace::tcp
