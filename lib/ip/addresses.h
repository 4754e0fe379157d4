// Our own addresses, interned: a connection stores an index of two bytes instead of sixteen.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/keyed_hash.h"
#include "ip/interface.h"

namespace millrace::ip {

/// Index of one of our addresses. The same on every core.
using LocalIndex = uint16_t;

/// Built at start from the interfaces, then read only. One per core.
class LocalAddresses {
public:
    LocalAddresses(const std::vector<Interface>& interfaces, uint64_t seed);

    struct Entry {
        Address address;
        uint16_t interface;
    };
    std::optional<LocalIndex> find(const Address& address) const;
    const Entry& operator[](LocalIndex index) const { return entries_[index]; }
    size_t size() const { return entries_.size(); }
    /// Limited broadcast, a subnet's broadcast or any multicast group: where no TCP may come from
    /// or go to (RFC 9293 MUST-57).
    bool is_group(const Address& address) const;
    /// The groups in which a host must listen for Neighbour Discovery.
    bool is_our_solicited_node(const Address& group) const;

private:
    struct Hash {
        TableHash hash;
        size_t operator()(const Address& address) const { return hash(address.bytes()); }
    };
    std::vector<Entry> entries_;
    std::vector<Address> broadcasts_;
    std::unordered_map<Address, LocalIndex, Hash> index_;
};

}  // namespace millrace::ip
