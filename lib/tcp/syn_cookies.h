// SYN cookies (RFC 4987 section 3.6): a half-open connection that nobody remembers. What its SYN
// said travels in the SYN-ACK's sequence number and timestamp, and comes back in the third ACK.
#pragma once

#include <optional>

#include "tcp/env.h"
#include "tcp/listener.h"

namespace millrace::tcp {

/// The SYN-ACK that answers `syn` by a cookie; the listener takes cookies from now on. `entry` is
/// the caller's own, in no table and on no timer. Nothing where the peer's MSS is smaller than any
/// that a cookie can say.
std::optional<wire::Segment> cookie_syn_ack(Env& env, HalfOpen& entry, const wire::Segment& syn,
                                            const Address& local, uint16_t link_mss);

/// A cookie of this listener's could come back now: one was sent in this period or the last one.
bool takes_cookies(const Env& env, const Listener& listener);

/// Fills `entry` with what its SYN said, from the ACK that brings the cookie back. False where the
/// ACK brings none. Two keyed hashes at most, nothing allocated: made-up ACKs cost no more (attack
/// case 18), and pass with a chance of 2 x 8 / 2^32.
bool restore_from_cookie(Env& env, HalfOpen& entry, const wire::Segment& ack, const Address& local);

}  // namespace millrace::tcp
