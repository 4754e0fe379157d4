// What a connection wants to send: transmit plans, asked for by egress once a turn.
#pragma once

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// A range of up to 64 KiB with the header of its first segment. Whoever emits it splits it into
/// segments of `mss` bytes of payload; FIN and PSH go on the last of them.
struct TransmitPlan {
    static constexpr uint32_t size_max = 65536;

    wire::Segment header;
    buf::Cursor payload;       ///< where the range starts
    uint32_t payload_size = 0;
    uint32_t offset = 0;       ///< of the range in the send queue
    uint16_t mss = 0;
    bool retransmission = false;  ///< of what `header.seq` names, with its place on record
    bool mtu_probe = false;       ///< larger than a full segment, in one piece (RFC 4821)
    bool loss_probe = false;      ///< a tail loss probe (RFC 8985 section 7.3)
    bool answer_wanted = false;   ///< a window or keep-alive probe
    bool ect = false;             ///< its segments are ECN-capable: ECT(0)
};

/// The next thing to send now, if there is one. Ask again after `sent`.
bool next_plan(Env& env, Connection& c, TransmitPlan& plan);
/// The acknowledgment alone, if one is owed: a header is all it needs.
bool next_ack(Env& env, Connection& c, TransmitPlan& plan);
/// `plan` has been emitted, `payload_size` bytes of it (all, or less where a pool ran dry; then
/// FIN has not gone).
void sent(Env& env, Connection& c, const TransmitPlan& plan, uint32_t payload_size,
          const buf::Cursor& after);

}  // namespace millrace::tcp
