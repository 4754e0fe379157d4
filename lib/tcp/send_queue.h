// What the application has handed over and the peer has not acknowledged yet.
#pragma once

#include <cstdint>

#include "buf/pools.h"

namespace millrace::tcp {

/// Holds the application's buffers by reference until they are acknowledged. Offsets
/// count from the oldest unacknowledged byte. A cursor remembers where transmission goes on, so
/// that sending a long queue is not quadratic. Held inside a connection.
class SendQueue {
public:
    uint32_t size() const { return static_cast<uint32_t>(chain_.size()); }
    bool empty() const { return chain_.empty(); }

    /// Bytes of buffers that it holds: more than their payload where that is small.
    size_t pinned() const { return pinned_; }

    void append(BufferChain chain) {
        pinned_ += buf::pinned_bytes(chain);
        chain_.append(std::move(chain));
    }
    /// Copies through `pools`; answers how many bytes there was room for in them.
    size_t append_copy(buf::Pools& pools, std::span<const std::byte> bytes) {
        BufferStorage* tail = BufferAccess::tail(chain_);
        const size_t copied = pools.append_copy(chain_, bytes);
        pinned_ += buf::pinned_behind(chain_, tail);
        return copied;
    }
    /// The same, of all or nothing.
    bool append_copy(buf::Pools& pools, const BufferChain& chain) {
        BufferStorage* tail = BufferAccess::tail(chain_);
        const bool copied = pools.append_copy(chain_, chain);
        pinned_ += buf::pinned_behind(chain_, tail);
        return copied;
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
        pinned_ = 0;
        cursor_ = {};
        position_ = 0;
    }

private:
    BufferChain chain_;
    size_t pinned_ = 0;
    buf::Cursor cursor_;
    uint32_t position_ = 0;  // the offset that cursor_ stands for; 0 with a null cursor
};

}  // namespace millrace::tcp
