// Tells threads that wait for descriptors that the end has come.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace millrace::api {

/// Readable from `raise` on, for all who wait, for ever.
class StopEvent {
public:
    StopEvent() : fd_(eventfd(0, EFD_CLOEXEC)), wrong_(fd_ < 0 ? errno : 0) {}
    StopEvent(const StopEvent&) = delete;
    StopEvent& operator=(const StopEvent&) = delete;
    ~StopEvent() {
        if (fd_ >= 0) close(fd_);
    }

    /// -1: it could not be made, and nobody is told.
    int fd() const { return fd_; }
    int wrong() const { return wrong_; }  ///< errno of that, 0: it is there
    void raise() {
        const uint64_t one = 1;
        while (write(fd_, &one, sizeof(one)) < 0 && errno == EINTR) continue;
    }

private:
    const int fd_;
    const int wrong_;
};

}  // namespace millrace::api
