// A host with two ports: by which one datagrams leave, and from which address.
#include <map>

#include <gtest/gtest.h>

#include "stack/stack.h"

namespace millrace::stack {
namespace {

/// Keeps what leaves, by interface.
struct Ports final : Host {
    void transmit(uint16_t interface, buf::FrameBatch& batch) override {
        for (size_t i = 0; i < batch.size(); ++i) left[interface].push_back(batch.take(i));
        batch.shrink(0);
    }
    bool congested() const override { return false; }
    bool hand_over(uint16_t, uint16_t, buf::Frame, bool) override { return false; }
    void tell(uint16_t, const Message&) override {}
    std::map<uint16_t, std::vector<buf::Frame>> left;
};

struct Nobody final : Application {
    void on_events(tcp::Connection&, uint8_t) override {}
    void on_acceptable(tcp::Listener&) override {}
};

class TwoPorts : public ::testing::Test {
protected:
    static std::string pool_name() {
        static int n = 0;
        return "two_ports" + std::to_string(n++);
    }
    static std::vector<ip::Interface> interfaces() {
        std::vector<ip::Interface> two(2);
        for (uint8_t i = 0; i < 2; ++i) {
            two[i].mac = {{2, 0, 0, 0, 0, i}};
            two[i].addresses = {{Address::v4(10, 0, i, 1), 24},
                                {*Address::parse("fe80::1" + std::to_string(i)), 64},
                                {*Address::parse("fd0" + std::to_string(i) + "::1"), 64}};
            two[i].offloads.udp_checksum = i == 1;
        }
        return with_loopback(std::move(two));
    }
    /// By which interface a datagram goes out, and from which address.
    std::pair<uint16_t, Address> sent(const char* to, InterfaceIndex by) {
        const Address destination = *Address::parse(to);
        for (uint16_t i = 0; i < 2; ++i)
            stack_.receive_message(
                NeighbourNews{i, destination, {{2, 9, 9, 9, 9, 9}}, true, true, true});
        OutgoingDatagram out;
        out.destination = SocketAddress{destination, 7};
        out.interface = by;
        ports_.left.clear();
        const auto sent = stack_.send(*socket_, out);
        EXPECT_TRUE(sent) << sent.error().message();
        stack_.egress();
        stack_.end_turn();
        EXPECT_EQ(ports_.left.size(), 1U);
        if (ports_.left.empty()) return {};
        const auto& [interface, frames] = *ports_.left.begin();
        const auto bytes = frames.front().head().subspan(wire::Ethernet::size_for(0));
        return {interface, wire::Ip::parse(bytes, bytes.size(), true)->source};
    }

    Config config_;
    buf::Pools pools_{std::move(*buf::Pools::create(
        pool_name(), {.receive = 512, .header = 512, .attach = 512, .payload = 512}))};
    Ports ports_;
    Nobody nobody_;
    Stack stack_{{.config = config_,
                  .interfaces = interfaces(),
                  .secrets = tcp::Secrets::from_seed(1),
                  .now = Instant::from_ns(1'000'000'000)},
                 pools_, ports_};
    udp::Endpoint* socket_ = *stack_.open_datagrams(Family::ipv6, nullptr);
};

TEST_F(TwoPorts, a_link_is_named_where_an_address_does_not_say_which) {
    EXPECT_EQ(sent("fe80::99", 1), (std::pair{uint16_t{0}, *Address::parse("fe80::10")}));
    EXPECT_EQ(sent("fe80::99", 2), (std::pair{uint16_t{1}, *Address::parse("fe80::11")}));
    EXPECT_EQ(sent("fd01::99", 0), (std::pair{uint16_t{1}, *Address::parse("fd01::1")}));
    EXPECT_EQ(sent("10.0.1.99", 2), (std::pair{uint16_t{1}, Address::v4(10, 0, 1, 1)}));
    OutgoingDatagram out;
    out.destination = SocketAddress{*Address::parse("fd01::99"), 7};
    out.interface = 1;
    EXPECT_EQ(stack_.send(*socket_, out).error(), ENETUNREACH);
    out.interface = 9;
    EXPECT_EQ(stack_.send(*socket_, out).error(), ENODEV);
}

TEST_F(TwoPorts, a_group_is_spoken_to_from_an_address_of_its_scope) {
    EXPECT_EQ(sent("ff02::99", 2).second, *Address::parse("fe80::11"));
    EXPECT_EQ(sent("ff0e::99", 2).second, *Address::parse("fd01::1"));
    EXPECT_EQ(sent("239.1.1.1", 1).second, Address::v4(10, 0, 0, 1));
    // Named by an address of its own, that one speaks.
    socket_->settings.v4.multicast_interface = 2;
    socket_->settings.v4.multicast_source = Address::v4(10, 0, 1, 1);
    EXPECT_EQ(sent("239.1.1.1", 0), (std::pair{uint16_t{1}, Address::v4(10, 0, 1, 1)}));
}

}  // namespace
}  // namespace millrace::stack
