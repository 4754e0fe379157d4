// Owned slices of payload, passed between network and application without a copy.
//
// Purpose: what `receive` gives and what `send` takes. A `Buffer` owns one contiguous piece of
// packet memory; a `BufferChain` owns a list of them. Both are move-only, so ownership is visible
// in every signature.
// Owner: the thread that holds it. A buffer may be dropped on any thread, also after its connection
// and its stack are gone; that frees memory and nothing else (it does not open a window: see
// Connection::consumed).
// Cost: 24 bytes; moving is three words, dropping returns a packet buffer to its pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include <millrace/error.h>

namespace millrace {

struct BufferStorage;  // a packet buffer; known to the library only

namespace detail {
/// Gives a buffer's storage back to its pool. Any thread.
void release(BufferStorage* storage) noexcept;
}

/// One contiguous piece of packet memory, or nothing.
class Buffer {
public:
    /// The most that one buffer holds, in bytes.
    static constexpr size_t max_size = 32768;

    /// Empty; owns nothing.
    Buffer() = default;
    /// What was its is this one's; `other` is empty then.
    Buffer(Buffer&& other) noexcept
        : storage_(std::exchange(other.storage_, nullptr)),
          data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    /// Likewise; what was held is dropped.
    Buffer& operator=(Buffer&& other) noexcept {
        Buffer(std::move(other)).swap(*this);
        return *this;
    }
    /// Any thread, also after its stack is gone.
    ~Buffer() {
        if (storage_ != nullptr) detail::release(storage_);
    }

    /// The first byte. It stays where it is when the buffer is moved, until that is dropped.
    const std::byte* data() const { return data_; }
    /// Bytes.
    size_t size() const { return size_; }
    /// There are no bytes.
    bool empty() const { return size_ == 0; }
    /// What `data` and `size` say.
    std::span<const std::byte> bytes() const { return {data_, size_}; }

    /// Drops bytes at the front; at most `size()`.
    void trim_front(size_t bytes) {
        data_ += bytes;
        size_ -= static_cast<uint32_t>(bytes);
    }
    /// Drops bytes at the back; at most `size()`.
    void trim_back(size_t bytes) { size_ -= static_cast<uint32_t>(bytes); }

    /// No byte is copied.
    void swap(Buffer& other) noexcept {
        std::swap(storage_, other.storage_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

private:
    friend class BufferAccess;
    Buffer(BufferStorage* storage, const std::byte* data, uint32_t size)
        : storage_(storage), data_(data), size_(size) {}

    BufferStorage* storage_ = nullptr;
    const std::byte* data_ = nullptr;
    uint32_t size_ = 0;
};

/// Buffers one behind the other, linked through their own storage: appending and taking are O(1)
/// and allocate nothing.
class BufferChain {
public:
    /// Empty; owns nothing.
    BufferChain() = default;
    /// What was its is this one's; `other` is empty then.
    BufferChain(BufferChain&& other) noexcept
        : head_(std::exchange(other.head_, nullptr)),
          tail_(std::exchange(other.tail_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    /// Likewise; what was held is dropped.
    BufferChain& operator=(BufferChain&& other) noexcept {
        BufferChain(std::move(other)).swap(*this);
        return *this;
    }
    /// Drops all buffers. Any thread.
    ~BufferChain() {
        if (head_ != nullptr) clear();
    }

    /// Bytes in all buffers.
    size_t size() const { return size_; }
    /// There is no buffer.
    bool empty() const { return head_ == nullptr; }

    /// Appends; an empty buffer is dropped.
    void append(Buffer buffer);
    /// Appends all of its buffers, in their order.
    void append(BufferChain chain);
    /// Takes the first buffer; an empty one where there is none.
    Buffer pop_front();
    /// The first buffer's bytes, without taking it.
    std::span<const std::byte> front() const;
    /// Drops bytes at the front, freeing buffers that are used up; at most `size()`.
    void trim_front(size_t bytes);
    /// Drops bytes at the back; at most `size()`. Cost: a walk over the buffers.
    void trim_back(size_t bytes);
    /// Copies the bytes behind the first `skip` out, without taking them; answers how many.
    size_t copy_to(std::span<std::byte> out, size_t skip = 0) const;
    /// Drops all buffers.
    void clear();

    /// No byte is copied.
    void swap(BufferChain& other) noexcept {
        std::swap(head_, other.head_);
        std::swap(tail_, other.tail_);
        std::swap(size_, other.size_);
    }

private:
    friend class BufferAccess;
    BufferStorage* head_ = nullptr;
    BufferStorage* tail_ = nullptr;
    uint32_t size_ = 0;
};

/// Foreign memory (a mapped file, an arena) from which buffers are cut that refer to it without a
/// copy. The memory must stay valid and unchanged until `released` has run: once, on whichever
/// thread drops the last reference, after the region itself and every buffer of it are gone.
/// A buffer of a region is made by `Stack::buffer_from`.
class Region {
public:
    /// Copies share one end: the last to go calls `released`, which may be empty.
    Region(std::span<const std::byte> memory, std::function<void()> released)
        : memory_(memory), life_(std::make_shared<Life>(std::move(released))) {}

    /// What it was made from.
    std::span<const std::byte> memory() const { return memory_; }

private:
    friend class BufferAccess;
    struct Life {
        explicit Life(std::function<void()> f) : released(std::move(f)) {}
        Life(const Life&) = delete;
        Life& operator=(const Life&) = delete;
        ~Life() {
            if (released) released();
        }
        std::function<void()> released;
    };
    std::span<const std::byte> memory_;
    std::shared_ptr<Life> life_;
};

}  // namespace millrace
