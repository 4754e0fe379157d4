// A network of `millrace/testing.h`: contexts over the simulation, one clock for all.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include <millrace/testing.h>

#include "api/context.h"
#include "api/turnstile.h"
#include "sim/network.h"

namespace millrace::api {

class TestNetwork;

/// One host: a context, and the loop that its calls turn, which is the whole network's.
class TestHost final : public Loop, private stack::Application {
public:
    static constexpr size_t sent_max = 1024;

    TestHost(TestNetwork& network, sim::Node& node, std::vector<Prefix> addresses);

    TestNetwork& network() { return network_; }
    sim::Node& node() { return node_; }
    Context& context() { return context_; }
    bool has(const Address& address) const;

    void note_sent(Instant at, std::span<const uint8_t> packet);
    std::optional<testing::Packet> take();

    bool turn(stack::Application& application, uint32_t bursts) override;
    Result<bool> wait(stack::Application& application, Duration limit,
                      const std::function<bool()>& done) override;
    bool is_turning() const override;
    Instant now() const override;
    Instant next_deadline() override { return node_.stack().next_deadline(); }
    int wakeup_fd() const override { return -1; }
    bool prepare_sleep() override { return false; }
    Turnstile* turnstile() override;

private:
    void on_events(tcp::Connection& connection, uint8_t events) override;
    void on_acceptable(tcp::Listener& listener) override;
    void on_datagrams(udp::Endpoint& endpoint, uint8_t events) override;
    void on_timer(time::WheelEntry& entry) override;
    bool on_turn() override;

    TestNetwork& network_;
    sim::Node& node_;
    const std::vector<Prefix> addresses_;
    Context context_;
    std::deque<testing::Packet> sent_;
};

/// Owned by the thread that made it; others come through the turnstile.
class TestNetwork {
public:
    explicit TestNetwork(uint64_t seed);

    Started<TestHost*> add(const Config& config);
    void remove(TestHost& host);
    TestHost& host(const Stack& stack);

    sim::Network& wire() { return wire_; }
    Turnstile& turnstile() { return *turnstile_; }
    bool is_turning() const { return turning_; }
    Instant next_event();
    void advance_to(Instant at);
    /// False where nothing will ever happen.
    bool advance_to_next_event();
    /// Turns what is due now; false if nothing is.
    bool turn();
    /// As `Loop::wait`, of the driver.
    Result<bool> drive(Duration limit, const std::function<bool()>& done);
    Result<void> push(TestHost& to, std::span<const std::byte> packet);
    void set_filter(testing::Network::Filter filter) {
        filter_.reset();
        if (filter) filter_ = std::make_shared<testing::Network::Filter>(std::move(filter));
    }

private:
    bool on_frame(const sim::Node& from, std::span<const uint8_t> frame);
    void answer(TestHost& asker, const Address& address, const Address& target);
    bool step(Instant end);

    const std::shared_ptr<Turnstile> turnstile_ = std::make_shared<Turnstile>();
    sim::Network wire_;
    std::vector<std::unique_ptr<TestHost>> hosts_;
    std::shared_ptr<const testing::Network::Filter> filter_;
    bool turning_ = false;
};

}  // namespace millrace::api
