// The urgent mechanism (RFC 9293 section 3.8.5, RFC 6093): a mark in the stream, not a second one.
#pragma once

#include <span>

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// SEND with the URGENT flag (MUST-30, MUST-31): as `send_copy`, and what was taken, with all
/// before it, is urgent. Neither Nagle nor a cork holds it; a closed window does, but not the
/// notice of it.
Result<size_t> send_urgent(Env& env, Connection& c, std::span<const std::byte> data);
/// Sets URG and the pointer on a segment that is about to go out, where SND.UP is ahead of it and
/// within the pointer's reach.
void mark_urgent(const Connection& c, wire::Segment& header);
/// Sixth step of RFC 9293 section 3.10.7.4. `first` is SEG.SEQ as it came, before trimming. The
/// data itself is delivered in line, as with SO_OOBINLINE (RFC 6093 section 5): always.
void check_urgent(Env& env, Connection& c, const wire::Segment& segment, Seq first);
/// The application has taken what was in the receive queue.
void urgent_read(Connection& c);
/// How many of the next bytes that the application will receive are urgent, arrived or not
/// (MUST-33).
uint32_t urgent_remaining(const Connection& c);

}  // namespace millrace::tcp
