// The socket API, where the differential programs do not reach: waiting, flags, what threads see.
#include <millrace/socket.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "unit/api/sockets_fixture.h"

namespace millrace {
namespace {

TEST_F(Sockets, descriptors_are_dense_and_begin_where_the_kernels_end) {
    EXPECT_EQ(mr_socket(AF_INET, SOCK_STREAM, 0), MR_DESCRIPTOR_MIN);
    EXPECT_EQ(mr_socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP), MR_DESCRIPTOR_MIN + 1);
    EXPECT_EQ(mr_close(MR_DESCRIPTOR_MIN), 0);
    EXPECT_EQ(mr_socket(AF_INET, SOCK_STREAM, 0), MR_DESCRIPTOR_MIN);
    for (const int wrong : {0, 1, -1, MR_DESCRIPTOR_MIN + 2, INT32_MAX}) {
        EXPECT_ERRNO(mr_listen(wrong, 1), EBADF);
    }
}

TEST_F(Sockets, a_thread_without_a_context_is_told_so) {
    const int socket = mr_socket(AF_INET, SOCK_STREAM, 0);
    std::thread([&] {
        EXPECT_ERRNO(mr_socket(AF_INET, SOCK_STREAM, 0), ENXIO);
        EXPECT_ERRNO(mr_close(socket), ENXIO);
        EXPECT_ERRNO(mr_turn(), ENXIO);
    }).join();
    mr_context_enter(nullptr);
    EXPECT_ERRNO(mr_close(socket), ENXIO);
    mr_context_enter(context_);
    EXPECT_EQ(mr_close(socket), 0);
}

TEST_F(Sockets, a_configuration_that_cannot_be_is_refused_with_its_reason) {
    char why[256] = "";
    EXPECT_EQ(mr_context_create("[[core]]\n[[core]]\n", why, sizeof(why)), nullptr);
    EXPECT_NE(std::string(why).find("one core"), std::string::npos) << why;
    EXPECT_EQ(mr_context_create("[tcp]\nno_such_key = 1\n", why, sizeof(why)), nullptr);
    EXPECT_NE(std::string(why).find("no_such_key"), std::string::npos) << why;
    char little[8];
    EXPECT_EQ(mr_context_create("[tcp]\nno_such_key = 1\n", little, sizeof(little)), nullptr);
    EXPECT_LT(std::strlen(little), sizeof(little));
}

TEST_F(Sockets, calls_that_wait_do_so_until_their_time_is_over) {
    const int server = listener(80);
    const timeval time{.tv_sec = 0, .tv_usec = 20000};
    EXPECT_EQ(set(server, SOL_SOCKET, SO_RCVTIMEO, time), 0);
    EXPECT_ERRNO(mr_accept(server, nullptr, nullptr), EAGAIN);
    const auto [a, b] = connected(81);
    EXPECT_EQ(set(a, SOL_SOCKET, SO_RCVTIMEO, time), 0);
    char byte;
    EXPECT_ERRNO(mr_recv(a, &byte, 1, 0), EAGAIN);
    EXPECT_EQ(set(a, SOL_SOCKET, SO_SNDTIMEO, time), 0);
    const std::vector<char> much(size_t{64} << 20);
    const ssize_t sent = mr_send(a, much.data(), much.size(), 0);  // nobody reads
    EXPECT_GT(sent, 0);
    EXPECT_LT(sent, static_cast<ssize_t>(much.size()));
    EXPECT_ERRNO(mr_send(a, much.data(), 1, 0), EAGAIN);
    EXPECT_EQ(set(a, SOL_SOCKET, SO_RCVTIMEO, timeval{.tv_sec = 0, .tv_usec = 1000000}), -1);
    EXPECT_EQ(errno, EDOM);
    EXPECT_EQ(mr_recv(b, &byte, 1, 0), 1);
}

TEST_F(Sockets, flags_of_recv_and_send) {
    const auto [a, b] = connected(80);
    char text[16] = {};
    EXPECT_ERRNO(mr_recv(b, text, sizeof(text), MSG_DONTWAIT), EAGAIN);
    EXPECT_EQ(mr_send(a, "0123456789", 10, MSG_NOSIGNAL), 10);
    EXPECT_EQ(mr_recv(b, text, 4, MSG_PEEK), 4);
    EXPECT_EQ(mr_recv(b, text, 4, 0), 4);
    EXPECT_EQ(std::string(text, 4), "0123");
    EXPECT_EQ(mr_send(a, "ab", 2, 0), 2);
    EXPECT_EQ(mr_recv(b, text, 8, MSG_WAITALL), 8);
    EXPECT_EQ(std::string(text, 8), "456789ab");
    EXPECT_ERRNO(mr_recv(b, text, 0, MSG_DONTWAIT), EAGAIN);
    EXPECT_ERRNO(mr_recv(b, text, 1, MSG_ERRQUEUE), EAGAIN);
    EXPECT_ERRNO(mr_recv(b, text, 1, MSG_FASTOPEN), EOPNOTSUPP);
    EXPECT_ERRNO(mr_send(a, text, 1, MSG_ZEROCOPY), EOPNOTSUPP);
    EXPECT_EQ(mr_send(a, "end", 3, 0), 3);
    EXPECT_EQ(mr_close(a), 0);
    EXPECT_EQ(mr_recv(b, text, 8, MSG_WAITALL), 3);  // there is no more
    EXPECT_EQ(mr_recv(b, text, 8, MSG_WAITALL), 0);
}

TEST_F(Sockets, what_send_has_taken_arrives_while_the_other_side_reads) {
    const auto [a, b] = connected(80);
    EXPECT_EQ(mr_fcntl(b, F_SETFL, O_NONBLOCK), 0);
    EXPECT_EQ(mr_fcntl(b, F_GETFL, 0), O_RDWR | O_NONBLOCK);
    EXPECT_ERRNO(mr_fcntl(b, F_DUPFD, 0), EINVAL);
    std::string out(size_t{1} << 20, ' ');
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>('a' + i * 31 % 26);
    EXPECT_EQ(mr_write(a, out.data(), out.size()), static_cast<ssize_t>(out.size()));
    std::string in;
    std::vector<char> part(10000);
    while (in.size() < out.size()) {
        const ssize_t got = mr_read(b, part.data(), part.size());
        if (got < 0) {
            ASSERT_EQ(errno, EAGAIN);
            continue;
        }
        ASSERT_GT(got, 0);
        in.append(part.data(), static_cast<size_t>(got));
    }
    EXPECT_TRUE(in == out);
}

/// As in Linux: what has come is told first, the error by the next call.
TEST_F(Sockets, a_reset_in_the_midst_of_a_transfer_is_not_forgotten) {
    const auto [a, b] = connected(80);
    EXPECT_EQ(mr_send(a, "half", 4, 0), 4);
    char text[16];
    EXPECT_EQ(mr_recv(b, text, 4, MSG_PEEK), 4);
    EXPECT_EQ(set(a, SOL_SOCKET, SO_LINGER, linger{.l_onoff = 1, .l_linger = 0}), 0);
    EXPECT_EQ(mr_close(a), 0);
    EXPECT_EQ(mr_recv(b, text, 8, MSG_WAITALL), 4);
    EXPECT_ERRNO(mr_recv(b, text, 8, MSG_WAITALL), ECONNRESET);
    EXPECT_EQ(mr_recv(b, text, 8, 0), 0);
}

TEST_F(Sockets, a_peek_for_all_ends_with_the_stream) {
    const auto [a, b] = connected(80);
    EXPECT_EQ(mr_send(a, "all", 3, 0), 3);
    EXPECT_EQ(mr_close(a), 0);
    char text[16];
    EXPECT_EQ(mr_recv(b, text, 8, MSG_PEEK | MSG_WAITALL), 3);
    EXPECT_EQ(mr_recv(b, text, 8, MSG_WAITALL), 3);
}

TEST_F(Sockets, times_and_pointers_that_are_none) {
    const int socket = mr_socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(set(socket, SOL_SOCKET, SO_RCVTIMEO, timeval{.tv_sec = -1, .tv_usec = 0}), 0);
    EXPECT_EQ(on(socket, mr_bind, 80), 0);
    EXPECT_EQ(mr_listen(socket, 1), 0);
    EXPECT_ERRNO(mr_accept(socket, nullptr, nullptr), EAGAIN);  // at once
    EXPECT_ERRNO(mr_bind(socket, nullptr, sizeof(sockaddr_in)), EFAULT);
    EXPECT_ERRNO(mr_setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, nullptr, 4), EFAULT);
    EXPECT_ERRNO(mr_getsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, nullptr, nullptr), EFAULT);
    sockaddr_in peer{};
    EXPECT_ERRNO(mr_accept(socket, reinterpret_cast<sockaddr*>(&peer), nullptr), EFAULT);
    EXPECT_ERRNO(mr_getsockname(socket, nullptr, nullptr), EFAULT);
}

TEST_F(Sockets, another_threads_context_is_not_ours) {
    EXPECT_GE(mr_socket(AF_INET, SOCK_STREAM, 0), 0);
    std::thread([this] {
        mr_context_enter(context_);
        EXPECT_ERRNO(mr_socket(AF_INET, SOCK_STREAM, 0), EPERM);
        EXPECT_ERRNO(mr_close(MR_DESCRIPTOR_MIN), EPERM);
        mr_context_destroy(context_);  // nothing happens
    }).join();
    EXPECT_EQ(mr_close(MR_DESCRIPTOR_MIN), 0);
}

TEST_F(Sockets, poll_sees_several_and_says_which_are_none) {
    const auto [a, b] = connected(80);
    pollfd both[] = {{a, POLLIN, 0}, {b, POLLIN, 0}, {-1, POLLIN, 0}};
    EXPECT_EQ(mr_poll(both, 3, 10), 0);
    EXPECT_EQ(mr_send(a, "x", 1, 0), 1);
    EXPECT_EQ(mr_poll(both, 3, -1), 1);
    EXPECT_EQ(both[1].revents, POLLIN);
    both[2].fd = 0;  // the kernel's
    EXPECT_EQ(mr_poll(both, 3, 0), 2);
    EXPECT_EQ(both[2].revents, POLLNVAL);
}

TEST_F(Sockets, listeners_that_share_a_port_share_what_arrives) {
    const int first = listener(80, true);
    const int second = listener(80, true);
    const auto serve = [&](int clients) {
        std::vector<int> sockets;
        for (int i = 0; i < clients; ++i) {
            sockets.push_back(mr_socket(AF_INET, SOCK_STREAM, 0));
            EXPECT_EQ(on(sockets.back(), mr_connect, 80), 0);
        }
        turn();
        return sockets;
    };
    const auto waiting = [](int listener) {
        mr_fcntl(listener, F_SETFL, O_NONBLOCK);
        int count = 0;
        while (mr_accept4(listener, nullptr, nullptr, SOCK_NONBLOCK) >= 0) ++count;
        return count;
    };
    serve(60);
    const int by_first = waiting(first);
    const int by_second = waiting(second);
    EXPECT_EQ(by_first + by_second, 60);
    EXPECT_GT(by_first, 10);
    EXPECT_GT(by_second, 10);
    mr_close(first);
    serve(10);
    EXPECT_EQ(waiting(second), 10);
}

TEST_F(Sockets, accept_tells_who_comes) {
    const int server = listener(80);
    const int client = mr_socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(on(client, mr_bind, 4000), 0);
    EXPECT_EQ(on(client, mr_connect, 80), 0);
    sockaddr_in peer{};
    socklen_t size = sizeof(peer);
    EXPECT_GE(mr_accept(server, reinterpret_cast<sockaddr*>(&peer), &size), 0);
    EXPECT_EQ(size, sizeof(peer));
    EXPECT_EQ(ntohs(peer.sin_port), 4000);
    EXPECT_EQ(peer.sin_addr.s_addr, at(0).sin_addr.s_addr);
    EXPECT_ERRNO(mr_accept4(server, nullptr, nullptr, 1), EINVAL);
}

TEST_F(Sockets, a_listeners_options_pass_on_to_what_it_accepts) {
    const int server = listener(80);
    EXPECT_EQ(set(server, IPPROTO_TCP, TCP_NODELAY, 1), 0);
    EXPECT_EQ(set(server, SOL_SOCKET, SO_KEEPALIVE, 1), 0);
    EXPECT_EQ(set(server, SOL_SOCKET, SO_LINGER, linger{.l_onoff = 1, .l_linger = 7}), 0);
    const int client = mr_socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(on(client, mr_connect, 80), 0);
    const int accepted = mr_accept(server, nullptr, nullptr);
    int value = 0;
    socklen_t size = sizeof(value);
    EXPECT_EQ(mr_getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    EXPECT_EQ(value, 1);
    EXPECT_EQ(mr_getsockopt(accepted, SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
    EXPECT_EQ(value, 1);
    linger how{};
    size = sizeof(how);
    EXPECT_EQ(mr_getsockopt(accepted, SOL_SOCKET, SO_LINGER, &how, &size), 0);
    EXPECT_EQ(how.l_linger, 7);
    EXPECT_ERRNO(set(accepted, SOL_SOCKET, SO_MARK, 1), ENOPROTOOPT);
    EXPECT_ERRNO(set(accepted, IPPROTO_TCP, TCP_FASTOPEN, 1), ENOPROTOOPT);
}

}  // namespace
}  // namespace millrace
