#include "api/inspect_protocol.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include <fmt/format.h>

namespace millrace::api {

namespace {

/// Ours, and nobody else's to write: a directory that somebody has put there is not trusted.
bool is_private(const std::string& path) {
    struct stat status {};
    return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
           status.st_uid == geteuid() && (status.st_mode & 022) == 0;
}

}  // namespace

std::string inspect_directory(bool make) {
    std::string path = "/run/millrace";
    if (geteuid() != 0) {
        const char* runtime = secure_getenv("XDG_RUNTIME_DIR");
        path = runtime != nullptr && *runtime == '/' ? fmt::format("{}/millrace", runtime)
                                                     : fmt::format("/tmp/millrace-{}", geteuid());
    }
    if (make && mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return {};
    return is_private(path) ? path : std::string();
}

bool send_all(int fd, const void* data, size_t size) {
    const auto* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= static_cast<size_t>(n);
    }
    return true;
}

bool receive_all(int fd, void* data, size_t size) {
    auto* at = static_cast<char*>(data);
    while (size > 0) {
        const ssize_t n = recv(fd, at, size, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= static_cast<size_t>(n);
    }
    return true;
}

}  // namespace millrace::api
