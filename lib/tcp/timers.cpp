#include "tcp/timers.h"

#include <algorithm>
#include <cerrno>

#include "tcp/delayed_ack.h"
#include "tcp/limits.h"
#include "tcp/rack.h"
#include "tcp/recovery.h"

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
    c.syn_due = true;
    env.mark_dirty(c);
    const uint32_t linear = env.tunables.tcp_syn_linear_timeouts;
    const unsigned doublings = c.backoffs > linear ? c.backoffs - linear : 0;
    const auto ceiling = Duration::from_ms(env.tunables.tcp_rto_max_ms);
    c.retransmit_at =
        env.now + c.rtt.rto(Duration::from_us(env.tunables.tcp_rto_min_us), ceiling, doublings);
}

/// RFC 6298 section 5.4 to 5.7: the first segment goes again, alone.
void on_retransmission_timeout(Env& env, Connection& c) {
    if (given_up(env, c)) return;
    ++env.counters.tcp_timeouts;
    enter_loss(env, c);
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
    const TimerMode mode = std::exchange(c.timer_mode, TimerMode::retransmit);
    if (mode == TimerMode::reorder && c.outstanding() > 0) return rack::on_reorder_timeout(env, c);
    // The round trip was over before its probe was due: then it is a timeout like any other.
    if (mode == TimerMode::loss_probe && c.outstanding() > 0 && c.snd_wnd > 0)
        return rack::on_probe_timeout(env, c);
    // A closed window takes nothing, not even what is in flight already: it is probed (MUST-35).
    if (c.snd_wnd == 0 && (c.outstanding() > 0 || c.has_unsent()))
        on_probe_timeout(env, c);
    else if (c.outstanding() > 0)
        on_retransmission_timeout(env, c);
    else if (c.has_unsent())
        on_probe_timeout(env, c);
}

/// TCP_CORK holds a partial segment no longer.
void on_cork_deadline(Env& env, Connection& c) {
    c.sending->cork_due = Instant::never();
    c.sending->cork_over = true;
    env.mark_dirty(c);
}

}  // namespace

Duration rto(const Env& env, const Connection& c) {
    return c.rtt.rto(Duration::from_us(env.tunables.tcp_rto_min_us),
                     Duration::from_ms(env.tunables.tcp_rto_max_ms), c.backoffs);
}

void restart_retransmit_timer(Env& env, Connection& c) {
    // With nothing in flight and something to send, the window holds us back: probe after an RTO
    // (SHLD-29). If it is only Nagle or congestion, egress moves on before that.
    if (c.outstanding() > 0 || c.has_unsent()) {
        if (c.outstanding() > 0 && c.sending != nullptr && rack::schedule_probe(env, c)) return;
        c.timer_mode = c.outstanding() > 0 ? TimerMode::retransmit : TimerMode::probe;
        c.retransmit_at = env.now + rto(env, c);
        arm_timer(env, c);
    } else if (c.state != State::fin_wait_2) {
        c.retransmit_at = Instant::never();
    }
}

void timer_after_transmission(Env& env, Connection& c, bool loss_probe) {
    if (!loss_probe && is_synchronised(c.state) && c.sending != nullptr) {
        // A reordering timer that is armed comes first; the others begin anew.
        if (c.timer_mode == TimerMode::reorder && c.retransmit_at != Instant::never()) return;
        if (rack::schedule_probe(env, c)) return;
        if (c.timer_mode == TimerMode::retransmit && c.retransmit_at != Instant::never()) return;
    }
    c.timer_mode = TimerMode::retransmit;
    c.retransmit_at = env.now + rto(env, c);
    arm_timer(env, c);
}

void start_fin_wait_2_timer(Env& env, Connection& c) {
    c.retransmit_at = env.now + Duration::from_s(env.tunables.tcp_fin_timeout);
    arm_timer(env, c);
}

void on_timer(Env& env, Connection& c) {
    if (c.delayed_ack_due <= env.now) on_delayed_ack_timeout(env, c);
    if (c.sending != nullptr && c.sending->cork_due <= env.now) on_cork_deadline(env, c);
    if (c.retransmit_at <= env.now) on_retransmit_deadline(env, c);
    if (c.state != State::closed) arm_timer(env, c);
}

}  // namespace millrace::tcp
