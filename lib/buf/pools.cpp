#include "buf/pools.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "base/assert.h"

namespace millrace::buf {

namespace {

constexpr uint32_t cache_size = 256;
// A pool's own tables: a cache for each of EAL's 128 threads, and its ring.
constexpr uint64_t per_pool = 3 << 19;
constexpr size_t payload_room = 2048 + Pools::headroom;
constexpr size_t mbuf_overhead = sizeof(rte_mbuf) + 64;  // with the pool's own header per element

/// Keeps a region alive while one buffer of it, or a copy of that buffer in flight, exists. It
/// cannot live in the buffer itself, which may go back to its pool before its copies do.
struct Hold {
    rte_mbuf_ext_shared_info shared;  // whose count is written by atomic operations alone
    rte_mempool* pool;
    alignas(BufferAccess::RegionLife) std::byte life[sizeof(BufferAccess::RegionLife)];
};

void drop_hold(void*, void* opaque) {
    auto* hold = static_cast<Hold*>(opaque);
    rte_mempool* pool = hold->pool;
    std::destroy_at(std::launder(reinterpret_cast<BufferAccess::RegionLife*>(hold->life)));
    give_back(pool, hold);
}

/// Pools whose owner is gone while buffers of theirs are still out. They are freed when the next
/// pool is made or given up and everything has come back. Process-wide, as EAL's memory is.
class Retired {
public:
    void add(rte_mempool* pool) {
        const std::lock_guard lock(mutex_);
        pools_.push_back({pool, std::nullopt});
        sweep();
    }
    void collect() {
        const std::lock_guard lock(mutex_);
        sweep();
    }
    /// Where memory is short: waits until what has come back can be freed. False: nothing was.
    bool collect_patiently() {
        std::unique_lock lock(mutex_);
        const size_t before = freed_;
        sweep();
        lock.unlock();
        std::this_thread::sleep_for(apart);
        lock.lock();
        sweep();
        return freed_ > before;
    }

private:
    struct Waiting {
        rte_mempool* pool;
        std::optional<std::chrono::steady_clock::time_point> full_since;
    };
    /// The count of a pool that others give back to at this moment is not exact: it is freed when
    /// it was full at two looks well apart.
    void sweep() {
        const auto now = std::chrono::steady_clock::now();
        std::erase_if(pools_, [&](Waiting& waiting) {
            rte_mempool* pool = waiting.pool;
            if (!rte_mempool_full(pool)) {
                waiting.full_since.reset();
                return false;
            }
            if (!waiting.full_since) waiting.full_since = now;
            if (now - *waiting.full_since < apart) return false;
            happens_after(pool);
            rte_mempool_mem_iter(
                pool,
                [](rte_mempool*, void*, rte_mempool_memhdr* memory, unsigned) {
                    unpoison(memory->addr, memory->len);
                },
                nullptr);
            rte_mempool_free(pool);
            ++freed_;
            return true;
        });
    }
    static constexpr auto apart = std::chrono::milliseconds(100);
    std::mutex mutex_;
    size_t freed_ = 0;  ///< so far
    std::vector<Waiting> pools_;
};

Retired& retired() {
    static Retired instance;
    return instance;
}

rte_mempool* make_pool(const std::string& name, uint32_t count, uint32_t room, int socket) {
    return rte_pktmbuf_pool_create(name.c_str(), count, std::min(cache_size, count / 4), 0,
                                   static_cast<uint16_t>(room), socket);
}

}  // namespace

uint64_t PoolSizes::memory() const {
    // In ordinary memory no element crosses a page: what is left of one is lost.
    const auto bytes = [](uint64_t count, uint64_t room) {
        constexpr uint64_t page = 4096;
        const uint64_t element = room + mbuf_overhead + 64;
        const uint64_t fit = std::max<uint64_t>(page / element, 1);
        const uint64_t spread = element > page ? (element + page) : page / fit;
        return count * spread + per_pool;
    };
    return bytes(receive, receive_room + Pools::headroom) +
           bytes(header, Pools::headroom + Pools::copy_max) + bytes(attach, 0) +
           bytes(payload, payload_room) + 2 * bytes(region, 0);
}

Started<Pools> Pools::create(const std::string& name, const PoolSizes& sizes) {
    retired().collect();
    auto pools = try_create(name, sizes);
    const auto short_of_memory = [&] {  // or of EAL's zones for it
        const int code = pools.error().code;
        return code == ENOMEM || code == ENOBUFS || code == ENOSPC;
    };
    if (pools || !short_of_memory() || !retired().collect_patiently()) return pools;
    return try_create(name, sizes);
}

Started<Pools> Pools::try_create(const std::string& name, const PoolSizes& sizes) {
    Pools pools;
    const auto failed = [&](const char* which, uint32_t count) {
        return failure(
            fmt::format("cannot make the {} buffer pool of {} ({} buffers): {}. Lower [pools] in "
                        "the configuration or give more memory (huge pages, or memory_mb)",
                        which, name, count, rte_strerror(rte_errno)),
            rte_errno);
    };
    const int socket = sizes.socket;
    pools.receive_ =
        make_pool(name + "_rx", sizes.receive, sizes.receive_room + headroom, socket);
    if (pools.receive_ == nullptr) return failed("receive", sizes.receive);
    pools.header_ = make_pool(name + "_hd", sizes.header, headroom + copy_max, socket);
    if (pools.header_ == nullptr) return failed("header", sizes.header);
    pools.attach_ = make_pool(name + "_at", sizes.attach, 0, socket);
    if (pools.attach_ == nullptr) return failed("attach", sizes.attach);
    pools.payload_ = make_pool(name + "_pl", sizes.payload, payload_room, socket);
    if (pools.payload_ == nullptr) return failed("payload", sizes.payload);
    pools.region_ = make_pool(name + "_re", sizes.region, 0, socket);
    if (pools.region_ == nullptr) return failed("region", sizes.region);
    pools.holds_ = rte_mempool_create((name + "_ho").c_str(), sizes.region, sizeof(Hold),
                                      std::min(cache_size, sizes.region / 4), 0, nullptr, nullptr,
                                      nullptr, nullptr, socket, 0);
    if (pools.holds_ == nullptr) return failed("region", sizes.region);
    pools.capacity_ = pools.available();
    pools.begin_reserve(sizes.header);
    return pools;
}

Pools::Pools(Pools&& other) noexcept
    : receive_(std::exchange(other.receive_, nullptr)),
      header_(std::exchange(other.header_, nullptr)),
      attach_(std::exchange(other.attach_, nullptr)),
      payload_(std::exchange(other.payload_, nullptr)),
      region_(std::exchange(other.region_, nullptr)),
      holds_(std::exchange(other.holds_, nullptr)),
      capacity_(other.capacity_),
      reserve_size_(std::exchange(other.reserve_size_, 0)),
      reserve_(std::exchange(other.reserve_, {})),
      dry_(other.dry_) {}

Pools::~Pools() {
    empty_reserve();
    for (rte_mempool* pool : {receive_, header_, attach_, payload_, region_, holds_})
        if (pool != nullptr) retired().add(pool);
}

rte_mbuf* Pools::from_reserve(size_t left_at_least) {
    count(dry_.header);
    if (reserve_.size() <= left_at_least) {
        count(dry_.control);
        return nullptr;
    }
    count(dry_.reserve_used);
    rte_mbuf* mbuf = reserve_.back();
    reserve_.pop_back();
    return mbuf;
}

/// Past the cache of this thread, which need not be the one that will allocate.
void Pools::begin_reserve(uint32_t header) {
    reserve_size_ = std::min<size_t>(reserve_max, header / 8);  // a pool of a test's may be small
    std::vector<void*> elements(reserve_size_);
    if (rte_mempool_generic_get(header_, elements.data(), static_cast<unsigned>(reserve_size_),
                                nullptr) != 0)
        return;
    happens_after(header_);
    reserve_.reserve(reserve_size_);
    for (void* element : elements) {
        unpoison(element, element_size(header_));
        reserve_.push_back(static_cast<rte_mbuf*>(element));
        rte_pktmbuf_reset(reserve_.back());
    }
}

void Pools::fill_reserve() {
    while (reserve_.size() < reserve_size_) {
        rte_mbuf* mbuf = allocate(header_);
        if (mbuf == nullptr) return;
        reserve_.push_back(mbuf);
    }
}

void Pools::empty_reserve() {
    for (rte_mbuf* mbuf : reserve_) free_segment(mbuf);
    reserve_.clear();
}

rte_mbuf* Pools::take_payload() {
    rte_mbuf* mbuf = allocate(payload_);
    if (mbuf == nullptr) count(dry_.payload);
    return mbuf;
}

Frame Pools::received(std::span<const uint8_t> bytes) {
    Frame frame;
    do {
        Frame part(allocate(receive_));
        if (!part) return {};
        const size_t n = std::min<size_t>(bytes.size(), rte_pktmbuf_tailroom(part.get()));
        if (n > 0) std::memcpy(part.put(n), bytes.data(), n);
        bytes = bytes.subspan(n);
        if (frame)
            frame.append(std::move(part));
        else
            frame = std::move(part);
    } while (!bytes.empty());
    return frame;
}

std::optional<size_t> Pools::append_payload(Frame& frame, Cursor& cursor, size_t size) {
    const bool copy = size <= copy_max && frame.buffers() == 1 && is_copied_in(cursor, size);
    if (!copy && size_by_reference(cursor, size) < size)
        return append_in_one(frame, cursor, size) ? std::optional(size) : std::nullopt;
    size_t copied = 0;
    while (size > 0) {
        rte_mbuf* payload = mbuf_of(cursor.storage);
        const size_t piece = std::min<size_t>(payload->data_len - cursor.offset, size);
        if (piece > 0) {
            uint8_t* room = copy ? frame.put(piece) : nullptr;
            if (room != nullptr) {
                std::memcpy(room, rte_pktmbuf_mtod_offset(payload, const void*, cursor.offset),
                            piece);
                copied += piece;
            } else if (!append_reference(frame, payload, cursor.offset, piece)) {
                return std::nullopt;
            }
        }
        size -= piece;
        advance(cursor, piece);
    }
    return copied;
}

Frame Pools::share(const Frame& frame) {
    Frame copy = this->frame();
    Cursor cursor{storage_of(frame.get()), 0};
    if (!copy || !append_payload(copy, cursor, frame.size())) return {};
    constexpr uint64_t verified = RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK;
    copy.get()->ol_flags |= frame.get()->ol_flags & verified;
    return copy;
}

/// The next `size` bytes lie in this core's payload pool: whoever wanted no copy gets none.
bool Pools::is_copied_in(const Cursor& cursor, size_t size) const {
    size_t offset = cursor.offset;
    for (const rte_mbuf* at = mbuf_of(cursor.storage); size > 0; at = at->next) {
        const size_t piece = std::min<size_t>(at->data_len - offset, size);
        if (piece > 0 && at->pool != payload_) return false;
        size -= piece;
        offset = 0;
    }
    return true;
}

uint32_t Pools::size_by_reference(const Cursor& cursor, size_t size) {
    size_t left = size;
    size_t count = 0;
    size_t offset = cursor.offset;
    for (rte_mbuf* at = mbuf_of(cursor.storage); at != nullptr && left > 0; at = at->next) {
        const size_t piece = std::min<size_t>(at->data_len - offset, left);
        if (piece > 0 && count++ == pieces_max) break;
        left -= piece;
        offset = 0;
    }
    return static_cast<uint32_t>(size - left);
}

/// For payload in many small pieces: one buffer with a copy of them all, or as many as their size
/// needs (jumbo frames).
bool Pools::append_in_one(Frame& frame, Cursor& cursor, size_t size) {
    while (size > 0) {
        Frame whole(take_payload());
        if (!whole) return false;
        // A piece may be larger than a buffer: it is cut where the room ends.
        size_t room = std::min<size_t>(size, rte_pktmbuf_tailroom(whole.get()));
        size -= room;
        while (room > 0) {
            rte_mbuf* payload = mbuf_of(cursor.storage);
            const size_t piece = std::min<size_t>(payload->data_len - cursor.offset, room);
            if (piece > 0)
                std::memcpy(whole.put(piece),
                            rte_pktmbuf_mtod_offset(payload, const void*, cursor.offset), piece);
            room -= piece;
            advance(cursor, piece);
        }
        frame.append(std::move(whole));
    }
    return true;
}

uint32_t Pools::append_copied(Frame& frame, Cursor& cursor, uint32_t size) {
    if (!frame) return 0;
    Cursor next = cursor;
    if (append_in_one(frame, next, size)) {
        cursor = next;
        return size;
    }
    // Part of it may hang there already.
    frame.trim_to(0);
    size_t left = std::min<size_t>(size, copy_max);
    const auto done = static_cast<uint32_t>(left);
    while (left > 0) {
        const rte_mbuf* payload = mbuf_of(cursor.storage);
        const size_t piece = std::min<size_t>(payload->data_len - cursor.offset, left);
        if (piece > 0)
            std::memcpy(frame.put(piece),
                        rte_pktmbuf_mtod_offset(payload, const void*, cursor.offset), piece);
        left -= piece;
        advance(cursor, piece);
    }
    return done;
}

/// Behind the frame, a buffer that refers to a piece of another's memory.
bool Pools::append_reference(Frame& frame, rte_mbuf* payload, size_t offset, size_t size) {
    rte_mbuf* mbuf = allocate(attach_);
    if (mbuf == nullptr) {
        count(dry_.attach);
        return false;
    }
    rte_pktmbuf_attach(mbuf, payload);
    // attach() copies what the kept buffer says of itself; the copy is a piece of its own.
    mbuf->next = nullptr;
    mbuf->nb_segs = 1;
    mbuf->data_off = static_cast<uint16_t>(payload->data_off + offset);
    mbuf->data_len = static_cast<uint16_t>(size);
    mbuf->pkt_len = static_cast<uint32_t>(size);
    frame.append(Frame(mbuf));
    return true;
}

size_t Pools::tail_room(const BufferChain& chain) const {
    const rte_mbuf* tail = mbuf_of(BufferAccess::tail(chain));
    // What somebody else also holds is never written, not even behind the part that he sees.
    const bool ours = tail != nullptr && tail->pool == payload_ && RTE_MBUF_DIRECT(tail) &&
                      rte_mbuf_refcnt_read(tail) == 1;
    return ours ? rte_pktmbuf_tailroom(tail) : 0;
}

size_t Pools::move_by_copy(BufferChain& to, BufferChain& from, size_t bytes) {
    size_t moved = 0;
    while (moved < bytes) {
        const auto front = from.front();
        const size_t piece = std::min(front.size(), bytes - moved);
        const size_t copied = append_copy(to, front.first(piece));
        from.trim_front(copied);
        moved += copied;
        if (copied < piece) break;
    }
    return moved;
}

size_t Pools::append_copy(BufferChain& chain, std::span<const std::byte> bytes) {
    size_t copied = 0;
    rte_mbuf* tail = mbuf_of(BufferAccess::tail(chain));
    if (const size_t n = std::min(bytes.size(), tail_room(chain)); n > 0) {
        std::memcpy(rte_pktmbuf_mtod_offset(tail, void*, tail->data_len), bytes.data(), n);
        tail->data_len = static_cast<uint16_t>(tail->data_len + n);
        BufferAccess::grow_tail(chain, static_cast<uint32_t>(n));
        copied = n;
    }
    while (copied < bytes.size()) {
        rte_mbuf* mbuf = take_payload();
        if (mbuf == nullptr) break;
        mbuf->data_off = 0;  // kept payload needs no headroom
        const size_t n = std::min<size_t>(bytes.size() - copied, mbuf->buf_len);
        std::memcpy(rte_pktmbuf_mtod(mbuf, void*), bytes.data() + copied, n);
        mbuf->data_len = static_cast<uint16_t>(n);
        BufferAccess::append_segment(chain, mbuf);
        copied += n;
    }
    return copied;
}

Result<Buffer> Pools::region_buffer(const Region& region, size_t offset, size_t size) {
    const auto memory = region.memory();
    if (size == 0 || size > Buffer::max_size || offset > memory.size() ||
        size > memory.size() - offset)
        return error(EINVAL);
    void* element = nullptr;
    if (rte_mempool_get(holds_, &element) != 0) {
        count(dry_.region);
        return error(ENOBUFS);
    }
    happens_after(holds_);
    rte_mbuf* mbuf = allocate(region_);
    if (mbuf == nullptr) {
        give_back(holds_, element);
        count(dry_.region);
        return error(ENOBUFS);
    }
    auto* hold = static_cast<Hold*>(element);
    new (hold->life) BufferAccess::RegionLife(BufferAccess::life(region));
    hold->pool = holds_;
    hold->shared.free_cb = drop_hold;
    hold->shared.fcb_opaque = hold;
    rte_mbuf_ext_refcnt_set(&hold->shared, 1);
    // The attached memory is only ever read; DPDK's type has no way to say so.
    auto* address = const_cast<std::byte*>(memory.data() + offset);
    rte_pktmbuf_attach_extbuf(mbuf, address, rte_mem_virt2iova(address),
                              static_cast<uint16_t>(size), &hold->shared);
    mbuf->data_off = 0;
    mbuf->data_len = static_cast<uint16_t>(size);
    return BufferAccess::wrap(mbuf);
}

size_t Pools::available() const {
    return rte_mempool_avail_count(receive_) + rte_mempool_avail_count(header_) +
           rte_mempool_avail_count(attach_) + rte_mempool_avail_count(payload_) +
           rte_mempool_avail_count(region_) + rte_mempool_avail_count(holds_) + reserve_.size();
}

size_t Pools::receive_buffers() const { return receive_->size; }

size_t Pools::receive_capacity() const {
    return receive_buffers() * (rte_pktmbuf_data_room_size(receive_) - headroom);
}

bool Pools::receive_is_low() const {
    return rte_mempool_avail_count(receive_) < receive_->size / 4;
}

bool Pools::payload_is_low() const {
    return rte_mempool_avail_count(payload_) < payload_->size / 4;
}

bool Pools::holds_received(const BufferChain& chain) const {
    for (BufferStorage* at = BufferAccess::head(chain); at != nullptr; at = next_of(at))
        if (mbuf_of(at)->pool == receive_) return true;
    return false;
}

bool Pools::append_copy(BufferChain& to, const BufferChain& from) {
    const size_t before = to.size();
    for (BufferStorage* at = BufferAccess::head(from); at != nullptr; at = next_of(at)) {
        rte_mbuf* mbuf = mbuf_of(at);
        const std::span bytes(rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len);
        if (append_copy(to, bytes) == bytes.size()) continue;
        if (to.size() > before) to.trim_back(to.size() - before);
        return false;
    }
    return true;
}

Pools::Collapsed Pools::collapse(BufferChain& chain) {
    Collapsed done;
    BufferChain out;
    while (!chain.empty()) {
        const rte_mbuf* mbuf = mbuf_of(BufferAccess::head(chain));
        const rte_mbuf* tail = mbuf_of(BufferAccess::tail(out));
        const bool tail_full =
            tail == nullptr || tail->pool != payload_ || rte_pktmbuf_tailroom(tail) == 0;
        // Full already, or where a new one would begin: what follows is copied behind it.
        if (mbuf->pool == payload_ && (tail_full || rte_pktmbuf_tailroom(mbuf) == 0)) {
            out.append(chain.pop_front());
            continue;
        }
        const size_t size = mbuf->data_len;
        const size_t copied = append_copy(out, chain.front());
        done.copied += copied;
        if (copied < size) {
            chain.trim_front(copied);
            out.append(std::move(chain));
            break;
        }
        chain.pop_front();
        ++done.buffers;
    }
    chain = std::move(out);
    return done;
}

size_t Pools::collapsed_bytes(size_t bytes, size_t chains) {
    return (bytes / payload_room + chains) * (payload_room + mbuf_overhead);
}

void advance(Cursor& cursor, size_t bytes) {
    cursor.offset += static_cast<uint32_t>(bytes);
    while (cursor.offset >= size_of(cursor.storage) && next_of(cursor.storage) != nullptr) {
        cursor.offset -= static_cast<uint32_t>(size_of(cursor.storage));
        cursor.storage = next_of(cursor.storage);
    }
}

namespace {

/// Memory of the application's own (a region) is not counted: of that, each slice is a part.
size_t pinned_by(const rte_mbuf* mbuf) {
    return mbuf_overhead + (RTE_MBUF_HAS_EXTBUF(mbuf) ? 0 : mbuf->buf_len);
}

}  // namespace

size_t pinned_bytes(const BufferChain& chain) { return pinned_behind(chain, nullptr); }

size_t pinned_in_front(const BufferChain& chain, size_t bytes) {
    size_t pinned = 0;
    for (BufferStorage* at = BufferAccess::head(chain); at != nullptr && size_of(at) <= bytes;
         at = next_of(at)) {
        bytes -= size_of(at);
        pinned += pinned_by(mbuf_of(at));
    }
    return pinned;
}

size_t pinned_behind(const BufferChain& chain, BufferStorage* tail) {
    size_t bytes = 0;
    BufferStorage* at = tail == nullptr ? BufferAccess::head(chain) : next_of(tail);
    for (; at != nullptr; at = next_of(at)) bytes += pinned_by(mbuf_of(at));
    return bytes;
}

}  // namespace millrace::buf
