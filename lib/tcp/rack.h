// RACK-TLP (RFC 8985): losses found by time, and tails probed before the timeout.
#pragma once

#include "tcp/recovery.h"

namespace millrace::tcp::rack {

/// Steps 1 to 3 for the part of a range up to `end` that was delivered: what was sent last of all
/// that has arrived, and whether the network reorders. `by_sack`: not by SND.UNA's move.
void on_delivered(Env& env, Connection& c, const SentRange& range, Seq end, const AckWork& work,
                  bool by_sack);
/// What was taken for lost has come late.
void note_reordering(Env& env, Connection& c);
/// Step 4: adapts the reordering window to duplicates that the peer reports.
void on_dsack(Connection& c, const AckWork& work);
/// Step 5: marks what is lost. Where some of it may yet arrive, arms the reordering timer.
void detect_loss(Env& env, Connection& c, AckWork& work);
/// The reordering timer has expired.
void on_reorder_timeout(Env& env, Connection& c);

/// Arms a tail loss probe in place of the retransmission timer where one may go out. False: the
/// retransmission timer it is. `progress`: an ACK has put the timeout off, not a transmission.
bool schedule_probe(Env& env, Connection& c, bool progress);
/// The probe timer has expired: a probe goes out this turn.
void on_probe_timeout(Env& env, Connection& c);

}  // namespace millrace::tcp::rack
