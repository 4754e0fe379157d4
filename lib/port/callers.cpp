#include "port/callers.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

namespace millrace::port {

namespace {

constexpr int calls_max = 64;  // at a time
constexpr std::chrono::milliseconds grace(2);

struct CloseSocket {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};

int option(int fd, int name) {
    int value = 0;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

bool has_calls(int fd) {
    pollfd call{.fd = fd, .events = POLLIN, .revents = 0};
    return option(fd, SO_DOMAIN) == AF_UNIX && option(fd, SO_TYPE) == SOCK_SEQPACKET &&
           option(fd, SO_ACCEPTCONN) == 1 && poll(&call, 1, 0) > 0;
}

/// The kernel names the callers in the order of their calls, by the inodes of their sockets; who
/// has closed his has none.
int on_answer(nl_msg* message, void* first) {
    const nlattr* callers =
        nlmsg_find_attr(nlmsg_hdr(message), sizeof(unix_diag_msg), UNIX_DIAG_ICONS);
    if (callers != nullptr && nla_len(callers) >= static_cast<int>(sizeof(uint32_t)))
        *static_cast<std::optional<uint32_t>*>(first) = nla_get_u32(callers);
    return NL_OK;
}

constexpr uint32_t has_left = 0;

/// Who called first of those that wait at the socket with this inode.
std::optional<uint32_t> first_caller(nl_sock* kernel, uint32_t inode) {
    unix_diag_req request{};
    request.sdiag_family = AF_UNIX;
    request.udiag_states = UINT32_MAX;
    request.udiag_ino = inode;
    request.udiag_show = UDIAG_SHOW_ICONS;
    request.udiag_cookie[0] = request.udiag_cookie[1] = UINT32_MAX;
    std::optional<uint32_t> first;
    nl_socket_modify_cb(kernel, NL_CB_VALID, NL_CB_CUSTOM, on_answer, &first);
    if (nl_send_simple(kernel, SOCK_DIAG_BY_FAMILY, 0, &request, sizeof(request)) < 0 ||
        nl_recvmsgs_default(kernel) < 0)
        return std::nullopt;
    return first;
}

enum class Calls : uint8_t { none, patient, more };

/// Until the first one has been there for a while, or nobody is.
Calls settle(nl_sock* kernel, int fd) {
    struct stat file {};
    if (fstat(fd, &file) != 0) return Calls::none;
    uint32_t seen = has_left;
    for (int calls = 0; calls < calls_max; ++calls) {
        const auto first = first_caller(kernel, static_cast<uint32_t>(file.st_ino));
        if (!first) return Calls::none;
        if (*first == seen && seen != has_left) return Calls::patient;
        seen = *first;
        if (seen != has_left)
            std::this_thread::sleep_for(grace);
        else if (const int call = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); call >= 0)
            close(call);
    }
    return Calls::more;
}

std::vector<int> called_sockets(int epoll) {
    auto sockets = watched_by(epoll).value_or(std::vector<int>());
    std::erase_if(sockets, [](int fd) { return !has_calls(fd); });
    return sockets;
}

}  // namespace

std::optional<std::vector<int>> watched_by(int epoll) {
    std::ifstream file(fmt::format("/proc/self/fdinfo/{}", epoll));
    if (!file) return std::nullopt;
    std::vector<int> watched;
    int fd = -1;
    for (std::string word; file >> word;)
        if (word == "tfd:" && file >> fd) watched.push_back(fd);
    return watched;
}

bool settle_calls(int epoll) {
    const std::vector<int> called = called_sockets(epoll);
    if (called.empty()) return true;
    const std::unique_ptr<nl_sock, CloseSocket> kernel(nl_socket_alloc());
    if (!kernel || nl_connect(kernel.get(), NETLINK_SOCK_DIAG) != 0) return true;
    nl_socket_disable_auto_ack(kernel.get());
    std::vector<int> patient;
    for (const int fd : called) {
        const Calls calls = settle(kernel.get(), fd);
        if (calls == Calls::more) return false;
        if (calls == Calls::patient) patient.push_back(fd);
    }
    return called_sockets(epoll) == patient;
}

}  // namespace millrace::port
