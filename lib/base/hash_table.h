// An intrusive hash table that grows one bucket at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <boost/intrusive/slist.hpp>

#include "base/assert.h"
#include "base/pool.h"

namespace millrace {

/// What an element of a `HashTable` derives from: 12 bytes that link it and remember its hash.
struct HashNode : boost::intrusive::slist_base_hook<
                      boost::intrusive::tag<struct HashNodeTag>,
                      boost::intrusive::link_mode<boost::intrusive::normal_link>> {
    uint32_t hash = 0;
};

/// Linear hashing (Litwin 1980) over Boost.Intrusive's singly linked lists: the bucket array is
/// reserved at its largest as address space, each insertion beyond a load of one splits one
/// bucket, so no insertion ever pauses to rehash. Owned by one core; allocates nothing. Elements
/// belong to the caller and must be erased before they die.
///
/// A key needs `bool matches(const Node&) const`; the caller hashes (keyed, once per packet).
template <typename Node>
class HashTable {
public:
    /// Room for `limit` elements at a load of at most one.
    explicit HashTable(size_t limit) {
        while (max_buckets_ < limit) max_buckets_ *= 2;
        memory_ = Reservation(max_buckets_ * sizeof(Bucket));
        MILLRACE_ASSERT(memory_.data() != nullptr);
        for (size_t i = 0; i < buckets_; ++i) std::construct_at(&buckets()[i]);
    }

    template <typename Key>
    Node* find(const Key& key, uint32_t hash) const {
        for (HashNode& node : bucket_of(hash))
            if (node.hash == hash && key.matches(static_cast<const Node&>(node)))
                return static_cast<Node*>(&node);
        return nullptr;
    }

    /// The one after `skip` others that match as well.
    template <typename Key>
    Node* find(const Key& key, uint32_t hash, size_t skip) const {
        for (HashNode& node : bucket_of(hash))
            if (node.hash == hash && key.matches(static_cast<const Node&>(node)) && skip-- == 0)
                return static_cast<Node*>(&node);
        return nullptr;
    }

    template <typename Key>
    size_t count(const Key& key, uint32_t hash) const {
        size_t matches = 0;
        for (HashNode& node : bucket_of(hash))
            if (node.hash == hash && key.matches(static_cast<const Node&>(node))) ++matches;
        return matches;
    }

    /// Calls `visit(Node&)` for each element of this hash; `visit` may not change the table.
    template <typename Visit>
    void for_each_of(uint32_t hash, Visit&& visit) const {
        for (HashNode& node : bucket_of(hash))
            if (node.hash == hash) visit(static_cast<Node&>(node));
    }
    void insert(Node& node, uint32_t hash) {
        node.hash = hash;
        bucket_of(hash).push_front(node);
        if (++size_ > buckets_ && buckets_ < max_buckets_) split();
    }

    /// Erasing what is not in the table is our own bug.
    void erase(Node& node) {
        Bucket& bucket = bucket_of(node.hash);
        auto before = bucket.before_begin();
        for (auto at = bucket.begin(); &*at != &node; ++at, ++before)
            MILLRACE_ASSERT(at != bucket.end());
        bucket.erase_after(before);
        --size_;
    }

    void prefetch(uint32_t hash) const { __builtin_prefetch(&bucket_of(hash)); }
    /// A pass later, when the bucket is there: its first element, nearly always the one looked for.
    void prefetch_first(uint32_t hash) const {
        const Bucket& bucket = bucket_of(hash);
        if (!bucket.empty()) __builtin_prefetch(&bucket.front());
    }
    size_t size() const { return size_; }

    /// Calls `visit(Node&)` for each element; `visit` may erase the element that it was given.
    template <typename Visit>
    void for_each(Visit&& visit) {
        for (size_t i = 0; i < buckets_; ++i) {
            auto at = buckets()[i].begin();
            while (at != buckets()[i].end()) visit(static_cast<Node&>(*at++));
        }
    }

    /// A walk in steps: the elements of `count` buckets from `from` on; `visit` may not change the
    /// table. Answers where to go on, 0 at the end. What was in the table when the walk began and
    /// still is at its end is visited, also where buckets were split meanwhile.
    template <typename Visit>
    size_t for_each_from(size_t from, size_t count, Visit&& visit) {
        const size_t end = std::min(from + count, buckets_);
        for (size_t i = from; i < end; ++i)
            for (HashNode& node : buckets()[i]) visit(static_cast<Node&>(node));
        return end < buckets_ ? end : 0;
    }

    /// The longest chain, for tests of the spread.
    size_t longest_chain() const {
        size_t longest = 0;
        for (size_t i = 0; i < buckets_; ++i)
            longest = std::max(longest, buckets()[i].size());
        return longest;
    }

private:
    using Bucket = boost::intrusive::slist<
        HashNode, boost::intrusive::base_hook<HashNode::slist_base_hook>,
        boost::intrusive::linear<true>, boost::intrusive::cache_last<false>,
        boost::intrusive::constant_time_size<false>>;
    static_assert(sizeof(Bucket) == sizeof(void*));
    static constexpr size_t min_buckets = 64;

    Bucket* buckets() const { return reinterpret_cast<Bucket*>(memory_.data()); }
    Bucket& bucket_of(uint32_t hash) const {
        // Buckets below the split mark of this round are already addressed by one bit more.
        size_t index = hash & (round_ * 2 - 1);
        if (index >= buckets_) index = hash & (round_ - 1);
        return buckets()[index];
    }

    /// Bucket `buckets_ - round_` gives those elements to the new bucket that its next bit names.
    void split() {
        Bucket& from = buckets()[buckets_ - round_];
        Bucket& target = *std::construct_at(&buckets()[buckets_]);
        Bucket all;
        all.swap(from);
        while (!all.empty()) {
            HashNode& node = all.front();
            all.pop_front();
            ((node.hash & round_) != 0 ? target : from).push_front(node);
        }
        if (++buckets_ == round_ * 2) round_ *= 2;
    }

    Reservation memory_;
    size_t max_buckets_ = min_buckets;
    size_t buckets_ = min_buckets;  // in use now; round_ <= buckets_ < 2 * round_
    size_t round_ = min_buckets;
    size_t size_ = 0;
};

}  // namespace millrace
