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

#include <millrace/time.h>

#include "base/random.h"

namespace millrace::sim {

/// The settings of one direction; chances in parts per million of frames. The default is a line
/// that loses nothing and knows no rate.
struct Impairments {
    Duration delay = Duration::from_us(50);
    Duration jitter;                 ///< added at random, uniform in [0, jitter]; reorders
    uint32_t loss_ppm = 0;           ///< each frame for itself
    uint32_t ack_loss_ppm = 0;       ///< likewise, of TCP segments without payload only
    uint32_t lose_every = 0;         ///< every n-th frame is lost; 0: none
    /// Bursts of loss (Gilbert and Elliott's chain of two states): the chance to enter a burst, to
    /// leave it, and to be lost while it lasts. Mean length: 10^6 / `burst_leave_ppm` frames.
    uint32_t burst_enter_ppm = 0;
    uint32_t burst_leave_ppm = 250'000;
    uint32_t burst_loss_ppm = 1'000'000;
    /// Loss of the tail: of this share of flights the last `tail_frames` frames with TCP payload
    /// are lost. A flight ends when none follows for `tail_quiet`, which has to be shorter than
    /// `delay`: what has arrived by then cannot be lost any more.
    uint32_t tail_loss_ppm = 0;
    uint32_t tail_frames = 1;
    Duration tail_quiet = Duration::from_us(25);
    uint32_t reorder_ppm = 0;        ///< held back by `reorder_by` more than the others
    Duration reorder_by;
    uint32_t duplicate_ppm = 0;      ///< arrives twice
    uint32_t corrupt_ppm = 0;        ///< one bit flipped somewhere in the frame
    uint32_t truncate_ppm = 0;       ///< cut anywhere behind its first byte
    uint64_t bits_per_second = 0;    ///< of the frame's bytes as they are; 0: no limit
    /// The queue behind rate and pauses is drop-tail, by waiting time and, if not 0, by bytes
    /// (the frame in transmission included; an empty queue takes any frame).
    Duration queue_max = Duration::from_ms(100);
    uint32_t queue_bytes = 0;
    /// Frames that say they are capable of ECN are marked with CE where they meet more than these
    /// bytes in the queue; 0: never (RFC 3168 section 5).
    uint32_t mark_bytes = 0;
    uint32_t mtu = 0;                ///< longer IP packets vanish without a word; 0: none is
    /// The transmitter stands still for `pause_for`, each time after at most twice `pause_every`.
    Duration pause_every;
    Duration pause_for;              ///< 0: never
};

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
