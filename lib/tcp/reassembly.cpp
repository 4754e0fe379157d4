#include "tcp/reassembly.h"

#include <algorithm>
#include <utility>

namespace millrace::tcp {

namespace {

/// Puts `from` behind `to`, by copy where that gives a buffer back and takes none. Answers what is
/// pinned no more.
size_t absorb(BufferChain& to, BufferChain from, Reassembly::Copies& copies) {
    if (from.size() > std::min(buf::Pools::copy_max, copies.buffers.tail_room(to))) {
        to.append(std::move(from));
        return 0;
    }
    const size_t pinned = buf::pinned_bytes(from);
    copies.bytes += copies.buffers.move_by_copy(to, from, from.size());
    ++copies.given_up;
    return pinned;
}

}  // namespace

Reassembly::Outcome Reassembly::insert(Seq begin, BufferChain data, size_t limit,
                                       Copies& copies) {
    if (pinned_ + buf::pinned_bytes(data) > limit) return Outcome::dropped;
    note_arrival(begin);
    const size_t bytes_before = bytes_;
    auto at = set_.upper_bound(begin, [](Seq seq, const ReassemblyRange& r) {
        return seq < r.begin;
    });
    if (at != set_.begin()) {
        const auto before = std::prev(at);
        const int32_t covered = before->end - begin;
        if (covered > 0) {
            if (static_cast<uint32_t>(covered) >= data.size()) return Outcome::duplicate;
            data.trim_front(static_cast<size_t>(covered));
            begin = before->end;
        }
    }
    bool whole = true;
    // Each round keeps what lies before the next range and goes on behind that.
    while (at != set_.end() && at->begin < begin + static_cast<uint32_t>(data.size())) {
        const uint32_t gap = distance(begin, at->begin);
        const uint32_t held = distance(at->begin, at->end);
        begin = at->end;
        whole = copies.allowed && pinned_ + buf::Pools::collapsed_bytes(gap, 1) <= limit;
        if (whole) at = fill(at, at->begin - gap, data, copies);
        whole = whole && at != set_.end();
        if (!whole || data.size() <= held) {
            data.clear();
            break;
        }
        data.trim_front(held);
        ++at;
    }
    // What gaps were filled with counts by now.
    if (!data.empty())
        whole = pinned_ + buf::pinned_bytes(data) <= limit &&
                add(at, begin, std::move(data), copies) != set_.end();
    if (bytes_ != bytes_before) return Outcome::kept;
    return whole ? Outcome::duplicate : Outcome::dropped;
}

/// Adds a run that overlaps nothing, before `next` in order; joins it with its neighbours. Answers
/// the range that holds it now; the end where the pool is dry.
Reassembly::Set::iterator Reassembly::add(Set::iterator next, Seq begin, BufferChain data,
                                          Copies& copies) {
    const Seq end = begin + static_cast<uint32_t>(data.size());
    const size_t pinned = buf::pinned_bytes(data);
    const bool joins_next = next != set_.end() && next->begin == end;
    Set::iterator where = next;
    size_t freed = 0;
    if (next != set_.begin() && std::prev(next)->end == begin) {
        const auto before = std::prev(next);
        where = before;
        freed = absorb(before->data, std::move(data), copies);
        before->end = end;
        if (joins_next) {
            freed += absorb(before->data, std::move(next->data), copies);
            before->end = next->end;
            remove(next);
        }
    } else if (joins_next) {
        freed = absorb(data, std::move(next->data), copies);
        next->data = std::move(data);
        next->begin = begin;
    } else {
        ReassemblyRange* range = pool_.take();
        if (range == nullptr) return set_.end();
        range->begin = begin;
        range->end = end;
        range->data = std::move(data);
        where = set_.insert_before(next, *range);
    }
    pinned_ += pinned;
    pinned_ -= freed;
    bytes_ += distance(begin, end);
    return where;
}

/// Takes from the front of `data`, at `begin`, what lies before `next`, and joins the two. Answers
/// the range that holds it now; the end where no buffer is left for the copy.
Reassembly::Set::iterator Reassembly::fill(Set::iterator next, Seq begin, BufferChain& data,
                                           Copies& copies) {
    const uint32_t gap = distance(begin, next->begin);
    BufferChain front;
    const bool joins_before = next != set_.begin() && std::prev(next)->end == begin;
    const auto before = joins_before ? std::prev(next) : next;
    BufferChain& to = joins_before ? before->data : front;
    BufferStorage* tail = BufferAccess::tail(to);
    const auto copied = static_cast<uint32_t>(copies.buffers.move_by_copy(to, data, gap));
    copies.bytes += copied;
    if (joins_before) {
        before->end += copied;
        bytes_ += copied;
        pinned_ += buf::pinned_behind(to, tail);
    }
    if (copied < gap) return set_.end();
    if (!joins_before) {
        bytes_ += gap;
        pinned_ += buf::pinned_bytes(front);
    }
    pinned_ -= absorb(to, std::move(next->data), copies);
    if (!joins_before) {
        next->data = std::move(front);
        next->begin = begin;
        return next;
    }
    before->end = next->end;
    remove(next);
    return before;
}

Reassembly::Merged Reassembly::merge(Seq begin, BufferChain data, BufferChain& out,
                                     Copies& copies) {
    size_t pinned = 0;
    while (!set_.empty() && set_.begin()->begin <= begin + static_cast<uint32_t>(data.size())) {
        // `data` reaches the first range: its part before that, then the range itself.
        const auto at = set_.begin();
        const uint32_t gap = distance(begin, at->begin);
        if (gap == data.size()) {
            pinned += buf::pinned_bytes(data);
            out.append(std::exchange(data, {}));
        } else {
            BufferStorage* tail = BufferAccess::tail(out);
            const auto copied = static_cast<uint32_t>(copies.buffers.move_by_copy(out, data, gap));
            copies.bytes += copied;
            pinned += buf::pinned_behind(out, tail);
            if (copied < gap) return {begin + copied, pinned};  // the rest will come again
        }
        const size_t moved = buf::pinned_bytes(at->data);
        const uint32_t held = distance(at->begin, at->end);
        pinned_ -= moved;
        bytes_ -= held;
        begin = at->end;
        pinned += moved;
        pinned -= absorb(out, std::move(at->data), copies);
        remove(at);
        if (data.size() <= held)
            data.clear();
        else
            data.trim_front(held);
    }
    const Seq next = begin + static_cast<uint32_t>(data.size());
    pinned += buf::pinned_bytes(data);
    out.append(std::move(data));
    return {next, pinned};
}

const ReassemblyRange* Reassembly::containing(Seq seq) const {
    auto at = set_.upper_bound(seq, [](Seq s, const ReassemblyRange& r) { return s < r.begin; });
    if (at == set_.begin()) return nullptr;
    --at;
    return at->end > seq ? &*at : nullptr;
}

/// `seq` goes to the front; what lies in the same range as an earlier one is left out when blocks
/// are made.
void Reassembly::note_arrival(Seq seq) {
    const auto end = recent_.begin() + recent_count_;
    const ReassemblyRange* same = containing(seq);
    const auto known = std::find_if(recent_.begin(), end, [&](Seq s) {
        return s == seq || (same != nullptr && containing(s) == same);
    });
    if (known != end) {
        std::rotate(recent_.begin(), known, known + 1);
    } else {
        if (recent_count_ < recent_.size()) ++recent_count_;
        std::rotate(recent_.begin(), recent_.begin() + recent_count_ - 1,
                    recent_.begin() + recent_count_);
    }
    recent_[0] = seq;
}

void Reassembly::sack_blocks(wire::TcpOptions& options) const {
    // 40 bytes of options: three blocks beside a timestamp, four without.
    const size_t room = options.has_timestamps ? 3 : 4;
    std::array<const ReassemblyRange*, wire::TcpOptions::sack_blocks_max> done{};
    size_t count = 0;
    const auto add = [&](const ReassemblyRange* range) {
        const auto end = done.begin() + static_cast<ptrdiff_t>(count);
        if (range == nullptr || options.sack_count >= room || count == done.size() ||
            std::find(done.begin(), end, range) != end)
            return;
        done[count++] = range;
        options.sack[options.sack_count++] = {range->begin, range->end};
    };
    for (uint8_t i = 0; i < recent_count_; ++i) add(containing(recent_[i]));
    // What is remembered of arrivals may have merged: the first ranges fill the room.
    for (auto at = set_.begin(); at != set_.end() && options.sack_count < room &&
                                 count < done.size(); ++at)
        add(&*at);
}

wire::SackBlock Reassembly::held(Seq begin, Seq end) const {
    auto at = set_.upper_bound(begin, [](Seq s, const ReassemblyRange& r) { return s < r.begin; });
    if (at != set_.begin() && std::prev(at)->end > begin) --at;
    if (at == set_.end() || at->begin >= end) return {};
    return {max(begin, at->begin), min(end, at->end)};
}

buf::Pools::Collapsed Reassembly::collapse(buf::Pools& buffers) {
    buf::Pools::Collapsed all;
    pinned_ = 0;
    for (ReassemblyRange& range : set_) {
        const auto done = buffers.collapse(range.data);
        all.buffers += done.buffers;
        all.copied += done.copied;
        pinned_ += buf::pinned_bytes(range.data);
    }
    return all;
}

bool Reassembly::prune_highest(Seq begin) {
    if (set_.empty()) return false;
    const auto last = std::prev(set_.end());
    if (last->begin <= begin) return false;
    pinned_ -= buf::pinned_bytes(last->data);
    bytes_ -= distance(last->begin, last->end);
    remove(last);
    return true;
}

void Reassembly::remove(Set::iterator at) {
    set_.erase_and_dispose(at, [&](ReassemblyRange* r) { pool_.give_back(r); });
}

void Reassembly::clear() {
    set_.clear_and_dispose([&](ReassemblyRange* r) { pool_.give_back(r); });
    pinned_ = 0;
    bytes_ = 0;
    recent_count_ = 0;
}

}  // namespace millrace::tcp
