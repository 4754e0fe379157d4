// What is in flight: the sender's scoreboard (RFC 2018, RFC 6675, RFC 8985).
#pragma once

#include <array>
#include <cstdint>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include <millrace/time.h>

#include "base/pool.h"
#include "base/seq.h"
#include "buf/pools.h"

namespace millrace::tcp {

/// What delivery-rate estimation remembers of a transmission.
struct RateStamp {
    uint64_t delivered = 0;  ///< by the connection, when it was sent
    uint64_t lost = 0;       ///< likewise
    Instant delivered_at;    ///< when `delivered` had become what it is
    Instant first_sent_at;   ///< start of the send phase that this transmission ends
    uint32_t in_flight = 0;  ///< with itself
    bool app_limited = false;
};

using SentSetHook = boost::intrusive::set_base_hook<
    boost::intrusive::optimize_size<true>,
    boost::intrusive::link_mode<boost::intrusive::normal_link>>;
using SentListHook = boost::intrusive::list_base_hook<
    boost::intrusive::link_mode<boost::intrusive::safe_link>>;

/// A run of sequence numbers that share a fate: sent in one turn, and since then neither
/// acknowledged nor told apart by SACK. A FIN counts as its octet. 2 cache lines.
struct SentRange : SentSetHook, SentListHook {
    Seq begin;
    Seq end;
    Instant sent_at;        ///< the last time
    buf::Place place;       ///< of `begin` in the send queue
    RateStamp stamp;
    bool sacked = false;
    bool lost = false;      ///< to be sent again
    bool retransmitted = false;
    uint32_t size() const { return distance(begin, end); }
    bool operator<(const SentRange& other) const { return begin < other.begin; }
};
static_assert(sizeof(SentRange) <= 128);

/// The ranges between SND.UNA and SND.NXT in order, without gaps. Each is in flight (in a list by
/// time of sending, which RACK walks), lost (in a list of what is to be sent again) or SACKed (in
/// neither; neighbours that are both SACKed are joined, so that a repeated block costs O(log n)).
/// Held by a connection's `Sending`; ranges come from the core's pool.
class SentRanges {
public:
    using Ranges = Pool<SentRange>;
    using List = boost::intrusive::list<SentRange, boost::intrusive::base_hook<SentListHook>,
                                        boost::intrusive::constant_time_size<false>>;
    using Set = boost::intrusive::set<SentRange, boost::intrusive::base_hook<SentSetHook>>;

    explicit SentRanges(Ranges& pool) : pool_(pool) {}
    SentRanges(const SentRanges&) = delete;
    SentRanges& operator=(const SentRanges&) = delete;
    ~SentRanges() { clear(); }

    bool empty() const { return set_.empty(); }
    size_t size() const { return set_.size(); }
    uint32_t sacked() const { return sacked_; }  ///< bytes
    uint32_t lost() const { return lost_; }      ///< bytes
    /// Bytes in flight that were sent before, of the `most` ranges that were sent last.
    uint32_t again(size_t most) const;
    SentRange& front() { return *set_.begin(); }
    SentRange& back() { return *set_.rbegin(); }
    /// In flight, in order of sending.
    List& by_time() { return by_time_; }
    /// To be sent again, the first first.
    SentRange* first_lost() { return lost_ == 0 ? nullptr : find_first_lost(); }

    /// There is room to remember another transmission of new data.
    bool can_append() const;
    /// [begin, end) has been sent for the first time. `can_append()` was true. False: the pool is
    /// dry, and it is told of in the range before it.
    bool append(Seq begin, Seq end, Instant now, const buf::Place& place, const RateStamp& stamp);

    /// Everything before `ack` leaves. Calls `visit(range, bytes)` for each range or part of one
    /// before it goes, `bytes` of it.
    template <typename Visit>
    void acknowledge(Seq ack, Visit&& visit) {
        while (!set_.empty() && set_.begin()->begin < ack) {
            SentRange& range = *set_.begin();
            const uint32_t bytes = distance(range.begin, min(range.end, ack));
            visit(static_cast<const SentRange&>(range), bytes);
            cut_front(range, bytes);
        }
    }
    /// The peer holds [begin, end). Calls `visit(range, bytes)` for what is new of it, before it is
    /// marked. `bound`: ranges that this connection may have; a block that would need more is
    /// honoured only as far as it covers whole ranges (CVE-2019-11478).
    template <typename Visit>
    void sack(Seq begin, Seq end, size_t bound, Visit&& visit) {
        auto at = containing(begin);
        while (at != set_.end() && at->begin < end) {
            SentRange& range = *at;
            if (range.sacked || !narrow(range, begin, end, bound)) {
                ++at;
                continue;
            }
            // `range` may have been cut at its front: what is left of it may be the next one.
            if (range.begin < begin) {
                ++at;
                continue;
            }
            visit(static_cast<const SentRange&>(range), range.size());
            at = mark_sacked(range);
        }
    }

    /// `range`, in flight, will not arrive any more.
    void mark_lost(SentRange& range);
    /// The first that is not SACKed and all such that were sent by `before` are taken for lost.
    void mark_all_lost(Instant before);
    /// A loss was none after all: everything counts as in flight again.
    void unmark_lost();
    /// The first `bytes` of `range` have been sent again. Where no range is left to tell them from
    /// the rest, the whole of it counts as sent.
    void sent_again(SentRange& range, uint32_t bytes, Instant now, const RateStamp& stamp);
    /// The peer has dropped what it had SACKed (RFC 2018 section 8).
    void forget_sacked();
    /// The range that holds `seq`, or null.
    SentRange* find(Seq seq);
    /// What a range is cut for. The last of the pool is for what is transmitted.
    enum class Purpose : uint8_t { scoreboard, transmission };
    /// Cuts `range` in two at `at`; answers the back part, null where the pool has none for that.
    SentRange* split(SentRange& range, Seq at, Purpose purpose);
    /// How many ranges this connection may have: a part of those that nobody has, so that many
    /// that want many leave some to the others.
    size_t share() const;
    void clear();

private:
    /// In order. While one ACK is worked it grows at one place, mostly the end: behind `place`,
    /// which is null where nothing is known.
    struct LostList {
        List list;
        SentRange* place = nullptr;
    };

    SentRange* find_first_lost();
    Set::iterator containing(Seq seq);
    bool narrow(SentRange& range, Seq begin, Seq end, size_t bound);
    Set::iterator mark_sacked(SentRange& range);
    void cut_front(SentRange& range, uint32_t bytes);
    void unlist(SentRange& range);
    LostList& lost_list(const SentRange& range) { return lost_lists_[range.retransmitted]; }
    void erase(SentRange& range);

    Ranges& pool_;
    Set set_;
    List by_time_;
    std::array<LostList, 2> lost_lists_;  ///< the second: of what has been sent again before
    uint32_t sacked_ = 0;
    uint32_t lost_ = 0;
};

}  // namespace millrace::tcp
