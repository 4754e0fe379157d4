#include "base/pool.h"

#include <sys/mman.h>

namespace millrace {

Reservation::Reservation(size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        size_ = 0;
        return;
    }
    // Large tables are walked at random: a TLB miss per look-up is what huge pages save.
    madvise(memory, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

Reservation::~Reservation() {
    if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace millrace
