#include "tcp/delayed_ack.h"

#include <algorithm>

#include "tcp/limits.h"
#include "tcp/timers.h"
#include "tcp/trace.h"

namespace millrace::tcp {

using wire::Segment;
using wire::TcpFlags;

namespace {

uint32_t rto_ms(const Env& env, const Connection& c) {
    return static_cast<uint32_t>(rto(env, c).ms());
}

void acknowledge_now(Env& env, Connection& c) {
    c.ack_now = true;
    env.mark_dirty(c);
}

/// The peer's full segment, as far as we have seen one. A small write does not lower the estimate;
/// two segments alike do that could have been full: large ones, or without PSH (Linux's
/// tcp_measure_rcv_mss).
void measure_peer_mss(Connection& c, const Segment& segment) {
    const uint32_t size = std::min<uint32_t>(segment.payload_size, UINT16_MAX);
    const uint16_t last = std::exchange(c.last_small_segment, uint16_t{0});
    if (size >= c.rcv_mss) {
        c.rcv_mss = static_cast<uint16_t>(size);
        return;
    }
    const bool ends_write = segment.has(TcpFlags::psh | TcpFlags::fin | TcpFlags::urg);
    if (size < (ends_write ? rcv_mss_small : rcv_mss_min)) return;
    c.last_small_segment = static_cast<uint16_t>(size);
    if (size == last) c.rcv_mss = last;
}

/// How long an ACK may wait follows the time between segments: half of it is the last interval, in
/// the limits of the interval itself.
void measure_interval(Env& env, Connection& c) {
    constexpr auto least = static_cast<uint16_t>(delayed_ack_min.ms());
    const uint32_t interval = env.ms() - c.last_data_ms;
    c.last_data_ms = env.ms();
    if (c.ato_ms == 0) {  // the first data
        c.ato_ms = least;
    } else if (interval <= least / 2) {
        c.ato_ms = static_cast<uint16_t>(c.ato_ms / 2 + least / 2);
    } else if (interval < c.ato_ms) {
        c.ato_ms = static_cast<uint16_t>(
            std::min(c.ato_ms / 2 + interval, std::max(rto_ms(env, c), uint32_t{least})));
    } else if (interval > rto_ms(env, c)) {
        // The peer begins anew with a small window, and waits for each ACK.
        c.quick_acks = std::max(c.quick_acks, quick_acks_initial);
    }
}

/// Not later than a round trip, or the peer's window would stand still (Linux's bound), and never
/// beyond 200 ms: well below the half second of MUST-40.
Duration delay(const Connection& c) {
    const Duration round_trip = c.rtt.has_sample() ? c.rtt.srtt() : delayed_ack_max;
    const Duration most = std::clamp(round_trip, delayed_ack_min, delayed_ack_max);
    return std::clamp(Duration::from_ms(c.ato_ms), delayed_ack_min, most);
}

void delay_ack(Env& env, Connection& c) {
    Receiving& r = borrow_receiving(env, c);
    const Duration wait = delay(c);
    const Instant due = env.now + wait;
    if (c.ack_delayed) {
        // Nearly due already: what has come since goes with it.
        if (r.delayed_ack_due <= env.now + Duration::from_us(wait.us() / 4))
            return acknowledge_now(env, c);
        if (r.delayed_ack_due <= due) return;
    }
    c.ack_delayed = true;
    r.delayed_ack_due = due;
    arm_timer(env, c);
}

}  // namespace

void schedule_ack(Env& env, Connection& c, const Segment& segment) {
    measure_peer_mss(c, segment);
    measure_interval(env, c);
    c.receiving->unacked += segment.payload_size;
    if ((c.quick_acks > 0 && !c.interactive) || c.receiving->unacked > c.rcv_mss)
        acknowledge_now(env, c);
    else
        delay_ack(env, c);
}

void acknowledge_fin(Env& env, Connection& c) {
    if (c.state == State::established && c.interactive)
        delay_ack(env, c);
    else
        acknowledge_now(env, c);
}

void enter_quick_acks(Connection& c, uint8_t most) {
    // No more than half a window of segments: beyond that the peer does not depend on them.
    const uint32_t half_window = c.rcv_window() / (2U * c.rcv_mss);
    const uint32_t count = std::min<uint32_t>(std::max(half_window, 2U), most);
    c.quick_acks = std::max(c.quick_acks, static_cast<uint8_t>(count));
    c.interactive = false;
    if (c.ato_ms != 0) c.ato_ms = static_cast<uint16_t>(delayed_ack_min.ms());
}

void acknowledged(Connection& c) {
    c.ack_now = false;
    c.ack_delayed = false;
    c.last_ack_sent = c.rcv_nxt;
    if (c.receiving == nullptr) return;
    if (c.receiving->unacked > 0 && c.quick_acks > 0) --c.quick_acks;
    c.receiving->unacked = 0;
}

void note_answer(Env& env, Connection& c) {
    if (c.ato_ms != 0 && env.ms() - c.last_data_ms < c.ato_ms) c.interactive = true;
}

void on_delayed_ack_timeout(Env& env, Connection& c) {
    trace::timer(env, c, TraceTimer::delayed_ack);
    c.ack_delayed = false;
    ++env.counters.tcp_delayed_acks;
    if (c.interactive) {
        // The application was not as prompt as it used to be.
        c.interactive = false;
        c.ato_ms = static_cast<uint16_t>(delayed_ack_min.ms());
    } else {
        const uint32_t most = std::min<uint32_t>(rto_ms(env, c), UINT16_MAX);
        c.ato_ms = static_cast<uint16_t>(std::min<uint32_t>(c.ato_ms * 2U, most));
    }
    acknowledge_now(env, c);
}

void set_quick_ack(Env& env, Connection& c, bool on) {
    c.interactive = !on;
    if (!on) return;
    c.quick_acks = quick_acks_initial;
    if (c.ack_delayed) acknowledge_now(env, c);
}

}  // namespace millrace::tcp
