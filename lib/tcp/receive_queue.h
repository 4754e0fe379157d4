// What a connection's received data may pin: queues are charged by buffer, not by payload.
#pragma once

#include "tcp/env.h"

namespace millrace::tcp {

/// Bytes of packet buffers that the receive queue and what lies behind holes pin.
size_t receive_charge(const Connection& c);
/// What they may pin: twice the receive buffer, or twice what has been offered where the buffer has
/// been made smaller since.
size_t receive_limit(const Connection& c);
/// Makes room for `payload`, which starts at `begin`. Above the limit, or while the core's receive
/// buffers are short, the queues are collapsed into buffers of the payload pool by counted copies;
/// then data behind holes is pruned, from the highest and only above `begin`; then false: the
/// segment's text is to be dropped (attack cases 41 and 54). Where receive buffers are short,
/// `payload` is a copy afterwards; where those for copies are, too, what comes behind unread data
/// is dropped: its sender has it still, and sends need them.
bool make_receive_room(Env& env, Connection& c, Seq begin, BufferChain& payload);

/// While both kinds of buffers are short: of the core's connections, those that have waited longest
/// for missing data give up what they hold behind it, a few at a time. Who makes holes that are
/// never filled keeps nobody else from receiving.
void relieve(Env& env);

}  // namespace millrace::tcp
