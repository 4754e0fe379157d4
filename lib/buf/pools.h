// The packet buffer pools of one core.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "buf/frame.h"

namespace millrace::buf {

struct PoolSizes {
    uint32_t receive = 8192;  ///< buffers of `receive_room` bytes that ports fill
    uint32_t header = 8192;   ///< frames to be sent: headers and small payloads
    uint32_t attach = 8192;   ///< references to payload that is kept or foreign
    uint32_t payload = 4096;  ///< buffers into which the application's bytes are copied
    uint32_t region = 8192;   ///< buffers that the application cuts from regions
    uint32_t receive_room = 2048;  ///< bytes of a received frame per buffer, at most 16384
    int socket = -1;               ///< NUMA node, -1: any

    /// Bytes that pools of these sizes take, at most: what EAL is asked for.
    uint64_t memory() const;
};

/// Where a byte of kept payload stands: a buffer and an offset into it.
struct Cursor {
    BufferStorage* storage = nullptr;
    uint32_t offset = 0;
};

/// Where a core counts what it did not find; null: nowhere. They outlive the counting.
struct DryCounters {
    uint64_t* header = nullptr;
    uint64_t* attach = nullptr;
    uint64_t* payload = nullptr;
    uint64_t* region = nullptr;
    uint64_t* reserve_used = nullptr;  ///< frames of the control reserve
    uint64_t* control = nullptr;       ///< not even the reserve had one
};

/// Owned by one core, which allocates; buffers may be freed anywhere. The memory outlives the
/// object until the last buffer is back. Running dry is answered by null, and counted.
class Pools {
public:
    /// Frames that are kept for what carries no payload: ACKs, resets, FINs, link addresses, ICMP.
    static constexpr size_t reserve_max = 64;
    /// The most copied-in payload that is copied behind the headers instead of referred to (DESIGN:
    /// a copy of a few cache lines is cheaper than another buffer).
    static constexpr size_t copy_max = 256;
    /// A frame has at most so many pieces; NICs refuse more (i40e: 8). Beyond that, a copy.
    static constexpr size_t pieces_max = 8;
    static constexpr size_t headroom = RTE_PKTMBUF_HEADROOM;

    static Started<Pools> create(const std::string& name, const PoolSizes& sizes);
    Pools(Pools&& other) noexcept;
    Pools& operator=(Pools&&) = delete;
    ~Pools();

    rte_mempool* receive_pool() const { return receive_; }

    /// An empty frame with room for all headers in front.
    Frame frame() {
        rte_mbuf* mbuf = allocate(header_);
        if (mbuf == nullptr) count(dry_.header);
        return Frame(mbuf);
    }
    /// The same for what carries no payload: where the pool is dry, one of the reserve. Who makes
    /// room is not held up by those who wait for it.
    Frame control_frame() {
        rte_mbuf* mbuf = allocate(header_);
        return Frame(mbuf != nullptr ? mbuf : from_reserve(0));
    }
    /// The same for what strangers may ask for as often as they like (SYN-ACKs, echo replies): half
    /// of the reserve is not theirs.
    Frame reply_frame() {
        rte_mbuf* mbuf = allocate(header_);
        return Frame(mbuf != nullptr ? mbuf : from_reserve(reserve_max / 2));
    }
    /// Once a turn: what was taken from the reserve is put back, as far as there is anything.
    void refill_reserve() {
        if (reserve_.size() < reserve_size_) [[unlikely]] fill_reserve();
    }
    size_t reserve() const { return reserve_.size(); }
    /// From now on what is not there is counted there.
    void count_dry_in(const DryCounters& counters) { dry_ = counters; }
    /// A received frame, as a test or a wire makes it. Null where the pool is dry or `bytes` exceed
    /// what one chain may hold.
    Frame received(std::span<const uint8_t> bytes);

    /// Puts `size` bytes of kept payload behind `frame`: by reference, but for small amounts of
    /// what was copied in, and for too many pieces. Advances the cursor. Answers how much was
    /// copied; nothing where a pool is dry: some of it may be there, the frame is to be dropped and
    /// the cursor forgotten.
    std::optional<size_t> append_payload(Frame& frame, Cursor& cursor, size_t size);

    /// The same where no reference is left: by copy, into buffers of the payload pool, or as much
    /// as the frame itself has room for. Answers how much, 0 where `frame` is null.
    uint32_t append_copied(Frame& frame, Cursor& cursor, uint32_t size);

    /// Another frame of the same bytes, by reference, with what the port has said of them. Null
    /// where a pool is dry.
    Frame share(const Frame& frame);

    /// How much of it goes into one frame by reference alone.
    static uint32_t size_by_reference(const Cursor& cursor, size_t size);

    /// Copies as many bytes as the pool allows to the chain's end; answers how many.
    size_t append_copy(BufferChain& chain, std::span<const std::byte> bytes);
    /// Takes the first `bytes` of `from` and copies them to the end of `to`; answers how many,
    /// fewer where the pool is dry.
    size_t move_by_copy(BufferChain& to, BufferChain& from, size_t bytes);
    /// Bytes that `append_copy` puts behind a chain without another buffer.
    size_t tail_room(const BufferChain& chain) const;
    /// A buffer that refers to a region's memory; ENOBUFS where a pool is dry, EINVAL out of range.
    Result<Buffer> region_buffer(const Region& region, size_t offset, size_t size);

    /// Buffers that lie in the pools now, and how many there are in all.
    size_t available() const;
    size_t capacity() const { return capacity_; }
    /// Receive buffers in all, and the bytes of received frames that they can hold.
    size_t receive_buffers() const;
    size_t receive_capacity() const;
    /// Receive buffers are short: queues must not pin more of them (DESIGN: a reserve). Not cheap:
    /// once a millisecond.
    bool receive_is_low() const;
    /// Buffers that bytes are copied into are short: what is left is for the application's sends.
    bool payload_is_low() const;
    /// What a collapse did: buffers that were given up, bytes that were copied for it.
    struct Collapsed {
        size_t buffers = 0;
        size_t copied = 0;
    };
    /// The same bytes, in as few buffers of the payload pool as there can be. Where that runs dry,
    /// the rest stays as it is.
    Collapsed collapse(BufferChain& chain);
    /// What `bytes` in so many chains pin once these are collapsed, at most.
    static size_t collapsed_bytes(size_t bytes, size_t chains);
    /// One of the chain's buffers is a receive buffer.
    bool holds_received(const BufferChain& chain) const;
    /// Copies all of `from` to the end of `to`, counted by the caller. False, and nothing has
    /// changed, where the payload pool is dry.
    bool append_copy(BufferChain& to, const BufferChain& from);

private:
    Pools() = default;
    static Started<Pools> try_create(const std::string& name, const PoolSizes& sizes);
    bool is_copied_in(const Cursor& cursor, size_t size) const;
    bool append_in_one(Frame& frame, Cursor& cursor, size_t size);
    bool append_reference(Frame& frame, rte_mbuf* payload, size_t offset, size_t size);
    static void count(uint64_t* counter) {
        if (counter != nullptr) ++*counter;
    }
    rte_mbuf* take_payload();
    rte_mbuf* from_reserve(size_t left_at_least);
    void begin_reserve(uint32_t header);
    void fill_reserve();
    void empty_reserve();

    rte_mempool* receive_ = nullptr;
    rte_mempool* header_ = nullptr;
    rte_mempool* attach_ = nullptr;
    rte_mempool* payload_ = nullptr;
    rte_mempool* region_ = nullptr;  // apart from attach_: what is queued must not starve sending
    rte_mempool* holds_ = nullptr;  // what keeps a region alive, one per buffer cut from it
    size_t capacity_ = 0;
    size_t reserve_size_ = 0;          ///< how many it holds when it is full
    std::vector<rte_mbuf*> reserve_;   ///< of the header pool
    DryCounters dry_;
};

/// Walking kept payload without naming its storage.
inline size_t size_of(BufferStorage* storage) { return mbuf_of(storage)->data_len; }
inline BufferStorage* next_of(BufferStorage* storage) {
    return storage_of(mbuf_of(storage)->next);
}
inline std::span<const uint8_t> bytes_of(BufferStorage* storage) {
    return {rte_pktmbuf_mtod(mbuf_of(storage), const uint8_t*), size_of(storage)};
}
inline Cursor begin_of(const BufferChain& chain) { return {BufferAccess::head(chain), 0}; }
/// A byte of kept payload by its address within its buffer: stays true while bytes before it are
/// cut off, as a cursor does not.
struct Place {
    BufferStorage* storage = nullptr;
    uint32_t at = 0;
};
inline Place place_of(const Cursor& cursor) {
    if (cursor.storage == nullptr) return {};
    return {cursor.storage, mbuf_of(cursor.storage)->data_off + cursor.offset};
}
inline Cursor cursor_at(const Place& place) {
    if (place.storage == nullptr) return {};
    return {place.storage, place.at - mbuf_of(place.storage)->data_off};
}
/// Moves a cursor `bytes` on; stops at the end of the last buffer, so that more may follow it.
void advance(Cursor& cursor, size_t bytes);
/// What a queue of these buffers pins: whole buffers, not payload (DESIGN: charged by buffer).
size_t pinned_bytes(const BufferChain& chain);
/// The same of the buffers behind what was the chain's `tail`; of all where that is null.
size_t pinned_behind(const BufferChain& chain, BufferStorage* tail);
/// And of those that go where `bytes` are cut off at the front.
size_t pinned_in_front(const BufferChain& chain, size_t bytes);

}  // namespace millrace::buf
