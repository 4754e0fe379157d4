// Retransmission, probing and delayed ACK: what happens when a little time passes.
#pragma once

#include "tcp/env.h"

namespace millrace::tcp {

/// `c.timer` fired. Deadlines may have moved since it was armed: looks, acts, arms again.
void on_timer(Env& env, Connection& c);

/// Arms, moves or stops the retransmission (or probe) timer by what is outstanding now.
void restart_retransmit_timer(Env& env, Connection& c);
/// A SYN, data or a FIN has gone out: the timer that watches over it runs (RFC 6298 (5.1)).
void timer_after_transmission(Env& env, Connection& c, bool loss_probe);
/// The present retransmission timeout.
Duration rto(const Env& env, const Connection& c);
/// When `wait` is over, or the user timeout of the present series where that comes first.
Instant within_user_timeout(const Env& env, const Connection& c, Duration wait);

}  // namespace millrace::tcp
