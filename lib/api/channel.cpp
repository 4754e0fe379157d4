#include "api/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace millrace::api {

Channel::Channel(int fd, Duration patience, int stop)
    : fd_(fd), patience_(patience), stop_(stop) {}

Channel::~Channel() {
    if (fd_ >= 0) close(fd_);
}

bool Channel::wait(short events) const {
    std::array<pollfd, 2> waiting{{{.fd = fd_, .events = events, .revents = 0},
                                   {.fd = stop_, .events = POLLIN, .revents = 0}}};
    const int limit = patience_ == Duration::max() ? -1 : static_cast<int>(patience_.ms());
    int ready = 0;
    do ready = poll(waiting.data(), waiting.size(), limit);
    while (ready < 0 && errno == EINTR);
    return ready > 0 && waiting[1].revents == 0;
}

bool Channel::send(const void* data, size_t size) {
    const auto* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t n = ::send(fd_, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN && wait(POLLOUT)) continue;
        if (n <= 0) return false;
        at += n;
        size -= static_cast<size_t>(n);
    }
    return true;
}

bool Channel::receive(void* data, size_t size) {
    auto* at = static_cast<char*>(data);
    while (size > 0) {
        const ssize_t n = recv(fd_, at, size, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN && wait(POLLIN)) continue;
        if (n <= 0) return false;
        at += n;
        size -= static_cast<size_t>(n);
    }
    return true;
}

void Channel::finish() { shutdown(fd_, SHUT_WR); }

}  // namespace millrace::api
