// Our own addresses, interned: a connection stores an index of two bytes instead of sixteen.
#pragma once

#include <array>
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
    std::optional<LocalIndex> find(const Address& address) const {
        // Each frame's source is asked for, too, and nearly never is ours.
        const uint8_t last = address.bytes().back();
        if ((last_bytes_[last / 64] >> (last % 64) & 1) == 0) return std::nullopt;
        return find_indexed(address);
    }
    const Entry& operator[](LocalIndex index) const { return entries_[index]; }
    size_t size() const { return entries_.size(); }
    /// Limited broadcast, a subnet's broadcast or any multicast group: where no TCP may come from
    /// or go to (RFC 9293 MUST-57).
    bool is_group(const Address& address) const;
    /// The groups in which a host must listen for Neighbour Discovery.
    bool is_our_solicited_node(const Address& group) const;

private:
    std::optional<LocalIndex> find_indexed(const Address& address) const;

    struct Hash {
        TableHash hash;
        size_t operator()(const Address& address) const { return hash(address.bytes()); }
    };
    std::vector<Entry> entries_;
    std::array<uint64_t, 4> last_bytes_{};  ///< bit i: one of ours ends so
    std::vector<Address> broadcasts_;
    std::unordered_map<Address, LocalIndex, Hash> index_;
};

}  // namespace millrace::ip
