// The coarse timer of a connection: keep-alive, FIN-WAIT-2, and how many orphans there may be.
//
// `Connection::slow_due` is never moved by traffic. When it is reached, the connection looks at
// what has happened since and sets it to what is left of the time: an idle one touches the wheel
// once in two hours.
#pragma once

#include "tcp/env.h"

namespace millrace::tcp {

/// `c.slow_due` is reached.
void on_slow_deadline(Env& env, Connection& c);
/// Keep-alive begins, ends, or its times have changed; nothing before the connection is
/// established.
void start_keepalive(Env& env, Connection& c);
/// An orphan waits at most `tcp_fin_timeout` (or its TCP_LINGER2) for the peer's FIN.
void start_fin_wait_2_timer(Env& env, Connection& c);
/// The application lets go of a connection that is not over. False: there are too many of those
/// (`tcp_max_orphans`), it has been reset.
bool become_orphan(Env& env, Connection& c);
/// There is no room for this orphan: a reset, and gone.
void abort_for_memory(Env& env, Connection& c);

}  // namespace millrace::tcp
