// Frames: one Ethernet frame as received or sent, and batches of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "buf/storage.h"

namespace millrace::buf {

/// What the port says of a checksum in a received frame.
enum class HardwareChecksum : uint8_t { unknown, good, bad };

/// Which header checksums of a frame to be sent are left to the port.
struct ChecksumOffload {
    uint16_t link_size = 0;     ///< bytes before the IP header
    uint16_t network_size = 0;  ///< bytes of the IP header
    bool ipv4_header = false;   ///< the frame is IPv4 and its header checksum is to be filled in
    bool ipv6 = false;
    bool tcp = false;  ///< the field holds the pseudo-header's sum already
    bool udp = false;
};

/// Owner of one frame. Move-only; dropping it gives its buffers back. Owned by one core at a time.
class Frame {
public:
    Frame() = default;
    explicit Frame(rte_mbuf* mbuf) : mbuf_(mbuf) {}
    Frame(Frame&& other) noexcept : mbuf_(std::exchange(other.mbuf_, nullptr)) {}
    Frame& operator=(Frame&& other) noexcept {
        std::swap(mbuf_, other.mbuf_);
        return *this;
    }
    ~Frame() { free_chain(mbuf_); }

    explicit operator bool() const { return mbuf_ != nullptr; }
    rte_mbuf* release() { return std::exchange(mbuf_, nullptr); }
    rte_mbuf* get() const { return mbuf_; }

    /// Bytes of the first buffer.
    std::span<uint8_t> head() const {
        return {rte_pktmbuf_mtod(mbuf_, uint8_t*), mbuf_->data_len};
    }
    /// Bytes of the whole frame.
    size_t size() const { return mbuf_->pkt_len; }
    uint32_t buffers() const { return mbuf_->nb_segs; }

    /// Cuts the front; whole buffers that are used up are freed. At most `size()`.
    void trim_front(size_t bytes);
    /// Cuts the frame down to `size` bytes (Ethernet padding); at most `size()`.
    void trim_to(size_t size);
    /// What is left of the frame, as payload.
    BufferChain into_chain() &&;

    /// Room for `bytes` in front of the frame, to be written by the caller. Null if there is none.
    uint8_t* push(size_t bytes) {
        return reinterpret_cast<uint8_t*>(rte_pktmbuf_prepend(mbuf_, static_cast<uint16_t>(bytes)));
    }
    /// Room for `bytes` behind the frame's last buffer. Null if there is none.
    uint8_t* put(size_t bytes) {
        return reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf_, static_cast<uint16_t>(bytes)));
    }
    /// Hangs more buffers behind the frame.
    void append(Frame other);
    /// A received frame becomes an empty one to be written, where nobody else holds its memory.
    bool recycle();

    /// Copies bytes out of the frame, across buffers; `offset + out.size()` at most `size()`.
    void copy_out(size_t offset, std::span<uint8_t> out) const;
    /// Calls `visit(offset, data, size)` for each contiguous piece from `offset` on, `size` bytes.
    template <typename Visit>
    void for_each_piece(size_t offset, size_t size, Visit&& visit) const {
        size_t done = 0;
        for (const rte_mbuf* m = mbuf_; m != nullptr && done < size; m = m->next) {
            if (offset >= m->data_len) {
                offset -= m->data_len;
                continue;
            }
            const size_t piece = std::min<size_t>(m->data_len - offset, size - done);
            visit(done, rte_pktmbuf_mtod_offset(m, const uint8_t*, offset), piece);
            done += piece;
            offset = 0;
        }
    }

    /// Two bytes that travel with a frame from core to core; the sender's and receiver's to define.
    void set_tag(uint16_t tag) { mbuf_->port = tag; }
    uint16_t tag() const { return mbuf_->port; }

    HardwareChecksum ip_checksum() const;
    HardwareChecksum transport_checksum() const;
    /// For frames that never left the machine's memory: nothing to verify.
    void mark_checksums_good();
    void offload_checksums(const ChecksumOffload& what);

private:
    rte_mbuf* mbuf_ = nullptr;
};

/// Up to `capacity` frames; what a port's receive fills and its transmit empties.
class FrameBatch {
public:
    static constexpr size_t capacity = 64;

    FrameBatch() = default;
    FrameBatch(const FrameBatch&) = delete;
    FrameBatch& operator=(const FrameBatch&) = delete;
    ~FrameBatch() { clear(); }

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    bool full() const { return size_ == capacity; }
    void push(Frame frame) { mbufs_[size_++] = frame.release(); }
    /// Frame `i` leaves the batch; its place stays, empty.
    Frame take(size_t i) { return Frame(std::exchange(mbufs_[i], nullptr)); }
    void clear() {
        for (size_t i = 0; i < size_; ++i) free_chain(mbufs_[i]);
        size_ = 0;
    }
    /// What another core has written is far away: all of it is called for before any is waited for.
    /// A small frame's bytes; of a large one those that are looked at first.
    void prefetch() const {
        for (size_t i = 0; i < size_; ++i)
            prefetch_lines(rte_pktmbuf_mtod(mbufs_[i], const void*), 256);
    }

    /// For drivers: the raw array. `filled(n)` after a receive; `to_be_sent()` before, `sent(n)`
    /// after a transmit.
    rte_mbuf** raw() { return mbufs_.data(); }
    /// To be looked at.
    std::span<rte_mbuf* const> frames() const { return {mbufs_.data(), size_}; }
    void filled(size_t n) {
        size_ = n;
        for (size_t i = 0; i < n; ++i) {
            happens_after(mbufs_[i]);
            __builtin_prefetch(mbufs_[i]);
            unpoison_received(mbufs_[i]);
        }
    }
    void to_be_sent() const {
        for (size_t i = 0; i < size_; ++i) happens_before(mbufs_[i]);
    }
    /// Only the first `n` places are left; the others were emptied by the caller.
    void shrink(size_t n) { size_ = n; }
    void sent(size_t n) {
        std::copy(mbufs_.begin() + static_cast<ptrdiff_t>(n),
                  mbufs_.begin() + static_cast<ptrdiff_t>(size_), mbufs_.begin());
        size_ -= n;
    }

private:
    static void prefetch_lines(const void* at, size_t bytes) {
        for (size_t line = 0; line < bytes; line += RTE_CACHE_LINE_SIZE)
            __builtin_prefetch(static_cast<const std::byte*>(at) + line);
    }

    std::array<rte_mbuf*, capacity> mbufs_{};
    size_t size_ = 0;
};

}  // namespace millrace::buf
