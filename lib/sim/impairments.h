// What a link does to frames on their way: one direction, from a seed.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <millrace/impairments.h>
#include <millrace/time.h>

#include "base/random.h"

namespace millrace::sim {

using millrace::Impairments;

/// What happened to a frame. `sent`, `lost`, `overflowed` and `too_big` are exclusive; `tail_lost`
/// strikes what was sent, the others accompany `sent`.
enum class Fate : uint8_t {
    sent,
    lost,
    overflowed,
    too_big,
    tail_lost,
    marked,
    corrupted,
    truncated,
    duplicated,
    reordered,
};
constexpr size_t fate_count = 10;
std::string_view name(Fate fate);

/// One direction of a link: frames go in at one end and come out at the other when they arrive, as
/// far as they do. Same seed, same calls: the same fate of each. Works on bytes and instants alone,
/// so that a virtual wire and a bridge between two ports can both drive it. Time never runs
/// backwards from call to call. Not thread-safe; owned by whoever holds it.
class Line {
public:
    using Observer = std::function<void(Fate, std::span<const uint8_t>)>;

    explicit Line(uint64_t seed, const Impairments& impairments = {}, Observer observer = {});

    /// For frames sent from now on; what is under way arrives as it would have.
    void set(const Impairments& impairments);
    const Impairments& impairments() const { return impairments_; }

    void send(Instant now, std::vector<uint8_t> frame);
    /// When `receive` may have something to give; `Instant::never()` if nothing is under way.
    Instant next_arrival() const;
    /// The earliest frame that has arrived by `now` and was not taken yet.
    std::optional<std::vector<uint8_t>> receive(Instant now);

    /// How long a frame that is sent now would wait for those before it; pauses are left out.
    Duration backlog(Instant now) const { return std::max(free_ - now, Duration()); }
    /// How many frames met a fate so far.
    uint64_t count(Fate fate) const { return counts_[static_cast<size_t>(fate)]; }

private:
    struct Key {  // when it arrives; of one instant, in the order of sending
        Instant at;
        uint64_t order;
        auto operator<=>(const Key&) const = default;
    };

    bool happens(uint32_t ppm) { return ppm != 0 && random_.chance(ppm, 1'000'000); }
    void note(Fate fate, std::span<const uint8_t> frame);
    std::optional<Instant> enqueue(Instant now, std::vector<uint8_t>& frame);
    Instant after_pause(Instant at);
    Instant transmitted(Instant start, size_t size);
    bool is_lost(bool tcp, bool payload);
    void damage(std::vector<uint8_t>& frame);
    Key put_in_flight(Instant leaves, std::vector<uint8_t> frame);
    void add_to_tail(Instant now, const Key& key);
    void settle_tail(Instant now);

    Random random_;
    Impairments impairments_;
    Observer observer_;
    std::array<uint64_t, fate_count> counts_{};

    std::map<Key, std::vector<uint8_t>> in_flight_;
    uint64_t order_ = 0;
    uint64_t frames_ = 0;    // for `lose_every`
    bool in_burst_ = false;

    struct Queued {
        Instant leaves;
        size_t size;
    };
    std::deque<Queued> queue_;
    size_t queued_bytes_ = 0;
    Instant free_;             // when the transmitter has sent all that it was given
    uint64_t remainder_ = 0;   // of the last division by the rate, so that none is lost
    std::optional<Instant> pause_from_;
    Instant pause_until_;

    std::deque<Key> tail_;     // of the present flight, the last `tail_frames`
    bool tail_doomed_ = false;
    Instant last_payload_;
};

}  // namespace millrace::sim
