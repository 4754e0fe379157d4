#include "udp/table.h"

namespace millrace::udp {

namespace {

/// How well a socket matches; 0: not at all.
int score(const Endpoint& endpoint, const Address& local, const SocketAddress& source) {
    if (!endpoint.serves(local) || !endpoint.hears(source)) return 0;
    if (endpoint.connected) return 4;
    if (endpoint.has_address()) return 3;
    return endpoint.local.address.family() == local.family() ? 2 : 1;
}

}  // namespace

void Table::insert(Endpoint& endpoint) {
    endpoint.serial = ++serial_;
    endpoint.in_table = true;
    if (endpoint.has_tuple())
        by_tuple_.insert(endpoint, hash_(endpoint.key));
    else
        by_port_.insert(endpoint, hash_(endpoint.local.port));
}

void Table::erase(Endpoint& endpoint) {
    if (!endpoint.in_table) return;
    endpoint.in_table = false;
    (endpoint.has_tuple() ? by_tuple_ : by_port_).erase(endpoint);
}

Endpoint* Table::find(const ip::FlowKey& key, uint32_t hash) const {
    Endpoint* found = nullptr;
    by_tuple_.for_each_of(hash, [&](Endpoint& endpoint) {
        if (endpoint.key == key && (found == nullptr || endpoint.serial > found->serial))
            found = &endpoint;
    });
    return found;
}

Endpoint* Table::find(const Address& local, uint16_t port, const SocketAddress& source,
                      uint32_t flow_hash) const {
    Endpoint* best = nullptr;
    int best_score = 0;
    uint64_t sharing = 0;
    for_each_of(port, [&](Endpoint& endpoint) {
        const int is = score(endpoint, local, source);
        if (is == 0 || is < best_score) return;
        if (is > best_score) sharing = 0;
        if (endpoint.reuse_port) ++sharing;
        if (is > best_score || endpoint.serial > best->serial) best = &endpoint;
        best_score = is;
    });
    if (best == nullptr || !best->reuse_port || sharing < 2) return best;
    uint64_t skip = (flow_hash * sharing) >> 32;
    for_each_of(port, [&](Endpoint& endpoint) {
        if (endpoint.reuse_port && score(endpoint, local, source) == best_score && skip-- == 0)
            best = &endpoint;
    });
    return best;
}

}  // namespace millrace::udp
