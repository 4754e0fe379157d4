// Pacing: data leaves at a rate instead of as fast as the window allows.
//
// The sender may put out a quantum (about a millisecond's worth) whenever `Sending::pace_at` has
// come; what that takes at the rate moves `pace_at` on. The timing wheel is late by up to a tick:
// `pace_at` moves on from where it was and not from now, at most `credit_max` behind, so that the
// lateness is made up for and silence is not.
//
// New data and what is sent again are paced; ACKs, probes, SYN and RST are not.
#pragma once

#include "tcp/env.h"

namespace millrace::tcp::pacing {

constexpr Duration credit_max = time::Wheel::tick * 2;

/// Bytes per second, 0: not paced. What congestion control wants, and SO_MAX_PACING_RATE's cap.
uint64_t rate(const Env& env, const Connection& c);
/// Bytes that may leave in one plan now; 0 before `pace_at`.
uint32_t allowance(const Env& env, const Connection& c);
/// `bytes` have left, paced or not.
void spend(const Env& env, Connection& c, uint32_t bytes);
/// Time until more may leave. Timers that watch over what is sent wait that much longer.
Duration delay(const Env& env, const Connection& c);
/// Something waits for `pace_at`: the connection becomes dirty again then.
void wait(Env& env, Connection& c);
/// The connection's timer has fired.
void on_timer(Env& env, Connection& c);

}  // namespace millrace::tcp::pacing
