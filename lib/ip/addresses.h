// Our own addresses, interned: a connection stores an index of two bytes instead of sixteen.
#pragma once

#include <algorithm>
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
        bool is_group;  ///< somebody has given us a group's address, or a broadcast one
    };
    std::optional<LocalIndex> find(const Address& address) const {
        // Each frame's source is asked for, too, and nearly never is ours.
        if (!last_bytes_.has(address)) return std::nullopt;
        return find_indexed(address);
    }
    const Entry& operator[](LocalIndex index) const { return entries_[index]; }
    size_t size() const { return entries_.size(); }
    /// Limited broadcast, a subnet's broadcast or any multicast group: where no TCP may come from
    /// or go to (RFC 9293 MUST-57).
    bool is_group(const Address& address) const {
        return address.is_multicast() ||
               (broadcast_last_bytes_.has(address) &&
                std::ranges::find(broadcasts_, address) != broadcasts_.end());
    }
    /// The groups in which a host must listen for Neighbour Discovery.
    bool is_our_solicited_node(const Address& group) const;

private:
    void add_broadcast(const Address& address);
    std::optional<LocalIndex> find_indexed(const Address& address) const;

    /// The last bytes of some addresses: most others are told from them all by it.
    class LastBytes {
    public:
        void add(const Address& address) {
            const uint8_t last = address.bytes().back();
            bits_[last / 64] |= uint64_t{1} << (last % 64);
        }
        bool has(const Address& address) const {
            const uint8_t last = address.bytes().back();
            return (bits_[last / 64] >> (last % 64) & 1) != 0;
        }

    private:
        std::array<uint64_t, 4> bits_{};
    };
    struct Hash {
        TableHash hash;
        size_t operator()(const Address& address) const { return hash(address.bytes()); }
    };
    std::vector<Entry> entries_;
    LastBytes last_bytes_;
    std::vector<Address> broadcasts_;  ///< the limited one, too
    LastBytes broadcast_last_bytes_;
    std::unordered_map<Address, LocalIndex, Hash> index_;
};

}  // namespace millrace::ip
