// Data out of order, against a model that keeps an octet at a time: the first arrival wins, nothing
// is lost or made up, and what is said of it (SACK, DSACK, sizes) is what there is.
#include <array>
#include <optional>
#include <vector>

#include "fuzz/fuzz.h"
#include "tcp/connection.h"
#include "tcp/reassembly.h"

namespace millrace::fuzz {
namespace {

using tcp::Reassembly;
using tcp::ReassemblyRange;

/// Octets that there may be; the first is RCV.NXT of the beginning.
constexpr uint32_t span_max = 4096;
constexpr int steps_max = 64;
constexpr int16_t none = -1;

class Model {
public:
    explicit Model(Input& in)
        : in_(in), first_(in.dword()), ranges_(in.flag() ? 4 : 1000), held_(ranges_, owner_) {
        octets_.fill(none);
    }

    void play() {
        for (int i = 0; i < steps_max && !in_.empty() && next_ < span_max; ++i) {
            salt_ = static_cast<uint8_t>(i * 37 + 1);
            switch (in_.below(8)) {
                case 4:
                case 5: merge(); break;
                case 6: prune(); break;
                case 7: collapse(); break;
                default: insert(); break;
            }
            compare();
        }
    }

private:
    using Octets = std::array<int16_t, span_max>;

    Seq seq(uint32_t at) const { return first_ + at; }
    uint8_t fresh(uint32_t at) const { return static_cast<uint8_t>(at * 7 + at / 256 + salt_); }

    /// The octets from `begin` to `end`, in up to four buffers.
    BufferChain chain(uint32_t begin, uint32_t end) {
        BufferChain made;
        const uint32_t piece = (end - begin) / static_cast<uint32_t>(1 + in_.below(4)) + 1;
        for (uint32_t at = begin; at < end; at += piece) {
            std::vector<uint8_t> bytes;
            for (uint32_t i = at; i < std::min(at + piece, end); ++i) bytes.push_back(fresh(i));
            buf::Frame frame = pools().received(bytes);
            expect(static_cast<bool>(frame), "the pool is dry");
            made.append(std::move(frame).into_chain());
        }
        return made;
    }

    /// What may be taken for it this time; all of it where nothing is short.
    Reassembly::Copies copies(bool& plenty) {
        const uint8_t how = in_.byte();
        limit_ = how % 4 == 0 ? held_.pinned() + in_.magnitude() : SIZE_MAX / 2;
        plenty = how % 8 != 1 && how % 4 != 0 && ranges_.in_use() < ranges_.limit();
        return {.buffers = pools(), .allowed = how % 8 != 1};
    }

    /// What is held now, as `held` has it.
    Octets now_held() const {
        Octets now;
        now.fill(none);
        for (Seq at = seq(next_); at < seq(span_max);) {
            const auto block = held_.held(at, seq(span_max));
            if (block.begin == block.end) break;
            expect(block.begin >= at && block.begin < block.end && block.end <= seq(span_max),
                   "a block that was not asked for");
            for (Seq i = block.begin; i < block.end; i += 1)
                now[static_cast<size_t>(i - first_)] = 0;
            at = block.end;
        }
        return now;
    }

    void insert() {
        // It lies beyond RCV.NXT.
        if (next_ + 2 >= span_max) return;
        const auto begin = next_ + 1 + static_cast<uint32_t>(in_.below(span_max - next_ - 2));
        const uint32_t end = std::min(begin + 1 + in_.magnitude() % 2000, span_max);
        bool plenty = false;
        BufferChain data = chain(begin, end);
        Reassembly::Copies how = copies(plenty);
        const size_t pinned = held_.pinned();
        const auto outcome = held_.insert(seq(begin), std::move(data), limit_, how);
        expect(held_.pinned() <= std::max(limit_, pinned), "pins more than it may");
        const Octets now = now_held();
        bool came = false;
        for (uint32_t i = next_; i < span_max; ++i) {
            if (octets_[i] != none) {
                expect(now[i] != none, "what was held is lost");
            } else if (now[i] != none) {
                expect(i >= begin && i < end, "what never came is held");
                octets_[i] = fresh(i);
                came = true;
            } else {
                expect(!plenty || i < begin || i >= end, "dropped, and nothing was short");
            }
        }
        expect(came == (outcome == Reassembly::Outcome::kept), "kept, and it is not said so");
        expect(outcome != Reassembly::Outcome::dropped || !plenty, "dropped without a reason");
        latest_ = plenty ? std::optional(begin) : std::nullopt;
    }

    void merge() {
        const uint32_t end = std::min(next_ + 1 + in_.magnitude() % 2000, span_max);
        const uint32_t begin = next_;
        bool plenty = false;
        BufferChain data = chain(begin, end);
        Reassembly::Copies how = copies(plenty);
        BufferChain out;
        const auto merged = held_.merge(seq(begin), std::move(data), out, how);
        for (uint32_t i = begin; i < end; ++i)
            if (octets_[i] == none) octets_[i] = fresh(i);
        uint32_t whole = begin;
        while (whole < span_max && octets_[whole] != none) ++whole;
        next_ = static_cast<uint32_t>(merged.next - first_);
        expect(next_ >= begin && next_ <= whole, "goes on where nothing is");
        expect(!(plenty && how.allowed) || next_ == whole, "stops, and nothing was short");
        expect(out.size() == next_ - begin, "another number of octets");
        expect(merged.pinned == buf::pinned_bytes(out), "pins something else");
        std::vector<std::byte> bytes(out.size());
        out.copy_to(bytes);
        for (uint32_t i = begin; i < next_; ++i)
            expect(static_cast<uint8_t>(bytes[i - begin]) == octets_[i], "a wrong octet");
        // Of what did not go on, that stays which was held before.
        const Octets now = now_held();
        for (uint32_t i = 0; i < span_max; ++i) {
            if (i < next_) octets_[i] = none;
            if (octets_[i] != none && now[i] == none) {
                expect(i < end, "what was held is lost");
                octets_[i] = none;
            }
        }
        latest_.reset();
    }

    void prune() {
        const auto from = next_ + static_cast<uint32_t>(in_.below(span_max - next_));
        uint32_t last = span_max;  // where the highest range begins
        for (uint32_t i = next_; i < span_max; ++i)
            if (octets_[i] != none && (i == 0 || octets_[i - 1] == none)) last = i;
        const bool there = last != span_max && last > from;
        expect(held_.prune_highest(seq(from)) == there, "prunes what it should not");
        if (there)
            for (uint32_t i = last; i < span_max; ++i) octets_[i] = none;
    }

    void collapse() {
        const size_t before = held_.pinned();
        held_.collapse(pools());
        expect(held_.pinned() <= before, "more is pinned than before");
    }

    /// All that can be asked about what is held.
    void compare() {
        size_t bytes = 0, runs = 0;
        for (uint32_t i = next_; i < span_max; ++i) {
            if (octets_[i] == none) continue;
            ++bytes;
            if (i == next_ || octets_[i - 1] == none) ++runs;
        }
        const Octets now = now_held();
        for (uint32_t i = next_; i < span_max; ++i)
            expect((now[i] == none) == (octets_[i] == none), "something else is held");
        expect(held_.bytes() == bytes && held_.ranges() == runs, "other sizes");
        expect(held_.empty() == (bytes == 0) && ranges_.in_use() == runs, "other ranges");
        expect(held_.pinned() >= bytes && (bytes != 0 || held_.pinned() == 0), "pins something else");
        compare_blocks(runs, false);
        compare_blocks(runs, true);
    }

    void compare_blocks(size_t runs, bool timestamps) {
        wire::TcpOptions options;
        options.has_timestamps = timestamps;
        held_.sack_blocks(options);
        expect(options.sack_count == std::min<size_t>(runs, timestamps ? 3 : 4),
               "another number of SACK blocks");
        for (size_t i = 0; i < options.sack_count; ++i) {
            const auto begin = static_cast<uint32_t>(options.sack[i].begin - first_);
            const auto end = static_cast<uint32_t>(options.sack[i].end - first_);
            expect(begin >= next_ && begin < end && end <= span_max, "a SACK block of nothing");
            expect(begin == next_ || octets_[begin - 1] == none, "half of a SACK block");
            expect(end == span_max || octets_[end] == none, "half of a SACK block");
            for (uint32_t at = begin; at < end; ++at)
                expect(octets_[at] != none, "a SACK block of what is missing");
            for (size_t other = 0; other < i; ++other)
                expect(options.sack[other].begin != options.sack[i].begin, "one block twice");
            // RFC 2018 section 4: the first is that with the segment which came last.
            if (i == 0 && latest_ && octets_[*latest_] != none)
                expect(begin <= *latest_ && *latest_ < end, "the latest is not the first");
        }
    }

    Input& in_;
    const Seq first_;
    tcp::Connection owner_{tcp::FlowKey()};
    Reassembly::Ranges ranges_;
    Reassembly held_;
    Octets octets_{};
    uint32_t next_ = 0;
    uint8_t salt_ = 0;
    size_t limit_ = 0;
    std::optional<uint32_t> latest_;
};

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Input in(data, size);
    Model(in).play();
    expect_all_buffers_back();
    return 0;
}
