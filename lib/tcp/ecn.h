// Explicit congestion notification: RFC 3168's handshake, echo and response, and what a receiver
// of DCTCP's does instead of the echo (RFC 8257 section 3.2).
#pragma once

#include "tcp/recovery.h"
#include "wire/tcp.h"

namespace millrace::tcp::ecn {

/// The IP header's ECN field (RFC 3168 section 5).
constexpr uint8_t not_ect = 0;
constexpr uint8_t ect0 = 2;
constexpr uint8_t ce = 3;

/// RFC 3168 section 6.1.1: an ECN-setup SYN has both bits, an ECN-setup SYN-ACK has ECE alone: a
/// peer that only reflects what it was sent shows both.
inline bool is_setup_syn(const wire::Segment& syn) {
    return syn.has(wire::TcpFlags::ece) && syn.has(wire::TcpFlags::cwr);
}
inline bool is_setup_answer(const wire::Segment& answer) {
    return answer.has(wire::TcpFlags::ece) && !answer.has(wire::TcpFlags::cwr);
}

/// Our first SYN asks for ECN.
bool asks(const Env& env, const Connection& c);
/// The peer's SYN asks for it, and a listener with the configured algorithm agrees.
bool agrees(const Env& env, const wire::Segment& syn);
/// The control bits of our SYN, or of our SYN-ACK in a simultaneous open. `again`: nobody has
/// answered the one before.
uint8_t syn_flags(Env& env, Connection& c, bool again);
/// The peer's SYN-ACK, or its SYN where both open at once.
void on_peer_syn(Connection& c, const wire::Segment& segment);

/// A segment with text inside the window has arrived: CE and CWR.
void on_text(Env& env, Connection& c, const wire::Segment& segment);
/// An ACK with ECE has arrived, and no loss has claimed the window already.
void on_echo(Env& env, Connection& c, const AckWork& work);
/// The window comes down: CWR goes on the next new segment, whatever the reason (section 6.1.2).
void on_reduction(Connection& c);

}  // namespace millrace::tcp::ecn
