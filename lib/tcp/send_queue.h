// What the application has handed over and the peer has not acknowledged yet.
#pragma once

#include <cstdint>

#include "buf/pools.h"

namespace millrace::tcp {

/// Holds the application's buffers by reference until they are acknowledged; never copies. Offsets
/// count from the oldest unacknowledged byte. A cursor remembers where transmission goes on, so
/// that sending a long queue is not quadratic. Held inside a connection.
class SendQueue {
public:
    uint32_t size() const { return static_cast<uint32_t>(chain_.size()); }
    bool empty() const { return chain_.empty(); }

    void append(BufferChain chain) { chain_.append(std::move(chain)); }
    /// Copies through `pools`; answers how many bytes there was room for in them.
    size_t append_copy(buf::Pools& pools, std::span<const std::byte> bytes) {
        return pools.append_copy(chain_, bytes);
    }
    /// The first `bytes` have been acknowledged: their buffers are freed.
    void acknowledge(uint32_t bytes);
    /// Where byte `offset` stands. Amortised O(1) for a walk forward, and for offset 0.
    buf::Cursor seek(uint32_t offset);
    /// Transmission went on to `cursor`, which stands for `offset`.
    void remember(const buf::Cursor& cursor, uint32_t offset) {
        cursor_ = cursor;
        position_ = offset;
    }
    void clear() {
        chain_.clear();
        cursor_ = {};
        position_ = 0;
    }

private:
    BufferChain chain_;
    buf::Cursor cursor_;
    uint32_t position_ = 0;  // the offset that cursor_ stands for; 0 with a null cursor
};

}  // namespace millrace::tcp
