#include "port/backlog.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "base/netlink.h"

namespace millrace::port {

namespace {

constexpr int looks_max = 64;  // at one backlog, at a time
constexpr std::chrono::milliseconds grace(2);
constexpr int look_again_ms = 100;

/// Empty where there is none.
NetlinkSocket open_sock_diag() {
    NetlinkSocket kernel(nl_socket_alloc());
    if (!kernel || nl_connect(kernel.get(), NETLINK_SOCK_DIAG) != 0) return nullptr;
    nl_socket_disable_auto_ack(kernel.get());
    return kernel;
}

int option(int fd, int name) {
    int value = 0;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

bool has_pending(int fd) {
    pollfd pending{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&pending, 1, 0) > 0;
}

/// Of what an epoll instance watches, in order.
std::vector<int> listeners_of(std::vector<int> watched) {
    std::erase_if(watched, [](int fd) {
        return option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != SOCK_SEQPACKET ||
               option(fd, SO_ACCEPTCONN) != 1;
    });
    std::ranges::sort(watched);
    return watched;
}

/// Whether `epoll` tells of this socket, in EAL's form.
void set_armed(int epoll, int fd, bool armed) {
    epoll_event event{.events = armed ? uint32_t{EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP} : 0U,
                      .data = {.u64 = static_cast<uint64_t>(fd)}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

/// What the kernel says of a socket of AF_UNIX.
struct Answer {
    uint32_t inode;  ///< of which it was asked
    bool known = false;
    std::optional<uint32_t> head;  ///< the inode of the first pending peer; 0: it is closed
    uint8_t shut_down = 0;
};

int on_answer(nl_msg* message, void* into) {
    Answer& answer = *static_cast<Answer*>(into);
    nlmsghdr* header = nlmsg_hdr(message);
    const auto* said = static_cast<const unix_diag_msg*>(nlmsg_data(header));
    if (said->udiag_ino != answer.inode) return NL_SKIP;  // an answer that was not read in its time
    answer.known = true;
    if (const nlattr* pending = nlmsg_find_attr(header, sizeof(unix_diag_msg), UNIX_DIAG_ICONS);
        pending != nullptr && nla_len(pending) >= static_cast<int>(sizeof(uint32_t)))
        answer.head = nla_get_u32(pending);
    if (const nlattr* ends = nlmsg_find_attr(header, sizeof(unix_diag_msg), UNIX_DIAG_SHUTDOWN))
        answer.shut_down = nla_get_u8(ends);
    return NL_OK;
}

Answer ask(nl_sock* kernel, uint32_t inode) {
    unix_diag_req request{};
    request.sdiag_family = AF_UNIX;
    request.udiag_states = UINT32_MAX;
    request.udiag_ino = inode;
    request.udiag_show = UDIAG_SHOW_ICONS;
    request.udiag_cookie[0] = request.udiag_cookie[1] = UINT32_MAX;
    Answer answer{.inode = inode};
    nl_socket_modify_cb(kernel, NL_CB_VALID, NL_CB_CUSTOM, on_answer, &answer);
    if (nl_send_simple(kernel, SOCK_DIAG_BY_FAMILY, 0, &request, sizeof(request)) < 0 ||
        nl_recvmsgs_default(kernel) < 0)
        return {.inode = inode};
    return answer;
}

/// What is first in a backlog.
struct Head {
    enum class State : uint8_t { none, unknown, dead, alive } state;
    uint32_t peer = 0;
};

Head head_of(nl_sock* kernel, int listener) {
    using enum Head::State;
    constexpr uint8_t receives_nothing = 1;  // RCV_SHUTDOWN: to greet it fails
    struct stat file {};
    if (fstat(listener, &file) != 0) return {unknown};
    const auto inode = static_cast<uint32_t>(file.st_ino);
    const Answer answer = ask(kernel, inode);
    if (!answer.head) return {!answer.known && has_pending(listener) ? unknown : none};
    const uint32_t peer = *answer.head;
    if (peer == 0) return {dead};
    const Answer itself = ask(kernel, peer);
    if ((itself.shut_down & receives_nothing) != 0) return {dead};
    // One of another network namespace is known to nobody here, nor is one that has just gone.
    if (!itself.known && ask(kernel, inode).head == 0U) return {dead};
    return {alive, peer};
}

bool drop_head(int listener) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) close(connection);
    return connection >= 0;
}

/// Whether the first has been there for a while, or nobody knows.
bool has_settled(nl_sock* kernel, int listener) {
    using enum Head::State;
    uint32_t seen = 0;
    for (int looks = 0; looks < looks_max; ++looks) {
        const Head head = head_of(kernel, listener);
        if (head.state == none) return false;
        if (head.state == unknown || (head.state == alive && head.peer == seen)) return true;
        seen = head.peer;
        if (head.state == alive)
            std::this_thread::sleep_for(grace);
        else if (!drop_head(listener))
            return true;
    }
    return false;
}

}  // namespace

std::optional<std::vector<int>> watched_by(int epoll) {
    errno = 0;
    std::ifstream file(fmt::format("/proc/self/fdinfo/{}", epoll));
    std::vector<int> watched;
    // It is closed. Whoever takes its number for an epoll instance's would wait at what gets that
    // number next.
    if (!file && errno == ENOENT) return watched;
    if (!file) return std::nullopt;
    int fd = -1;
    for (std::string word; file >> word;)
        if (word == "tfd:" && file >> fd) watched.push_back(fd);
    return watched;
}

std::vector<int> settle_backlogs(std::vector<int> listeners) {
    for (const int fd : listeners) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    std::erase_if(listeners, [](int fd) { return !has_pending(fd); });
    const NetlinkSocket kernel = listeners.empty() ? nullptr : open_sock_diag();
    if (!kernel) return listeners;
    std::erase_if(listeners, [&](int fd) { return !has_settled(kernel.get(), fd); });
    return listeners;
}

std::vector<int> wait_for_event(int epoll) {
    pollfd events{.fd = epoll, .events = POLLIN, .revents = 0};
    for (bool first = true;; first = false) {
        const auto watched = watched_by(epoll);
        if (!watched) {  // until there are descriptors again, none of the listeners is told of
            if (poll(&events, 1, look_again_ms) != 0) return {};
            continue;
        }
        const std::vector<int> listeners = listeners_of(*watched);
        // The driver may have been told already of what is pending now, and be next.
        std::vector<int> told = listeners;
        std::erase_if(told, [&](int fd) { return !first || !has_pending(fd); });
        if (told.empty()) {
            for (const int fd : listeners) set_armed(epoll, fd, true);
            while (poll(&events, 1, -1) < 0) continue;
        }
        const std::vector<int> settled = settle_backlogs(listeners);
        for (const int fd : listeners)
            set_armed(epoll, fd, std::ranges::binary_search(settled, fd));
        if (!told.empty() || poll(&events, 1, 0) != 0) {
            std::vector<int> next;
            std::ranges::set_union(told, settled, std::back_inserter(next));
            return next;
        }
    }
}

void drop_dead_heads(int epoll, const std::vector<int>& listeners) {
    const NetlinkSocket kernel = listeners.empty() ? nullptr : open_sock_diag();
    if (!kernel) return;
    for (const int fd : listeners)
        for (int looks = 0; looks < looks_max; ++looks) {
            if (head_of(kernel.get(), fd).state != Head::State::dead || !drop_head(fd)) break;
            set_armed(epoll, fd, false);
        }
}

}  // namespace millrace::port
