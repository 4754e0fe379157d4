#include "tcp/slow_timer.h"

#include <algorithm>
#include <cerrno>

#include "tcp/limits.h"
#include "tcp/timers.h"
#include "tcp/trace.h"

namespace millrace::tcp {

namespace {

Duration keepalive_idle(const Env& env, const Connection& c) {
    const uint16_t own = c.settings().keepalive_idle_s;
    return Duration::from_s(own != 0 ? own : env.tunables.tcp_keepalive_time);
}

Duration keepalive_interval(const Env& env, const Connection& c) {
    const uint16_t own = c.settings().keepalive_interval_s;
    return Duration::from_s(own != 0 ? own : env.tunables.tcp_keepalive_intvl);
}

Duration silence(const Env& env, const Connection& c) {
    return Duration::from_ms(uint32_t{env.ms() - c.last_received_ms});
}

/// One unanswered probe never means that a connection is dead (MUST-29): it takes the whole count
/// or the user timeout, which stands in for the count as in Linux.
bool is_dead(const Env& env, const Connection& c) {
    const Settings& own = c.settings();
    if (own.user_timeout_ms == user_timeout_never) return false;
    if (own.user_timeout_ms != 0)
        return c.probes_out > 0 && silence(env, c) >= Duration::from_ms(own.user_timeout_ms);
    return c.probes_out >= (own.keepalive_probes != 0 ? own.keepalive_probes
                                                      : env.tunables.tcp_keepalive_probes);
}

/// RFC 9293 section 3.8.4. Answers when to look again; `Instant::never()` where it is over.
Instant check_keepalive(Env& env, Connection& c, Instant due) {
    const Duration idle = keepalive_idle(env, c);
    // Who waits for an acknowledgment or a window finds out without us (MUST-26).
    if (c.outstanding() > 0 || c.has_unsent()) return env.now + idle;
    const Duration silent = silence(env, c);
    if (silent < idle) return env.now + (idle - silent);
    // Met this late, our own loop stood still: no time to count probes (attack case 64).
    const bool stalled = env.now - due >= stall_min;
    if (!stalled && is_dead(env, c)) {
        ++env.counters.tcp_abort_on_timeout;
        c.rst_due = true;
        finish(env, c, ETIMEDOUT);
        return Instant::never();
    }
    if (c.probes_out < UINT8_MAX) ++c.probes_out;
    ++env.counters.tcp_keepalives;
    c.keepalive_due = true;
    env.mark_dirty(c);
    return env.now + keepalive_interval(env, c);
}

}  // namespace

void on_slow_deadline(Env& env, Connection& c) {
    const Instant due = std::exchange(c.slow_due, Instant::never());
    trace::timer(env, c, TraceTimer::keepalive);
    if (c.state == State::fin_wait_2 && !c.attached) return finish(env, c, 0);  // silently
    if (!c.keepalive || !is_synchronised(c.state)) return;
    c.slow_due = check_keepalive(env, c, due);
}

void start_keepalive(Env& env, Connection& c) {
    if (!is_synchronised(c.state)) return;
    if (c.state == State::fin_wait_2 && !c.attached) return;  // the timer serves its end
    c.slow_due = Instant::never();
    if (!c.keepalive) return;
    const Duration left = keepalive_idle(env, c) - silence(env, c);
    c.slow_due = env.now + std::max(left, Duration());
    arm_timer(env, c);
}

void start_fin_wait_2_timer(Env& env, Connection& c) {
    const int16_t linger2_s = c.settings().linger2_s;
    if (linger2_s < 0) {
        ++env.counters.tcp_abort_on_linger;
        c.rst_due = true;
        finish(env, c, 0);
        return;
    }
    // It holds nothing but its place: no orphan any more, as in Linux, whose limit is for those
    // that still have something to deliver.
    if (c.orphan) --env.orphans;
    c.orphan = false;
    const auto time = Duration::from_s(linger2_s != 0 ? static_cast<uint32_t>(linger2_s)
                                                      : env.tunables.tcp_fin_timeout);
    // Linux's tcp_fin_time(): time enough for the peer's FIN to be sent again.
    c.slow_due = env.now + std::max(time, rto(env, c) * 7 / 2);
    arm_timer(env, c);
    env.mark_dirty(c);  // egress lets an entry wait in its place
}

bool become_orphan(Env& env, Connection& c) {
    c.orphan = true;
    if (++env.orphans <= env.tunables.tcp_max_orphans) return true;
    abort_for_memory(env, c);
    return false;
}

void abort_for_memory(Env& env, Connection& c) {
    ++env.counters.tcp_abort_on_memory;
    c.rst_due = true;
    finish(env, c, 0);
}

}  // namespace millrace::tcp
