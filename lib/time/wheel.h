// The timing wheel of one core.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <boost/intrusive/list.hpp>

#include <millrace/time.h>

namespace millrace::time {

/// One timer. Derive from it or hold it as a member; 24 bytes. Unlinks itself when it dies, so a
/// timer of something that is gone can never fire.
class WheelEntry : public boost::intrusive::list_base_hook<
                       boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
    /// `kind` is the owner's: it tells which of his timers this is.
    explicit WheelEntry(uint8_t kind = 0) : due_(0), kind_(kind) {}

    bool is_armed() const { return is_linked(); }
    uint8_t kind() const { return static_cast<uint8_t>(kind_); }
    void set_kind(uint8_t kind) { kind_ = kind; }
    /// When it fires; meaningful while it is armed, and while it is being fired.
    Instant due() const;

private:
    friend class Wheel;
    uint64_t due_ : 56;  // tick
    uint64_t kind_ : 8;
};

/// A hierarchical timing wheel (Varghese and Lauck 1987): arming and cancelling are O(1), an entry
/// moves at most once per level. Owned by one core. A timer fires at or after its deadline, never
/// before, and at most one tick late as far as the wheel is driven in time.
class Wheel {
public:
    static constexpr unsigned tick_shift = 16;
    static constexpr Duration tick = Duration::from_ns(int64_t{1} << tick_shift);  // 65.5 us

    explicit Wheel(Instant now) : now_tick_(floor_tick(now)) {}

    /// Arms, or moves what is armed already. A deadline in the past fires at the next `advance`.
    void arm(WheelEntry& entry, Instant deadline);
    static void cancel(WheelEntry& entry) { entry.unlink(); }

    /// Calls `fire(WheelEntry&)` for what is due by `now`, disarmed before the call. At most
    /// `budget` entries are touched; what is left over is due at once in the next call. Answers
    /// how many were touched.
    template <typename Fire>
    size_t advance(Instant now, size_t budget, Fire&& fire) {
        const uint64_t target = floor_tick(now);
        if (target <= now_tick_ && due_.empty() && !unfinished_) return 0;
        size_t touched = 0;
        while (true) {
            while (!due_.empty()) {
                if (touched == budget) return touched;
                ++touched;
                WheelEntry& entry = due_.front();
                due_.pop_front();
                fire(entry);
            }
            if (!step(target, budget, touched)) return touched;
        }
    }

    /// When `advance` has something to do next: the first timer's deadline or, where that lies far
    /// ahead, the moment at which its slot is spread over finer ones. `Instant::never()` if empty.
    Instant next_deadline();

private:
    static constexpr unsigned level_bits = 8;
    static constexpr unsigned levels = 4;
    static constexpr size_t slots = size_t{1} << level_bits;
    static constexpr uint64_t horizon = (uint64_t{1} << (level_bits * levels)) - 1;
    using List = boost::intrusive::list<WheelEntry, boost::intrusive::constant_time_size<false>>;

    struct Level {
        std::array<List, slots> slot;
        std::array<uint64_t, slots / 64> occupied{};
    };

    static uint64_t floor_tick(Instant at) {
        return static_cast<uint64_t>(at.ns()) >> tick_shift;
    }
    void place(WheelEntry& entry);
    /// Moves the wheel to the next tick at which something happens, not past `target`. False when
    /// there is nothing more to do in this call.
    bool step(uint64_t target, size_t budget, size_t& touched);
    bool cascade(size_t budget, size_t& touched);
    uint64_t next_event();
    uint64_t next_event_of(unsigned level);

    uint64_t now_tick_;
    bool unfinished_ = false;  // the budget ended in the midst of a slot
    std::array<Level, levels> levels_;
    List due_;
};

}  // namespace millrace::time
