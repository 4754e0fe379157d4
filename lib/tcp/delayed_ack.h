// When received data is acknowledged: at once, with every second segment, or a little later.
#pragma once

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// In-order data has been taken in: when does its ACK go out? (RFC 9293 section 3.8.6.3) After
/// Linux: at once for the first segments of a connection and after disorder; with more than one
/// full segment (SHLD-19); else after `ato_ms`, which follows the time between segments, in the
/// hope that the application's answer carries it.
void schedule_ack(Env& env, Connection& c, const wire::Segment& segment);
/// The peer's FIN has been taken in. Where request and response alternate, ours may carry the ACK.
void acknowledge_fin(Env& env, Connection& c);
/// The next segments are acknowledged at once, up to `most` of them: the peer has lost something,
/// or its window is small (Linux: tcp_enter_quickack_mode).
void enter_quick_acks(Connection& c, uint8_t most);
/// A segment that acknowledges RCV.NXT has gone out.
void acknowledged(Connection& c);
/// New data has gone out: soon after data came, it is an answer.
void note_answer(Env& env, Connection& c);
/// `delayed_ack_due` is past.
void on_delayed_ack_timeout(Env& env, Connection& c);
/// TCP_QUICKACK. On: what is owed goes at once, and so do the next ACKs; off: they wait to be
/// carried. Neither is for ever: the connection goes on learning.
void set_quick_ack(Env& env, Connection& c, bool on);

}  // namespace millrace::tcp
