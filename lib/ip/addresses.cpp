#include "ip/addresses.h"

#include <algorithm>

#include "wire/icmp.h"

namespace millrace::ip {

namespace {
// Up to so many are compared one by one.
constexpr size_t few = 8;
}  // namespace

LocalAddresses::LocalAddresses(const std::vector<Interface>& interfaces, uint64_t seed)
    : index_(64, Hash{TableHash(seed)}) {
    add_broadcast(Address::v4(255, 255, 255, 255));
    for (size_t i = 0; i < interfaces.size(); ++i) {
        for (const Prefix& prefix : interfaces[i].addresses) {
            const auto index = static_cast<LocalIndex>(entries_.size());
            if (!index_.emplace(prefix.address, index).second) continue;
            entries_.push_back({prefix.address, static_cast<uint16_t>(i), false});
            last_bytes_.add(prefix.address);
            const Address broadcast = prefix.broadcast();
            if (!broadcast.is_unspecified()) add_broadcast(broadcast);
        }
    }
    for (Entry& entry : entries_) entry.is_group = is_group(entry.address);
}

std::optional<LocalIndex> LocalAddresses::find_indexed(const Address& address) const {
    // A host has a handful, a load generator's has thousands.
    if (entries_.size() <= few) {
        for (size_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].address == address) return static_cast<LocalIndex>(i);
        return std::nullopt;
    }
    const auto found = index_.find(address);
    if (found == index_.end()) return std::nullopt;
    return found->second;
}

void LocalAddresses::add_broadcast(const Address& address) {
    broadcasts_.push_back(address);
    broadcast_last_bytes_.add(address);
}

bool LocalAddresses::is_our_solicited_node(const Address& group) const {
    return std::ranges::any_of(entries_, [&](const Entry& entry) {
        return !entry.address.is_v4() && wire::solicited_node(entry.address) == group;
    });
}

}  // namespace millrace::ip
