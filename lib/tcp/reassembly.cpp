#include "tcp/reassembly.h"

#include <algorithm>

namespace millrace::tcp {

Reassembly::Outcome Reassembly::insert(Seq begin, BufferChain data, size_t limit,
                                       buf::Pools& buffers) {
    if (pinned_ + buf::pinned_bytes(data) > limit) return Outcome::dropped;
    note_arrival(begin);
    bool kept = false;
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
    // Each round keeps what lies before the next range and goes on behind that.
    while (!data.empty()) {
        const auto size = static_cast<uint32_t>(data.size());
        BufferChain rest;
        Seq rest_begin = begin;
        const bool overlaps = at != set_.end() && at->begin < begin + size;
        if (overlaps) {
            rest_begin = at->end;
            rest = buffers.split(data, distance(begin, at->begin));
            const uint32_t held = distance(at->begin, at->end);
            if (rest.size() <= held)
                rest.clear();
            else
                rest.trim_front(held);
        }
        if (!data.empty()) {
            // What it has joined may be gone: go on from what it has become.
            at = add(at, begin, std::move(data));
            if (at == set_.end()) return kept ? Outcome::kept : Outcome::dropped;
            kept = true;
        }
        ++at;
        data = std::move(rest);
        begin = rest_begin;
    }
    return kept ? Outcome::kept : Outcome::duplicate;
}

/// Adds a run that overlaps nothing, before `next` in order; joins it with its neighbours. Answers
/// the range that holds it now; the end where the pool is dry.
Reassembly::Set::iterator Reassembly::add(Set::iterator next, Seq begin, BufferChain data) {
    const Seq end = begin + static_cast<uint32_t>(data.size());
    const size_t pinned = buf::pinned_bytes(data);
    const bool joins_next = next != set_.end() && next->begin == end;
    Set::iterator where = next;
    if (next != set_.begin() && std::prev(next)->end == begin) {
        const auto before = std::prev(next);
        where = before;
        before->data.append(std::move(data));
        before->end = end;
        if (joins_next) {
            before->data.append(std::move(next->data));
            before->end = next->end;
            remove(next);
        }
    } else if (joins_next) {
        data.append(std::move(next->data));
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
    bytes_ += distance(begin, end);
    return where;
}

Seq Reassembly::merge(Seq begin, BufferChain data, BufferChain& out, buf::Pools& buffers) {
    while (true) {
        const Seq data_end = begin + static_cast<uint32_t>(data.size());
        const auto at = set_.begin();
        if (at == set_.end() || at->begin > data_end) break;
        // `data` reaches the first range: its part before that, then the range itself.
        BufferChain rest = buffers.split(data, distance(begin, at->begin));
        out.append(std::move(data));
        pinned_ -= buf::pinned_bytes(at->data);
        const uint32_t held = distance(at->begin, at->end);
        bytes_ -= held;
        const Seq next = at->end;
        out.append(std::move(at->data));
        remove(at);
        if (rest.size() <= held)
            rest.clear();
        else
            rest.trim_front(held);
        data = std::move(rest);
        begin = next;
    }
    const Seq next = begin + static_cast<uint32_t>(data.size());
    out.append(std::move(data));
    return next;
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
