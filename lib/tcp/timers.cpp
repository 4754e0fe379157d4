#include "tcp/timers.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "tcp/delayed_ack.h"
#include "tcp/limits.h"
#include "tcp/pacing.h"
#include "tcp/rack.h"
#include "tcp/recovery.h"
#include "tcp/slow_timer.h"
#include "tcp/trace.h"

namespace millrace::tcp {

namespace {

/// R2 for what the application has let go of, as in Linux: 8 stands for 0, more than 100 s with the
/// smallest RTO. Once the intervals have grown to their ceiling that is over.
uint32_t orphan_retries(const Env& env, bool alive) {
    const uint32_t retries = env.tunables.tcp_orphan_retries;
    return retries == 0 && alive ? 8 : retries;
}

/// The intervals have not grown to their ceiling yet.
bool is_alive(const Env& env, const Connection& c) {
    return rto(env, c) < Duration::from_ms(env.tunables.tcp_rto_max_ms);
}

/// The application wants to wait for ever, and is still there to do so.
bool is_patient(const Connection& c) {
    return c.settings().user_timeout_ms == user_timeout_never && c.attached;
}

bool has_user_timeout(const Connection& c) {
    const uint32_t own = c.settings().user_timeout_ms;
    return own != 0 && own != user_timeout_never;
}

bool user_timed_out(const Env& env, const Connection& c) {
    return has_user_timeout(c) &&
           env.now - c.sending->first_retransmit >= Duration::from_ms(c.settings().user_timeout_ms);
}

void time_out(Env& env, Connection& c) {
    ++env.counters.tcp_abort_on_timeout;
    // What was reported last and not overtaken by progress says more than that nobody answered.
    finish(env, c, c.soft_error != 0 ? c.soft_error : ETIMEDOUT);
}

/// R1 of RFC 9293 section 3.8.3: IP is told to doubt the way (MUST-20), the application that there
/// is trouble (SHLD-9).
void doubt_path(Env& env, Connection& c) {
    env.neighbours.doubt(c.next_hop);
    c.next_hop = {};
    report(env, c, c.soft_error != 0 ? c.soft_error : ETIMEDOUT);
}

/// An orphan among too many; one that has sent nothing for long counts twice, as in Linux.
bool is_one_too_many(const Env& env, const Connection& c) {
    if (!c.orphan) return false;
    const auto silence = Duration::from_ms(env.tunables.tcp_rto_max_ms) * 2;
    const uint64_t weight = Duration::from_ms(env.ms() - c.last_sent_ms) > silence ? 2 : 1;
    return env.orphans * weight > env.tunables.tcp_max_orphans;
}

/// The present series of timeouts is as long as that many backoffs of the smallest RTO.
bool has_lasted(const Env& env, const Connection& c, uint32_t retries) {
    const Duration started_before = Duration::from_us(env.tunables.tcp_rto_min_us);
    return env.now - c.sending->first_retransmit + started_before >=
           retries_duration(env.tunables, retries);
}

/// R2 of RFC 9293 section 3.8.3, measured as Linux measures it: by the time that the backoffs of
/// the smallest RTO would take. A user timeout stands in for it. `stalled`: the loop itself stood
/// still, and what goes out now gets its chance.
bool given_up(Env& env, Connection& c, bool stalled) {
    if (!c.timed_out) c.sending->first_retransmit = env.now;
    if (stalled || is_patient(c)) return false;
    const uint32_t retries =
        c.attached ? env.tunables.tcp_retries2 : orphan_retries(env, is_alive(env, c));
    const bool over =
        has_user_timeout(c) ? user_timed_out(env, c) : has_lasted(env, c, retries);
    if (over) time_out(env, c);
    return over;
}

/// The same for a closed window. It may last for ever while somebody answers (MUST-37), so that
/// only unanswered probes count; but not longer than a user timeout, nor for an orphan once the
/// intervals have grown to their ceiling.
bool probing_given_up(Env& env, Connection& c, bool stalled) {
    if (!c.timed_out) c.sending->first_retransmit = env.now;
    if (stalled || is_patient(c)) return false;
    uint32_t retries = env.tunables.tcp_retries2;
    bool over = user_timed_out(env, c);
    if (!c.attached) {
        const bool alive = is_alive(env, c);
        retries = orphan_retries(env, alive);
        over = over || (!alive && c.backoffs >= retries);
    }
    if (!has_user_timeout(c)) over = over || c.probes_out >= retries;
    if (over) time_out(env, c);
    return over;
}

void back_off(Env& env, Connection& c) {
    if (c.backoffs < UINT8_MAX) ++c.backoffs;
    c.sending->retransmit_at = within_user_timeout(env, c, pacing::delay(env, c) + rto(env, c));
}

/// SYN and SYN-ACK of a simultaneous open (MUST-22): `tcp_syn_linear_timeouts` without backoff,
/// then doubling.
void on_syn_timeout(Env& env, Connection& c, bool stalled) {
    Sending& s = *c.sending;
    if (c.backoffs == 0) s.first_retransmit = stalled ? env.now : s.syn_sent_at;
    // The linear ones come on top of tcp_syn_retries, as in Linux: the last SYN goes at 67 s.
    const uint32_t linear = env.tunables.tcp_syn_linear_timeouts;
    const uint32_t own = c.settings().syn_retries;
    const uint32_t retries = own != 0 ? own : env.tunables.tcp_syn_retries;
    const bool over = c.backoffs >= retries + linear || user_timed_out(env, c);
    if (over && !stalled && !is_patient(c)) {
        ++env.counters.tcp_attempt_fails;
        time_out(env, c);
        return;
    }
    if (c.backoffs == env.tunables.tcp_retries1) doubt_path(env, c);
    if (c.backoffs < UINT8_MAX) ++c.backoffs;
    c.timed_out = true;
    ++env.counters.tcp_timeouts;
    c.syn_due = true;
    env.mark_dirty(c);
    const unsigned doublings = c.backoffs > linear ? c.backoffs - linear : 0;
    const auto ceiling = Duration::from_ms(env.tunables.tcp_rto_max_ms);
    s.retransmit_at = within_user_timeout(
        env, c, c.rtt.rto(Duration::from_us(env.tunables.tcp_rto_min_us), ceiling, doublings));
}

/// RFC 6298 section 5.4 to 5.7: all that is old enough counts as lost, and the window lets the
/// first segment go again.
void on_retransmission_timeout(Env& env, Connection& c, bool stalled) {
    if (given_up(env, c, stalled)) return;
    if (c.backoffs == env.tunables.tcp_retries1) doubt_path(env, c);
    ++env.counters.tcp_timeouts;
    if (has_lasted(env, c, env.tunables.tcp_retries1)) on_black_hole_suspected(env, c);
    enter_loss(env, c);
    c.timed_out = true;
    back_off(env, c);
    env.mark_dirty(c);
}

/// A window of zero may last for ever (MUST-37); probes go out with growing intervals. What is in
/// flight is its own probe, as in Linux: the window may have seemed closed by rounding (MUST-35).
void on_probe_timeout(Env& env, Connection& c, bool stalled) {
    if (probing_given_up(env, c, stalled)) return;
    if (c.probes_out < UINT8_MAX) ++c.probes_out;
    if (c.outstanding() > 0)
        enter_loss(env, c);
    else
        c.probe_due = true;
    c.timed_out = true;
    back_off(env, c);
    env.mark_dirty(c);
}

/// What the deadline that was armed means now.
std::optional<TraceTimer> timer_due(const Connection& c, TimerMode mode) {
    const bool outstanding = c.outstanding() > 0;
    if (mode == TimerMode::reorder && outstanding) return TraceTimer::reordering;
    // The round trip was over before its probe was due: then it is a timeout like any other.
    if (mode == TimerMode::loss_probe && outstanding && c.snd_wnd > 0)
        return TraceTimer::loss_probe;
    // A window closed over what is in flight may stay so while somebody answers; not for an orphan.
    if (outstanding && (c.snd_wnd > 0 || !c.attached)) return TraceTimer::retransmission;
    if (outstanding || c.has_unsent()) return TraceTimer::persist;
    return std::nullopt;
}

void on_retransmit_deadline(Env& env, Connection& c) {
    Sending& s = *c.sending;
    // Time in which our own loop stood still says nothing of the peer (attack case 64).
    const Duration late = env.now - s.retransmit_at;
    const bool stalled = late >= stall_min;
    if (stalled && c.timed_out) s.first_retransmit = s.first_retransmit + late;
    s.retransmit_at = Instant::never();
    if (!is_synchronised(c.state)) {
        trace::timer(env, c, TraceTimer::retransmission);
        return on_syn_timeout(env, c, stalled);
    }
    if (is_one_too_many(env, c)) return abort_for_memory(env, c);
    const auto timer = timer_due(c, std::exchange(s.timer_mode, TimerMode::retransmit));
    if (!timer) return;
    trace::timer(env, c, *timer);
    switch (*timer) {
        case TraceTimer::reordering: return rack::on_reorder_timeout(env, c);
        case TraceTimer::loss_probe: return rack::on_probe_timeout(env, c);
        case TraceTimer::persist: return on_probe_timeout(env, c, stalled);
        default: return on_retransmission_timeout(env, c, stalled);
    }
}

/// TCP_CORK holds a partial segment no longer.
void on_cork_deadline(Env& env, Connection& c) {
    trace::timer(env, c, TraceTimer::cork);
    c.sending->cork_due = Instant::never();
    c.sending->cork_over = true;
    env.mark_dirty(c);
}

}  // namespace

Duration rto(const Env& env, const Connection& c) {
    return c.rtt.rto(Duration::from_us(env.tunables.tcp_rto_min_us),
                     Duration::from_ms(env.tunables.tcp_rto_max_ms), c.backoffs);
}

Instant within_user_timeout(const Env& env, const Connection& c, Duration wait) {
    if (!c.timed_out || !has_user_timeout(c)) return env.now + wait;
    const Duration left =
        c.sending->first_retransmit + Duration::from_ms(c.settings().user_timeout_ms) - env.now;
    // It is over, and yet we go on: the loop stood still. What goes out now may be answered.
    if (left <= Duration()) return env.now + Duration::from_us(env.tunables.tcp_rto_min_us);
    return env.now + std::min(wait, left);
}

void restart_retransmit_timer(Env& env, Connection& c) {
    // With nothing in flight and something to send, the window holds us back: probe after an RTO
    // (SHLD-29). If it is only Nagle or congestion, egress moves on before that.
    if (c.outstanding() > 0 || c.has_unsent()) {
        if (c.outstanding() > 0 && rack::schedule_probe(env, c, true)) return;
        Sending& s = *c.sending;
        s.timer_mode = c.outstanding() > 0 ? TimerMode::retransmit : TimerMode::probe;
        s.retransmit_at = within_user_timeout(env, c, pacing::delay(env, c) + rto(env, c));
        arm_timer(env, c);
    } else if (c.sending != nullptr) {
        c.sending->retransmit_at = Instant::never();
    }
}

void timer_after_transmission(Env& env, Connection& c, bool loss_probe) {
    Sending& s = *c.sending;
    if (!loss_probe && is_synchronised(c.state)) {
        const bool armed = s.retransmit_at != Instant::never();
        // A reordering timer that is armed comes first; the others begin anew.
        if (armed && s.timer_mode == TimerMode::reorder) return;
        if (rack::schedule_probe(env, c, false)) return;
        if (armed && s.timer_mode == TimerMode::retransmit) return;
    }
    s.timer_mode = TimerMode::retransmit;
    s.retransmit_at = within_user_timeout(env, c, pacing::delay(env, c) + rto(env, c));
    arm_timer(env, c);
}

void on_timer(Env& env, Connection& c) {
    // What it was armed for is over, and the connection most likely cold: these pointers and the
    // timer share a cache line or two.
    if (c.sending == nullptr && c.receiving == nullptr && c.slow_due == Instant::never()) return;
    pacing::on_timer(env, c);
    if (c.ack_delayed && c.receiving->delayed_ack_due <= env.now) on_delayed_ack_timeout(env, c);
    if (c.sending != nullptr && c.sending->cork_due <= env.now) on_cork_deadline(env, c);
    if (c.sending != nullptr && c.sending->retransmit_at <= env.now) on_retransmit_deadline(env, c);
    if (c.slow_due <= env.now) on_slow_deadline(env, c);
    if (c.state != State::closed) arm_timer(env, c);
}

}  // namespace millrace::tcp
