// Epoll sets and the data calls, where the differential programs do not reach: waiting.
#include <fcntl.h>
#include <linux/tcp.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "unit/api/sockets_fixture.h"

namespace millrace {
namespace {

class Epoll : public Sockets {
protected:
    static int add(int set, int descriptor, uint32_t events) {
        epoll_event event{.events = events, .data = {.fd = descriptor}};
        return mr_epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event);
    }
    /// The descriptors that are ready.
    static std::vector<int> ready(int set, int timeout) {
        std::array<epoll_event, 16> events;
        const int count = mr_epoll_wait(set, events.data(), 16, timeout);
        std::vector<int> result;
        for (int i = 0; i < count; ++i) result.push_back(events[static_cast<size_t>(i)].data.fd);
        return result;
    }
};

TEST_F(Epoll, an_exclusive_watch_that_waits_ends_the_wake_up) {
    const auto [a, b] = connected(80);
    const int first = mr_epoll_create1(0);
    const int second = mr_epoll_create1(0);
    for (const int set : {first, second}) EXPECT_EQ(add(set, b, EPOLLIN | EPOLLEXCLUSIVE), 0);
    EXPECT_EQ(mr_send(a, "x", 1, 0), 1);
    EXPECT_EQ(ready(first, 1000), std::vector<int>{b});
    EXPECT_TRUE(ready(second, 0).empty());
    // Who does not wait does not end it.
    EXPECT_EQ(mr_send(a, "y", 1, 0), 1);
    EXPECT_EQ(ready(second, 1000), std::vector<int>{b});
    EXPECT_EQ(ready(first, 0), std::vector<int>{b});
}

TEST_F(Epoll, a_kernel_descriptor_wakes_who_waits) {
    const int set = mr_epoll_create1(0);
    const int count = eventfd(0, EFD_CLOEXEC);
    EXPECT_EQ(add(set, count, EPOLLIN), 0);
    std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        const uint64_t one = 1;
        EXPECT_EQ(write(count, &one, sizeof(one)), 8);
    });
    EXPECT_EQ(ready(set, -1), std::vector<int>{count});
    other.join();
    close(count);
    EXPECT_TRUE(ready(set, 0).empty());
}

TEST_F(Epoll, neither_kind_of_descriptor_starves_the_other) {
    const auto [a, b] = connected(80);
    const int set = mr_epoll_create1(0);
    const int count = eventfd(1, EFD_CLOEXEC);
    EXPECT_EQ(add(set, count, EPOLLIN), 0);
    EXPECT_EQ(add(set, b, EPOLLIN), 0);
    EXPECT_EQ(mr_send(a, "x", 1, 0), 1);
    turn();
    int ours = 0;
    for (int i = 0; i < 10; ++i) {
        epoll_event one;
        ASSERT_EQ(mr_epoll_wait(set, &one, 1, 0), 1);
        ours += one.data.fd == b;
    }
    EXPECT_EQ(ours, 5);
    close(count);
}

TEST_F(Epoll, sets_and_sockets_may_go_in_any_order) {
    auto [a, b] = connected(80);
    const int inner = mr_epoll_create1(0);
    const int outer = mr_epoll_create1(0);
    EXPECT_EQ(add(inner, a, EPOLLIN | EPOLLOUT), 0);
    EXPECT_EQ(add(inner, b, EPOLLIN), 0);
    EXPECT_EQ(add(outer, inner, EPOLLIN), 0);
    EXPECT_EQ(add(outer, b, EPOLLIN), 0);
    EXPECT_EQ(mr_send(a, "x", 1, 0), 1);
    turn();
    EXPECT_EQ(mr_close(inner), 0);
    EXPECT_EQ(ready(outer, 0), std::vector<int>{b});
    EXPECT_EQ(mr_close(b), 0);
    EXPECT_TRUE(ready(outer, 0).empty());
    EXPECT_EQ(mr_close(outer), 0);
    // A new socket with an old number is not watched.
    const int set = mr_epoll_create1(0);
    const int socket = mr_socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(add(set, socket, EPOLLOUT), 0);
    EXPECT_EQ(mr_close(socket), 0);
    EXPECT_EQ(mr_socket(AF_INET, SOCK_STREAM, 0), socket);
    EXPECT_TRUE(ready(set, 0).empty());
}

TEST_F(Epoll, many_sockets_are_told_each_once_in_their_order) {
    const int server = listener(80);
    const int set = mr_epoll_create1(0);
    std::vector<int> clients, accepted;
    for (int i = 0; i < 100; ++i) {
        clients.push_back(mr_socket(AF_INET, SOCK_STREAM, 0));
        ASSERT_EQ(on(clients.back(), mr_connect, 80), 0);
        accepted.push_back(mr_accept(server, nullptr, nullptr));
        ASSERT_EQ(add(set, accepted.back(), EPOLLIN | EPOLLET), 0);
    }
    for (const int client : clients) EXPECT_EQ(mr_send(client, "x", 1, 0), 1);
    turn();
    std::vector<int> told;
    for (auto some = ready(set, 0); !some.empty(); some = ready(set, 0))
        told.insert(told.end(), some.begin(), some.end());
    EXPECT_EQ(told, accepted);
}

TEST_F(Epoll, a_low_water_mark_is_waited_for) {
    const auto [a, b] = connected(80);
    char text[16];
    EXPECT_EQ(set(b, SOL_SOCKET, SO_RCVLOWAT, 6), 0);
    EXPECT_EQ(mr_send(a, "abc", 3, 0), 3);
    turn();
    EXPECT_EQ(mr_send(a, "def", 3, 0), 3);  // under way, and waited for
    EXPECT_EQ(mr_recv(b, text, sizeof(text), 0), 6);
    const timeval time{.tv_sec = 0, .tv_usec = 20000};
    EXPECT_EQ(set(b, SOL_SOCKET, SO_RCVTIMEO, time), 0);
    EXPECT_EQ(mr_send(a, "gh", 2, 0), 2);
    EXPECT_EQ(mr_recv(b, text, sizeof(text), 0), 2);
    EXPECT_ERRNO(mr_recv(b, text, sizeof(text), 0), EAGAIN);
}

TEST_F(Epoll, a_low_water_mark_above_the_window_is_no_trap) {
    const auto [a, b] = connected(80);
    EXPECT_EQ(set(b, SOL_SOCKET, SO_RCVBUF, 8192), 0);
    EXPECT_EQ(set(b, SOL_SOCKET, SO_RCVLOWAT, 1'000'000), 0);
    EXPECT_EQ(mr_fcntl(a, F_SETFL, O_NONBLOCK), 0);
    const std::vector<char> much(1'000'000);
    const int watch = mr_epoll_create1(0);
    EXPECT_EQ(add(watch, b, EPOLLIN), 0);
    EXPECT_EQ(mr_send(a, "x", 1, 0), 1);
    EXPECT_TRUE(ready(watch, 20).empty());
    EXPECT_GT(mr_send(a, much.data(), much.size(), 0), 100'000);
    EXPECT_EQ(ready(watch, 5000), std::vector<int>{b});
}

/// What nobody reads stays within the bounds of its connection, and leaves the pools to others.
TEST_F(Epoll, an_unread_socket_starves_nobody) {
    const auto [a, b] = connected(80);
    const auto [c, d] = connected(81);
    EXPECT_EQ(set(a, IPPROTO_TCP, TCP_NODELAY, 1), 0);
    EXPECT_EQ(set(b, SOL_SOCKET, SO_RCVBUF, 65536), 0);
    EXPECT_EQ(mr_fcntl(a, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 3000; ++i) {
        mr_send(a, "x", 1, 0);
        turn(2);
    }
    char text[8];
    EXPECT_EQ(mr_send(c, "hello", 5, 0), 5);
    const timeval time{.tv_sec = 2, .tv_usec = 0};
    EXPECT_EQ(set(d, SOL_SOCKET, SO_RCVTIMEO, time), 0);
    EXPECT_EQ(mr_recv(d, text, sizeof(text), 0), 5);
    int unread = 0;
    EXPECT_EQ(mr_ioctl(b, FIONREAD, &unread), 0);
    EXPECT_GT(unread, 10);
}

TEST_F(Epoll, what_came_before_a_reset_can_still_be_read) {
    const auto [a, b] = connected(80);
    const struct linger at_once{.l_onoff = 1, .l_linger = 0};
    EXPECT_EQ(mr_send(a, "last words", 10, 0), 10);
    EXPECT_EQ(mr_turn(), 1);  // it has left, and nobody has looked yet
    EXPECT_EQ(set(a, SOL_SOCKET, SO_LINGER, at_once), 0);
    EXPECT_EQ(mr_close(a), 0);
    turn();
    char text[16];
    EXPECT_EQ(mr_recv(b, text, sizeof(text), 0), 10);
    EXPECT_ERRNO(mr_recv(b, text, sizeof(text), 0), ECONNRESET);
    EXPECT_EQ(mr_recv(b, text, sizeof(text), 0), 0);
}

TEST_F(Epoll, pieces_of_all_sizes_carry_the_stream) {
    const auto [a, b] = connected(80);
    std::vector<char> sent(300'000), received(sent.size());
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + i / 251);
    EXPECT_EQ(mr_fcntl(a, F_SETFL, O_NONBLOCK), 0);
    size_t out = 0, in = 0;
    tcp_info info{};
    socklen_t size = sizeof(info);
    uint64_t delivery_rate = 0;
    while (in < received.size()) {
        // One piece of each: nothing, one byte, some, many.
        std::array<iovec, 4> pieces;
        size_t at = out;
        for (size_t i = 0; const size_t most : {size_t{0}, size_t{1}, size_t{700}, size_t{90'000}}) {
            const size_t here = std::min(most, sent.size() - at);
            pieces[i++] = {.iov_base = sent.data() + at, .iov_len = here};
            at += here;
        }
        if (const ssize_t n = mr_writev(a, pieces.data(), 4); n > 0) out += static_cast<size_t>(n);
        std::array<iovec, 2> places{{{.iov_base = received.data() + in, .iov_len = 3},
                                     {.iov_base = nullptr, .iov_len = 0}}};
        if (received.size() - in > 3)
            places[1] = {.iov_base = received.data() + in + 3, .iov_len = received.size() - in - 3};
        else
            places[0].iov_len = received.size() - in;
        const ssize_t n = mr_readv(b, places.data(), 2);
        ASSERT_GT(n, 0);
        in += static_cast<size_t>(n);
        EXPECT_EQ(mr_getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
        delivery_rate = std::max<uint64_t>(delivery_rate, info.tcpi_delivery_rate);
    }
    EXPECT_EQ(out, sent.size());
    EXPECT_EQ(received, sent);
    EXPECT_GT(delivery_rate, 0U) << "there was more to send when ACKs came";
    turn();
    EXPECT_EQ(mr_getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    EXPECT_EQ(info.tcpi_bytes_acked, sent.size());
    EXPECT_EQ(info.tcpi_bytes_received, 0U);
    EXPECT_EQ(info.tcpi_unacked, 0U);
    EXPECT_GT(info.tcpi_rtt, 0U);
    EXPECT_GE(info.tcpi_snd_cwnd, 10U);
    EXPECT_EQ(mr_getsockopt(b, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    EXPECT_EQ(info.tcpi_bytes_received, sent.size());
    EXPECT_EQ(info.tcpi_bytes_acked, 0U);
}

TEST_F(Epoll, what_lies_nowhere_is_refused_and_loses_nothing) {
    const auto [a, b] = connected(80);
    iovec nowhere{.iov_base = nullptr, .iov_len = 3};
    EXPECT_ERRNO(mr_writev(a, &nowhere, 1), EFAULT);
    EXPECT_ERRNO(mr_writev(a, nullptr, 1), EFAULT);
    EXPECT_ERRNO(mr_sendmsg(a, nullptr, 0), EFAULT);
    EXPECT_ERRNO(mr_recvmsg(b, nullptr, 0), EFAULT);
    EXPECT_ERRNO(mr_send(a, "x", 1, MSG_CONFIRM), EOPNOTSUPP);
    char control[16];
    const msghdr with_control{.msg_control = control, .msg_controllen = sizeof(control)};
    EXPECT_ERRNO(mr_sendmsg(a, &with_control, 0), EOPNOTSUPP);
    std::array<iovec, 2> huge{{{.iov_base = control, .iov_len = SIZE_MAX / 2},
                               {.iov_base = control, .iov_len = 1}}};
    EXPECT_ERRNO(mr_writev(a, huge.data(), 2), EINVAL);
    EXPECT_EQ(mr_send(a, "abc", 3, 0), 3);
    turn();
    EXPECT_ERRNO(mr_readv(b, &nowhere, 1), EFAULT);
    EXPECT_EQ(mr_recv(b, control, sizeof(control), 0), 3);
    EXPECT_EQ(mr_send(a, "!", 1, MSG_OOB), 1);
    turn();
    EXPECT_ERRNO(mr_recv(b, nullptr, 1, MSG_OOB), EFAULT);
    EXPECT_EQ(mr_recv(b, control, 1, MSG_OOB), 1);
    EXPECT_ERRNO(mr_fcntl(a, F_SETFL, O_ASYNC), EINVAL);
    EXPECT_ERRNO(mr_setsockopt(a, SOL_SOCKET, SO_MAX_PACING_RATE, "\0\0\0", 4), EINVAL);
    EXPECT_ERRNO(mr_ioctl(a, FIONREAD, static_cast<int*>(nullptr)), EFAULT);
    EXPECT_ERRNO(mr_poll(nullptr, 1, 0), EFAULT);
    EXPECT_ERRNO(mr_epoll_wait(mr_epoll_create1(0), nullptr, 1, 0), EFAULT);
}

}  // namespace
}  // namespace millrace
