#include "tcp/ack.h"

#include <algorithm>

#include "tcp/ingress.h"
#include "tcp/limits.h"
#include "tcp/timers.h"

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;

namespace {

/// The peer's window as the segment says it (RFC 9293: SND.WL1 and SND.WL2 keep old ones out).
void update_window(Env& env, Connection& c, const Segment& segment) {
    if (c.snd_wl1 > segment.seq || (c.snd_wl1 == segment.seq && c.snd_wl2 > segment.ack)) return;
    const uint32_t window = static_cast<uint32_t>(segment.window) << c.snd_wind_shift;
    c.snd_wl1 = segment.seq;
    c.snd_wl2 = segment.ack;
    if (window == c.snd_wnd) return;
    const bool opened = c.snd_wnd == 0;
    c.snd_wnd = window;
    c.max_snd_wnd = std::max(c.max_snd_wnd, window);
    if (opened) {
        c.backoffs = 0;
        c.snd_nxt = c.snd_una;  // what was beyond the closed window was not taken
        restart_retransmit_timer(env, c);
    }
    env.mark_dirty(c);
}

/// RFC 5681 section 2's definition of a duplicate ACK.
bool is_duplicate(const Connection& c, const Segment& segment, uint32_t window_before) {
    return segment.ack == c.snd_una && segment.length() == 0 && c.snd_una != c.snd_max &&
           c.snd_wnd == window_before;
}

void on_duplicate(Env& env, Connection& c) {
    if (c.dup_acks < UINT8_MAX) ++c.dup_acks;
    if (c.in_recovery) {
        c.congestion.on_duplicate(c.snd_mss);
        env.mark_dirty(c);
        return;
    }
    // RFC 6582 section 3.2 step 1: not for duplicates that an earlier recovery caused.
    if (c.dup_acks != duplicate_acks_for_loss || c.snd_una < c.recover) return;
    ++env.counters.tcp_fast_retrans;
    c.in_recovery = true;
    c.timing_rtt = false;  // Karn: what is timed may be what is sent again
    c.recover = c.snd_max;
    c.congestion.enter_recovery(c.in_flight(), c.snd_mss);
    c.retransmit_due = true;
    env.mark_dirty(c);
}

void grow_window(Env& env, Connection& c, uint32_t bytes) {
    c.dup_acks = 0;
    if (!c.in_recovery) {
        c.congestion.on_ack(bytes, c.snd_mss);
        c.recover = max(c.recover, c.snd_una);  // kept within reach of sequence comparison
        return;
    }
    if (c.snd_una >= c.recover) {
        c.in_recovery = false;
        c.congestion.exit_recovery(c.in_flight(), c.snd_mss);
        return;
    }
    c.congestion.on_partial_ack(bytes, c.snd_mss);
    c.retransmit_due = true;
    env.mark_dirty(c);
}

/// What an acknowledged FIN of ours means, by state. True: the connection is over.
bool on_fin_acked(Env& env, Connection& c) {
    switch (c.state) {
        case State::fin_wait_1:
            set_state(c, State::fin_wait_2);
            if (!c.attached) start_fin_wait_2_timer(env, c);
            return false;
        case State::closing: set_state(c, State::time_wait); return false;
        case State::last_ack: finish(env, c, 0); return true;
        default: return false;
    }
}

}  // namespace

void acknowledge(Env& env, Connection& c, Seq ack) {
    uint32_t bytes = distance(c.snd_una, ack);
    const bool fin = c.fin_sent() && ack == c.snd_max && ack > c.data_end();
    const uint32_t data = std::min(bytes - (fin ? 1 : 0), c.send_queue.size());
    c.send_queue.acknowledge(data);
    c.snd_una = ack;
    if (fin) c.fin_acked = true;
    if (c.snd_nxt < c.snd_una) c.snd_nxt = c.snd_una;
    if (c.timing_rtt && ack >= c.rtt_seq) {
        c.timing_rtt = false;
        c.rtt.sample(env.now - c.rtt_started);
    }
    c.backoffs = 0;
    grow_window(env, c, bytes);
    restart_retransmit_timer(env, c);
    if (c.want_writable && c.send_queue.size() < c.snd_buf - c.snd_buf / 3) {
        c.want_writable = false;
        env.notify(c, Event::writable);
    }
    env.mark_dirty(c);
}

void schedule_ack(Env& env, Connection& c, uint32_t payload_size) {
    c.rcv_unacked += payload_size;
    // The peer's full segment, as far as we have seen one; small writes do not lower it.
    c.rcv_mss = static_cast<uint16_t>(
        std::max<uint32_t>(c.rcv_mss, std::min<uint32_t>(payload_size, UINT16_MAX)));
    // At least every second full-size segment (SHLD-19), at once while the peer is in slow start.
    if (c.quick_acks > 0 || c.rcv_unacked >= 2U * c.rcv_mss) {
        if (c.quick_acks > 0) --c.quick_acks;
        c.ack_now = true;
        env.mark_dirty(c);
        return;
    }
    if (c.ack_delayed) return;
    c.ack_delayed = true;
    c.delayed_ack_due = env.now + delayed_ack_min;
    arm_timer(env, c);
}

namespace steps {

/// Fifth, RFC 9293 section 3.10.7.4.
Verdict check_ack(Env& env, Connection& c, const Segment& segment) {
    if (c.state == State::syn_received) {
        if (segment.ack <= c.snd_una || segment.ack > c.snd_max) {
            env.counters.drop(Drop::tcp_bad_ack);
            return Verdict::reset;
        }
        c.snd_una = segment.ack;
        c.snd_nxt = max(c.snd_nxt, c.snd_una);
        c.snd_wl1 = segment.seq;
        c.snd_wl2 = segment.ack;
        c.snd_wnd = static_cast<uint32_t>(segment.window) << c.snd_wind_shift;
        established(env, c);
        return Verdict::done;
    }
    // RFC 5961 section 5: neither for what was never sent nor for what is long gone.
    if (segment.ack > c.snd_max ||
        segment.ack < c.snd_una - std::max(c.max_snd_wnd, uint32_t{65535})) {
        env.counters.drop(Drop::tcp_bad_ack);
        challenge_ack(env, c);
        return Verdict::drop;
    }
    const uint32_t window_before = c.snd_wnd;
    const Seq una_before = c.snd_una;
    if (segment.ack >= c.snd_una) update_window(env, c, segment);
    if (segment.ack > c.snd_una) {
        acknowledge(env, c, segment.ack);
    } else if (c.snd_wnd == 0 && c.backoffs > 0 && segment.ack == c.snd_una) {
        c.first_retransmit = env.now;  // a probe was answered: the connection lives (MUST-37)
    } else if (is_duplicate(c, segment, window_before)) {
        on_duplicate(env, c);
    }
    if (c.fin_acked && c.snd_una != una_before) on_fin_acked(env, c);
    return Verdict::done;
}

}  // namespace steps

}  // namespace millrace::tcp
