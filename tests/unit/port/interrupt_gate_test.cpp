// EAL's handles for interrupts of one's own, as DPDK 22.11 has them.
#define ALLOW_EXPERIMENTAL_API

#include "port/interrupt_gate.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rte_interrupts.h>

#include "port/port.h"
#include "unit/port/unix_socket.h"

namespace millrace::port {
namespace {

/// A driver whose handler takes away what bursts read, and puts it back.
class Driver {
public:
    Driver() {
        rte_intr_fd_set(handle_, event_);
        rte_intr_type_set(handle_, RTE_INTR_HANDLE_EXT);
        EXPECT_EQ(rte_intr_callback_register(handle_, &Driver::on_event, this), 0);
    }
    ~Driver() {
        while (rte_intr_callback_unregister(handle_, &Driver::on_event, this) == -EAGAIN)
            std::this_thread::yield();
        rte_intr_instance_free(handle_);
        close(event_);
    }
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    void interrupt() const {
        const uint64_t one = 1;
        EXPECT_EQ(write(event_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    }
    uint64_t handled() const { return handled_; }
    bool is_there() const { return there_; }

private:
    static void on_event(void* driver) { static_cast<Driver*>(driver)->handle(); }
    void handle() {
        uint64_t count = 0;
        EXPECT_EQ(read(event_, &count, sizeof(count)), static_cast<ssize_t>(sizeof(count)));
        there_ = false;
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        there_ = true;
        ++handled_;
    }

    const int event_ = eventfd(0, EFD_CLOEXEC);
    rte_intr_handle* const handle_ = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
    std::atomic<bool> there_{true};
    std::atomic<uint64_t> handled_{0};
};

/// A place as long as it lives.
struct Known {
    Known() { InterruptGate::instance().add(place); }
    ~Known() { InterruptGate::instance().remove(place); }
    Known(const Known&) = delete;
    Known& operator=(const Known&) = delete;
    InterruptGate::Place place;
};

/// Bursts all the time.
class Loop {
public:
    explicit Loop(const Driver& driver) : driver_(driver) {
        thread_ = std::thread([this] { run(); });
    }
    ~Loop() {
        stopping_ = true;
        thread_.join();
    }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    uint64_t bursts() const { return bursts_; }
    uint64_t disturbed() const { return disturbed_; }

private:
    void run() {
        InterruptGate& gate = InterruptGate::instance();
        while (!stopping_) {
            if (!gate.enter(known_.place)) continue;
            for (int i = 0; i < 50; ++i)
                if (!driver_.is_there()) ++disturbed_;
            gate.leave(known_.place);
            ++bursts_;
        }
    }

    const Driver& driver_;
    Known known_;
    std::atomic<bool> stopping_{false};
    std::atomic<uint64_t> bursts_{0}, disturbed_{0};
    std::thread thread_;
};

/// Until `done()`, for some seconds at most.
template <typename Done>
bool wait(Done&& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return true;
}

TEST(InterruptGate, no_handler_runs_while_someone_bursts) {
    const Driver driver;
    std::array loops{std::make_unique<Loop>(driver), std::make_unique<Loop>(driver)};
    for (uint64_t n = 0; n < 200; ++n) {
        driver.interrupt();
        ASSERT_TRUE(wait([&] { return driver.handled() > n; })) << n;
    }
    EXPECT_TRUE(InterruptGate::instance().works());
    for (const auto& loop : loops) {
        EXPECT_EQ(loop->disturbed(), 0U);
        const uint64_t before = loop->bursts();
        EXPECT_TRUE(wait([&] { return loop->bursts() > before; })) << "and goes on behind";
    }
}

TEST(InterruptGate, who_does_not_burst_holds_no_handler_up) {
    const Driver driver;
    const Known idle;
    for (uint64_t n = 0; n < 20; ++n) {
        driver.interrupt();
        ASSERT_TRUE(wait([&] { return driver.handled() > n; })) << n;
    }
}

TEST(InterruptGate, a_handler_waits_for_the_burst_under_way) {
    const Driver driver;
    InterruptGate& gate = InterruptGate::instance();
    Known known;
    InterruptGate::Place& place = known.place;
    ASSERT_TRUE(wait([&] { return gate.enter(place); }));
    driver.interrupt();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(driver.handled(), 0U);
    gate.leave(place);
    EXPECT_TRUE(wait([&] { return driver.handled() == 1; }));
    EXPECT_TRUE(wait([&] { return gate.enter(place); }));
    gate.leave(place);
}

TEST(InterruptGate, the_queues_of_a_port_of_net_memif_are_places) {
    auto pools = buf::Pools::create(
        "gate", {.receive = 2048, .header = 512, .attach = 512, .payload = 512});
    ASSERT_TRUE(pools);
    const size_t before = InterruptGate::instance().places();
    for (const bool memif : {true, false}) {
        PortConfig config;
        config.device = memif ? "net_memif7,role=server,socket=gate_test,socket-abstract=yes"
                              : "net_null7";
        const auto port = Port::open(config, {&*pools}, {});
        ASSERT_TRUE(port) << port.error().what;
        EXPECT_EQ(InterruptGate::instance().places(), before + (memif ? 2 : 0)) << config.device;
    }
    EXPECT_EQ(InterruptGate::instance().places(), before);
}

/// A port of net_memif that serves, at a socket of its own.
class MemifServer {
public:
    explicit MemifServer(const char* name) : pools_(buf::Pools::create(name, sizes)) {
        EXPECT_TRUE(pools_) << pools_.error().what;
        if (!pools_) return;
        PortConfig config;
        config.device = fmt::format("net_memif7,role=server,socket={},socket-abstract=no", path_);
        port_ = Port::open(config, {&*pools_}, {});
        EXPECT_TRUE(port_) << port_.error().what;
    }
    const std::string& path() const { return path_; }
    /// Who connects now is greeted.
    void expect_greeting() const {
        const testing::Peer peer(path_);
        expect_greeting(peer);
    }
    static void expect_greeting(const testing::Peer& peer) {
        std::array<uint8_t, 128> hello{};
        EXPECT_EQ(recv(peer.fd(), hello.data(), hello.size(), 0), 128);
    }

private:
    static constexpr buf::PoolSizes sizes{
        .receive = 2048, .header = 512, .attach = 512, .payload = 512};
    const std::string path_ = fmt::format("/tmp/millrace-gate-{}.sock", getpid());
    Started<buf::Pools> pools_;
    Started<std::unique_ptr<Port>> port_ = failure("not opened", 0);
};

/// The process stood still meanwhile, say. One of them is there to be greeted.
TEST(InterruptGate, peers_of_net_memif_that_went_before_they_were_greeted_end_nobody) {
    const MemifServer server("gate_greeted");
    const Driver driver;
    InterruptGate& gate = InterruptGate::instance();
    Known known;
    ASSERT_TRUE(wait([&] { return gate.enter(known.place); }));
    { const testing::Peer gone(server.path()); }
    const testing::Peer alive(server.path());
    gate.leave(known.place);
    MemifServer::expect_greeting(alive);
    for (int i = 0; i < 5; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        const testing::Peer goes_at_once(server.path());
    }
    driver.interrupt();
    EXPECT_TRUE(wait([&] { return driver.handled() == 1; })) << "nobody waits for one to accept";
    ASSERT_TRUE(wait([&] { return gate.enter(known.place); }));
    gate.leave(known.place);
    server.expect_greeting();
}

/// The interrupt thread is on its way, and waits for a burst: to other handlers, or to him.
TEST(InterruptGate, a_peer_that_goes_while_a_burst_is_waited_for_ends_nobody) {
    const MemifServer server("gate_stays");
    const Driver driver;
    InterruptGate& gate = InterruptGate::instance();
    Known known;
    constexpr std::chrono::milliseconds until_it_waits(20);
    uint64_t interrupts = 0;
    for (const bool first : {true, false, true, false, true, true}) {
        ASSERT_TRUE(wait([&] { return gate.enter(known.place); }));
        if (!first) {
            driver.interrupt();
            std::this_thread::sleep_for(until_it_waits);
        }
        {
            const testing::Peer goes(server.path());
            std::this_thread::sleep_for(until_it_waits);
        }
        if (first) driver.interrupt();
        gate.leave(known.place);
        ++interrupts;
        ASSERT_TRUE(wait([&] { return driver.handled() == interrupts; }));
    }
    server.expect_greeting();
}

TEST(InterruptGate, a_peer_of_net_memif_that_has_shut_down_ends_nobody) {
    const MemifServer server("gate_mute");
    const testing::Peer mute(server.path());
    shutdown(mute.fd(), SHUT_RDWR);
    server.expect_greeting();
}

}  // namespace
}  // namespace millrace::port
