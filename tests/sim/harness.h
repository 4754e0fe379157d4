// What the simulated tests share: an application that records, and two nodes on a wire.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/network.h"
#include "tcp/urgent.h"

namespace millrace::testing {

using namespace millrace::literals;

/// Bytes whose content follows from their position, so that any displacement shows; eight at a
/// time, the first in the lowest bits.
inline uint64_t pattern_word(uint64_t index, uint64_t salt) {
    uint64_t z = (index + 1) * 0x9e3779b97f4a7c15 + salt;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9;
    return z ^ (z >> 32);
}
inline uint8_t pattern(uint64_t position, uint64_t salt) {
    return static_cast<uint8_t>(pattern_word(position / 8, salt) >> (position % 8 * 8));
}
/// Calls `visit(i, byte)` for `size` bytes of the pattern from `position`.
template <typename Visit>
void for_pattern(uint64_t position, uint64_t salt, size_t size, Visit&& visit) {
    uint64_t word = pattern_word(position / 8, salt) >> (position % 8 * 8);
    for (size_t i = 0; i < size; ++i, word >>= 8) {
        if (i != 0 && (position + i) % 8 == 0) word = pattern_word((position + i) / 8, salt);
        visit(i, static_cast<std::byte>(word));
    }
}

/// One end of a connection: sends `to_send` bytes of a pattern, checks what it receives.
struct Endpoint {
    stack::Stack* stack = nullptr;
    tcp::Connection* connection = nullptr;
    uint64_t salt_out = 0;
    uint64_t salt_in = 0;
    uint64_t to_send = 0;
    uint64_t sent = 0;
    uint64_t received = 0;
    bool intact = true;
    bool connected = false;
    uint32_t writable_notices = 0;
    bool peer_closed = false;
    bool closed = false;
    int error = 0;
    bool shutdown_when_sent = false;
    bool close_at_end = false;  ///< close once the peer has closed and everything is sent
    bool abort_at_end = false;  ///< abort as soon as the peer has closed
    bool consume = true;
    uint64_t unconsumed = 0;
    std::vector<int> soft_errors;
    uint32_t urgent_notices = 0;
    uint32_t urgent_ahead = 0;  ///< as the last notice found it

    /// What `pump` would write next; the caller writes it.
    std::vector<std::byte> write_next(uint32_t bytes) {
        std::vector<std::byte> chunk(bytes);
        for (std::byte& byte : chunk) byte = static_cast<std::byte>(pattern(sent++, salt_out));
        to_send = std::max(to_send, sent);
        return chunk;
    }
    void pump() {
        while (connection != nullptr && sent < to_send) {
            std::vector<std::byte> chunk(std::min<uint64_t>(16384, to_send - sent));
            for_pattern(sent, salt_out, chunk.size(),
                        [&](size_t i, std::byte byte) { chunk[i] = byte; });
            const auto taken = tcp::send_copy(stack->env(), *connection, chunk);
            if (!taken) break;
            sent += *taken;
            if (*taken < chunk.size()) break;
        }
        if (connection != nullptr && sent == to_send && shutdown_when_sent) {
            shutdown_when_sent = false;
            EXPECT_TRUE(tcp::shutdown_send(stack->env(), *connection));
        }
    }
    void drain() {
        BufferChain data = tcp::receive(stack->env(), *connection);
        const auto size = static_cast<uint32_t>(data.size());
        for (Buffer buffer = data.pop_front(); !buffer.empty(); buffer = data.pop_front()) {
            const auto bytes = buffer.bytes();
            for_pattern(received, salt_in, bytes.size(),
                        [&](size_t i, std::byte byte) { intact = intact && bytes[i] == byte; });
            received += bytes.size();
        }
        if (consume)
            tcp::consumed(stack->env(), *connection, size);
        else
            unconsumed += size;
        if (tcp::at_end(*connection)) peer_closed = true;
        if (peer_closed && close_at_end && sent == to_send) close();
        if (peer_closed && abort_at_end) abort();
    }
    void close() {
        if (connection == nullptr) return;
        tcp::close(stack->env(), *connection);
        connection = nullptr;
    }
    void abort() {
        if (connection == nullptr) return;
        tcp::abort(stack->env(), *connection);
        connection = nullptr;
    }
};

/// The application of one node: endpoints by connection, a template for what it accepts.
class Recorder final : public stack::Application {
public:
    explicit Recorder(sim::Node& node) : node_(node) { node.set_application(this); }

    void on_events(tcp::Connection& c, uint8_t events) override {
        Endpoint& end = *static_cast<Endpoint*>(c.owner);
        ASSERT_EQ(end.connection, &c);
        if ((events & tcp::Event::connected) != 0) end.connected = true;
        if ((events & tcp::Event::writable) != 0) ++end.writable_notices;
        if ((events & tcp::Event::soft_error) != 0) end.soft_errors.push_back(c.soft_error);
        if ((events & tcp::Event::urgent) != 0) {
            ++end.urgent_notices;
            end.urgent_ahead = tcp::urgent_remaining(c);
        }
        if ((events & tcp::Event::readable) != 0) end.drain();
        if (end.connection != nullptr) end.pump();
        if (end.connection != nullptr && (events & tcp::Event::closed) != 0) {
            end.closed = true;
            end.error = c.error;
            end.connection = nullptr;
        }
    }
    void on_acceptable(tcp::Listener& listener) override {
        if (hold_accepts) return;
        auto* stack = static_cast<stack::Stack*>(listener.owner);
        while (tcp::Connection* c = stack->accept(listener)) adopt(*stack, *c);
    }
    Endpoint& adopt(stack::Stack& stack, tcp::Connection& c) {
        accepted.push_back(std::make_unique<Endpoint>(prototype));
        Endpoint& end = *accepted.back();
        end.stack = &stack;
        end.connection = &c;
        end.connected = true;
        c.owner = &end;
        end.pump();
        return end;
    }
    tcp::Listener* listen(const Address& address, uint16_t port, uint32_t backlog = 128,
                          uint16_t core = 0) {
        auto listener =
            node_.stack(core).listen({address, port}, backlog, &node_.stack(core));
        EXPECT_TRUE(listener) << listener.error().message();
        return listener ? *listener : nullptr;
    }
    Endpoint& connect(const SocketAddress& remote, Endpoint like = {}, SocketAddress local = {},
                      uint16_t core = 0) {
        connecting.push_back(std::make_unique<Endpoint>(like));
        Endpoint& end = *connecting.back();
        end.stack = &node_.stack(core);
        auto c = end.stack->connect(remote, local, &end, {.reuse_address = local.port != 0});
        EXPECT_TRUE(c) << c.error().message();
        if (c) end.connection = *c;
        return end;
    }

    Endpoint prototype;
    bool hold_accepts = false;
    std::vector<std::unique_ptr<Endpoint>> accepted;
    std::vector<std::unique_ptr<Endpoint>> connecting;

private:
    sim::Node& node_;
};

/// Two nodes of both families on one wire.
class Pair {
public:
    explicit Pair(uint64_t seed, sim::NodeOptions left = {}, sim::NodeOptions right = {})
        : seed_note(__FILE__, __LINE__, "seed " + std::to_string(seed)),
          network(seed),
          a(network.add_node(named(std::move(left), "a", 1))),
          b(network.add_node(named(std::move(right), "b", 2))),
          client(a),
          server(b) {}

    static sim::NodeOptions named(sim::NodeOptions options, std::string name, uint8_t host) {
        options.name = std::move(name);
        options.config.tcp.max_connections = std::min(options.config.tcp.max_connections, 16384U);
        if (options.addresses.empty()) {
            options.addresses.push_back({Address::v4(10, 0, 0, host), 24});
            options.addresses.push_back(
                {*Address::parse("fd00::" + std::to_string(host)), 64});
        }
        return options;
    }
    static Address address(uint8_t host, Family family = Family::ipv4) {
        return family == Family::ipv4 ? Address::v4(10, 0, 0, host)
                                      : *Address::parse("fd00::" + std::to_string(host));
    }
    /// Nothing may be left once everybody has closed and TIME-WAIT is over.
    void expect_nothing_left() {
        network.run_for(200_s);
        for (sim::Node* node : {&a, &b})
            for (uint16_t core = 0; core < node->cores(); ++core) {
                const auto left = node->stack(core).population();
                EXPECT_EQ(left.connections, 0U) << node->name();
                EXPECT_EQ(left.half_open, 0U) << node->name();
                EXPECT_EQ(left.time_wait, 0U) << node->name();
                EXPECT_EQ(left.forwards, 0U) << node->name();
                EXPECT_EQ(left.fragments, 0U) << node->name();
                EXPECT_EQ(node->pools(core).available(), node->pools(core).capacity())
                    << node->name();
            }
    }

    ::testing::ScopedTrace seed_note;  // a failure names the seed that replays it
    sim::Network network;
    sim::Node& a;
    sim::Node& b;
    Recorder client;
    Recorder server;
};

}  // namespace millrace::testing
