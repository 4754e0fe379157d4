// millrace/coroutine.h over a virtual wire: what is awaited, and what may come between.
#include <millrace/coroutine.h>
#include <millrace/testing.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "coroutine/allocations.h"

namespace millrace {
namespace {

using namespace literals;
using coro::Task;

Config host(const std::string& address) {
    Config config;
    config.ports.push_back({.device = "wire", .addresses = {*Prefix::parse(address)}});
    config.pools = {.receive = 2048, .header = 1024, .attach = 1024, .payload = 1024};
    config.tcp.max_connections = 256;
    config.tcp.tcp_wmem = 65536;
    return config;
}

class Coroutines : public ::testing::Test {
protected:
    const SocketAddress there_{Address::v4(10, 0, 0, 2), 7};
    const SocketAddress nobody_{Address::v4(10, 0, 0, 9), 7};

    /// A connection, handed to both.
    Task<> meet(coro::Connection& client, coro::Connection& server) {
        coro::Listener listener;
        EXPECT_TRUE(listener.listen(b_, {Address(), 7}));
        auto made = co_await coro::connect(a_, there_);
        EXPECT_TRUE(made);
        if (made) client = std::move(*made);
        auto accepted = co_await listener.accept();
        EXPECT_TRUE(accepted);
        if (accepted) server = std::move(*accepted);
    }
    void met(coro::Connection& client, coro::Connection& server) {
        scope_.spawn(meet(client, server));
        network_.advance(1_ms);
        ASSERT_EQ(scope_.size(), 0);
    }

    testing::Network network_{1};
    Stack& a_ = **network_.add(host("10.0.0.1/24"));
    Stack& b_ = **network_.add(host("10.0.0.2/24"));
    coro::Scope scope_;
};

Task<> echo(coro::Connection c) {
    while (true) {
        auto data = co_await c.read();
        if (!data || data->empty()) co_return;
        if (!co_await c.write(std::move(*data))) co_return;
    }
}

Task<std::string> read_exactly(coro::Connection& c, size_t size) {
    std::string text;
    while (text.size() < size) {
        auto data = co_await c.read();
        if (!data || data->empty()) break;
        const size_t before = text.size();
        text.resize(before + data->size());
        data->copy_to(std::as_writable_bytes(std::span(text.data() + before, data->size())));
    }
    co_return text;
}

TEST_F(Coroutines, an_echo_answers_until_its_client_has_said_all) {
    coro::Connection client, server;
    met(client, server);
    scope_.spawn(echo(std::move(server)));
    std::string heard;
    bool over = false;
    const auto talk = [&]() -> Task<> {
        const std::string said(300'000, 'x');  // more than both buffers hold
        scope_.spawn([](coro::Connection& c, std::string_view text) -> Task<> {
            EXPECT_TRUE(co_await c.write(text));
            EXPECT_TRUE(c.shutdown());
        }(client, said));
        heard = co_await read_exactly(client, said.size());
        EXPECT_EQ(heard, said);
        const auto end = co_await client.read();
        over = end && end->empty();
    };
    scope_.spawn(talk());
    network_.advance(5_s);
    EXPECT_TRUE(over);
    EXPECT_EQ(scope_.size(), 0);
}

TEST_F(Coroutines, each_end_has_its_errno) {
    int refused = 0, timed_out = 0, unbound = 0, closed = 0;
    const auto run = [&]() -> Task<> {
        refused = (co_await coro::connect(a_, there_)).error().value;
        const Instant start = a_.now();
        timed_out = (co_await coro::connect(a_, nobody_).within(1500_ms)).error().value;
        EXPECT_EQ((a_.now() - start).ms(), 1500);
        unbound = (co_await coro::connect(a_, there_, {Address::v4(1, 2, 3, 4), 0})).error().value;
        coro::Listener listener;
        closed = (co_await listener.accept()).error().value;
    };
    scope_.spawn(run());
    network_.advance(3_s);
    EXPECT_EQ(refused, ECONNREFUSED);
    EXPECT_EQ(timed_out, ETIMEDOUT);
    EXPECT_EQ(unbound, EADDRNOTAVAIL);
    EXPECT_EQ(closed, EBADF);
    EXPECT_EQ(a_.population().connections, 0);  // the attempt was taken back
}

TEST_F(Coroutines, what_came_before_a_reset_is_read_before_it) {
    coro::Connection client, server;
    met(client, server);
    const auto say = [&]() -> Task<> {
        EXPECT_TRUE(co_await server.write("last words"));
    };
    scope_.spawn(say());
    network_.advance(1_ms);
    server.abort();
    network_.advance(1_ms);
    std::string heard;
    int read_error = 0, write_error = 0;
    const auto listen = [&]() -> Task<> {
        heard = co_await read_exactly(client, 10);
        read_error = (co_await client.read()).error().value;
        write_error = (co_await client.write("too late")).error().value;
    };
    scope_.spawn(listen());
    EXPECT_EQ(heard, "last words");
    EXPECT_EQ(read_error, ECONNRESET);
    EXPECT_EQ(write_error, ECONNRESET);
}

TEST_F(Coroutines, who_waits_is_told_when_the_connection_is_closed_under_it) {
    coro::Connection client, server;
    met(client, server);
    int own = 0;
    const auto wait = [&]() -> Task<> { own = (co_await client.read()).error().value; };
    scope_.spawn(wait());
    client.close();
    EXPECT_EQ(own, EBADF);
    // And where the peer resets, the one that waits may destroy the connection.
    auto last = std::make_unique<coro::Connection>(std::move(server));
    const auto drop = [&]() -> Task<> {
        static_cast<void>(co_await last->read());
        last.reset();
    };
    scope_.spawn(drop());
    network_.advance(1_ms);
    EXPECT_EQ(last, nullptr);
}

TEST_F(Coroutines, one_operation_of_a_kind_at_a_time) {
    coro::Connection client, server;
    met(client, server);
    int first = -1, second = -1;
    const auto read = [](coro::Connection& c, int& error) -> Task<> {
        const auto data = co_await c.read();
        error = data ? 0 : data.error().value;
    };
    scope_.spawn(read(client, first));
    scope_.spawn(read(client, second));
    EXPECT_EQ(first, -1);
    EXPECT_EQ(second, EALREADY);
    server.close();
    network_.advance(1_ms);
    EXPECT_EQ(first, 0);
}

TEST_F(Coroutines, a_timeout_takes_the_read_back_and_the_next_one_works) {
    coro::Connection client, server;
    met(client, server);
    int error = 0;
    std::string heard;
    const auto read = [&]() -> Task<> {
        error = (co_await client.read().within(20_ms)).error().value;
        heard = co_await read_exactly(client, 5);
    };
    scope_.spawn(read());
    network_.advance(19_ms);
    EXPECT_EQ(error, 0);
    network_.advance(2_ms);
    EXPECT_EQ(error, ETIMEDOUT);
    const auto write = [&]() -> Task<> { EXPECT_TRUE(co_await server.write("hello")); };
    scope_.spawn(write());
    network_.advance(1_ms);
    EXPECT_EQ(heard, "hello");
}

TEST_F(Coroutines, a_cancellation_ends_all_that_name_it_and_all_that_come) {
    coro::Connection client, server;
    met(client, server);
    coro::Cancellation stop;
    int read = 0, slept = 0, accepted = 0, connected = 0, later = 0;
    const auto error_of = [](const auto& result) { return result ? 0 : result.error().value; };
    coro::Listener listener;
    EXPECT_TRUE(listener.listen(b_, {Address(), 8}));
    const auto a = [&]() -> Task<> {
        read = error_of(co_await client.read().unless(stop));
        later = error_of(co_await coro::sleep(a_, 1_s).unless(stop));
    };
    const auto b = [&]() -> Task<> { slept = error_of(co_await coro::sleep(a_, 1_s).unless(stop)); };
    const auto c = [&]() -> Task<> { accepted = error_of(co_await listener.accept().unless(stop)); };
    const auto d = [&]() -> Task<> {
        connected = error_of(co_await coro::connect(a_, nobody_).unless(stop).within(9_s));
    };
    scope_.spawn(a());
    scope_.spawn(b());
    scope_.spawn(c());
    scope_.spawn(d());
    network_.advance(10_ms);
    EXPECT_EQ(scope_.size(), 4);
    stop.cancel();
    for (const int error : {read, slept, accepted, connected, later}) EXPECT_EQ(error, ECANCELED);
    EXPECT_EQ(scope_.size(), 0);
    network_.advance(20_s);
}

TEST_F(Coroutines, a_cancellation_may_go_with_the_last_that_it_ends) {
    auto stop = std::make_unique<coro::Cancellation>();
    const auto run = [&](bool last) -> Task<> {
        EXPECT_EQ((co_await coro::sleep(a_, 1_s).unless(*stop)).error(), ECANCELED);
        if (last) stop.reset();
    };
    scope_.spawn(run(true));
    scope_.spawn(run(false));
    stop->cancel();
    EXPECT_EQ(stop, nullptr);
    EXPECT_EQ(scope_.size(), 0);
}

TEST_F(Coroutines, an_operation_on_another_thread_is_told_so) {
    coro::Connection client, server;
    met(client, server);
    a_.poll_once();  // the stack is this thread's now
    int error = 0;
    std::thread([&] {
        coro::Scope scope;
        const auto read = [&]() -> Task<> { error = (co_await client.read()).error().value; };
        scope.spawn(read());
    }).join();
    EXPECT_EQ(error, EPERM);
}

TEST_F(Coroutines, a_connection_that_is_none_answers_so) {
    int read = 0, write = 0;
    const auto run = [&]() -> Task<> {
        coro::Connection nobody;
        read = (co_await nobody.read()).error().value;
        write = (co_await nobody.write("x")).error().value;
    };
    scope_.spawn(run());
    EXPECT_EQ(read, EBADF);
    EXPECT_EQ(write, EBADF);
}

TEST_F(Coroutines, an_operation_may_be_awaited_again) {
    coro::Connection client, server;
    met(client, server);
    size_t heard = 0;
    const auto run = [&]() -> Task<> {
        auto reading = client.read();
        reading.within(5_ms);
        EXPECT_EQ((co_await reading).error(), ETIMEDOUT);
        EXPECT_TRUE(co_await server.write("hello"));
        EXPECT_EQ(server.written(), 5);
        const auto data = co_await reading;
        heard = data ? data->size() : 0;
    };
    scope_.spawn(run());
    network_.advance(9_ms);
    EXPECT_EQ(heard, 5);
}

TEST_F(Coroutines, who_joins_goes_on_when_all_have_ended_or_were_destroyed) {
    coro::Scope others;
    int joined = 0;
    const auto join = [&]() -> Task<> {
        EXPECT_TRUE(co_await others.join(a_));
        ++joined;
    };
    const auto sleep = [&](Duration time) -> Task<> { EXPECT_TRUE(co_await coro::sleep(a_, time)); };
    others.spawn(sleep(1_ms));
    others.spawn(sleep(2_ms));
    scope_.spawn(join());
    network_.advance(1500_us);
    EXPECT_EQ(joined, 0);
    network_.advance(1_ms);
    EXPECT_EQ(joined, 1);
    others.spawn(sleep(1_s));
    scope_.spawn(join());
    others.clear();
    EXPECT_EQ(joined, 2);
}

TEST_F(Coroutines, a_scope_takes_back_whatever_waits) {
    const size_t before = a_.buffers_available();
    {
        coro::Connection client, server;
        met(client, server);
        coro::Scope scope;
        const auto sleep = [&]() -> Task<> { static_cast<void>(co_await coro::sleep(a_, 1_s)); };
        const auto nested = [&]() -> Task<> { co_await sleep(); };
        const auto write = [&]() -> Task<> {
            static_cast<void>(co_await client.write(std::string_view(std::string(1'000'000, 'x'))));
        };
        scope.spawn(nested());
        scope.spawn(write());
        scope.spawn([](coro::Connection& c) -> Task<> {
            static_cast<void>(co_await c.read());
        }(client));
        EXPECT_EQ(scope.size(), 3);
    }
    network_.advance(10_s);
    EXPECT_EQ(a_.buffers_available(), before);
    EXPECT_EQ(a_.population().connections, 0);
}

TEST_F(Coroutines, the_window_opens_with_the_next_read) {
    coro::Connection client, server;
    met(client, server);
    const std::string said(1'000'000, 'x');
    const auto say = [&]() -> Task<> { EXPECT_TRUE(co_await client.write(said)); };
    scope_.spawn(say());
    network_.advance(1_s);
    size_t first = 0;
    const auto read = [&]() -> Task<> {
        const auto data = co_await server.read();
        first = data ? data->size() : 0;
        EXPECT_TRUE(co_await coro::sleep(b_, 10_s));
        EXPECT_EQ(server.native().info().receive_queued, first);  // and nothing more has come
        EXPECT_EQ((co_await read_exactly(server, said.size() - first)).size(),
                  said.size() - first);
    };
    scope_.spawn(read());
    network_.advance(5_s);
    EXPECT_GT(first, 0);
    EXPECT_LT(first, said.size());
    network_.advance(20_s);
    EXPECT_EQ(scope_.size(), 0);
}

TEST_F(Coroutines, values_and_exceptions_reach_who_awaits) {
    const auto seven = []() -> Task<int> { co_return 7; };
    const auto text = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    const auto fails = []() -> Task<int> {
        throw std::runtime_error("no");
        co_return 1;
    };
    int sum = 0;
    const auto run = [&]() -> Task<> {
        sum = co_await seven() + *co_await text();
        try {
            sum += co_await fails();
        } catch (const std::runtime_error&) {
            sum *= 2;
        }
    };
    scope_.spawn(run());
    EXPECT_EQ(sum, 20);
}

/// Answers word by word, and waits for the next one as long as nobody ends that.
Task<> answer(coro::Connection c, coro::Cancellation& no_more) {
    while (true) {
        auto word = co_await c.read().unless(no_more);
        if (!word || word->empty()) co_return;
        if (!co_await c.write(std::move(*word))) co_return;
    }
}

/// As millrace/coroutine.h describes it.
TEST_F(Coroutines, a_server_ends_gracefully) {
    coro::Cancellation no_more;
    coro::Scope served;
    coro::Listener listener;
    bool ended = false;
    const auto serve = [&]() -> Task<> {
        EXPECT_TRUE(listener.listen(b_, {Address(), 7}));
        while (auto c = co_await listener.accept()) served.spawn(answer(std::move(*c), no_more));
    };
    const auto end = [&]() -> Task<> {
        EXPECT_TRUE(listener.stop());
        no_more.cancel();
        EXPECT_TRUE(co_await served.join(b_).within(10_s));
        listener.close();
        ended = true;
    };
    bool told = false;
    const auto ask = [&]() -> Task<> {
        auto c = co_await coro::connect(a_, there_);
        EXPECT_TRUE(c);
        EXPECT_TRUE(co_await c->write("word"));
        EXPECT_EQ(co_await read_exactly(*c, 4), "word");
        const auto rest = co_await c->read();
        told = rest && rest->empty();
    };
    const auto come_late = [&]() -> Task<> {
        const auto c = co_await coro::connect(a_, there_);
        EXPECT_EQ(c.error(), ECONNREFUSED);
    };
    scope_.spawn(serve());
    scope_.spawn(ask());
    network_.advance(1_s);
    EXPECT_EQ(served.size(), 1);
    EXPECT_FALSE(told);
    scope_.spawn(end());
    scope_.spawn(come_late());
    network_.advance(1_s);
    EXPECT_TRUE(ended);
    EXPECT_TRUE(told);
    EXPECT_EQ(scope_.size(), 0);
    EXPECT_EQ(listener.stop().error(), EBADF);
}

TEST_F(Coroutines, frames_are_used_again) {
    const auto run = [&]() -> Task<> { EXPECT_TRUE(co_await coro::sleep(a_, 1_ms)); };
    for (int i = 0; i < 10; ++i) scope_.spawn(run());
    network_.advance(2_ms);
    const size_t before = allocations();
    for (int i = 0; i < 10; ++i) scope_.spawn(run());
    EXPECT_EQ(allocations(), before);
    network_.advance(2_ms);
    EXPECT_EQ(scope_.size(), 0);
}

TEST_F(Coroutines, timers_expire_once_and_not_before) {
    int count = 0;
    Timer timer([&] { ++count; });
    EXPECT_FALSE(timer.is_running());
    EXPECT_TRUE(timer.start(a_, 10_ms));
    EXPECT_TRUE(timer.is_running());
    network_.advance(9_ms);
    EXPECT_EQ(count, 0);
    network_.advance(1100_us);
    EXPECT_EQ(count, 1);
    EXPECT_FALSE(timer.is_running());
    network_.advance(1_s);
    EXPECT_EQ(count, 1);
    EXPECT_TRUE(timer.start(a_, 10_ms));
    EXPECT_TRUE(timer.start(a_, 20_ms));
    network_.advance(15_ms);
    EXPECT_EQ(count, 1);
    timer.cancel();
    network_.advance(1_s);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(timer.start(a_, Duration::from_ns(-1)).error(), EINVAL);
    EXPECT_EQ(Timer({}).start(a_, 1_ms).error(), EINVAL);
    EXPECT_TRUE(timer.start(a_, Duration::max()));
    EXPECT_TRUE(timer.start(a_, {}));
    network_.advance(1_ms);
    EXPECT_EQ(count, 2);
}

TEST_F(Coroutines, timers_may_start_again_or_go_in_their_own_function) {
    int ticks = 0;
    Timer period([&, own = 0]() mutable {
        ticks = ++own;
        if (own == 5) return;
        EXPECT_TRUE(period.start(a_, 1_ms));
    });
    EXPECT_TRUE(period.start(a_, 1_ms));
    std::unique_ptr<Timer> once;
    once = std::make_unique<Timer>([&] { once.reset(); });
    EXPECT_TRUE(once->start(a_, 1_ms));
    network_.advance(20_ms);
    EXPECT_EQ(ticks, 5);
    EXPECT_EQ(once, nullptr);
}

}  // namespace
}  // namespace millrace
