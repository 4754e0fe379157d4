// Unix sockets of net_memif's kind, by file name.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include <gtest/gtest.h>

namespace millrace::testing {

inline sockaddr_un unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    EXPECT_LT(path.size(), sizeof(address.sun_path));
    std::memcpy(address.sun_path, path.c_str(), path.size());
    return address;
}

/// Somebody has connected to this listening socket, and was not accepted yet.
inline bool has_pending(int listener) {
    pollfd next{.fd = listener, .events = POLLIN, .revents = 0};
    return poll(&next, 1, 0) > 0;
}

/// Someone who has connected, until he goes.
class Peer {
public:
    /// `shut_down`: as of shutdown(), from the beginning; -1: not.
    explicit Peer(const std::string& path, int type = SOCK_SEQPACKET, int shut_down = -1)
        : fd_(socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
        if (shut_down >= 0) shutdown(fd_, shut_down);
        const timeval patience{.tv_sec = 20, .tv_usec = 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        const sockaddr_un address = unix_address(path);
        EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    }
    ~Peer() { close(fd_); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    int fd() const { return fd_; }

private:
    const int fd_;
};

}  // namespace millrace::testing
