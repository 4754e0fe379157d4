// Listeners, half-open connections and the accept queue: passive OPEN.
#pragma once

#include <algorithm>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <optional>

#include "tcp/connection.h"
#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::stack {
struct Binding;
}

namespace millrace::tcp {

struct HalfOpen;
struct Listener;
/// Two pointers: a half-open entry leaves its lists at any time.
template <typename Tag>
using HalfOpenHook = boost::intrusive::list_base_hook<
    boost::intrusive::tag<Tag>, boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
using SiblingHook = HalfOpenHook<struct SiblingTag>;

/// A connection in SYN-RECEIVED after a passive OPEN (DESIGN: at most 128 bytes, no buffers).
/// Owned by one core, from its pool; found by tuple in the half-open table.
struct HalfOpen : HashNode, SiblingHook {
    HalfOpen(const FlowKey& flow_key, Listener& parent) : key(flow_key), listener(&parent) {}

    FlowKey key;
    Listener* listener;
    Seq iss;
    Seq irs;
    uint32_t ts_recent = 0;
    uint16_t peer_mss = 0;      ///< as offered; 0: none
    uint16_t peer_window = 0;   ///< unscaled
    uint8_t peer_shift = 0;
    bool window_scaling : 1 = false;
    bool timestamps : 1 = false;
    bool sack : 1 = false;
    bool ecn : 1 = false;       ///< its SYN asked for ECN and we agree
    bool answered : 1 = false;  ///< a SYN-ACK has gone out
    bool timed : 1 = false;     ///< once only, and `answered_us` is when: a round trip to measure
    bool answer_due : 1 = false;
    bool acked : 1 = false;     ///< a bare third ACK has come, and TCP_DEFER_ACCEPT waits for data
    uint8_t retransmissions = 0;
    uint32_t answered_us = 0;   ///< when the first SYN-ACK went out: the clock's low 32 bits
    uint32_t repeated_ms = 0;   ///< when one last went out because it was asked for; 0: never
    uint32_t ts_offset = 0;     ///< of our timestamps, where they are agreed on
    time::WheelEntry timer{timer_half_open};
    HalfOpen* next_due = nullptr;  ///< in the list of those whose SYN-ACK goes out this turn
};
static_assert(sizeof(HalfOpen) <= 128);

using Siblings = boost::intrusive::list<HalfOpen, boost::intrusive::base_hook<SiblingHook>,
                                        boost::intrusive::constant_time_size<false>>;

/// Listens on one address (or all of a family, `any` of IPv6 for both) and one port. Owned by one
/// core. Its children: half-open entries, and connections that nobody has accepted yet.
struct Listener : HashNode {
    Address address;
    uint16_t port = 0;
    uint32_t backlog = 0;       ///< min(backlog, somaxconn)
    uint32_t half_open_count = 0;
    Siblings half_open;
    AcceptQueue accept_queue;
    void* owner = nullptr;      ///< the application's side
    uint8_t min_ttl_v4 = 0, min_ttl_v6 = 0;  ///< IP_MINTTL, IPV6_MINHOPCOUNT
    uint8_t defer_accept = 0;   ///< TCP_DEFER_ACCEPT, in timeouts of the SYN-ACK
    uint8_t save_syn = 0;       ///< TCP_SAVE_SYN: 1: from the IP header on, 2: the whole frame's
    uint16_t max_segment = 0;   ///< TCP_MAXSEG of its connections; 0: what the link carries
    struct Marks {
        uint8_t dscp = 0;
        uint8_t ttl = 0;        ///< or hop limit; 0: `ip_default_ttl`
    };
    Marks marks_v4, marks_v6;   ///< of SYN-ACKs, and what connections begin with
    bool v6_only = false;       ///< IPV6_V6ONLY: "any" of IPv6 leaves IPv4 out
    bool reuse_address = false; ///< SO_REUSEADDR, which its connections inherit
    bool reuse_port = false;    ///< SO_REUSEPORT, likewise: others may share what arrives
    stack::Binding* own_binding = nullptr;  ///< released with it, where nobody else has it
    bool accept_event = false;  ///< the owner is to be told of the queue
    bool stopped = false;       ///< takes no more: it has left the table, its children live on
    Instant cookies_until;      ///< until then a SYN cookie may come back

    /// What goes to this peer.
    const Marks& marks(const Address& peer) const { return peer.is_v4() ? marks_v4 : marks_v6; }
    uint8_t min_ttl(const Address& peer) const { return peer.is_v4() ? min_ttl_v4 : min_ttl_v6; }
    /// The MSS of a SYN-ACK.
    uint16_t offered_mss(uint16_t link_mss) const {
        return max_segment == 0 ? link_mss : std::min(max_segment, link_mss);
    }
    /// As Linux counts: the queue is full when it holds more than the backlog.
    bool accept_queue_full() const { return accept_queue.size() > backlog; }
    /// Where cookies answer what exceeds it, the backlog bounds what is half open, too.
    bool half_open_full(const TcpTunables& tunables) const {
        return half_open_count >= (tunables.tcp_syncookies != 0 ? std::max(backlog, 1U)
                                                                : tunables.tcp_max_syn_backlog);
    }
    bool serves(const Address& local) const {
        return address == local ||
               (address.is_unspecified() &&
                (address.is_v4() ? local.is_v4() : !(v6_only && local.is_v4())));
    }
};

/// What is to become of a segment for a half-open entry.
enum class HalfOpenVerdict : uint8_t {
    drop,       ///< nothing
    answer,     ///< the SYN-ACK goes (again)
    complete,   ///< the third ACK: a connection takes the entry's place
    remove,     ///< reset by the peer
    reset,      ///< an ACK of what was not sent: a RST answers it, unless it brings a cookie back
};

/// A SYN fills a new entry. `floor`: our ISN must lie beyond it, where the tuple was in TIME-WAIT
/// (RFC 9293 MAY-2).
void begin(Env& env, HalfOpen& entry, const wire::Segment& syn, const Address& local,
           std::optional<Seq> floor);
/// RFC 9293 section 3.10.7.4 for SYN-RECEIVED, with RFC 5961.
HalfOpenVerdict on_segment(Env& env, HalfOpen& entry, const wire::Segment& segment);
/// What becomes of an entry whose SYN-ACK timer has fired.
enum class HalfOpenTimeout : uint8_t {
    answer,  ///< the SYN-ACK goes again
    wait,    ///< nothing yet: its bare ACK has come, and TCP_DEFER_ACCEPT waits for data
    expire,  ///< it has had its `tcp_synack_retries`, and what TCP_DEFER_ACCEPT gives
};
HalfOpenTimeout on_timer(Env& env, HalfOpen& entry);
/// Header of the SYN-ACK.
wire::Segment syn_ack(const Env& env, const HalfOpen& entry, uint16_t link_mss);
/// It goes out now: the timer is armed.
void answered(Env& env, HalfOpen& entry);
/// `c`, fresh from the pool, becomes the established connection of an entry that `ack` has
/// completed. That segment is then processed as any other.
void complete(Env& env, const HalfOpen& entry, const wire::Segment& ack, Connection& c,
              uint16_t link_mss);

}  // namespace millrace::tcp
