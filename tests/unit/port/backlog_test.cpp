#include "port/backlog.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "unit/port/unix_socket.h"

namespace millrace::port {
namespace {

using testing::Peer;

/// A listening socket, and an epoll instance that watches it.
class Listener {
public:
    explicit Listener(int type = SOCK_SEQPACKET) : fd_(socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
        const sockaddr_un address = testing::unix_address(path_);
        unlink(path_.c_str());
        EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        EXPECT_EQ(listen(fd_, 100), 0);
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd_}};
        EXPECT_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event), 0);
    }
    ~Listener() {
        close(fd_);
        close(epoll_);
        unlink(path_.c_str());
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    const std::string& path() const { return path_; }
    int fd() const { return fd_; }
    int epoll() const { return epoll_; }
    bool has_pending() const { return testing::has_pending(fd_); }
    /// The epoll instance has an event.
    bool tells() const {
        pollfd events{.fd = epoll_, .events = POLLIN, .revents = 0};
        return poll(&events, 1, 0) > 0;
    }
    /// How much is pending, and whether the first can be greeted. Accepts all of it.
    std::pair<int, bool> pending() {
        int count = 0;
        bool greeted = false;
        while (has_pending()) {
            const int connection = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
            if (++count == 1) greeted = send(connection, "?", 1, MSG_NOSIGNAL) == 1;
            close(connection);
        }
        return {count, greeted};
    }

private:
    const std::string path_ = fmt::format("/tmp/millrace-backlog-{}.sock", getpid());
    const int fd_;
    const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
};

TEST(Backlog, dead_connections_go_from_its_head) {
    Listener listener;
    { const Peer first(listener.path()), second(listener.path()); }
    const Peer alive(listener.path());
    { const Peer third(listener.path()); }
    EXPECT_EQ(settle_backlogs({listener.fd()}), std::vector{listener.fd()});
    EXPECT_EQ(listener.pending(), (std::pair{2, true})) << "the living one, and who is behind him";
}

TEST(Backlog, a_last_look_has_no_patience) {
    Listener listener;
    std::optional<Peer> first(std::in_place, listener.path());
    const Peer second(listener.path());
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector{listener.fd()});
    EXPECT_TRUE(listener.tells());
    first.reset();
    drop_dead_heads(listener.epoll(), {listener.fd()});
    EXPECT_FALSE(listener.tells()) << "the second has not settled";
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector{listener.fd()});
    EXPECT_TRUE(listener.tells());
    EXPECT_EQ(listener.pending(), (std::pair{1, true}));
}

/// To greet him fails as if he were gone.
TEST(Backlog, who_has_shut_down_is_dead) {
    Listener listener;
    const Peer all(listener.path()), input(listener.path()), output(listener.path());
    shutdown(all.fd(), SHUT_RDWR);
    shutdown(input.fd(), SHUT_RD);
    shutdown(output.fd(), SHUT_WR);
    EXPECT_EQ(settle_backlogs({listener.fd()}), std::vector{listener.fd()});
    EXPECT_EQ(listener.pending(), (std::pair{1, true}));
}

TEST(Backlog, nothing_is_pending) {
    Listener listener;
    EXPECT_EQ(settle_backlogs({listener.fd()}), std::vector<int>());
    drop_dead_heads(listener.epoll(), {});
    EXPECT_EQ(listener.pending().first, 0);
    EXPECT_NE(fcntl(listener.fd(), F_GETFL) & O_NONBLOCK, 0) << "who accepts must not wait";
}

TEST(Backlog, a_bounded_number_at_a_time) {
    Listener listener;
    for (int i = 0; i < 100; ++i) { const Peer peer(listener.path()); }
    EXPECT_EQ(settle_backlogs({listener.fd()}), std::vector<int>());
    EXPECT_EQ(listener.pending().first, 36);
}

TEST(Backlog, a_socket_of_another_type_is_somebody_elses) {
    Listener listener(SOCK_STREAM);
    { const Peer peer(listener.path(), SOCK_STREAM); }
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector<int>());
    EXPECT_EQ(listener.pending().first, 1);
    EXPECT_EQ(fcntl(listener.fd(), F_GETFL) & O_NONBLOCK, 0);
}

/// Nobody knows who is pending: all stays, and nobody waits for better knowledge.
TEST(Backlog, a_socket_of_another_network_namespace_is_left_alone) {
    Listener listener;
    { const Peer peer(listener.path()); }
    int away = 0;
    std::vector<int> settled;
    std::thread([&] {
        away = unshare(CLONE_NEWNET) == 0 ? 0 : errno;
        if (away != 0) return;
        settled = settle_backlogs({listener.fd()});
        drop_dead_heads(listener.epoll(), settled);
    }).join();
    if (away == EPERM) GTEST_SKIP() << "a network namespace needs CAP_SYS_ADMIN";
    EXPECT_EQ(away, 0);
    EXPECT_EQ(settled, std::vector{listener.fd()});
    EXPECT_EQ(listener.pending(), (std::pair{1, false}));
}

/// What settles where so many descriptors more can be had.
std::vector<int> settled_with(rlim_t descriptors, const Listener& listener) {
    const int lowest = dup(listener.fd());
    close(lowest);
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = static_cast<rlim_t>(lowest) + descriptors;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) std::_Exit(2);
    return settle_backlogs({listener.fd()});
}

/// The same where descriptors run out: none is left, or one to ask the kernel by and none to accept
/// with.
TEST(BacklogDeathTest, without_descriptors_it_is_left_alone) {
    Listener listener;
    { const Peer peer(listener.path()); }
    for (const rlim_t descriptors : {0, 1})
        EXPECT_EXIT(
            std::_Exit(settled_with(descriptors, listener) == std::vector{listener.fd()} ? 0 : 1),
            ::testing::ExitedWithCode(0), "^$")
            << descriptors;
    EXPECT_EQ(listener.pending().first, 1);
}

TEST(Backlog, a_dead_connection_is_no_event_to_wait_for) {
    Listener listener;
    const int other = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = other}};
    ASSERT_EQ(epoll_ctl(listener.epoll(), EPOLL_CTL_ADD, other, &event), 0);
    const itimerspec soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 200'000'000}};
    ASSERT_EQ(timerfd_settime(other, 0, &soon, nullptr), 0);
    std::thread connects([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        const Peer peer(listener.path(), SOCK_SEQPACKET, SHUT_RDWR);
    });
    wait_for_event(listener.epoll());
    pollfd timer{.fd = other, .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&timer, 1, 0), 1) << "it is what was waited for";
    connects.join();
    close(other);
}

TEST(Backlog, nobody_is_told_of_a_connection_that_has_not_settled) {
    Listener listener;
    const int other = eventfd(1, EFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = other}};
    ASSERT_EQ(epoll_ctl(listener.epoll(), EPOLL_CTL_ADD, other, &event), 0);
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector<int>());
    close(other);
    const Peer alive(listener.path());
    EXPECT_FALSE(listener.tells());
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector{listener.fd()});
    EXPECT_TRUE(listener.tells());
    EXPECT_EQ(listener.pending(), (std::pair{1, true}));
}

/// An event that the driver has been told of is not left to meet somebody else.
TEST(Backlog, nobody_waits_while_something_is_pending) {
    Listener listener;
    { const Peer peer(listener.path()); }
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector{listener.fd()});
    EXPECT_EQ(listener.pending().first, 0);
}

/// Who connects without end, and is gone at once, delays nobody else, and is never accepted.
TEST(Backlog, others_are_told_of_while_somebody_connects_without_end) {
    Listener listener;
    const int other = eventfd(1, EFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = other}};
    ASSERT_EQ(epoll_ctl(listener.epoll(), EPOLL_CTL_ADD, other, &event), 0);
    for (int i = 0; i < 95; ++i) { const Peer peer(listener.path()); }
    EXPECT_EQ(wait_for_event(listener.epoll()), std::vector{listener.fd()});
    EXPECT_TRUE(listener.has_pending());
    std::array<epoll_event, 4> events{};
    EXPECT_EQ(epoll_wait(listener.epoll(), events.data(), 4, 0), 1);
    EXPECT_EQ(events[0].data.fd, other);
    close(other);
}

TEST(Backlog, what_an_epoll_instance_watches_is_told) {
    const Listener listener;
    EXPECT_EQ(watched_by(listener.epoll()), std::vector{listener.fd()});
    EXPECT_EQ(watched_by(listener.fd()), std::vector<int>()) << "that is none";
    EXPECT_EQ(watched_by(-1), std::vector<int>()) << "nor is what there is not";
}

}  // namespace
}  // namespace millrace::port
