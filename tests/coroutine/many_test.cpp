// A hundred thousand connections at once, a coroutine each: no allocation once there have been so
// many.
#include <millrace/coroutine.h>
#include <millrace/millrace.h>

#include <atomic>

#include <gtest/gtest.h>

#include "coroutine/allocations.h"

namespace millrace {
namespace {

using namespace literals;
using coro::Task;

constexpr size_t connections = 100'000;
constexpr size_t under_way = 256;  // handshakes and questions at a time
constexpr std::string_view question = "a question of some length";

Config end_of(uint16_t side) {
    Config config;
    config.ports.push_back({.device = "ring:many:" + std::to_string(side)});
    for (uint8_t i = 1; i <= 4; ++i)
        config.ports[0].addresses.push_back(
            {Address::v4(10, 7, static_cast<uint8_t>(side), i), 16});
    config.tcp.max_connections = connections + 1000;
    config.tcp.tcp_max_tw_buckets = 0;  // the same ports again, at once
    config.tcp.somaxconn = 65536;
    config.tcp.ip_local_port_range_min = 10'000;
    config.ip.neighbour_reachable_s = 3600;  // what waits for a next hop that is asked again allocates
    config.eal.huge_pages = false;
    return config;
}

Task<> echo(coro::Connection c) {
    while (true) {
        auto data = co_await c.read().within(600_s);
        if (!data || data->empty()) co_return;
        if (!co_await c.write(std::move(*data))) co_return;
    }
}

Task<> serve(Stack& stack, coro::Scope& scope) {
    coro::Listener listener;
    EXPECT_TRUE(listener.listen(stack, {Address(), 7}, 65536));
    while (auto c = co_await listener.accept()) scope.spawn(echo(std::move(*c)));
}

/// The native API: asks each once, and closes them all when they have all answered.
struct Client final : ConnectionHandler {
    void open_more(Stack& stack) {
        while (opened < connections && opened - answered < under_way) {
            const auto local = Address::v4(10, 7, 1, static_cast<uint8_t>(1 + opened % 4));
            const auto made = stack.connect({Address::v4(10, 7, 0, 1), 7}, *this, {local, 0});
            ASSERT_TRUE(made) << made.error().message();
            open[opened++] = *made;
        }
    }
    void on_connected(Connection c) override { EXPECT_TRUE(c.send(question)); }
    void on_readable(Connection c) override {
        const BufferChain data = c.receive();
        EXPECT_EQ(data.size(), question.size());
        EXPECT_TRUE(c.consumed(data.size()));
        ++answered;
    }
    void on_closed(Connection, CloseReason why) override {
        ADD_FAILURE() << to_string(why);
        ++answered;
    }
    void round(Stack& stack) {
        opened = answered = 0;
        while (answered < connections && !::testing::Test::HasFailure()) {
            open_more(stack);
            stack.poll_once();
        }
    }
    void close_all() {
        for (Connection& c : open) EXPECT_TRUE(c.close());
    }
    std::vector<Connection> open = std::vector<Connection>(connections);
    size_t opened = 0;
    size_t answered = 0;
};

TEST(ManyCoroutines, a_hundred_thousand_connections_without_an_allocation) {
    auto server = Runtime::create(end_of(0));
    ASSERT_TRUE(server) << server.error().what;
    auto client = Runtime::create(end_of(1));
    ASSERT_TRUE(client) << client.error().what;
    std::optional<coro::Scope> scope(std::in_place);
    ASSERT_TRUE((*server)->run([&](Stack& stack) { scope->spawn(serve(stack, *scope)); }));
    Stack& stack = (*client)->core(0);
    /// What the server's thread has allocated, and how many coroutines it has.
    struct Seen {
        size_t allocations = 0, coroutines = 0;
    };
    const auto look = [&] {
        Seen seen;
        std::atomic<bool> there = false;
        EXPECT_TRUE((*server)->submit(0, [&](Stack&) {
            seen = {allocations(), scope->size()};
            there = true;
        }));
        while (!there) stack.poll_once();
        return seen;
    };
    const auto all_gone = [&] {
        while (look().coroutines > 1) stack.poll_once();
    };
    Client asking;
    asking.round(stack);
    asking.close_all();
    all_gone();
    const Seen before = look();
    asking.round(stack);
    const Seen full = look();
    EXPECT_EQ(full.coroutines, connections + 1);
    asking.close_all();
    all_gone();
    EXPECT_EQ(look().allocations, before.allocations);
    std::atomic<bool> over = false;
    EXPECT_TRUE((*server)->submit(0, [&](Stack&) {
        scope.reset();
        over = true;
    }));
    while (!over) stack.poll_once();
}

}  // namespace
}  // namespace millrace
