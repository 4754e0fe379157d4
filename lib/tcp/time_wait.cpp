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

void begin(TimeWait& entry, const Connection& c) {
    entry.timestamps = c.timestamps;
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

}  // namespace

TimeWaitVerdict on_segment(Env& env, TimeWait& entry, const Segment& segment) {
    const bool has_timestamp = entry.timestamps && segment.options.has_timestamps;
    const bool newer = has_timestamp &&
                       static_cast<int32_t>(segment.options.ts_value - entry.ts_recent) > 0;
    const bool older = has_timestamp &&
                       static_cast<int32_t>(segment.options.ts_value - entry.ts_recent) < 0;
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
    if (entry.timestamps) {
        segment.options.has_timestamps = true;
        segment.options.ts_value = env.ms() + env.isn.timestamp_offset(entry.key, local);
        segment.options.ts_echo = entry.ts_recent;
    }
    return segment;
}

}  // namespace millrace::tcp
