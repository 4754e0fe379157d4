#include "time/wheel.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace millrace::time {

namespace {
constexpr uint64_t nothing = std::numeric_limits<uint64_t>::max();
constexpr uint64_t due_max = (uint64_t{1} << 47) - 1;  // a tick count that an Instant can hold
}  // namespace

Instant WheelEntry::due() const {
    return Instant::from_ns(static_cast<int64_t>(uint64_t{due_} << Wheel::tick_shift));
}

void Wheel::arm(WheelEntry& entry, Instant deadline) {
    entry.unlink();
    const auto ns = static_cast<uint64_t>(std::max<int64_t>(deadline.ns(), 0));
    const uint64_t ceiling =
        (ns >> tick_shift) + ((ns & ((uint64_t{1} << tick_shift) - 1)) != 0 ? 1 : 0);
    entry.due_ = std::min(ceiling, due_max) & due_max;
    place(entry);
}

void Wheel::place(WheelEntry& entry) {
    const uint64_t due = entry.due_;
    if (due <= now_tick_) {
        due_.push_back(entry);
        return;
    }
    // What lies beyond the horizon waits in the last slot within it and is placed again from there.
    const uint64_t at = std::min(due, now_tick_ + horizon);
    const auto level = static_cast<unsigned>(std::bit_width(at - now_tick_) - 1) / level_bits;
    const size_t index = (at >> (level * level_bits)) % slots;
    levels_[level].slot[index].push_back(entry);
    levels_[level].occupied[index / 64] |= uint64_t{1} << (index % 64);
}

bool Wheel::step(uint64_t target, size_t budget, size_t& touched) {
    if (cascade(budget, touched)) return true;
    if (touched >= budget) return false;
    if (now_tick_ >= target) return false;
    now_tick_ = std::min(next_event(), target);
    return true;
}

/// Empties the slots that begin at the current tick. True if that made anything due.
bool Wheel::cascade(size_t budget, size_t& touched) {
    unfinished_ = true;
    for (unsigned level = levels; level-- > 0;) {
        const unsigned shift = level * level_bits;
        if ((now_tick_ & ((uint64_t{1} << shift) - 1)) != 0) continue;
        const size_t index = (now_tick_ >> shift) % slots;
        List& slot = levels_[level].slot[index];
        while (!slot.empty()) {
            if (touched >= budget) return !due_.empty();
            WheelEntry& entry = slot.front();
            slot.pop_front();
            if (level > 0) ++touched;  // what becomes due is counted when it fires
            place(entry);
        }
        levels_[level].occupied[index / 64] &= ~(uint64_t{1} << (index % 64));
    }
    unfinished_ = false;
    return !due_.empty();
}

/// The first tick after now at which a slot of this level begins that holds an entry.
uint64_t Wheel::next_event_of(unsigned level) {
    const unsigned shift = level * level_bits;
    const uint64_t base = now_tick_ >> shift;
    Level& wheel = levels_[level];
    for (uint64_t ahead = 1; ahead <= slots;) {
        const size_t index = (base + ahead) % slots;
        const uint64_t word = wheel.occupied[index / 64] >> (index % 64);
        if (word == 0) {
            ahead += 64 - index % 64;
            continue;
        }
        ahead += static_cast<uint64_t>(std::countr_zero(word));
        if (ahead > slots) break;
        const size_t found = (base + ahead) % slots;
        if (!wheel.slot[found].empty()) return (base + ahead) << shift;
        wheel.occupied[found / 64] &= ~(uint64_t{1} << (found % 64));  // all were cancelled
    }
    return nothing;
}

uint64_t Wheel::next_event() {
    uint64_t first = nothing;
    for (unsigned level = 0; level < levels; ++level)
        first = std::min(first, next_event_of(level));
    return first;
}

Instant Wheel::next_deadline() {
    if (!due_.empty())
        return Instant::from_ns(static_cast<int64_t>(now_tick_ << tick_shift));
    const uint64_t next = next_event();
    return next == nothing ? Instant::never()
                           : Instant::from_ns(static_cast<int64_t>(next << tick_shift));
}

}  // namespace millrace::time
