// Sending the filling of messages: by reference where it is long, copied where it is short.
#pragma once

#include "common/channel.h"
#include "load/raw.h"

namespace millrace::apps {

/// A piece of the filling of a message, from its `offset` on, at most `size` bytes: as much as goes
/// at once. Answers how much; EAGAIN where there is no room, or the connection's errno.
Result<size_t> send_filling(Stack& stack, Channel& channel, size_t offset, size_t size);

/// Of a stream's filling as much as there is room for, from `offset` on: `on_writable` follows.
/// Answers how much.
size_t send_stream(Stack& stack, Channel& channel, size_t offset);

}  // namespace millrace::apps
