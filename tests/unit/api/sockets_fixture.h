// A context of the socket API with one port, and what its tests do again and again.
#pragma once

#include <arpa/inet.h>
#include <millrace/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace millrace {

class Sockets : public ::testing::Test {
protected:
    void SetUp() override {
        static int next = 0;
        const std::string toml = "[[port]]\ndevice = 'ring:sockets" + std::to_string(next++) +
                                 ":0'\naddresses = ['10.5.1.1/24']\n[[core]]\n"
                                 "[tcp]\nmax_connections = 1024\ntcp_max_tw_buckets = 1024\n"
                                 "[pools]\nreceive = 4096\nheader = 1024\nattach = 1024\n"
                                 "payload = 1024\n[eal]\nhuge_pages = false\n";
        char why[256];
        context_ = mr_context_create(toml.c_str(), why, sizeof(why));
        ASSERT_NE(context_, nullptr) << why;
    }
    void TearDown() override { mr_context_destroy(context_); }

    static sockaddr_in at(uint16_t port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        inet_pton(AF_INET, "10.5.1.1", &address.sin_addr);
        return address;
    }
    static int on(int socket, int (*call)(int, const sockaddr*, socklen_t), uint16_t port) {
        const sockaddr_in address = at(port);
        return call(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    }
    static int listener(uint16_t port, bool share = false) {
        const int socket = mr_socket(AF_INET, SOCK_STREAM, 0);
        if (share) {
            EXPECT_EQ(set(socket, SOL_SOCKET, SO_REUSEPORT, 1), 0);
        }
        EXPECT_EQ(on(socket, mr_bind, port), 0);
        EXPECT_EQ(mr_listen(socket, 128), 0);
        return socket;
    }
    /// Both ends of a connection.
    static std::pair<int, int> connected(uint16_t port) {
        const int server = listener(port);
        const int client = mr_socket(AF_INET, SOCK_STREAM, 0);
        EXPECT_EQ(on(client, mr_connect, port), 0);
        const int accepted = mr_accept(server, nullptr, nullptr);
        EXPECT_GE(accepted, MR_DESCRIPTOR_MIN);
        mr_close(server);
        return {client, accepted};
    }
    template <typename T>
    static int set(int socket, int level, int name, T value) {
        return mr_setsockopt(socket, level, name, &value, sizeof(value));
    }
    static void turn(int times = 20) {
        while (times-- > 0) mr_turn();
    }

    mr_context* context_ = nullptr;
};

#define EXPECT_ERRNO(call, code) \
    errno = 0;                   \
    EXPECT_EQ(call, -1);         \
    EXPECT_EQ(errno, code)

}  // namespace millrace
