// DPDK 22.11 calls the ring's zero-copy functions experimental.
#define ALLOW_EXPERIMENTAL_API

#include "runtime/tap.h"

#include <algorithm>
#include <cstring>

#include <rte_ring_peek_zc.h>

#include "base/happens_before.h"

namespace millrace::runtime {

namespace {

/// A slot of the ring for a copy of so many bytes, whole cache lines.
uint32_t slot_for(uint16_t snaplen) {
    constexpr uint32_t line = 64;
    return static_cast<uint32_t>((sizeof(CapturedFrame) + snaplen + line - 1) / line * line);
}

/// Slot `i` of those that the ring has given.
CapturedFrame* slot(const rte_ring_zc_data& slots, uint32_t size, size_t i) {
    auto* first = static_cast<std::byte*>(i < slots.n1 ? slots.ptr1 : slots.ptr2);
    return reinterpret_cast<CapturedFrame*>(first + (i < slots.n1 ? i : i - slots.n1) * size);
}

void count(std::atomic<uint64_t>& counter, uint64_t more) {
    counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

}  // namespace

Tap::Tap(const TapOptions& options) : options_(options), slot_size_(slot_for(options.snaplen)) {}

Result<std::shared_ptr<Tap>> Tap::create(const TapOptions& options) {
    std::shared_ptr<Tap> tap(new Tap(options));
    const ssize_t size = rte_ring_get_memsize_elem(tap->slot_size_, options.waiting);
    if (size < 0) return error(EINVAL);
    void* memory = std::aligned_alloc(RTE_CACHE_LINE_SIZE * 2, static_cast<size_t>(size));
    if (memory == nullptr) return error(ENOMEM);
    std::memset(memory, 0, static_cast<size_t>(size));  // a core meets no page fault
    tap->ring_.reset(static_cast<rte_ring*>(memory));
    if (rte_ring_init(tap->ring_.get(), "tap", options.waiting, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
        return error(EINVAL);
    return tap;
}

bool Tap::admits(Direction direction, const rte_mbuf* frame) const {
    std::array<uint8_t, FrameFilter::head_max> pieces;
    const auto size = std::min<uint32_t>(frame->pkt_len, FrameFilter::head_max);
    const auto* head =
        static_cast<const uint8_t*>(rte_pktmbuf_read(frame, 0, size, pieces.data()));
    return options_.filter.admits(direction, {head, size}, frame->pkt_len);
}

void Tap::copy(CapturedFrame* to, const rte_mbuf* frame) const {
    to->original = frame->pkt_len;
    to->size = static_cast<uint16_t>(std::min<uint32_t>(frame->pkt_len, options_.snaplen));
    auto* at = reinterpret_cast<uint8_t*>(to + 1);
    size_t left = to->size;
    for (const rte_mbuf* m = frame; left > 0; m = m->next) {
        const size_t piece = std::min<size_t>(left, m->data_len);
        std::memcpy(at, rte_pktmbuf_mtod(m, const void*), piece);
        at += piece;
        left -= piece;
    }
}

void Tap::put(std::span<rte_mbuf* const> frames, const CapturedFrame& head, PortCounts& counts) {
    rte_ring_zc_data slots;
    const auto wanted = static_cast<unsigned>(frames.size());
    const unsigned given =
        rte_ring_enqueue_zc_burst_elem_start(ring_.get(), slot_size_, wanted, &slots, nullptr);
    for (size_t i = 0; i < given; ++i) {
        CapturedFrame* to = slot(slots, slot_size_, i);
        happens_after(to);
        *to = head;
        copy(to, frames[i]);
        happens_before(to);
    }
    if (given > 0) rte_ring_enqueue_zc_elem_finish(ring_.get(), given);
    if (given < wanted) count(counts.dropped, wanted - given);
}

void Tap::take(uint16_t port, uint16_t queue, Direction direction,
               std::span<rte_mbuf* const> frames, uint64_t tsc) {
    const bool wanted = direction == Direction::received ? options_.received : options_.sent;
    if (!wanted || (options_.ports >> port & 1) == 0 || closed()) return;
    std::array<rte_mbuf*, burst_max> admitted;
    size_t n = 0;
    for (rte_mbuf* frame : frames)
        if (admits(direction, frame)) admitted[n++] = frame;
    count(counts_[port].seen, frames.size());
    const CapturedFrame head{
        .tsc = tsc, .port = port, .queue = queue, .direction = direction};
    if (n > 0) put({admitted.data(), n}, head, counts_[port]);
}

size_t Tap::read(std::array<const CapturedFrame*, burst_max>& copies) {
    rte_ring_zc_data slots;
    const unsigned n = rte_ring_dequeue_zc_burst_elem_start(ring_.get(), slot_size_, burst_max,
                                                            &slots, nullptr);
    for (size_t i = 0; i < n; ++i) {
        copies[i] = slot(slots, slot_size_, i);
        happens_after(copies[i]);
    }
    return n;
}

void Tap::done(std::span<const CapturedFrame* const> copies) {
    for (const CapturedFrame* copy : copies) happens_before(copy);
    rte_ring_dequeue_zc_elem_finish(ring_.get(), static_cast<unsigned>(copies.size()));
}

Tap::Counts Tap::counts(size_t port) const {
    return {counts_[port].seen.load(std::memory_order_relaxed),
            counts_[port].dropped.load(std::memory_order_relaxed)};
}

}  // namespace millrace::runtime
