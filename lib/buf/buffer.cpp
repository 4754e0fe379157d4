#include <millrace/buffer.h>

#include <algorithm>
#include <cstring>

#include "buf/storage.h"

namespace millrace {

using buf::mbuf_of;
using buf::storage_of;

void detail::release(BufferStorage* storage) noexcept { buf::free_segment(mbuf_of(storage)); }

void BufferChain::append(Buffer buffer) {
    if (buffer.empty()) return;
    BufferAccess::append_segment(*this, BufferAccess::unwrap(std::move(buffer)));
}

void BufferChain::append(BufferChain chain) {
    if (chain.empty()) return;
    if (empty()) {
        swap(chain);
        return;
    }
    mbuf_of(tail_)->next = mbuf_of(chain.head_);
    tail_ = chain.tail_;
    size_ += chain.size_;
    chain.head_ = chain.tail_ = nullptr;
    chain.size_ = 0;
}

Buffer BufferChain::pop_front() {
    if (empty()) return {};
    rte_mbuf* mbuf = mbuf_of(head_);
    head_ = storage_of(mbuf->next);
    if (head_ == nullptr) tail_ = nullptr;
    mbuf->next = nullptr;
    size_ -= mbuf->data_len;
    return BufferAccess::wrap(mbuf);
}

std::span<const std::byte> BufferChain::front() const {
    if (empty()) return {};
    rte_mbuf* mbuf = mbuf_of(head_);
    return {rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len};
}

void BufferChain::trim_front(size_t bytes) {
    while (bytes > 0) {
        rte_mbuf* mbuf = mbuf_of(head_);
        if (mbuf->data_len > bytes) {
            mbuf->data_off = static_cast<uint16_t>(mbuf->data_off + bytes);
            mbuf->data_len = static_cast<uint16_t>(mbuf->data_len - bytes);
            size_ -= static_cast<uint32_t>(bytes);
            return;
        }
        bytes -= mbuf->data_len;
        pop_front();
    }
}

void BufferChain::trim_back(size_t bytes) {
    const size_t keep = size_ - bytes;
    if (keep == 0) {
        clear();
        return;
    }
    size_t seen = 0;
    rte_mbuf* mbuf = mbuf_of(head_);
    while (seen + mbuf->data_len < keep) {
        seen += mbuf->data_len;
        mbuf = mbuf->next;
    }
    mbuf->data_len = static_cast<uint16_t>(keep - seen);
    buf::free_chain(std::exchange(mbuf->next, nullptr));
    tail_ = storage_of(mbuf);
    size_ = static_cast<uint32_t>(keep);
}

size_t BufferChain::copy_to(std::span<std::byte> out, size_t skip) const {
    size_t copied = 0;
    for (rte_mbuf* mbuf = mbuf_of(head_); mbuf != nullptr && copied < out.size();
         mbuf = mbuf->next) {
        const size_t from = std::min<size_t>(skip, mbuf->data_len);
        skip -= from;
        const size_t n = std::min<size_t>(mbuf->data_len - from, out.size() - copied);
        std::memcpy(out.data() + copied, rte_pktmbuf_mtod_offset(mbuf, const void*, from), n);
        copied += n;
    }
    return copied;
}

void BufferChain::clear() {
    buf::free_chain(mbuf_of(head_));
    head_ = tail_ = nullptr;
    size_ = 0;
}

}  // namespace millrace
