// Data that arrived ahead of its turn.
#pragma once

#include <cstdint>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include "base/pool.h"
#include "base/seq.h"
#include "buf/pools.h"
#include "wire/tcp.h"

namespace millrace::tcp {

struct Connection;

/// A contiguous run of octets beyond RCV.NXT.
struct ReassemblyRange : boost::intrusive::set_base_hook<
                             boost::intrusive::optimize_size<true>,
                             boost::intrusive::link_mode<boost::intrusive::normal_link>> {
    Seq begin;
    Seq end;
    BufferChain data;
    bool operator<(const ReassemblyRange& other) const { return begin < other.begin; }
};

/// The ranges of one connection, ordered; O(log n) a segment. Borrowed from a pool while there is
/// disorder. First arrival wins (RFC 9293 leaves it open; attack case 44): what is held is never
/// replaced by later bytes.
class Reassembly : public boost::intrusive::list_base_hook<
                       boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
    using Ranges = Pool<ReassemblyRange>;

    /// What became of an insertion; `dropped` when a pool was dry or the bound reached.
    enum class Outcome : uint8_t { kept, duplicate, dropped };

    /// The copies that keep what is held in few buffers. A part of a buffer is copied, never
    /// referred to: a few bytes would pin it all, and the references are what sending needs.
    struct Copies {
        buf::Pools& buffers;
        bool allowed = true;  ///< to take another buffer for them
        size_t bytes = 0;     ///< copied so far
        size_t given_up = 0;  ///< chains whose buffers were given back for that
    };

    Reassembly(Ranges& pool, Connection& owner) : pool_(pool), owner_(owner) {}
    Reassembly(const Reassembly&) = delete;
    Reassembly& operator=(const Reassembly&) = delete;
    ~Reassembly() { clear(); }

    /// `data` starts at `begin`, which lies beyond RCV.NXT. At most `limit` bytes of buffers are
    /// pinned in all.
    Outcome insert(Seq begin, BufferChain data, size_t limit, Copies& copies);
    /// Cuts from in-order `data` at `begin` what is held already, hands over what of it comes
    /// first followed by all that has become contiguous. Answers the new RCV.NXT and the bytes of
    /// buffers that `out` pins for it.
    struct Merged {
        Seq next;
        size_t pinned = 0;
    };
    Merged merge(Seq begin, BufferChain data, BufferChain& out, Copies& copies);

    /// Appends to what stands in `options` already the ranges that changed last, the latest first
    /// (RFC 2018 section 4), as many as there is room for beside a timestamp.
    void sack_blocks(wire::TcpOptions& options) const;
    /// The part of [begin, end) that is held already: what a DSACK reports (RFC 2883 section 4.1).
    wire::SackBlock held(Seq begin, Seq end) const;

    /// Each range in as few buffers as there can be. O(ranges and buffers): where it pays.
    buf::Pools::Collapsed collapse(buf::Pools& buffers);
    /// Gives up the highest range. False where it does not begin behind `begin`.
    bool prune_highest(Seq begin);

    Connection& owner() const { return owner_; }
    bool empty() const { return set_.empty(); }
    size_t pinned() const { return pinned_; }
    size_t bytes() const { return bytes_; }
    size_t ranges() const { return set_.size(); }
    void clear();

private:
    using Set = boost::intrusive::set<ReassemblyRange>;
    Set::iterator add(Set::iterator next, Seq begin, BufferChain data, Copies& copies);
    Set::iterator fill(Set::iterator next, Seq begin, BufferChain& data, Copies& copies);
    void remove(Set::iterator at);

    void note_arrival(Seq seq);
    const ReassemblyRange* containing(Seq seq) const;

    Ranges& pool_;
    Connection& owner_;
    Set set_;
    size_t pinned_ = 0;
    size_t bytes_ = 0;
    // An octet of each of the ranges that changed last, the latest first.
    std::array<Seq, wire::TcpOptions::sack_blocks_max> recent_{};
    uint8_t recent_count_ = 0;
};

/// The core's, the oldest first.
using Reassemblies =
    boost::intrusive::list<Reassembly, boost::intrusive::constant_time_size<false>>;

}  // namespace millrace::tcp
