// Which local ports are taken towards one destination, as far as is known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/pool.h"
#include "base/random.h"
#include "tcp/flow.h"

namespace millrace::stack {

/// A bit for each port: set, what is behind it has been seen and will not be free before it is
/// given back; clear, nobody knows. So a search for a port of a busy destination passes over what
/// it has passed over before without a look into the flow table.
struct PortMap : HashNode {
    tcp::FlowKey destination;  ///< without a local port
    bool used = true;          ///< since the clock last came by
    std::array<uint64_t, 1024> taken{};

    void take(uint16_t port) { taken[port / 64] |= uint64_t{1} << (port % 64); }
    void give_back(uint16_t port) { taken[port / 64] &= ~(uint64_t{1} << (port % 64)); }
    /// The first in [from, to) that is not known to be taken; `to` if there is none.
    uint32_t next(uint32_t from, uint32_t to) const;
};

/// Of the destinations that are connected to most. Owned by one core's stack; 8 KiB each, backed by
/// memory when it is needed; one that was not searched lately makes room.
class PortMaps {
public:
    explicit PortMaps(uint64_t seed)
        : hash_(seed), dice_(seed), memory_(limit), table_(limit) {
        maps_.reserve(limit);
    }
    ~PortMaps() {
        for (PortMap* map : maps_) memory_.give_back(map);
    }
    PortMaps(const PortMaps&) = delete;
    PortMaps& operator=(const PortMaps&) = delete;

    /// Null where there is none of this tuple's destination.
    PortMap* find(const tcp::FlowKey& key);
    /// A connection is opened. One in `sample` makes a map of its destination, if it has none: who
    /// is connected to often gets one soon, and before searches become long.
    void opened(const tcp::FlowKey& key);
    /// A tuple is taken, or given back; nothing where its destination has no map.
    void take(const tcp::FlowKey& key) {
        if (PortMap* map = find(key)) map->take(key.local_port);
    }
    void give_back(const tcp::FlowKey& key) {
        if (PortMap* map = find(key)) map->give_back(key.local_port);
    }

private:
    static constexpr size_t limit = 1024;
    static constexpr uint64_t sample = 64;
    PortMap& make(const tcp::FlowKey& key);

    TableHash hash_;
    Random dice_;  // which of the openings
    Pool<PortMap> memory_;
    std::vector<PortMap*> maps_;
    size_t hand_ = 0;  // of the clock that looks for one to be replaced
    HashTable<PortMap> table_;
};

}  // namespace millrace::stack
