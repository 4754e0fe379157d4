#include "stack/bindings.h"

#include <set>

#include <gtest/gtest.h>

namespace millrace::stack {
namespace {

const Address one = Address::v4(10, 0, 0, 1);
const Address any = Address::any(Family::ipv4);

bool all(uint16_t) { return true; }

std::vector<ip::Interface> interfaces() {
    ip::Interface interface;
    interface.addresses = {{one, 24}, {Address::v4(10, 0, 0, 2), 24}};
    return {interface};
}

struct BindingsTest : ::testing::Test {
    ip::LocalAddresses addresses{interfaces(), 1};
    Bindings bindings{1, {}, 0, addresses, 1000};
};

TEST_F(BindingsTest, any_port_is_one_of_the_range_until_there_is_none) {
    std::set<uint16_t> ports;
    for (int i = 0; i < 100; ++i) {
        const auto binding = bindings.bind_to_any_port(one, {}, 40000, 40099, all);
        ASSERT_TRUE(binding);
        ports.insert((*binding)->local.port);
        EXPECT_TRUE(bindings.is_bound((*binding)->local.port));
    }
    EXPECT_EQ(ports.size(), 100U);
    EXPECT_EQ(*ports.begin(), 40000);
    EXPECT_EQ(*ports.rbegin(), 40099);
    EXPECT_EQ(bindings.bind_to_any_port(one, {.reuse_address = true}, 40000, 40099, all).error(),
              EADDRINUSE);
    EXPECT_EQ(bindings.bind_to_any_port(any, {}, 40000, 40099, all).error(), EADDRINUSE);
    EXPECT_TRUE(bindings.bind_to_any_port(Address::v4(10, 0, 0, 2), {}, 40000, 40099, all));
}

TEST_F(BindingsTest, a_connection_has_its_port_as_long_as_it_is_there) {
    tcp::Flow flow(tcp::FlowKind::connection, {one, 80, 5000, 0, 0});
    bindings.came(flow);
    EXPECT_FALSE(bindings.is_bound(5000));
    EXPECT_EQ(bindings.bind({one, 5000}, {.reuse_address = true}).error(), EADDRINUSE);
    EXPECT_EQ(bindings.bind({any, 5000}, {}).error(), EADDRINUSE);
    EXPECT_EQ(bindings.bind({Address(), 5000}, {}).error(), EADDRINUSE);
    EXPECT_TRUE(bindings.bind({Address(), 5000}, {.v6_only = true}));
    bindings.went(flow);
    EXPECT_TRUE(bindings.bind({one, 5000}, {}));
}

TEST_F(BindingsTest, it_shares_what_it_was_begun_with) {
    for (unsigned bits = 0; bits < 16; ++bits) {
        tcp::Flow flow(tcp::FlowKind::connection, {one, 80, 5000, 0, 0});
        flow.reuse_address = (bits & 1) != 0;
        flow.reuse_port = (bits & 2) != 0;
        const BindOptions wanted{.reuse_address = (bits & 4) != 0, .reuse_port = (bits & 8) != 0};
        const bool shared = (flow.reuse_address && wanted.reuse_address) ||
                            (flow.reuse_port && wanted.reuse_port);
        bindings.came(flow);
        const auto binding = bindings.bind({one, 5000}, wanted);
        EXPECT_EQ(binding.has_value(), shared) << bits;
        if (binding) bindings.release(**binding);
        bindings.went(flow);
    }
}

TEST_F(BindingsTest, each_series_has_an_order_of_its_own_and_only_what_suits) {
    Bindings other{1, {}, 1, addresses, 1000};
    const auto even = [](uint16_t port) { return port % 2 == 0; };
    int alike = 0;
    for (int i = 0; i < 40; ++i) {
        const uint16_t ours = (*bindings.bind_to_any_port(one, {}, 40000, 49999, even))->local.port;
        alike += (*other.bind_to_any_port(one, {}, 40000, 49999, even))->local.port == ours;
        EXPECT_EQ(ours % 2, 0);
    }
    EXPECT_LT(alike, 5);
}

TEST_F(BindingsTest, a_dry_pool_is_an_error) {
    Bindings few{1, {}, 0, addresses, 1};
    EXPECT_TRUE(few.bind({one, 1}, {}));
    EXPECT_EQ(few.bind({one, 2}, {}).error(), ENOBUFS);
}

}  // namespace
}  // namespace millrace::stack
