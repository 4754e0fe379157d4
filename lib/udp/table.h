// Which socket a datagram is for.
#pragma once

#include "base/keyed_hash.h"
#include "udp/endpoint.h"

namespace millrace::udp {

/// One core's bound sockets: by tuple those that are connected from an address of ours, by port the
/// others. Elements are the caller's.
class Table {
public:
    Table(const TableHash& hash, size_t limit)
        : hash_(hash), by_tuple_(limit), by_port_(limit) {}

    void insert(Endpoint& endpoint);
    void erase(Endpoint& endpoint);
    /// Who is connected so; the one that came last.
    Endpoint* find(const ip::FlowKey& key, uint32_t hash) const;
    /// Who receives what comes to an address of ours from `source`, as Linux scores them: a bound
    /// address, IPv4's own "any", IPv6's; of several the one that came last, or with SO_REUSEPORT
    /// the one that `flow_hash` says.
    Endpoint* find(const Address& local, uint16_t port, const SocketAddress& source,
                   uint32_t flow_hash) const;
    /// Calls `visit(Endpoint&)` for each of this port that is not found by tuple.
    template <typename Visit>
    void for_each_of(uint16_t port, Visit&& visit) const {
        by_port_.for_each_of(hash_(port), [&](Endpoint& endpoint) {
            if (endpoint.local.port == port) visit(endpoint);
        });
    }
    /// For who looks at them all.
    HashTable<Endpoint>& by_tuple() { return by_tuple_; }
    HashTable<Endpoint>& by_port() { return by_port_; }
    size_t size() const { return by_tuple_.size() + by_port_.size(); }

private:
    const TableHash hash_;
    HashTable<Endpoint> by_tuple_;
    HashTable<Endpoint> by_port_;
    uint64_t serial_ = 0;
};

}  // namespace millrace::udp
