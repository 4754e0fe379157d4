#include "tcp/timers.h"

#include <algorithm>
#include <cerrno>

#include "tcp/limits.h"

namespace millrace::tcp {

namespace {

/// Linux's `tcp_orphan_retries`: 0 acts as 8.
uint32_t retries_allowed(const Env& env, const Connection& c) {
    if (c.attached) return env.tunables.tcp_retries2;
    return env.tunables.tcp_orphan_retries != 0 ? env.tunables.tcp_orphan_retries : 8;
}

/// RFC 9293 section 3.8.3's R2, measured as Linux measures it: by the time that the backoffs of the
/// smallest RTO would take.
bool given_up(Env& env, Connection& c) {
    if (c.backoffs == 0) c.first_retransmit = env.now;
    const Duration limit = retries_duration(env.tunables, retries_allowed(env, c));
    const Duration started_before = Duration::from_us(env.tunables.tcp_rto_min_us);
    if (env.now - c.first_retransmit + started_before < limit) return false;
    ++env.counters.tcp_abort_on_timeout;
    finish(env, c, ETIMEDOUT);
    return true;
}

void back_off(Env& env, Connection& c) {
    if (c.backoffs < UINT8_MAX) ++c.backoffs;
    c.retransmit_at = env.now + rto(env, c);
}

/// SYN and SYN-ACK of a simultaneous open: `tcp_syn_linear_timeouts` without backoff, then
/// doubling.
void on_syn_timeout(Env& env, Connection& c) {
    // The linear ones come on top of tcp_syn_retries, as in Linux: the last SYN goes at 67 s.
    if (c.backoffs >= env.tunables.tcp_syn_retries + env.tunables.tcp_syn_linear_timeouts) {
        ++env.counters.tcp_attempt_fails;
        finish(env, c, ETIMEDOUT);
        return;
    }
    ++c.backoffs;
    ++env.counters.tcp_timeouts;
    c.timing_rtt = false;  // Karn: its answer would be ambiguous
    c.syn_due = true;
    env.mark_dirty(c);
    const uint32_t linear = env.tunables.tcp_syn_linear_timeouts;
    const unsigned doublings = c.backoffs > linear ? c.backoffs - linear : 0;
    const auto ceiling = Duration::from_ms(env.tunables.tcp_rto_max_ms);
    c.retransmit_at =
        env.now + c.rtt.rto(Duration::from_us(env.tunables.tcp_rto_min_us), ceiling, doublings);
}

/// RFC 6298 section 5.4 to 5.7, RFC 5681 section 3.1: go back to SND.UNA, with a window of one.
void on_retransmission_timeout(Env& env, Connection& c) {
    if (given_up(env, c)) return;
    ++env.counters.tcp_timeouts;
    if (c.backoffs == 0)
        c.congestion.on_timeout(c.in_flight(), c.snd_mss);
    else
        c.congestion.on_repeated_timeout(c.snd_mss);
    c.in_recovery = false;
    c.dup_acks = 0;
    c.recover = c.snd_max;
    c.timing_rtt = false;
    c.snd_nxt = c.snd_una;
    c.retransmit_due = false;
    back_off(env, c);
    env.mark_dirty(c);
}

/// A window of zero may last for ever (MUST-37); probes go out with growing intervals. They count
/// towards the end only while nobody answers them: an answer renews `first_retransmit`.
void on_probe_timeout(Env& env, Connection& c) {
    if (given_up(env, c)) return;
    c.probe_due = true;
    back_off(env, c);
    env.mark_dirty(c);
}

void on_retransmit_deadline(Env& env, Connection& c) {
    c.retransmit_at = Instant::never();
    switch (c.state) {
        case State::syn_sent:
        case State::syn_received: on_syn_timeout(env, c); return;
        case State::fin_wait_2:
            if (c.attached) return;
            finish(env, c, 0);  // as Linux: silently
            return;
        default: break;
    }
    // A closed window takes nothing, not even what is in flight already: it is probed (MUST-35).
    if (c.snd_wnd == 0 && (c.in_flight() > 0 || !c.send_queue.empty()))
        on_probe_timeout(env, c);
    else if (c.in_flight() > 0)
        on_retransmission_timeout(env, c);
    else if (!c.send_queue.empty() || (c.fin_queued && !c.fin_acked))
        on_probe_timeout(env, c);
}

void on_delayed_ack_deadline(Env& env, Connection& c) {
    c.delayed_ack_due = Instant::never();
    if (!c.ack_delayed) return;
    ++env.counters.tcp_delayed_acks;
    c.ack_now = true;
    env.mark_dirty(c);
}

}  // namespace

Duration rto(const Env& env, const Connection& c) {
    return c.rtt.rto(Duration::from_us(env.tunables.tcp_rto_min_us),
                     Duration::from_ms(env.tunables.tcp_rto_max_ms), c.backoffs);
}

void restart_retransmit_timer(Env& env, Connection& c) {
    const bool unsent = !c.send_queue.empty() || (c.fin_queued && !c.fin_acked);
    // With nothing in flight and something to send, the window holds us back: probe after an RTO
    // (SHLD-29). If it is only Nagle or congestion, egress moves on before that.
    if (c.in_flight() > 0 || unsent) {
        c.retransmit_at = env.now + rto(env, c);
        arm_timer(env, c);
    } else if (c.state != State::fin_wait_2) {
        c.retransmit_at = Instant::never();
    }
}

void start_fin_wait_2_timer(Env& env, Connection& c) {
    c.retransmit_at = env.now + Duration::from_s(env.tunables.tcp_fin_timeout);
    arm_timer(env, c);
}

void on_timer(Env& env, Connection& c) {
    if (c.delayed_ack_due <= env.now) on_delayed_ack_deadline(env, c);
    if (c.retransmit_at <= env.now) on_retransmit_deadline(env, c);
    if (c.state != State::closed) arm_timer(env, c);
}

}  // namespace millrace::tcp
