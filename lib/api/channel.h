// One end of a Unix stream socket between a program and who looks into it.
#pragma once

#include <cstddef>
#include <utility>

#include <millrace/time.h>

namespace millrace::api {

/// Owned by one thread. Values go as they lie in memory: both ends are of one build.
class Channel {
public:
    /// `fd` is closed with it. A wait ends after `patience`, or when `stop` becomes readable, which
    /// stays its owner's.
    explicit Channel(int fd, Duration patience = Duration::max(), int stop = -1);
    ~Channel();
    Channel(Channel&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), patience_(other.patience_), stop_(other.stop_) {}
    Channel& operator=(Channel&&) = delete;

    /// All of it; false where the other side is gone or the wait for it has ended.
    bool send(const void* data, size_t size);
    bool receive(void* data, size_t size);
    /// Nothing more is sent.
    void finish();
    int fd() const { return fd_; }

private:
    bool wait(short events) const;

    int fd_;
    Duration patience_;
    int stop_;
};

}  // namespace millrace::api
