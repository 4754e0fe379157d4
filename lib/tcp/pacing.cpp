#include "tcp/pacing.h"

#include <algorithm>

#include "tcp/output.h"

namespace millrace::tcp::pacing {

uint64_t rate(const Env& env, const Connection& c) {
    const uint64_t most = c.settings().max_pacing_rate;
    const bool capped = most != Settings::unpaced;
    const bool wanted = capped || env.tunables.tcp_pacing != 0;
    const uint64_t chosen =
        c.sending == nullptr
            ? congestion::Control::idle_pacing_rate(c.window, c.rtt.srtt(), wanted)
            : c.sending->control.pacing_rate(c.window, c.rtt.srtt(), wanted);
    if (!capped) return chosen;
    return chosen == 0 ? most : std::min(chosen, most);
}

uint32_t allowance(const Env& env, const Connection& c) {
    const uint64_t now_rate = rate(env, c);
    if (now_rate == 0) return TransmitPlan::size_max;
    if (c.sending->pace_at > env.now) return 0;
    return std::min(congestion::Control::send_quantum(c.window, now_rate), TransmitPlan::size_max);
}

void spend(const Env& env, Connection& c, uint32_t bytes) {
    const uint64_t now_rate = rate(env, c);
    if (now_rate == 0) return;
    Sending& s = *c.sending;
    // At most 2^17 bytes at a time: no overflow.
    const auto taken = static_cast<int64_t>(uint64_t{bytes} * 1'000'000'000 / now_rate);
    s.pace_at = std::max(s.pace_at, env.now - credit_max) + Duration::from_ns(taken);
}

Duration delay(const Env& env, const Connection& c) {
    if (c.sending == nullptr || c.sending->pace_at <= env.now) return {};
    return c.sending->pace_at - env.now;
}

void wait(Env& env, Connection& c) {
    c.sending->pace_waiting = true;
    arm_timer(env, c);
}

void on_timer(Env& env, Connection& c) {
    Sending* s = c.sending;
    if (s == nullptr || !s->pace_waiting || s->pace_at > env.now) return;
    s->pace_waiting = false;
    env.mark_dirty(c);
}

}  // namespace millrace::tcp::pacing
