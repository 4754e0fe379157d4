#include "tcp/sent.h"

#include <algorithm>

#include "tcp/limits.h"

namespace millrace::tcp {

namespace {
/// A later transmission may be told of in the same range: nothing distinguishes them yet. Long ones
/// would make it a long walk to where one is cut.
bool extends(const SentRange& last, Seq end, Instant now) {
    return last.sent_at == now && !last.sacked && !last.lost && !last.retransmitted &&
           distance(last.begin, end) <= sent_range_max;
}
}  // namespace

size_t SentRanges::share() const {
    const size_t free = pool_.limit() - pool_.in_use();
    const size_t reserve = pool_.limit() / sent_ranges_reserve;
    return std::max(free > reserve ? (free - reserve) / sent_ranges_share : 0, sent_ranges_few);
}

bool SentRanges::can_append() const {
    if (pool_.in_use() < pool_.limit()) return true;
    return !set_.empty() && !set_.rbegin()->sacked && !set_.rbegin()->lost;
}

bool SentRanges::append(Seq begin, Seq end, Instant now, const buf::Place& place,
                        const RateStamp& stamp) {
    if (!set_.empty() && extends(*set_.rbegin(), end, now)) {
        SentRange& last = *set_.rbegin();
        last.end = end;
        last.stamp.in_flight = stamp.in_flight;
        return true;
    }
    const bool joins = set_.size() >= share() && !set_.rbegin()->sacked && !set_.rbegin()->lost;
    SentRange* range = joins ? nullptr : pool_.take();
    if (range == nullptr) {
        // The pool is dry, or others need the rest of it: older and newer are told apart no more,
        // and count as the newer.
        SentRange& last = back();
        last.end = end;
        last.sent_at = now;
        last.retransmitted = false;
        last.stamp = stamp;
        by_time_.splice(by_time_.end(), by_time_, by_time_.iterator_to(last));
        return joins;
    }
    range->begin = begin;
    range->end = end;
    range->sent_at = now;
    range->place = place;
    range->stamp = stamp;
    set_.insert_before(set_.end(), *range);
    by_time_.push_back(*range);
    return true;
}

SentRanges::Set::iterator SentRanges::containing(Seq seq) {
    auto at = set_.upper_bound(seq, [](Seq s, const SentRange& r) { return s < r.begin; });
    if (at != set_.begin() && std::prev(at)->end > seq) --at;
    return at;
}

SentRange* SentRanges::find(Seq seq) {
    const auto at = containing(seq);
    return at != set_.end() && at->begin <= seq ? &*at : nullptr;
}

SentRange* SentRanges::split(SentRange& range, Seq at, Purpose purpose) {
    const size_t reserve =
        purpose == Purpose::transmission ? 0 : pool_.limit() / sent_ranges_reserve;
    SentRange* back = pool_.in_use() + reserve < pool_.limit() ? pool_.take() : nullptr;
    if (back == nullptr) return nullptr;
    back->begin = at;
    back->end = range.end;
    back->sent_at = range.sent_at;
    back->stamp = range.stamp;
    back->sacked = range.sacked;
    back->lost = range.lost;
    back->retransmitted = range.retransmitted;
    if (range.place.storage != nullptr) {
        buf::Cursor cursor = buf::cursor_at(range.place);
        buf::advance(cursor, distance(range.begin, at));
        back->place = buf::place_of(cursor);
    }
    range.end = at;
    set_.insert_before(std::next(set_.iterator_to(range)), *back);
    if (range.lost) {
        List& list = lost_list(range).list;
        list.insert(std::next(list.iterator_to(range)), *back);
    } else if (!range.sacked) {
        by_time_.insert(std::next(by_time_.iterator_to(range)), *back);
    }
    return back;
}

/// Cuts `range` to what a block covers of it: the part before `begin` stays `range`, the covered
/// part follows it. False where it cannot be cut.
bool SentRanges::narrow(SentRange& range, Seq begin, Seq end, size_t bound) {
    if (range.end > end &&
        (set_.size() >= bound || split(range, end, Purpose::scoreboard) == nullptr))
        return false;
    if (range.begin < begin &&
        (set_.size() >= bound || split(range, begin, Purpose::scoreboard) == nullptr))
        return false;
    return true;
}

SentRanges::Set::iterator SentRanges::mark_sacked(SentRange& range) {
    unlist(range);
    if (range.lost) lost_ -= range.size();
    range.lost = false;
    range.sacked = true;
    sacked_ += range.size();
    auto at = set_.iterator_to(range);
    if (at != set_.begin() && std::prev(at)->sacked) {
        SentRange& before = *std::prev(at);
        before.end = range.end;
        erase(range);
        at = set_.iterator_to(before);
    }
    const auto next = std::next(at);
    if (next != set_.end() && next->sacked) {
        at->end = next->end;
        erase(*next);
    }
    return std::next(at);
}

uint32_t SentRanges::again(size_t most) const {
    uint32_t bytes = 0;
    for (auto at = by_time_.rbegin(); at != by_time_.rend() && most > 0; ++at, --most)
        if (at->retransmitted) bytes += at->size();
    return bytes;
}

void SentRanges::mark_lost(SentRange& range) {
    by_time_.erase(by_time_.iterator_to(range));
    range.lost = true;
    lost_ += range.size();
    auto& [list, place] = lost_list(range);
    auto at = place != nullptr ? list.iterator_to(*place) : list.end();
    while (at != list.end() && at->begin < range.begin) ++at;
    while (at != list.begin() && range.begin < std::prev(at)->begin) --at;
    list.insert(at, range);
    place = &range;
}

SentRange* SentRanges::find_first_lost() {
    SentRange* first = nullptr;
    for (LostList& lost : lost_lists_) {
        if (lost.list.empty()) continue;
        SentRange& range = lost.list.front();
        if (first == nullptr || range.begin < first->begin) first = &range;
    }
    return first;
}

void SentRanges::mark_all_lost(Instant before) {
    for (LostList& lost : lost_lists_) {
        lost.list.clear();
        lost.place = nullptr;
    }
    lost_ = 0;
    bool first = true;
    for (SentRange& range : set_) {
        if (range.sacked) continue;
        if (!first && !range.lost && range.sent_at > before) continue;
        first = false;
        if (!range.lost) by_time_.erase(by_time_.iterator_to(range));
        range.lost = true;
        lost_ += range.size();
        lost_list(range).list.push_back(range);
    }
}

void SentRanges::unmark_lost() {
    // They were sent before what is in flight since: those never sent again first of all.
    for (auto lost = lost_lists_.rbegin(); lost != lost_lists_.rend(); ++lost) {
        for (SentRange& range : lost->list) range.lost = false;
        by_time_.splice(by_time_.begin(), lost->list);
        lost->place = nullptr;
    }
    lost_ = 0;
}

void SentRanges::sent_again(SentRange& range, uint32_t bytes, Instant now,
                            const RateStamp& stamp) {
    if (bytes < range.size()) split(range, range.begin + bytes, Purpose::transmission);
    unlist(range);
    if (range.lost) lost_ -= range.size();
    range.lost = false;
    range.retransmitted = true;
    range.sent_at = now;
    range.stamp = stamp;
    by_time_.push_back(range);
}

void SentRanges::forget_sacked() {
    // Long ago, and in this order: near enough to the time of sending, which joining has blurred.
    for (auto at = set_.rbegin(); at != set_.rend(); ++at) {
        if (!at->sacked) continue;
        at->sacked = false;
        by_time_.push_front(*at);
    }
    sacked_ = 0;
}

void SentRanges::cut_front(SentRange& range, uint32_t bytes) {
    if (range.sacked) sacked_ -= bytes;
    if (range.lost) lost_ -= bytes;
    if (bytes == range.size()) {
        unlist(range);
        erase(range);
        return;
    }
    if (range.place.storage != nullptr) {
        buf::Cursor cursor = buf::cursor_at(range.place);
        buf::advance(cursor, bytes);
        range.place = buf::place_of(cursor);
    }
    range.begin += bytes;  // its order among the others stays
}

void SentRanges::unlist(SentRange& range) {
    if (!range.SentListHook::is_linked()) return;
    if (!range.lost) {
        by_time_.erase(by_time_.iterator_to(range));
        return;
    }
    auto& [list, place] = lost_list(range);
    auto next = list.erase(list.iterator_to(range));
    if (place == &range) place = next != list.end() ? &*next : nullptr;
}

void SentRanges::erase(SentRange& range) {
    set_.erase(set_.iterator_to(range));
    pool_.give_back(&range);
}

void SentRanges::clear() {
    by_time_.clear();
    for (LostList& lost : lost_lists_) {
        lost.list.clear();
        lost.place = nullptr;
    }
    set_.clear_and_dispose([&](SentRange* range) { pool_.give_back(range); });
    sacked_ = lost_ = 0;
}

}  // namespace millrace::tcp
