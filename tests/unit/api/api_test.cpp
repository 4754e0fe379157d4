// The native API over the embedded link: two runtimes in one process, their loops turned by hand.
#include <poll.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include <gtest/gtest.h>

#include <millrace/millrace.h>

#include "base/poison.h"

namespace millrace {
namespace {

using namespace literals;

Config end_of_link(const std::string& name, unsigned end, uint16_t queues = 1,
                   uint16_t cores = 1) {
    Config config;
    PortConfig port;
    port.device = "ring:" + name + ":" + std::to_string(end) +
                  (queues > 1 ? ",queues=" + std::to_string(queues) : "");
    port.addresses = {{Address::v4(10, 5, 0, static_cast<uint8_t>(end + 1)), 24}};
    port.receive_descriptors = 256;
    config.ports.push_back(port);
    config.cores.resize(cores);
    config.pools = {.receive = 2048, .header = 1024, .attach = 1024, .payload = 1024};
    config.tcp.max_connections = 1024;
    config.tcp.tcp_max_tw_buckets = 1024;
    config.eal.huge_pages = false;
    return config;
}

/// Counts what it is told; echoes if asked to.
struct Probe : ConnectionHandler, ListenHandler {
    bool echo = false;
    std::string received;
    int connected = 0;
    int writable = 0;
    int closed = 0;
    CloseReason reason{};
    Connection last;

    void on_acceptable(Listener listener) override {
        while (auto c = listener.accept(*this)) last = *c;
    }
    void on_connected(Connection) override { ++connected; }
    void on_readable(Connection c) override {
        BufferChain data = c.receive();
        const size_t size = data.size();
        std::string text(size, ' ');
        data.copy_to(std::as_writable_bytes(std::span(text)));
        received += text;
        if (echo && size > 0) {
            EXPECT_TRUE(c.send(data));
        }
        EXPECT_TRUE(c.consumed(size));
        if (c.at_end()) c.close();
    }
    void on_writable(Connection) override { ++writable; }
    void on_closed(Connection, CloseReason why) override {
        ++closed;
        reason = why;
    }
};

class Api : public ::testing::Test {
protected:
    void SetUp() override {
        static int next = 0;
        const std::string name = "api" + std::to_string(next++);
        server_ = make(end_of_link(name, 0));
        client_ = make(end_of_link(name, 1));
    }
    static std::unique_ptr<Runtime> make(const Config& config) {
        auto runtime = Runtime::create(config);
        EXPECT_TRUE(runtime) << runtime.error().what;
        return runtime ? std::move(*runtime) : nullptr;
    }
    /// Turns both loops until `done` or two seconds have gone by.
    template <typename Done>
    bool turn_until(Done&& done) {
        const Instant end = client_->core(0).now() + 2_s;
        while (!done()) {
            server_->core(0).poll_once();
            client_->core(0).poll_once();
            if (client_->core(0).now() > end) return false;
        }
        return true;
    }
    const SocketAddress target_{Address::v4(10, 5, 0, 1), 7};
    Probe server_probe_;
    Probe client_probe_;
    std::unique_ptr<Runtime> server_;
    std::unique_ptr<Runtime> client_;
};

TEST_F(Api, a_raw_segment_leaves_as_it_stands) {
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    Stack& client = client_->core(0);
    client.poll_once();
    RawSegment syn{.source = {Address::v4(10, 5, 0, 77), 4000},  // nobody's address
                   .destination = target_,
                   .seq = 1,
                   .flags = 2,
                   .mss = 1460};
    ASSERT_TRUE(turn_until([&] {
        EXPECT_TRUE(client.send_raw(syn));  // the first ones wait for ARP
        return server_->core(0).population().half_open == 1;
    }));
    syn.source.address = Address();
    EXPECT_EQ(client.send_raw(syn).error(), EINVAL);
    syn.source.address = syn.destination.address = Address::v4(192, 0, 2, 1);
    EXPECT_EQ(client.send_raw(syn).error(), ENETUNREACH);
}

TEST_F(Api, echo_comes_back_without_a_copy) {
    server_probe_.echo = true;
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(c);
    ASSERT_TRUE(turn_until([&] { return client_probe_.connected == 1; }));
    EXPECT_EQ(c->remote(), target_);
    EXPECT_EQ(c->info().state, "ESTAB");
    EXPECT_EQ(*c->send("hello, mill"), 11U);
    ASSERT_TRUE(turn_until([&] { return client_probe_.received == "hello, mill"; }));
    server_->core(0).counters([](std::string_view name, uint64_t value) {
        if (name == "PayloadBytesCopied") {
            EXPECT_EQ(value, 0U);
        }
    });
    EXPECT_TRUE(c->close());
    EXPECT_EQ(c->send("x").error(), EBADF);
    ASSERT_TRUE(turn_until([&] { return server_->core(0).population().connections == 0; }));
}

TEST_F(Api, timeouts_are_set_for_one_connection) {
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(c);
    EXPECT_TRUE(c->set_syn_retries(7));
    ASSERT_TRUE(turn_until([&] { return client_probe_.connected == 1; }));
    EXPECT_TRUE(c->set_keepalive(true));
    EXPECT_TRUE(c->set_keepalive(true, {.idle = 60_s, .interval = 10_s, .probes = 5}));
    EXPECT_EQ(c->set_keepalive(true, {.idle = 40000_s}).error(), EINVAL);
    EXPECT_TRUE(c->set_user_timeout(Duration::max()));
    EXPECT_EQ(c->set_user_timeout(-1_s).error(), EINVAL);
    EXPECT_TRUE(c->set_linger2(10_s));
    EXPECT_EQ(c->set_linger2(1000_s).error(), EINVAL);
    EXPECT_TRUE(c->close());
    EXPECT_EQ(c->set_keepalive(false).error(), EBADF);
}

TEST_F(Api, dscp_and_ttl_go_with_every_segment) {  // RFC 9293 MUST-48, MUST-49, MAY-9
    auto listener = server_->core(0).listen(target_, server_probe_);
    ASSERT_TRUE(listener);
    EXPECT_TRUE(listener->set_dscp(34));
    EXPECT_TRUE(listener->set_ttl(9));
    EXPECT_EQ(listener->set_dscp(64).error(), EINVAL);
    EXPECT_EQ(listener->set_ttl(0).error(), EINVAL);
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(c);
    EXPECT_TRUE(c->set_dscp(46));
    EXPECT_TRUE(c->set_ttl(1));
    EXPECT_TRUE(c->set_soft_errors(true));
    EXPECT_EQ(c->set_dscp(64).error(), EINVAL);
    EXPECT_EQ(c->set_ttl(0).error(), EINVAL);
    ASSERT_TRUE(turn_until([&] { return bool(server_probe_.last); }));
    EXPECT_TRUE(c->send("x"));
    ASSERT_TRUE(turn_until([&] { return server_probe_.received == "x"; }));
    EXPECT_EQ(server_probe_.last.info().received_dscp, 46);
    EXPECT_TRUE(server_probe_.last.send("y"));
    ASSERT_TRUE(turn_until([&] { return client_probe_.received == "y"; }));
    EXPECT_EQ(c->info().received_dscp, 34);
    EXPECT_EQ(c->info().path_mtu, 1500U);
    EXPECT_TRUE(c->abort());
    EXPECT_EQ(c->set_dscp(1).error(), EBADF);
    ASSERT_TRUE(turn_until([&] { return server_probe_.closed == 1; }));
}

TEST_F(Api, a_region_is_sent_by_reference_and_released) {
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(turn_until([&] { return client_probe_.connected == 1; }));
    std::string memory(100'000, 'a');
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<char>('a' + i % 23);
    std::atomic<bool> released{false};
    {
        const Region region(std::as_bytes(std::span(memory)), [&] { released = true; });
        BufferChain chain;
        for (size_t at = 0; at < memory.size(); at += 25'000)
            chain.append(std::move(*client_->core(0).buffer_from(region, at, 25'000)));
        EXPECT_EQ(*c->send(chain), memory.size());
    }
    ASSERT_TRUE(turn_until([&] { return server_probe_.received.size() == memory.size(); }));
    EXPECT_EQ(server_probe_.received, memory);
    ASSERT_TRUE(turn_until([&] { return released.load(); }));
}

TEST_F(Api, a_buffer_that_is_not_taken_is_left_as_it_was) {
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    const std::string memory(100, 'b');
    const Region region(std::as_bytes(std::span(memory)), [] {});
    Buffer buffer = std::move(*client_->core(0).buffer_from(region, 0, memory.size()));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(c);
    EXPECT_EQ(c->send(static_cast<Buffer&&>(buffer)).error(), EAGAIN);  // not connected yet
    EXPECT_EQ(buffer.size(), memory.size());
    ASSERT_TRUE(turn_until([&] { return client_probe_.connected == 1; }));
    EXPECT_EQ(client_probe_.writable, 1);
    EXPECT_EQ(*c->send(static_cast<Buffer&&>(buffer)), memory.size());
    EXPECT_EQ(buffer.size(), 0U);
    ASSERT_TRUE(turn_until([&] { return server_probe_.received == memory; }));
}

TEST_F(Api, reasons_are_told) {
    auto refused = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(turn_until([&] { return client_probe_.closed == 1; }));
    EXPECT_EQ(client_probe_.reason, CloseReason::refused);
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(turn_until([&] { return bool(server_probe_.last); }));
    server_probe_.last.abort();
    ASSERT_TRUE(turn_until([&] { return client_probe_.closed == 2; }));
    EXPECT_EQ(client_probe_.reason, CloseReason::reset);
    EXPECT_EQ(client_->core(0).connect({Address::v4(192, 0, 2, 1), 1}, client_probe_).error(),
              ENETUNREACH);
}

TEST_F(Api, a_call_from_another_thread_answers_eperm_and_changes_nothing) {
    ASSERT_TRUE(server_->core(0).listen(target_, server_probe_));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(turn_until([&] { return client_probe_.connected == 1; }));
    std::thread([&] {
        EXPECT_EQ(c->send("x").error(), EPERM);
        EXPECT_EQ(c->consumed(1).error(), EPERM);
        EXPECT_EQ(Connection(*c).close().error(), EPERM);
        EXPECT_EQ(client_->core(0).listen(target_, client_probe_).error(), EPERM);
        EXPECT_EQ(client_->core(0).connect(target_, client_probe_).error(), EPERM);
        EXPECT_FALSE(client_->core(0).poll_once());
    }).join();
    EXPECT_EQ(*c->send("y"), 1U);
    ASSERT_TRUE(turn_until([&] { return server_probe_.received == "y"; }));
}

TEST_F(Api, submit_runs_on_the_owner_and_wakes_a_sleeper) {
    client_->core(0).poll_once();
    ASSERT_TRUE(client_->core(0).prepare_sleep());
    std::thread::id ran_on;
    std::thread([&] {
        EXPECT_TRUE(
            client_->submit(0, [&](Stack&) { ran_on = std::this_thread::get_id(); }));
    }).join();
    pollfd wakeup{client_->core(0).wakeup_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&wakeup, 1, 1000), 1);
    EXPECT_FALSE(client_->core(0).prepare_sleep()) << "something waits";
    client_->core(0).poll_once();
    EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST_F(Api, slices_may_outlive_connection_and_runtime) {
    struct Keeper final : Probe {
        BufferChain kept;
        void on_readable(Connection c) override { kept.append(c.receive()); }
    } keeper;
    ASSERT_TRUE(server_->core(0).listen(target_, keeper));
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(turn_until([&] { return client_probe_.connected == 1; }));
    ASSERT_TRUE(c->send(std::string_view("kept for long")));
    ASSERT_TRUE(turn_until([&] { return keeper.kept.size() == 13; }));
    keeper.last.abort();
    turn_until([&] { return client_probe_.closed == 1; });
    server_.reset();
    client_.reset();
    std::string text(13, ' ');
    keeper.kept.copy_to(std::as_writable_bytes(std::span(text)));
    EXPECT_EQ(text, "kept for long");
    std::thread([&] { keeper.kept.clear(); }).join();
}

#ifdef MILLRACE_ASAN
TEST_F(Api, use_of_a_dead_connection_is_caught) {  // must show 6
    auto c = client_->core(0).connect(target_, client_probe_);
    ASSERT_TRUE(turn_until([&] { return client_probe_.closed == 1; }));
    for (int i = 0; i < 3; ++i) client_->core(0).poll_once();
    EXPECT_DEATH(static_cast<void>(c->info()), "use-after-poison");
}
#endif

TEST(Runtimes, loops_in_threads_serve_over_several_queues_and_cores) {
    auto a = Runtime::create(end_of_link("threads", 0, 2, 2));
    auto b = Runtime::create(end_of_link("threads", 1, 2, 2));
    ASSERT_TRUE(a) << a.error().what;
    ASSERT_TRUE(b) << b.error().what;
    for (auto* runtime : {&*a, &*b})
        EXPECT_EQ((*runtime)->port_descriptions().size(), 1U);
    struct Server final : ConnectionHandler, ListenHandler {
        std::atomic<int> accepted{0};
        void on_acceptable(Listener l) override {
            while (l.accept(*this)) ++accepted;
        }
        void on_readable(Connection c) override {
            BufferChain data = c.receive();
            const size_t size = data.size();
            if (size > 0) c.send(data);
            c.consumed(size);
            if (c.at_end()) c.close();
        }
    } serving[2];
    struct Client final : ConnectionHandler {
        std::atomic<int>* answered = nullptr;
        void on_connected(Connection c) override { c.send("ping"); }
        void on_readable(Connection c) override {
            const size_t size = c.receive().size();
            c.consumed(size);
            if (size == 4) ++*answered;
            c.close();
        }
    } asking;
    std::atomic<int> answered{0};
    asking.answered = &answered;
    ASSERT_TRUE((*a)->run([&](Stack& stack) {
        ASSERT_TRUE(stack.listen({Address(), 7}, serving[stack.core()]));
    }));
    ASSERT_TRUE((*b)->run([&](Stack& stack) {
        for (int i = 0; i < 50; ++i) {
            ASSERT_TRUE(stack.connect({Address::v4(10, 5, 0, 1), 7}, asking));
        }
    }));
    for (int i = 0; i < 1000 && answered < 100; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(answered, 100);
    EXPECT_GT(serving[0].accepted, 10);
    EXPECT_GT(serving[1].accepted, 10);
    for (auto* runtime : {&*a, &*b}) {
        (*runtime)->stop();
        (*runtime)->join();
    }
}

/// What the thread of a runtime's only loop has used of a processor so far.
std::chrono::nanoseconds processor_time(Runtime& runtime) {
    std::promise<std::chrono::nanoseconds> used;
    EXPECT_TRUE(runtime.submit(0, [&](Stack&) {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        used.set_value(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
    }));
    return used.get_future().get();
}

TEST(Runtimes, an_idle_loop_sleeps_where_it_is_to) {
    Config config = end_of_link("sleep", 0);
    config.cores[0] = {.cpu = std::nullopt, .idle = IdlePolicy::sleep, .idle_turns = 10,
                       .idle_sleep_us = 200};
    auto runtime = Runtime::create(config);
    ASSERT_TRUE(runtime) << runtime.error().what;
    ASSERT_TRUE((*runtime)->run([](Stack&) {}));
    const auto before = processor_time(**runtime);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_LT(processor_time(**runtime) - before, std::chrono::milliseconds(150));
    (*runtime)->stop();
    (*runtime)->join();
}

/// A server whose loop runs by itself, and a client that the test turns.
class RuntimeDrain : public ::testing::Test {
protected:
    /// Says nothing of its own accord; keeps its connections until it is told to end.
    struct Keeper final : ConnectionHandler, ListenHandler {
        void on_acceptable(Listener listener) override {
            while (auto c = listener.accept(*this)) {
                kept.push_back(*c);
                if (ending) close_all();  // its handshake was under way
            }
        }
        void on_closed(Connection c, CloseReason) override { std::erase(kept, c); }
        void close_all() {
            ending = true;
            for (Connection c : std::exchange(kept, {})) EXPECT_TRUE(c.close());
        }
        std::vector<Connection> kept;
        bool ending = false;
    };
    static std::unique_ptr<Runtime> make(const std::string& name, unsigned end) {
        auto runtime = Runtime::create(end_of_link(name, end));
        EXPECT_TRUE(runtime) << runtime.error().what;
        return std::move(*runtime);
    }
    void start(const std::string& name) {
        server_ = make(name, 0);
        client_ = make(name, 1);
        EXPECT_EQ(server_->drain({}).error(), EINVAL);  // its loops do not run
        ASSERT_TRUE(server_->run(
            [this](Stack& stack) { ASSERT_TRUE(stack.listen(target_, keeper_)); }));
        for (Probe& probe : probes_) {
            ASSERT_TRUE(client_->core(0).connect(target_, probe));
        }
        ASSERT_TRUE(turn_until([&] { return probes_[0].connected + probes_[1].connected == 2; }));
    }
    template <typename Done>
    bool turn_until(Done&& done) {
        const Instant end = client_->core(0).now() + 5_s;
        while (!done()) {
            client_->core(0).poll_once();
            if (client_->core(0).now() > end) return false;
            std::this_thread::yield();
        }
        return true;
    }
    /// `drain` waits; the client goes on meanwhile.
    Result<size_t> drain(const DrainOptions& options) {
        auto done = std::async(std::launch::async, [&] { return server_->drain(options); });
        EXPECT_TRUE(turn_until([&] {
            return done.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        }));
        return done.get();
    }
    void TearDown() override {
        server_->stop();
        server_->join();
    }

    const SocketAddress target_{Address::v4(10, 5, 0, 1), 7};
    Keeper keeper_;
    Probe probes_[2];
    std::unique_ptr<Runtime> server_, client_;
};

TEST_F(RuntimeDrain, ends_when_every_connection_has) {
    start("drain");
    DrainOptions options;
    options.begin = [this](Stack&) { keeper_.close_all(); };
    std::vector<Draining> seen;
    options.go_on = [&](const Draining& now) {
        seen.push_back(now);
        return true;
    };
    // The peers close when they see the end.
    const auto reset = drain(options);
    ASSERT_TRUE(reset);
    EXPECT_EQ(*reset, 0U);
    EXPECT_EQ(seen.back().connections, 0U);
    EXPECT_LT(seen.back().passed, 5_s);
    for (const Probe& probe : probes_) EXPECT_EQ(probe.closed, 0);  // at_end, and they have closed
    auto late = client_->core(0).connect(target_, probes_[0]);
    ASSERT_TRUE(turn_until([&] { return probes_[0].closed == 1; }));
    EXPECT_EQ(probes_[0].reason, CloseReason::refused);
}

TEST_F(RuntimeDrain, resets_what_is_left_at_the_deadline) {
    start("drain_late");
    DrainOptions options;
    options.within = 100_ms;
    const auto reset = drain(options);
    ASSERT_TRUE(reset);
    EXPECT_EQ(*reset, 2U);
    ASSERT_TRUE(turn_until([&] { return probes_[0].closed + probes_[1].closed == 2; }));
    EXPECT_EQ(probes_[0].reason, CloseReason::reset);
}

TEST_F(RuntimeDrain, ends_early_where_it_is_told_to) {
    start("drain_now");
    DrainOptions options;
    options.within = 3600_s;
    int calls = 0;
    options.go_on = [&](const Draining& now) {
        EXPECT_EQ(now.connections, 2U);
        return ++calls < 3;
    };
    const auto reset = drain(options);
    ASSERT_TRUE(reset);
    EXPECT_EQ(*reset, 2U);
    EXPECT_EQ(calls, 3);
    ASSERT_TRUE(turn_until([&] { return probes_[0].closed + probes_[1].closed == 2; }));
}

TEST(Runtimes, refuse_to_open_a_device_twice_and_say_so) {
    Config config = end_of_link("twice", 0);
    auto first = Runtime::create(config);
    ASSERT_TRUE(first);
    const auto second = Runtime::create(config);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().what.find("open already"), std::string::npos) << second.error().what;
    config.ports[0].device = "net_null7";
    auto null = Runtime::create(config);
    ASSERT_TRUE(null) << null.error().what;
    const auto again = Runtime::create(config);
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().what.find("open already"), std::string::npos);
    EXPECT_FALSE((*null)->core(0).next_deadline() < Instant());
    null->reset();
    EXPECT_TRUE(Runtime::create(config));
}

}  // namespace
}  // namespace millrace
