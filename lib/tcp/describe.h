// A connection as a plain record: what TCP_INFO, the native statistics and `ss` all say of it.
#pragma once

#include <millrace/inspect.h>

#include "tcp/env.h"

namespace millrace::tcp {

/// The state in Linux's numbers.
SocketState public_state(State state);
/// Everything but its addresses, its core and its identity.
void describe(const Env& env, const Connection& c, SocketRecord& record);

}  // namespace millrace::tcp
