#include "ip/path_mtu.h"

#include <algorithm>
#include <array>

namespace millrace::ip {

uint16_t plateau_below(uint32_t size) {
    constexpr std::array<uint16_t, 11> plateaus{65535, 32000, 17914, 8166, 4352, 2002,
                                                1492,  1006,  508,   296,  68};
    const auto at = std::ranges::find_if(plateaus, [&](uint16_t mtu) { return mtu < size; });
    return at == plateaus.end() ? plateaus.back() : *at;
}

PathMtus::PathMtus(const IpTunables& tunables, uint64_t seed)
    : lifetime_(Duration::from_s(tunables.mtu_expires)),
      hash_(seed),
      pool_(tunables.path_mtu_max),
      table_(tunables.path_mtu_max) {}

PathMtus::~PathMtus() {
    while (!by_age_.empty()) remove(by_age_.front());
}

void PathMtus::learn(const Address& destination, uint16_t mtu, Instant now) {
    PathMtu* entry = lookup(destination, now);
    if (entry != nullptr) {
        if (mtu > entry->mtu) return;
        by_age_.erase(by_age_.iterator_to(*entry));
    } else {
        if (pool_.in_use() == pool_.limit()) remove(by_age_.front());
        entry = pool_.take();
        entry->destination = destination;
        table_.insert(*entry, hash_(destination.bytes()));
    }
    entry->mtu = mtu;
    entry->expires = now + lifetime_;
    by_age_.push_back(*entry);
}

const PathMtu* PathMtus::find(const Address& destination, Instant now) {
    return lookup(destination, now);
}

PathMtu* PathMtus::lookup(const Address& destination, Instant now) {
    while (!by_age_.empty() && by_age_.front().expires <= now) remove(by_age_.front());
    return table_.find(Key{destination}, hash_(destination.bytes()));
}

void PathMtus::remove(PathMtu& entry) {
    by_age_.erase(by_age_.iterator_to(entry));
    table_.erase(entry);
    pool_.give_back(&entry);
}

}  // namespace millrace::ip
