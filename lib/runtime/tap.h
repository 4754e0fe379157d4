// Where a core leaves copies of its frames for somebody who captures them.
#pragma once

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <span>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <millrace/error.h>

#include "runtime/frame_filter.h"

namespace millrace::runtime {

/// What stands before the bytes of a copy.
struct CapturedFrame {
    uint64_t tsc = 0;       ///< when the core had it
    uint32_t original = 0;  ///< bytes of the frame
    uint16_t size = 0;      ///< bytes that follow
    uint16_t port = 0;      ///< of the world's
    uint16_t queue = 0;
    Direction direction = Direction::received;

    const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(this + 1); }
};
static_assert(sizeof(CapturedFrame) == 24);

struct TapOptions {
    FrameFilter filter{SocketFilter{}};
    uint32_t ports = ~0U;  ///< bit i: the world's port i
    bool received = true;
    bool sent = true;
    uint16_t snaplen = UINT16_MAX;
    uint32_t waiting = 4096;  ///< a power of two, 64 or more
};

/// One capture's tap into one core. The core calls `take`, one writer the reading side; the memory,
/// which belongs to the tap, is the ring between them. A core that takes does no system call, no
/// allocation, and waits for nobody: where the ring is full it counts and goes on.
class Tap {
public:
    static constexpr size_t ports_max = 32;
    /// How much `read` hands out at a time.
    static constexpr size_t burst_max = 64;

    struct Counts {
        uint64_t seen = 0;     ///< frames of the ports and directions
        uint64_t dropped = 0;  ///< admitted, when the ring was full
    };

    /// ENOMEM. Not cheap: all of the ring is touched.
    static Result<std::shared_ptr<Tap>> create(const TapOptions& options);

    /// The core: at most 64 frames of one of its queues, received or about to be sent.
    void take(uint16_t port, uint16_t queue, Direction direction,
              std::span<rte_mbuf* const> frames, uint64_t tsc);

    /// The writer: looks at the oldest copies, which stay where they are until `done`, which is
    /// called before the next `read`, with the first of them or all.
    size_t read(std::array<const CapturedFrame*, burst_max>& copies);
    void done(std::span<const CapturedFrame* const> copies);
    /// Any thread, of one of the world's ports.
    Counts counts(size_t port) const;

    /// The writer has gone: the core takes nothing any more, and forgets the tap when it can.
    void close() { closed_.store(true, std::memory_order_relaxed); }
    bool closed() const { return closed_.load(std::memory_order_relaxed); }

private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    /// Counted by the core alone, read by others.
    struct PortCounts {
        std::atomic<uint64_t> seen{0};
        std::atomic<uint64_t> dropped{0};
    };
    explicit Tap(const TapOptions& options);
    bool admits(Direction direction, const rte_mbuf* frame) const;
    void copy(CapturedFrame* to, const rte_mbuf* frame) const;
    void put(std::span<rte_mbuf* const> frames, const CapturedFrame& head, PortCounts& counts);

    const TapOptions options_;
    const uint32_t slot_size_;
    std::unique_ptr<rte_ring, Free> ring_;
    std::array<PortCounts, ports_max> counts_;
    std::atomic<bool> closed_{false};
};

}  // namespace millrace::runtime
