#include "port/backlog.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <chrono>
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
    /// How much is pending, and whether the first can be greeted. Accepts all of it.
    std::pair<int, bool> pending() {
        int count = 0;
        bool greeted = false;
        int connection = -1;
        while ((connection = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0) {
            if (++count == 1) greeted = send(connection, "?", 1, MSG_NOSIGNAL) == 1;
            close(connection);
        }
        EXPECT_EQ(errno, EAGAIN) << "whoever accepts for nothing must not wait";
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
    EXPECT_EQ(settle_backlogs(listener.epoll()), std::vector{listener.fd()});
    EXPECT_EQ(listener.pending(), (std::pair{2, true})) << "the living one, and who is behind him";
}

TEST(Backlog, a_last_look_has_no_patience) {
    Listener listener;
    { const Peer first(listener.path()), second(listener.path()); }
    const Peer alive(listener.path());
    drop_dead_heads(listener.epoll());
    EXPECT_EQ(listener.pending(), (std::pair{1, true}));
}

/// To greet him fails as if he were gone.
TEST(Backlog, who_has_shut_down_is_dead) {
    Listener listener;
    const Peer all(listener.path()), input(listener.path()), output(listener.path());
    shutdown(all.fd(), SHUT_RDWR);
    shutdown(input.fd(), SHUT_RD);
    shutdown(output.fd(), SHUT_WR);
    EXPECT_TRUE(settle_backlogs(listener.epoll()));
    EXPECT_EQ(listener.pending(), (std::pair{1, true}));
}

TEST(Backlog, nothing_is_pending) {
    Listener listener;
    EXPECT_TRUE(settle_backlogs(listener.epoll()));
    drop_dead_heads(listener.epoll());
    EXPECT_EQ(listener.pending().first, 0);
    EXPECT_EQ(settle_backlogs(-1), std::vector<int>());
    drop_dead_heads(-1);
}

TEST(Backlog, a_bounded_number_at_a_time) {
    Listener listener;
    for (int i = 0; i < 100; ++i) { const Peer peer(listener.path()); }
    EXPECT_FALSE(settle_backlogs(listener.epoll()));
    EXPECT_TRUE(settle_backlogs(listener.epoll()));
    EXPECT_EQ(listener.pending().first, 0);
}

TEST(Backlog, a_socket_of_another_type_is_somebody_elses) {
    Listener listener(SOCK_STREAM);
    { const Peer peer(listener.path(), SOCK_STREAM); }
    EXPECT_TRUE(settle_backlogs(listener.epoll()));
    drop_dead_heads(listener.epoll());
    EXPECT_GE(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC), 0);
}

/// Nobody knows who is pending: all stays, and nobody waits for better knowledge.
TEST(Backlog, a_socket_of_another_network_namespace_is_left_alone) {
    Listener listener;
    { const Peer peer(listener.path()); }
    bool away = false, settled = false;
    std::thread([&] {
        away = unshare(CLONE_NEWNET) == 0;
        settled = away && settle_backlogs(listener.epoll()) == std::vector{listener.fd()};
        if (away) drop_dead_heads(listener.epoll());
    }).join();
    if (!away) GTEST_SKIP() << "a network namespace needs CAP_SYS_ADMIN";
    EXPECT_TRUE(settled);
    EXPECT_EQ(listener.pending(), (std::pair{1, false}));
}

/// The same where descriptors run out: one is left, to ask the kernel by, and none to accept with.
TEST(Backlog, without_descriptors_it_is_left_alone) {
    Listener listener;
    { const Peer peer(listener.path()); }
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const int lowest = dup(listener.fd());
    close(lowest);
    for (const rlim_t more : {0, 1}) {
        rlimit few = before;
        few.rlim_cur = static_cast<rlim_t>(lowest) + more;
        ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
        const auto settled = settle_backlogs(listener.epoll());
        ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
        EXPECT_TRUE(settled.has_value()) << more;
    }
    EXPECT_TRUE(settle_backlogs(listener.epoll()));
    EXPECT_EQ(listener.pending().first, 0);
}

TEST(Backlog, a_dead_connection_is_no_event_to_wait_for) {
    Listener listener;
    const int other = eventfd(0, EFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = other}};
    ASSERT_EQ(epoll_ctl(listener.epoll(), EPOLL_CTL_ADD, other, &event), 0);
    { const Peer peer(listener.path()); }
    std::atomic<bool> came{false};
    std::thread waits([&] {
        wait_for_event(listener.epoll());
        came = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(came);
    EXPECT_EQ(eventfd_write(other, 1), 0);
    waits.join();
    EXPECT_EQ(listener.pending().first, 0);
    eventfd_t count = 0;
    EXPECT_EQ(eventfd_read(other, &count), 0);
    const Peer alive(listener.path());
    wait_for_event(listener.epoll());
    EXPECT_EQ(listener.pending(), (std::pair{1, true}));
    close(other);
}

TEST(Backlog, what_an_epoll_instance_watches_is_told) {
    const Listener listener;
    EXPECT_EQ(watched_by(listener.epoll()), std::vector{listener.fd()});
    EXPECT_EQ(watched_by(listener.fd()), std::vector<int>()) << "that is none";
    EXPECT_EQ(watched_by(-1), std::nullopt);
}

}  // namespace
}  // namespace millrace::port
