#include "tcp/sent.h"

namespace millrace::tcp {

namespace {
/// A later transmission may be told of in the same range: nothing distinguishes them yet.
bool extends(const SentRange& last, Instant now) {
    return last.sent_at == now && !last.sacked && !last.lost && !last.retransmitted;
}
}  // namespace

bool SentRanges::can_append() const {
    if (pool_.in_use() < pool_.limit()) return true;
    return !set_.empty() && !set_.rbegin()->sacked && !set_.rbegin()->lost;
}

void SentRanges::append(Seq begin, Seq end, Instant now, const buf::Place& place,
                        const RateStamp& stamp) {
    if (!set_.empty() && extends(*set_.rbegin(), now)) {
        SentRange& last = *set_.rbegin();
        last.end = end;
        last.stamp.in_flight = stamp.in_flight;
        return;
    }
    SentRange* range = pool_.take();
    if (range == nullptr) {
        // The pool is dry: older and newer are told apart no more, and count as the newer.
        SentRange& last = back();
        last.end = end;
        last.sent_at = now;
        last.retransmitted = false;
        last.stamp = stamp;
        by_time_.splice(by_time_.end(), by_time_, by_time_.iterator_to(last));
        return;
    }
    range->begin = begin;
    range->end = end;
    range->sent_at = now;
    range->place = place;
    range->stamp = stamp;
    set_.insert_before(set_.end(), *range);
    by_time_.push_back(*range);
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

SentRange* SentRanges::split(SentRange& range, Seq at) {
    SentRange* back = pool_.take();
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
    if (range.lost)
        lost_list_.insert(std::next(lost_list_.iterator_to(range)), *back);
    else if (!range.sacked)
        by_time_.insert(std::next(by_time_.iterator_to(range)), *back);
    return back;
}

/// Cuts `range` to what a block covers of it: the part before `begin` stays `range`, the covered
/// part follows it. False where it cannot be cut.
bool SentRanges::narrow(SentRange& range, Seq begin, Seq end, size_t bound) {
    if (range.end > end && (set_.size() >= bound || split(range, end) == nullptr)) return false;
    if (range.begin < begin && (set_.size() >= bound || split(range, begin) == nullptr))
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

void SentRanges::mark_lost(SentRange& range) {
    by_time_.erase(by_time_.iterator_to(range));
    range.lost = true;
    lost_ += range.size();
    // Nearly always behind all others; what is lost a second time goes first.
    auto at = lost_list_.end();
    while (at != lost_list_.begin() && range.begin < std::prev(at)->begin) --at;
    lost_list_.insert(at, range);
}

void SentRanges::mark_all_lost(Instant before) {
    lost_list_.clear();
    lost_ = 0;
    bool first = true;
    for (SentRange& range : set_) {
        if (range.sacked) continue;
        if (!first && !range.lost && range.sent_at > before) continue;
        first = false;
        if (!range.lost) by_time_.erase(by_time_.iterator_to(range));
        range.lost = true;
        lost_ += range.size();
        lost_list_.push_back(range);
    }
}

void SentRanges::unmark_lost() {
    while (!lost_list_.empty()) {
        SentRange& range = lost_list_.back();
        lost_list_.pop_back();
        range.lost = false;
        // They were sent before all that is in flight since.
        by_time_.push_front(range);
    }
    lost_ = 0;
}

void SentRanges::sent_again(SentRange& range, uint32_t bytes, Instant now,
                            const RateStamp& stamp) {
    if (bytes < range.size()) split(range, range.begin + bytes);
    unlist(range);
    if (range.lost) lost_ -= range.size();
    range.lost = false;
    range.retransmitted = true;
    range.sent_at = now;
    range.stamp = stamp;
    by_time_.push_back(range);
}

void SentRanges::forget_sacked() {
    for (SentRange& range : set_) {
        if (!range.sacked) continue;
        range.sacked = false;
        by_time_.push_front(range);
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
    List& list = range.lost ? lost_list_ : by_time_;
    list.erase(list.iterator_to(range));
}

void SentRanges::erase(SentRange& range) {
    set_.erase(set_.iterator_to(range));
    pool_.give_back(&range);
}

void SentRanges::clear() {
    by_time_.clear();
    lost_list_.clear();
    set_.clear_and_dispose([&](SentRange* range) { pool_.give_back(range); });
    sacked_ = lost_ = 0;
}

}  // namespace millrace::tcp
