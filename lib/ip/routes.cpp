#include "ip/routes.h"

#include <algorithm>

namespace millrace::ip {

Routes::Routes(const std::vector<Interface>& interfaces, const LocalAddresses& addresses)
    : interfaces_(interfaces), addresses_(addresses) {
    for (size_t i = 0; i < interfaces.size(); ++i) {
        const auto index = static_cast<uint16_t>(i);
        if (interfaces[i].loopback) loopback_ = index;
        for (const Prefix& prefix : interfaces[i].addresses)
            add({prefix, index, Address::any(prefix.address.family())});
        for (const Route& route : interfaces[i].routes)
            add({route.destination, index, route.gateway});
    }
}

/// Behind those whose prefix is as long or longer.
void Routes::add(const Row& row) {
    const auto length = [](const Row& r) { return r.prefix.length; };
    rows_.insert(std::ranges::upper_bound(rows_, row.prefix.length, std::ranges::greater{}, length),
                 row);
}

std::optional<NextHop> Routes::find(const Address& destination) const {
    return find_among(destination, std::nullopt);
}

std::optional<NextHop> Routes::find(const Address& destination, uint16_t interface) const {
    return find_among(destination, interface);
}

std::optional<NextHop> Routes::find_among(const Address& destination,
                                          std::optional<uint16_t> interface) const {
    if (loopback_ && addresses_.find(destination)) return NextHop{*loopback_, destination};
    for (const Row& row : rows_) {
        if (!row.prefix.contains(destination)) continue;
        if (interface && row.interface != *interface) continue;
        return NextHop{row.interface, row.gateway.is_unspecified() ? destination : row.gateway};
    }
    return std::nullopt;
}

std::optional<LocalIndex> Routes::source_for(const Address& destination) const {
    if (const auto own = addresses_.find(destination)) return own;
    const auto hop = find(destination);
    if (!hop) return std::nullopt;
    std::optional<LocalIndex> best;
    int best_score = -1;
    for (const Prefix& prefix : interfaces_[hop->interface].addresses) {
        if (prefix.address.family() != destination.family()) continue;
        int score = 0;
        if (prefix.contains(hop->address)) score += 2;
        if (prefix.address.is_link_local() == destination.is_link_local()) score += 1;
        if (score > best_score) {
            best_score = score;
            best = addresses_.find(prefix.address);
        }
    }
    return best;
}

}  // namespace millrace::ip
