// What ICMP has told of paths narrower than their first link (RFC 1191, RFC 8201).
#pragma once

#include <cstdint>
#include <optional>

#include <boost/intrusive/list.hpp>

#include <millrace/address.h>
#include <millrace/config.h>
#include <millrace/time.h>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/pool.h"

namespace millrace::ip {

/// Nobody may talk us below this (attack case 38): Linux's `min_pmtu`, and the least that every
/// link carries under IPv6 (RFC 8200 section 5).
constexpr uint16_t path_mtu_min(Family family) { return family == Family::ipv4 ? 552 : 1280; }

/// RFC 1191 section 7.1: a router that does not say what the next hop takes leaves it to a guess.
/// The greatest usual MTU that is smaller than `size`.
uint16_t plateau_below(uint32_t size);

using PathMtuAgeHook = boost::intrusive::list_base_hook<
    boost::intrusive::link_mode<boost::intrusive::safe_link>>;

struct PathMtu : HashNode, PathMtuAgeHook {
    Address destination;
    uint16_t mtu = 0;  ///< bytes of an IP packet
    Instant expires;
};

/// One core's table, by destination. An entry lives `mtu_expires` seconds from when it was last
/// learned (RFC 1191 section 6.3): a path may have become wider, and only a large packet can tell.
/// Bounded by `path_mtu_max`; a new entry takes the place of the oldest.
class PathMtus {
public:
    PathMtus(const IpTunables& tunables, uint64_t seed);
    ~PathMtus();
    PathMtus(const PathMtus&) = delete;
    PathMtus& operator=(const PathMtus&) = delete;

    /// The path to `destination` carries `mtu` bytes and no more. What is wider than what is known
    /// renews nothing: news that comes late must not widen a path.
    void learn(const Address& destination, uint16_t mtu, Instant now);
    /// Null where nothing is known (any more). Good until the next call.
    const PathMtu* find(const Address& destination, Instant now);

    size_t size() const { return table_.size(); }

private:
    struct Key {
        const Address& destination;
        bool matches(const PathMtu& entry) const { return entry.destination == destination; }
    };
    using AgeList = boost::intrusive::list<PathMtu, boost::intrusive::base_hook<PathMtuAgeHook>,
                                           boost::intrusive::constant_time_size<false>>;
    PathMtu* lookup(const Address& destination, Instant now);
    void remove(PathMtu& entry);

    const Duration lifetime_;
    const TableHash hash_;
    Pool<PathMtu> pool_;
    HashTable<PathMtu> table_;
    AgeList by_age_;  // learned longest ago first: these expire first
};

}  // namespace millrace::ip
