// TIME-WAIT: what is left of a connection for twice the maximum segment lifetime; and before that,
// of one that only waits for the peer's FIN, which nobody will be told of.
#pragma once

#include <array>
#include <cstdint>

#include <boost/intrusive/slist.hpp>

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp {

using TimeWaitHook = boost::intrusive::slist_base_hook<
    boost::intrusive::tag<struct TimeWaitTag>,
    boost::intrusive::link_mode<boost::intrusive::normal_link>>;

/// Stands in the flow table where the connection stood (DESIGN: 64 bytes).
struct TimeWait : Flow, TimeWaitHook {
    explicit TimeWait(const FlowKey& flow_key) : Flow(FlowKind::time_wait, flow_key) {}
    Seq rcv_nxt;
    Seq snd_nxt;
    uint32_t ts_recent = 0;
    uint16_t expires = 0;   ///< tick of `TimeWaitQueue`; 0: to be reclaimed when its slot drains
    uint16_t answered = 0;  ///< when an invalid segment last was, in 16 ms; 0: none has been
};
static_assert(sizeof(TimeWait) <= 64);

/// When entries end: a ring of coarse slots, singly linked. A restart only writes `expires`; the
/// entry is moved when its old slot drains. One that ends before its time stays in its slot, with
/// `expires` 0, until that drains or a sweep comes by. Owned by one core.
class TimeWaitQueue {
public:
    static constexpr Duration tick = Duration::from_ms(250);
    /// What an entry may live; tcp_timewait_len is less.
    static constexpr Duration longest = Duration::from_s(240);

    void add(TimeWait& entry, Instant now, Duration length);
    /// The peer sent its FIN again: 2MSL begin anew (RFC 9293 section 3.10.7.4, eighth).
    static void restart(TimeWait& entry, Instant now, Duration length) {
        entry.expires = nonzero(tick_of(now + length) + 1);
    }
    /// How long ago an entry of that length began (or was begun anew): within a tick.
    static Duration age(const TimeWait& entry, Instant now, Duration length) {
        const auto left = static_cast<int16_t>(entry.expires - tick_of(now));
        return length - tick * left;
    }
    /// Calls `end(TimeWait&)` for entries whose time is over; at most `budget` are touched.
    /// Answers how many were.
    template <typename End>
    size_t advance(Instant now, size_t budget, End&& end) {
        const uint32_t target = tick_of(now);
        if (drained_ == 0) drained_ = target;  // what was before the first turn is empty
        size_t taken = 0;
        while (drained_ <= target) {
            while (TimeWait* entry = take_from(drained_ % slots_.size())) {
                if (entry->expires != 0 && ticks_left(*entry) > 0)
                    place(*entry);
                else
                    end(*entry);
                if (++taken == budget) return taken;
            }
            ++drained_;
        }
        return taken;
    }
    /// Looks at the next `count` entries, in the order of the slots, and calls `end(TimeWait&)` for
    /// those that have ended before their time. Without it they would pile up where connections are
    /// opened over their entries faster than these expire.
    template <typename End>
    void sweep(size_t count, End&& end) {
        size_t empty_slots = 0;
        while (count > 0 && empty_slots < slots_.size()) {
            List& slot = slots_[sweeping_];
            if (slot.empty()) {
                slot.swap(swept_);
                sweeping_ = (sweeping_ + 1) % slots_.size();
                ++empty_slots;
                continue;
            }
            TimeWait& entry = slot.front();
            slot.pop_front();
            if (entry.expires == 0)
                end(entry);
            else
                swept_.push_front(entry);
            --count;
        }
    }
    /// When `advance` has work; never if there is none.
    Instant next_deadline(size_t entries) const {
        return entries == 0 ? Instant::never()
                            : Instant::from_ns(int64_t{drained_} * tick.ns());
    }

private:
    using List = boost::intrusive::slist<TimeWait, boost::intrusive::base_hook<TimeWaitHook>,
                                         boost::intrusive::linear<true>,
                                         boost::intrusive::cache_last<false>,
                                         boost::intrusive::constant_time_size<false>>;
    /// Null: the slot is empty, also of what a sweep has put aside.
    TimeWait* take_from(size_t slot) {
        List& list = slot == sweeping_ && slots_[slot].empty() ? swept_ : slots_[slot];
        if (list.empty()) return nullptr;
        TimeWait& entry = list.front();
        list.pop_front();
        return &entry;
    }
    /// In its slot, or in the last of this lap: never in the one that is being drained.
    void place(TimeWait& entry) {
        const auto left = static_cast<uint32_t>(std::max(ticks_left(entry), 0));
        const auto lap_end = static_cast<uint32_t>(slots_.size()) - 1;
        slots_[(drained_ + std::min(left, lap_end)) % slots_.size()].push_front(entry);
    }
    /// The low half of a tick will do: nothing lies further away than a lap.
    int ticks_left(const TimeWait& entry) const {
        return static_cast<int16_t>(entry.expires - drained_);
    }
    static uint16_t nonzero(uint32_t number) {
        const auto low = static_cast<uint16_t>(number);
        return low != 0 ? low : 1;
    }
    static uint32_t tick_of(Instant at) { return static_cast<uint32_t>(at.ns() / tick.ns()); }
    // Longer than the longest tcp_timewait_len, so that a slot holds one lap only.
    std::array<List, 1024> slots_;
    uint32_t drained_ = 0;
    size_t sweeping_ = 0;  ///< the slot that is being swept
    List swept_;           ///< what it keeps of those that the sweep has looked at
    static_assert(tick * 1024 > longest + tick);
};

/// Beyond anything that the old connection may have sent (as Linux: 64 KiB and two).
inline Seq beyond(const TimeWait& entry) { return entry.snd_nxt + 65537; }
/// An orphan in FIN-WAIT-2 that has nothing left to say: an entry can wait for the FIN in its
/// place, as in Linux.
bool awaits_fin_alone(const Env& env, const Connection& c);
/// Fills an entry from the connection that it replaces.
void begin(TimeWait& entry, const Connection& c);

/// What a segment for a TIME-WAIT entry leads to.
enum class TimeWaitVerdict : uint8_t {
    drop,
    ack,      ///< answered with an ACK
    restart,  ///< answered with an ACK, and 2MSL begin anew
    remove,   ///< a RST that counts (tcp_rfc1337 = 0, or in FIN-WAIT-2)
    fin,      ///< in FIN-WAIT-2, what it waits for: answered with an ACK, and TIME-WAIT begins
    reset,    ///< in FIN-WAIT-2, data that nobody will read: answered with a RST, and it is over
    reopen,   ///< a new SYN that may open the connection again (MAY-2, RFC 6191)
};
TimeWaitVerdict on_segment(Env& env, TimeWait& entry, const wire::Segment& segment);
/// The ACK that answers it; with RST set, the end of it.
wire::Segment time_wait_ack(Env& env, const TimeWait& entry, const Address& local);

}  // namespace millrace::tcp
