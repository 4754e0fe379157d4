// What the flow table holds: connections and TIME-WAIT entries, found by one key.
#pragma once

#include <cstdint>

#include "base/hash_table.h"
#include "ip/flow_key.h"

namespace millrace::tcp {

/// A connection's four-tuple.
using FlowKey = ip::FlowKey;

enum class FlowKind : uint8_t { connection, time_wait };

/// The part that a connection and a TIME-WAIT entry share.
struct Flow : HashNode {
    Flow(FlowKind k, const FlowKey& flow_key) : kind(k), key(flow_key) {}
    FlowKind kind;
    bool timestamps : 1 = false;  ///< both sides sent the option on their SYN
    bool awaits_fin : 1 = false;  ///< a `TimeWait` that is in FIN-WAIT-2 still
    bool reuse_address : 1 = false;  ///< SO_REUSEADDR of the socket or listener that it began with
    bool reuse_port : 1 = false;     ///< likewise SO_REUSEPORT
    uint8_t dscp = 0;  ///< on every segment that is sent (RFC 9293 MUST-48); 6 bits
    uint8_t ttl = 0;   ///< likewise TTL or hop limit (MUST-49); 0: `ip_default_ttl`
    FlowKey key;
};
static_assert(sizeof(Flow) == 40);

}  // namespace millrace::tcp
