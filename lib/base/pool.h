// Pools of fixed-size objects, and the address space that they and the tables grow into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/poison.h"

namespace millrace {

/// Address space reserved at its largest and backed by memory only where it is touched, so that
/// what grows in it never moves. Zero-filled. Move-only; owned by whoever holds it.
class Reservation {
public:
    Reservation() = default;
    /// Null `data()` if the system refuses.
    explicit Reservation(size_t bytes);
    Reservation(Reservation&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation();

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }

private:
    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

/// Objects of one type out of one reservation. Owned by one core; taking and giving back cost a
/// few instructions and never call the system. A freed object is poisoned, so that the sanitizer
/// build traps whoever still uses it. `take` answers null once `limit` objects are out: running
/// dry is the caller's to count and survive.
template <typename T>
class Pool {
public:
    explicit Pool(size_t limit) : memory_(limit * sizeof(Slot)), limit_(limit) {
        MILLRACE_ASSERT(memory_.data() != nullptr || limit == 0);
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() { unpoison(memory_.data(), fresh_ * sizeof(Slot)); }

    template <typename... Arguments>
    T* take(Arguments&&... arguments) {
        Slot* slot = free_;
        if (slot != nullptr) {
            unpoison(slot, sizeof(Slot));
            free_ = slot->next;
        } else if (fresh_ < limit_) {
            slot = reinterpret_cast<Slot*>(memory_.data()) + fresh_++;
        } else {
            return nullptr;
        }
        ++in_use_;
        return std::construct_at(reinterpret_cast<T*>(slot), std::forward<Arguments>(arguments)...);
    }

    void give_back(T* object) {
        MILLRACE_DEBUG_ASSERT(in_use_ > 0);
        std::destroy_at(object);
        Slot* slot = std::construct_at(reinterpret_cast<Slot*>(object));
        slot->next = free_;
        free_ = slot;
        --in_use_;
        poison(slot, sizeof(Slot));
    }

    /// Calls `visit(T&)` for each object that is out; `visit` may give it back. Cost: a walk over
    /// everything that was ever taken, and a bit for each.
    template <typename Visit>
    void for_each_in_use(Visit&& visit) {
        std::vector<bool> is_free(fresh_);
        Slot* slots = reinterpret_cast<Slot*>(memory_.data());
        for (Slot* slot = free_; slot != nullptr;) {
            is_free[static_cast<size_t>(slot - slots)] = true;
            unpoison(slot, sizeof(Slot));
            Slot* next = slot->next;
            poison(slot, sizeof(Slot));
            slot = next;
        }
        for (size_t i = 0; i < is_free.size(); ++i)
            if (!is_free[i]) visit(*reinterpret_cast<T*>(slots + i));
    }

    size_t in_use() const { return in_use_; }
    size_t limit() const { return limit_; }

private:
    union Slot {
        Slot() : next(nullptr) {}
        ~Slot() {}
        Slot* next;
        alignas(T) std::byte bytes[sizeof(T)];
    };

    Reservation memory_;
    Slot* free_ = nullptr;
    size_t fresh_ = 0;
    size_t in_use_ = 0;
    size_t limit_;
};

}  // namespace millrace
