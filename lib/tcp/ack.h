// What an acknowledgment does.
#pragma once

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// There is room again for an application that met a full send buffer, or too much unsent.
void wake_writer(Env& env, Connection& c);

}  // namespace millrace::tcp
