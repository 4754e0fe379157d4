// The mint's own tools: packet buffers as DPDK knows them, and the life of one segment.
// Only `buf`, `port` and `runtime` include this.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <millrace/buffer.h>

#include "base/happens_before.h"
#include "base/poison.h"

namespace millrace::buf {

inline rte_mbuf* mbuf_of(BufferStorage* storage) { return reinterpret_cast<rte_mbuf*>(storage); }
inline BufferStorage* storage_of(rte_mbuf* mbuf) {
    return reinterpret_cast<BufferStorage*>(mbuf);
}

/// The bytes of one packet buffer that must not be touched while it lies in its pool: the mbuf,
/// its private area and, where it has a data room of its own, that.
inline size_t element_size(const rte_mempool* pool) { return pool->elt_size; }

inline void give_back(rte_mempool* pool, void* element) {
    happens_before(pool);
    rte_mempool_put(pool, element);
    happens_before(pool);  // for who frees the pool, long after this has ended
}

/// Gives one segment back (or drops one reference to it). Poisoned before it is in the pool, since
/// another core may take it at once.
inline void free_segment(rte_mbuf* mbuf) {
    rte_mbuf* free = rte_pktmbuf_prefree_seg(mbuf);
    if (free == nullptr) return;
    rte_mempool* pool = free->pool;
    poison(free, element_size(pool));
    give_back(pool, free);
}

inline void free_chain(rte_mbuf* mbuf) {
    while (mbuf != nullptr) {
        rte_mbuf* next = mbuf->next;
        free_segment(mbuf);
        mbuf = next;
    }
}

/// Null where the pool is dry.
inline rte_mbuf* allocate(rte_mempool* pool) {
    void* element = nullptr;
    if (rte_mempool_get(pool, &element) != 0) return nullptr;
    happens_after(pool);
    unpoison(element, element_size(pool));
    auto* mbuf = static_cast<rte_mbuf*>(element);
    rte_pktmbuf_reset(mbuf);
    return mbuf;
}

/// What a driver hands over was taken from its pool behind the sanitizer's back.
inline void unpoison_received(rte_mbuf* mbuf) {
#ifdef MILLRACE_ASAN
    for (; mbuf != nullptr; mbuf = mbuf->next) {
        unpoison(mbuf, sizeof(rte_mbuf));
        unpoison(mbuf, element_size(mbuf->pool));
    }
#else
    (void)mbuf;
#endif
}

}  // namespace millrace::buf

namespace millrace {

/// The library's door into `Buffer` and `BufferChain`.
class BufferAccess {
public:
    static Buffer wrap(rte_mbuf* mbuf) {
        return {buf::storage_of(mbuf), rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len};
    }
    /// Takes the segment out, its fields set to what the slice still covers.
    static rte_mbuf* unwrap(Buffer&& buffer) {
        rte_mbuf* mbuf = buf::mbuf_of(std::exchange(buffer.storage_, nullptr));
        mbuf->data_off = static_cast<uint16_t>(
            buffer.data_ - static_cast<const std::byte*>(mbuf->buf_addr));
        mbuf->data_len = static_cast<uint16_t>(buffer.size_);
        return mbuf;
    }
    /// What a slice owns, out of its hands.
    static BufferStorage* detach(Buffer&& buffer) {
        return std::exchange(buffer.storage_, nullptr);
    }
    /// A slice again of what was detached: of these bytes, which lie in it.
    static Buffer attach(BufferStorage* storage, const std::byte* data, uint32_t size) {
        return {storage, data, size};
    }
    /// All these bytes are part of what was detached.
    static bool holds(BufferStorage* storage, const void* data, size_t size) {
        const rte_mbuf* mbuf = buf::mbuf_of(storage);
        const auto begin = reinterpret_cast<uintptr_t>(rte_pktmbuf_mtod(mbuf, const void*));
        const auto at = reinterpret_cast<uintptr_t>(data);
        return at >= begin && size <= mbuf->data_len && at - begin <= mbuf->data_len - size;
    }
    static BufferStorage* head(const BufferChain& chain) { return chain.head_; }
    static BufferStorage* tail(const BufferChain& chain) { return chain.tail_; }
    static void append_segment(BufferChain& chain, rte_mbuf* mbuf) {
        mbuf->next = nullptr;
        if (chain.head_ == nullptr)
            chain.head_ = buf::storage_of(mbuf);
        else
            buf::mbuf_of(chain.tail_)->next = mbuf;
        chain.tail_ = buf::storage_of(mbuf);
        chain.size_ += mbuf->data_len;
    }
    static void grow_tail(BufferChain& chain, uint32_t bytes) { chain.size_ += bytes; }
    static const std::shared_ptr<Region::Life>& life(const Region& region) { return region.life_; }
    using RegionLife = std::shared_ptr<Region::Life>;
};

}  // namespace millrace
