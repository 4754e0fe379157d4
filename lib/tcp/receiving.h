// What a connection needs only while it has received something that is not dealt with.
#pragma once

#include <cstdint>

#include <millrace/buffer.h>
#include <millrace/time.h>

#include "base/seq.h"
#include "tcp/ack_snapshot.h"

namespace millrace::tcp {

class Reassembly;
struct ReceiveTuning;

/// Borrowed from the core's pool by the first segment that leaves something behind, given back when
/// everything has been read and acknowledged: an idle connection holds none. One that receives in
/// bulk keeps it, for its tuning. Changed by `lib/tcp` alone.
struct Receiving {
    BufferChain queue;             ///< in order, not taken by the application yet
    uint32_t pinned = 0;           ///< buffers that `queue` pins, bytes
    uint32_t unacked = 0;          ///< received in order since our last ACK, bytes
    Reassembly* reassembly = nullptr;
    ReceiveTuning* tuning = nullptr;  ///< borrowed once data comes in bulk
    AckSnapshots snapshots;        ///< ACKs of their own that this turn's egress sends first
    Instant delayed_ack_due = Instant::never();
    Seq fin_seq;                   ///< where the peer's FIN waits, while `Connection::fin_pending`
    Seq up;                        ///< RCV.UP, while `Connection::urgent_pending`
};
static_assert(sizeof(Receiving) <= 80);

}  // namespace millrace::tcp
