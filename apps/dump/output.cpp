#include "dump/output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace millrace::apps {

Started<Output> Output::open(const std::string& name) {
    if (name == "-") {
        if (isatty(STDOUT_FILENO) != 0)
            return failure("-w -: a terminal cannot read pcapng; for example: millrace-dump -w - "
                           "| tshark -r -",
                           EINVAL);
        return Output(STDOUT_FILENO, false);
    }
    const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failure(fmt::format("cannot write {}: {}", name, Errno{errno}.message()), errno);
    return Output(fd, true);
}

Output::Output(Output&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), ours_(other.ours_), wrong_(other.wrong_) {}

Output::~Output() {
    if (ours_ && fd_ >= 0) close(fd_);
}

bool Output::write(std::span<const std::byte> bytes) {
    while (wrong_ == 0 && !bytes.empty()) {
        const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
        if (n >= 0) {
            bytes = bytes.subspan(static_cast<size_t>(n));
        } else if (errno == EAGAIN) {  // somebody has made the pipe's end not wait
            pollfd waiting{.fd = fd_, .events = POLLOUT, .revents = 0};
            poll(&waiting, 1, -1);
        } else if (errno != EINTR) {
            wrong_ = errno;
        }
    }
    return wrong_ == 0;
}

}  // namespace millrace::apps
