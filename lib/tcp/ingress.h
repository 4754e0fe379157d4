// A segment arrives at a connection: RFC 9293 section 3.10.7, step by step.
#pragma once

#include <optional>

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// What the stack must send at once because no connection will: RFC 9293's resets.
enum class Verdict : uint8_t {
    done,   ///< nothing
    drop,   ///< nothing, and the rest of the segment must not be used
    reset,  ///< a RST in answer to the segment (RFC 9293 section 3.5.2)
};

/// Takes a segment whose tuple is `c`'s, and its payload by ownership. Transmits nothing: `c` joins
/// the dirty list if it has something to say. Time: `env.now`.
Verdict ingress(Env& env, Connection& c, wire::Segment& segment, BufferChain payload);

// The steps, one function each, for `ingress` alone.
namespace steps {
Verdict syn_sent(Env& env, Connection& c, wire::Segment& segment, BufferChain payload);
bool check_timestamps(Env& env, Connection& c, const wire::Segment& segment);
void take_timestamp(Env& env, Connection& c, const wire::Segment& segment, Seq first);
bool check_sequence(Env& env, Connection& c, wire::Segment& segment, BufferChain& payload,
                    wire::SackBlock& old);
void check_reset(Env& env, Connection& c, const wire::Segment& segment);
void check_syn(Env& env, Connection& c);
Verdict check_ack(Env& env, Connection& c, const wire::Segment& segment);
void process_text(Env& env, Connection& c, const wire::Segment& segment, BufferChain payload);
void check_fin(Env& env, Connection& c, const wire::Segment& segment);
}  // namespace steps

/// The peer's options on SYN or SYN-ACK become the connection's (RFC 9293 section 3.7.1, RFC 7323).
void adopt_options(Env& env, Connection& c, const wire::TcpOptions& options, uint16_t window);
/// An ACK for a segment that gets no other: at most one per `tcp_invalid_ratelimit` (attack cases
/// 29 to 33).
void challenge_ack(Env& env, Connection& c);
/// What the handshake tells of the path: its round trip, or that it needed retransmissions.
void begin_estimates(Env& env, Connection& c, std::optional<Duration> rtt,
                     unsigned retransmissions);
/// The connection has become ESTABLISHED.
void established(Env& env, Connection& c);

}  // namespace millrace::tcp
