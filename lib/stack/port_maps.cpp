#include "stack/port_maps.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace millrace::stack {

namespace {

struct DestinationKey {
    const tcp::FlowKey& destination;
    bool matches(const PortMap& map) const { return map.destination == destination; }
};

tcp::FlowKey destination_of(tcp::FlowKey key) {
    key.local_port = 0;
    return key;
}

}  // namespace

uint32_t PortMap::next(uint32_t from, uint32_t to) const {
    while (from < to) {
        const uint64_t unknown = ~taken[from / 64] >> (from % 64);
        if (unknown != 0)
            return std::min(from + static_cast<uint32_t>(std::countr_zero(unknown)), to);
        from = (from / 64 + 1) * 64;
    }
    return to;
}

PortMap* PortMaps::find(const tcp::FlowKey& key) {
    if (maps_.empty()) return nullptr;
    const tcp::FlowKey destination = destination_of(key);
    return table_.find(DestinationKey{destination}, hash_(destination));
}

void PortMaps::opened(const tcp::FlowKey& key) {
    PortMap* map = find(key);
    if (map == nullptr && dice_.chance(1, sample)) map = &make(key);
    if (map == nullptr) return;
    map->take(key.local_port);
    map->used = true;
}

PortMap& PortMaps::make(const tcp::FlowKey& key) {
    PortMap* map = nullptr;
    if (maps_.size() < limit) {
        map = maps_.emplace_back(memory_.take());
    } else {
        while (std::exchange(maps_[hand_]->used, false)) hand_ = (hand_ + 1) % limit;
        map = maps_[hand_];
        hand_ = (hand_ + 1) % limit;
        table_.erase(*map);
        map->taken = {};
        map->used = true;
    }
    map->destination = destination_of(key);
    table_.insert(*map, hash_(map->destination));
    return *map;
}

}  // namespace millrace::stack
