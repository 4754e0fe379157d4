// Two contexts of the C API on a test's network, and what its tests do again and again.
#pragma once

#include <arpa/inet.h>
#include <millrace/testing.h>

#include <cerrno>
#include <string>

#include <gtest/gtest.h>

namespace millrace {

/// 10.0.0.1 and 10.0.0.2 on one virtual wire.
class TestingC : public ::testing::Test {
protected:
    void SetUp() override {
        network_ = mr_test_network_create(1);
        a_ = context("10.0.0.1");
        b_ = context("10.0.0.2");
    }
    void TearDown() override {
        mr_context_destroy(a_);
        mr_context_destroy(b_);
        EXPECT_EQ(mr_test_network_destroy(network_), 0);
    }
    mr_context* context(const std::string& address) {
        const std::string toml = "[[port]]\ndevice = 'wire'\naddresses = ['" + address +
                                 "/24']\n[pools]\nreceive = 2048\nheader = 1024\nattach = 1024\n"
                                 "payload = 1024\n[tcp]\nmax_connections = 256\n";
        char why[256] = "";
        mr_context* const made = mr_test_context_create(network_, toml.c_str(), why, sizeof(why));
        EXPECT_NE(made, nullptr) << why;
        return made;
    }
    static sockaddr_in at(const char* address) {
        sockaddr_in is{};
        is.sin_family = AF_INET;
        is.sin_port = htons(7);
        inet_pton(AF_INET, address, &is.sin_addr);
        return is;
    }
    static int connect(int socket, const char* address) {
        const sockaddr_in to = at(address);
        return mr_connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    }
    static int listener() {
        const int socket = mr_socket(AF_INET, SOCK_STREAM, 0);
        const sockaddr_in any = at("0.0.0.0");
        EXPECT_EQ(mr_bind(socket, reinterpret_cast<const sockaddr*>(&any), sizeof(any)), 0);
        EXPECT_EQ(mr_listen(socket, 16), 0);
        return socket;
    }
    int64_t now_ms() const { return mr_test_now(network_) / 1'000'000; }
    void advance_ms(int64_t ms) {
        EXPECT_EQ(mr_test_advance_to(network_, mr_test_now(network_) + ms * 1'000'000), 0);
    }

    mr_test_network* network_ = nullptr;
    mr_context* a_ = nullptr;
    mr_context* b_ = nullptr;
};

}  // namespace millrace
