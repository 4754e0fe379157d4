// The caller's memory, in pieces: what readv, writev and the message calls are given.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <span>

namespace millrace::api {

/// A place in an array of `iovec`, which must outlive it.
class Pieces {
public:
    explicit Pieces(std::span<const iovec> all) : rest_(all) {
        for (const iovec& piece : all) size_ += piece.iov_len;
        skip_empty();
    }

    /// Bytes from here to the end.
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    /// Some piece is nowhere.
    bool has_null() const {
        return std::any_of(rest_.begin(), rest_.end(), [](const iovec& piece) {
            return piece.iov_base == nullptr && piece.iov_len > 0;
        });
    }
    /// What lies in one piece from here on.
    std::span<std::byte> front() const {
        if (rest_.empty()) return {};
        return std::span(static_cast<std::byte*>(rest_.front().iov_base), rest_.front().iov_len)
            .subspan(used_);
    }
    /// Over as many pieces as that takes.
    void advance_over(size_t bytes) {
        while (bytes > 0) {
            const size_t here = std::min(bytes, front().size());
            advance(here);
            bytes -= here;
        }
    }
    /// At most `front().size()`.
    void advance(size_t bytes) {
        used_ += bytes;
        size_ -= bytes;
        skip_empty();
    }

private:
    void skip_empty() {
        while (!rest_.empty() && used_ == rest_.front().iov_len) {
            rest_ = rest_.subspan(1);
            used_ = 0;
        }
    }

    std::span<const iovec> rest_;
    size_t used_ = 0;  ///< of the first piece
    size_t size_ = 0;
};

}  // namespace millrace::api
