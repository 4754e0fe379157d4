#include "tcp/time_wait.h"

#include <algorithm>

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;
using wire::TcpFlags;

void TimeWaitQueue::add(TimeWait& entry, Instant now, Duration length) {
    if (drained_ == 0) drained_ = tick_of(now);
    restart(entry, now, length);
    place(entry);
}

bool awaits_fin_alone(const Env& env, const Connection& c) {
    return c.state == State::fin_wait_2 && !c.attached && !c.ack_delayed && !c.starved &&
           c.slow_due - env.now <= TimeWaitQueue::longest;
}

void begin(TimeWait& entry, const Connection& c) {
    entry.awaits_fin = c.state == State::fin_wait_2;
    entry.timestamps = c.timestamps;
    entry.reuse_address = c.reuse_address;
    entry.reuse_port = c.reuse_port;
    entry.dscp = c.dscp;
    entry.ttl = c.ttl;
    entry.rcv_nxt = c.rcv_nxt;
    entry.snd_nxt = c.snd_nxt;
    entry.ts_recent = c.ts_recent;
}

namespace {

/// As Linux: two that disagree must not answer each other for ever. What bears an octet is answered
/// each time, its sender is no party to such a loop.
TimeWaitVerdict answer(Env& env, TimeWait& entry, const Segment& segment) {
    if (segment.length() != 0 && !segment.syn()) return TimeWaitVerdict::ack;
    const auto now = static_cast<uint16_t>(env.ms() / 16);
    if (entry.answered != 0 &&
        static_cast<uint16_t>(now - entry.answered) * 16U < env.tunables.tcp_invalid_ratelimit) {
        ++env.counters.tcp_skipped_acks;
        return TimeWaitVerdict::drop;
    }
    entry.answered = std::max<uint16_t>(now, 1);
    return TimeWaitVerdict::ack;
}

/// How much later the segment's timestamp is than the last that counted; 0 where it has none.
int32_t timestamp_ahead(const TimeWait& entry, const Segment& segment) {
    if (!entry.timestamps || !segment.options.has_timestamps) return 0;
    return static_cast<int32_t>(segment.options.ts_value - entry.ts_recent);
}

/// The steps of RFC 9293 section 3.10.7.4 (see ingress.cpp) for an orphan in FIN-WAIT-2. What the
/// windows were is not remembered: 64 KiB is wide enough for a FIN, and what lies beyond that comes
/// again from RCV.NXT on.
TimeWaitVerdict on_segment_awaiting_fin(Env& env, TimeWait& entry, const Segment& segment) {
    if (!segment.rst() && timestamp_ahead(entry, segment) < 0) {
        env.counters.drop(Drop::tcp_paws);
        return answer(env, entry, segment);
    }
    constexpr uint32_t window = 65535;
    const Seq right_edge = entry.rcv_nxt + window;
    const bool acceptable =
        segment.length() == 0
            ? segment.seq >= entry.rcv_nxt && segment.seq < right_edge
            : segment.end() > entry.rcv_nxt && segment.seq < right_edge;
    if (!acceptable) {
        env.counters.drop(Drop::tcp_out_of_window);
        return segment.rst() ? TimeWaitVerdict::drop : answer(env, entry, segment);
    }
    if (segment.rst() && segment.seq == entry.rcv_nxt) {
        ++env.counters.tcp_estab_resets;
        return TimeWaitVerdict::remove;
    }
    if (segment.rst() || segment.syn()) {  // RFC 5961 sections 3.2 and 4.2
        env.counters.drop(Drop::tcp_challenge);
        return answer(env, entry, segment);
    }
    if (!segment.has_ack()) {
        env.counters.drop(Drop::tcp_no_ack);
        return TimeWaitVerdict::drop;
    }
    // All of ours has been acknowledged: RFC 5961 section 5.2, with a window of its own time.
    if (segment.ack > entry.snd_nxt || segment.ack < entry.snd_nxt - window) {
        env.counters.drop(Drop::tcp_bad_ack);
        return answer(env, entry, segment);
    }
    if (segment.length() == 0) return TimeWaitVerdict::drop;
    if (segment.fin() && segment.end() == entry.rcv_nxt + 1) {
        entry.rcv_nxt += 1;
        if (entry.timestamps && segment.options.has_timestamps)
            entry.ts_recent = segment.options.ts_value;
        entry.awaits_fin = false;
        return TimeWaitVerdict::fin;
    }
    ++env.counters.tcp_abort_on_data;  // section 3.6.1, SHLD-3
    return TimeWaitVerdict::reset;
}

}  // namespace

TimeWaitVerdict on_segment(Env& env, TimeWait& entry, const Segment& segment) {
    if (entry.awaits_fin) return on_segment_awaiting_fin(env, entry, segment);
    const bool newer = timestamp_ahead(entry, segment) > 0;
    const bool older = timestamp_ahead(entry, segment) < 0;
    if (segment.rst()) {
        // RFC 1337: such a RST may be an old duplicate, and ends what protects from others.
        if (env.tunables.tcp_rfc1337 == 0 && segment.seq == entry.rcv_nxt)
            return TimeWaitVerdict::remove;
        env.counters.drop(Drop::tcp_state);
        return TimeWaitVerdict::drop;
    }
    if (segment.syn() && !segment.has_ack() && (newer || (!older && segment.seq > entry.rcv_nxt)))
        return TimeWaitVerdict::reopen;
    if (older) {
        env.counters.drop(Drop::tcp_paws);
        return answer(env, entry, segment);
    }
    if (segment.fin() && segment.end() == entry.rcv_nxt) return TimeWaitVerdict::restart;
    if (segment.length() == 0 && segment.seq == entry.rcv_nxt) return TimeWaitVerdict::drop;
    env.counters.drop(Drop::tcp_out_of_window);
    return answer(env, entry, segment);
}

Segment time_wait_ack(Env& env, const TimeWait& entry, const Address& local) {
    Segment segment;
    segment.source_port = entry.key.local_port;
    segment.destination_port = entry.key.remote_port;
    segment.seq = entry.snd_nxt;
    segment.ack = entry.rcv_nxt;
    segment.flags = TcpFlags::ack;
    // What was offered is not taken back (SHLD-14), and is not remembered: the widest is none too
    // wide, since all that it could be used for is reset.
    if (entry.awaits_fin) segment.window = UINT16_MAX;
    if (entry.timestamps) {
        segment.options.has_timestamps = true;
        segment.options.ts_value = env.ms() + env.isn.timestamp_offset(entry.key, local);
        segment.options.ts_echo = entry.ts_recent;
    }
    return segment;
}

}  // namespace millrace::tcp
