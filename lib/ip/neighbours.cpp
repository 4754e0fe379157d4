#include "ip/neighbours.h"

#include <cstring>
#include <utility>

namespace millrace::ip {

using observe::Drop;

Neighbours::Neighbours(const IpTunables& tunables, uint64_t seed, time::Wheel& wheel,
                       observe::Counters& counters, NeighbourActions& actions, uint8_t timer_kind)
    : tunables_(tunables),
      hash_(seed),
      wheel_(wheel),
      counters_(counters),
      actions_(actions),
      timer_kind_(timer_kind),
      entries_(tunables.neighbour_max),
      table_(tunables.neighbour_max) {}

Neighbour* Neighbours::find(uint16_t interface, const Address& address) const {
    return table_.find(Key{interface, address}, hash(address));
}

Neighbour* Neighbours::get(uint16_t interface, const Address& address, Instant) {
    if (Neighbour* known = find(interface, address)) return known;
    Neighbour* entry = used_ < entries_.size() ? &entries_[used_++] : recycle();
    if (entry == nullptr) {
        ++counters_.pool_dry_neighbours;
        return nullptr;
    }
    entry->address = address;
    entry->interface = interface;
    entry->state = NeighbourState::failed;  // nobody has asked yet
    entry->tries = 0;
    entry->wanted = entry->untold = false;
    ++entry->generation;
    entry->timer.set_kind(timer_kind_);
    table_.insert(*entry, hash(address));
    return entry;
}

/// The next entry, round the table, that no frame waits for; one that connections send by gets a
/// second chance: addresses that somebody makes up must not push the gateway out.
Neighbour* Neighbours::recycle() {
    for (size_t i = 0; i < 2 * entries_.size(); ++i) {
        Neighbour& entry = entries_[victim_];
        victim_ = (victim_ + 1) % entries_.size();
        if (!entry.waiting.empty() || entry.state == NeighbourState::permanent) continue;
        if (entry.usable() && std::exchange(entry.wanted, false)) continue;
        time::Wheel::cancel(entry.timer);
        table_.erase(entry);
        return &entry;
    }
    return nullptr;
}

NeighbourRef Neighbours::reference(const Neighbour& neighbour) const {
    return {static_cast<uint32_t>(&neighbour - entries_.data()), neighbour.generation,
            neighbour.interface};
}

Neighbour* Neighbours::resolve(const NeighbourRef& reference) {
    if (reference.index >= entries_.size()) return nullptr;
    Neighbour& entry = entries_[reference.index];
    return entry.generation == reference.generation ? &entry : nullptr;
}

void Neighbours::doubt(const NeighbourRef& reference) {
    if (Neighbour* entry = resolve(reference)) doubt(*entry);
}

void Neighbours::doubt(Neighbour& neighbour) {
    if (neighbour.state != NeighbourState::reachable) return;
    neighbour.state = NeighbourState::stale;
    time::Wheel::cancel(neighbour.timer);
}

void Neighbours::send(Neighbour& neighbour, buf::Frame frame, Instant now) {
    if (neighbour.state != NeighbourState::reachable) use(neighbour, now);
    if (neighbour.usable()) {
        std::memcpy(frame.head().data(), neighbour.mac.bytes.data(), 6);
        actions_.forward(neighbour.interface, std::move(frame));
        return;
    }
    if (neighbour.waiting.size() >= tunables_.neighbour_queue) {
        // The oldest goes, as in Linux: what was sent last is what is wanted most.
        neighbour.waiting.erase(neighbour.waiting.begin());
        --waiting_;
        counters_.drop(Drop::neighbour_queue_full);
    }
    if (waiting_ >= waiting_max) return counters_.drop(Drop::neighbour_queue_full);
    ++waiting_;
    neighbour.waiting.push_back(std::move(frame));
}

/// A frame is about to use an entry that is not reachable.
void Neighbours::use(Neighbour& neighbour, Instant now) {
    if (neighbour.state == NeighbourState::failed) {
        neighbour.state = NeighbourState::incomplete;
        neighbour.tries = 0;
        ask(neighbour, now);
    } else if (neighbour.state == NeighbourState::stale) {
        neighbour.state = NeighbourState::probe;
        neighbour.tries = 0;
        ask(neighbour, now);
    }
}

void Neighbours::ask(Neighbour& neighbour, Instant now) {
    ++neighbour.tries;
    ++counters_.neighbour_solicitations;
    wheel_.arm(neighbour.timer, now + Duration::from_ms(tunables_.neighbour_retry_ms));
    actions_.solicit(neighbour, neighbour.state == NeighbourState::probe);
}

void Neighbours::on_timer(time::WheelEntry& timer, Instant now) {
    // The entry that holds this timer, by its place in the array.
    const auto offset = reinterpret_cast<std::byte*>(&timer) -
                        reinterpret_cast<std::byte*>(entries_.data());
    Neighbour& entry = entries_[static_cast<size_t>(offset) / sizeof(Neighbour)];
    switch (entry.state) {
        case NeighbourState::reachable: entry.state = NeighbourState::stale; return;
        case NeighbourState::incomplete:
        case NeighbourState::probe:
            if (entry.tries < tunables_.neighbour_retries)
                ask(entry, now);
            else
                fail(entry);
            return;
        case NeighbourState::stale:
        case NeighbourState::permanent:
        case NeighbourState::failed: return;
    }
}

void Neighbours::fail(Neighbour& neighbour) {
    neighbour.state = NeighbourState::failed;
    ++counters_.neighbour_failures;
    for (size_t i = 0; i < neighbour.waiting.size(); ++i)
        counters_.drop(Drop::neighbour_unresolved);
    waiting_ -= neighbour.waiting.size();
    neighbour.waiting.clear();
    if (!std::exchange(neighbour.wanted, false) || neighbour.untold) return;
    neighbour.untold = true;
    actions_.unreachable(neighbour);
}

void Neighbours::place(uint16_t interface, const NeighbourConfig& neighbour, Instant now) {
    Neighbour* entry = get(interface, neighbour.address, now);
    if (entry == nullptr) return;
    entry->mac.bytes = neighbour.mac;
    entry->state = neighbour.permanent ? NeighbourState::permanent : NeighbourState::stale;
}

bool Neighbours::learn(uint16_t interface, const Address& address, const wire::MacAddress& mac,
                       bool confirmed, bool create, Instant now, bool override) {
    Neighbour* entry = find(interface, address);
    if (entry == nullptr && create) entry = get(interface, address, now);
    if (entry == nullptr || entry->state == NeighbourState::permanent) return false;
    const bool changed = !entry->usable() || entry->mac != mac;
    if (!override && entry->usable() && entry->mac != mac) {
        doubt(*entry);  // RFC 4861 section 7.2.5: a proxy, say
        return false;
    }
    // RFC 4861 section 7.2.5: unsolicited news makes an entry stale, an answer reachable.
    if (confirmed) {
        entry->state = NeighbourState::reachable;
        wheel_.arm(entry->timer, now + Duration::from_s(tunables_.neighbour_reachable_s));
    } else if (changed) {
        entry->state = NeighbourState::stale;
        time::Wheel::cancel(entry->timer);
    }
    entry->mac = mac;
    entry->untold = false;
    std::vector<buf::Frame> waiting;
    waiting.swap(entry->waiting);
    waiting_ -= waiting.size();
    for (buf::Frame& frame : waiting) send(*entry, std::move(frame), now);
    return changed || confirmed;
}

}  // namespace millrace::ip
