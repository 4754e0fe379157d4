#include "tcp/receive_window.h"

#include <algorithm>

#include "tcp/limits.h"

namespace millrace::tcp {

using wire::Segment;

namespace {

uint32_t free_receive_space(const Connection& c) {
    return c.rcv_buf > c.rcv_used ? c.rcv_buf - c.rcv_used : 0;
}

/// What the header's 16 bits can offer.
uint32_t window_max(const Connection& c) { return uint32_t{65535} << c.rcv_wind_shift; }

/// The largest window that there will be.
uint32_t bound(const Connection& c) { return std::min(c.rcv_buf, c.settings().window_clamp); }

uint32_t us(const Env& env) { return static_cast<uint32_t>(env.now.ns() / 1000); }

/// Where the application stands in the peer's sequence numbers.
Seq consumed_to(const Connection& c) { return c.rcv_nxt - c.rcv_used; }

/// Only bulk is worth tuning for: a full-size segment begins it.
ReceiveTuning* begin_tuning(Env& env, Connection& c, uint32_t payload_size) {
    if (env.tunables.tcp_moderate_rcvbuf == 0 || c.rcv_buf_locked || payload_size < c.rcv_mss)
        return nullptr;
    ReceiveTuning* t = env.tunings.take();
    if (t == nullptr) return nullptr;
    c.receiving->tuning = t;
    t->space = std::min(uint32_t{c.rcv_mss} * env.tunables.initial_cwnd, c.rcv_buf);
    t->space_from = consumed_to(c);
    t->space_at = us(env);
    t->last_echo = 0;
    return t;
}

/// A sample by timestamps holds the delay of nothing but the network: smoothed as RFC 6298's.
void sample_by_timestamp(Env& env, Connection& c, ReceiveTuning& t, const Segment& segment) {
    const uint32_t echo = segment.options.ts_echo;
    // What a sender had to say, not what it had to wait for: a full segment follows an ACK closely.
    if (echo == t.last_echo || segment.payload_size < c.rcv_mss) return;
    t.last_echo = echo;
    const auto rtt = timestamp_rtt(env.ms() + c.ts_offset, echo);
    if (!rtt) return;
    const auto sample = static_cast<uint32_t>(rtt->us());
    t.rtt_us = t.rtt_us == 0 ? sample : t.rtt_us - t.rtt_us / 8 + sample / 8;
}

/// Without timestamps: a window offered is used up a round trip later at the earliest, so that the
/// least of these times is the best of them.
void sample_by_window(Env& env, Connection& c, ReceiveTuning& t) {
    if (t.window_timed) {
        if (c.rcv_nxt < t.window_end) return;
        const uint32_t sample = std::max(us(env) - t.window_at, 1U);
        t.rtt_us = t.rtt_us == 0 ? sample : std::min(t.rtt_us, sample);
    }
    t.window_timed = true;
    t.window_end = max(c.rcv_adv, c.rcv_nxt);
    t.window_at = us(env);
}

/// The most that a connection's receive buffer may grow to on this core.
uint64_t receive_buffer_max(const Env& env) {
    return std::min<uint64_t>(std::max(env.tunables.tcp_rmem_max, env.tunables.tcp_rmem),
                              env.buffers.receive_capacity() / receive_share);
}

/// What `copied` bytes in a round trip ask for: twice that, for a sender in slow start doubles, a
/// cushion, and ahead of the growth that was just seen.
uint64_t wanted_buffer(const Connection& c, const ReceiveTuning& t, uint32_t copied) {
    const uint64_t window = uint64_t{copied} * 2 + uint64_t{16} * c.rcv_mss;
    return window + window * (copied - t.space) / std::max(t.space, 1U) * 2;
}

}  // namespace

uint32_t initial_receive_buffer(const Env& env) {
    const uint64_t share = env.buffers.receive_capacity() / receive_share;
    return static_cast<uint32_t>(
        std::min<uint64_t>(env.tunables.tcp_rmem, std::max<uint64_t>(share, buffer_min)));
}

uint16_t syn_window(const Connection& c) {
    return static_cast<uint16_t>(std::min(bound(c), 65535U));
}

uint16_t advertise_window(Env&, Connection& c) {
    const Seq edge = max(c.rcv_adv, c.rcv_nxt);
    const uint32_t offered = distance(c.rcv_nxt, edge);
    uint32_t window = std::min(free_receive_space(c), c.settings().window_clamp);
    // Receiver's silly-window avoidance: the edge moves by a segment or half the buffer at least.
    const uint32_t step = std::min<uint32_t>(bound(c) / 2, c.snd_mss);
    if (window < offered + step) window = offered;
    window = std::min(window, window_max(c));
    // In whole units, rounded down: the edge that the peer sees may go back by less than a unit
    // (RFC 7323 section 2.4), but whatever he was ever shown is taken.
    uint32_t field = window >> c.rcv_wind_shift;
    // A buffer smaller than the unit must not look closed for ever: one more than there is room
    // for, as Linux announces; the queues' limit covers it.
    if (field == 0 && window > 0 && window >= step) field = 1;
    c.rcv_adv = max(edge, c.rcv_nxt + (field << c.rcv_wind_shift));
    return static_cast<uint16_t>(field);
}

void maybe_update_window(Env& env, Connection& c) {
    if (!may_receive(c.state)) return;
    const uint32_t offered = c.rcv_window() >> c.rcv_wind_shift << c.rcv_wind_shift;  // as seen
    const uint32_t most = std::min(bound(c), window_max(c));
    const uint32_t space = std::min(free_receive_space(c), most);
    // Linux and BSD: two segments, or half of the buffer, whichever comes first.
    const uint32_t step = std::min<uint32_t>(most / 2, 2U * c.snd_mss);
    if (space < offered + step) return;
    // A sender with half a buffer still open needs no extra segment to tell him.
    if (offered >= most / 2) return;
    c.ack_now = true;
    env.mark_dirty(c);
}

void measure_receive_rtt(Env& env, Connection& c, const Segment& segment) {
    ReceiveTuning* t =
        c.receiving->tuning != nullptr ? c.receiving->tuning
                                       : begin_tuning(env, c, segment.payload_size);
    if (t == nullptr) return;
    if (c.timestamps && segment.options.has_timestamps)
        sample_by_timestamp(env, c, *t, segment);
    else
        sample_by_window(env, c, *t);
}

void tune_receive_buffer(Env& env, Connection& c) {
    ReceiveTuning* t = c.receiving == nullptr ? nullptr : c.receiving->tuning;
    if (t == nullptr || t->rtt_us == 0 || us(env) - t->space_at < t->rtt_us) return;
    const Seq now_at = consumed_to(c);
    const uint32_t consumed = distance(t->space_from, now_at);
    // What still waits shows that the application, not the window, is what is slow.
    const uint32_t copied = consumed > c.rcv_used ? consumed - c.rcv_used : 0;
    if (copied > t->space) {
        if (!env.receive_low) {
            const uint64_t wanted =
                std::min(wanted_buffer(c, *t, copied), receive_buffer_max(env));
            c.rcv_buf = std::max(c.rcv_buf, static_cast<uint32_t>(wanted));
        }
        t->space = copied;
    }
    t->space_from = now_at;
    t->space_at = us(env);
}

void grow_receive_buffer(Env& env, Connection& c, uint32_t bytes) {
    if (c.rcv_buf_locked || bytes <= c.rcv_buf) return;
    c.rcv_buf = std::min(bytes, std::max(env.tunables.tcp_rmem_max, env.tunables.tcp_rmem));
    maybe_update_window(env, c);
}

uint32_t set_receive_buffer(Env& env, Connection& c, uint32_t bytes) {
    const uint32_t most = std::max(env.tunables.tcp_rmem_max, env.tunables.tcp_rmem);
    c.rcv_buf = std::clamp(bytes, buffer_min, most);
    c.rcv_buf_locked = true;
    if (c.receiving != nullptr && c.receiving->tuning != nullptr) {
        env.tunings.give_back(c.receiving->tuning);
        c.receiving->tuning = nullptr;
    }
    maybe_update_window(env, c);
    return c.rcv_buf;
}

}  // namespace millrace::tcp
