// What an acknowledgment does, and when we acknowledge.
#pragma once

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// In-order data has been taken in: when does its ACK go out? (RFC 9293 section 3.8.6.3)
void schedule_ack(Env& env, Connection& c, uint32_t payload_size);

}  // namespace millrace::tcp
