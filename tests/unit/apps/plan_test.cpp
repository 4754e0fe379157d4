// What plans there are, and whether there are tuples enough for them.
#include "load/plan.h"

#include <cmath>

#include <gtest/gtest.h>

namespace millrace::apps {
namespace {

Config config() {
    Config config;
    config.ports.push_back({.device = "wire", .addresses = {*Prefix::parse("10.77.0.2/24")}});
    return config;
}

std::string refused(Plan plan) {
    const auto status = complete(plan);
    EXPECT_FALSE(status);
    return status ? "" : status.error().what;
}

Plan of(Mode mode, Protocol protocol = Protocol::http) {
    Plan plan;
    plan.mode = mode;
    plan.protocol = protocol;
    return plan;
}

TEST(Plan, tls_asks_for_whom_the_host_header_names) {
    Plan plan = of(Mode::closed, Protocol::https);
    EXPECT_EQ(plan.tls_host(), "10.77.0.1");
    for (const auto& [header, host] :
         {std::pair{"Host: mill.example", "mill.example"},
          {"host:mill.example:8443", "mill.example"},
          {"HOST:  mill.example. ", "mill.example"}, {"Host: 10.0.0.1:443", "10.0.0.1"},
          {"Host: [fd77::1]:443", "fd77::1"}, {"Host: [fd77::1]", "fd77::1"},
          {"Host:\tfd77::1", "fd77::1"}}) {
        plan.headers = {"Accept: */*", header};
        EXPECT_EQ(plan.tls_host(), host) << header;
        EXPECT_TRUE(complete(plan));
    }
    for (const char* header : {"Host:", "Host: ", "Host: :443", "Host: []:443", "Host: a b",
                               "Host: [fd77::1", "Host: fd77::zz"}) {
        plan.headers = {header};
        EXPECT_NE(refused(plan).find("Host"), std::string::npos) << header;
    }
}

TEST(Plan, handshakes_are_of_tls_and_ask_for_nothing) {
    EXPECT_NE(refused(of(Mode::handshakes)).find("https"), std::string::npos);
    Plan plan = of(Mode::handshakes, Protocol::https);
    plan.headers = {"Host: mill.example"};
    EXPECT_TRUE(complete(plan));
    plan.headers = {"Accept: */*"};
    EXPECT_NE(refused(plan).find("--header"), std::string::npos);
}

TEST(Plan, modes_imply_what_they_stand_for) {
    Plan rr = of(Mode::rr);
    ASSERT_TRUE(complete(rr));
    EXPECT_EQ(rr.connections, 1U);
    EXPECT_EQ(rr.requests_per_connection, 0U);
    Plan crr = of(Mode::crr);
    ASSERT_TRUE(complete(crr));
    EXPECT_EQ(crr.connections, 1U);
    EXPECT_EQ(crr.requests_per_connection, 1U);
    Plan cps = of(Mode::cps);
    cps.rate = 10;
    ASSERT_TRUE(complete(cps));
    EXPECT_EQ(cps.requests_per_connection, 1U);
}

TEST(Plan, what_does_not_fit_together_is_refused_by_name) {
    EXPECT_NE(refused(of(Mode::rps)).find("--rate"), std::string::npos);
    EXPECT_NE(refused(of(Mode::cps)).find("--rate"), std::string::npos);
    EXPECT_NE(refused(of(Mode::concurrent)).find("--rate"), std::string::npos);
    Plan plan = of(Mode::closed);
    plan.rate = 5;
    EXPECT_NE(refused(plan).find("--rate"), std::string::npos);
    plan = of(Mode::concurrent);
    plan.rate = 5;
    plan.steps = {{1, 1}};
    EXPECT_NE(refused(plan).find("--steps"), std::string::npos);
    plan = of(Mode::closed);
    plan.trickle = 1;
    EXPECT_NE(refused(plan).find("--trickle"), std::string::npos);
    plan = of(Mode::closed);
    plan.think_ms = 1;
    plan.pipeline = 2;
    EXPECT_NE(refused(plan).find("--think"), std::string::npos);
    EXPECT_NE(refused(of(Mode::throughput)).find("--protocol raw"), std::string::npos);
    EXPECT_NE(refused(of(Mode::crr, Protocol::udp)).find("datagrams"), std::string::npos);
    plan = of(Mode::closed, Protocol::udp);
    plan.request_size = Sizes(65508);
    EXPECT_NE(refused(plan).find("65507"), std::string::npos);
    plan.request_size = Sizes(7);
    EXPECT_NE(refused(plan).find("at least 8"), std::string::npos);
    plan = of(Mode::closed, Protocol::raw);
    plan.request_size = Sizes(11);
    EXPECT_NE(refused(plan).find("at least 12"), std::string::npos);
    plan = of(Mode::closed, Protocol::echo);
    plan.closing = Closing::server;
    EXPECT_NE(refused(plan).find("--close-by"), std::string::npos);
}

TEST(Plan, rates_come_up_hold_and_step) {
    Plan plan = of(Mode::rps);
    plan.rate = 100;
    plan.ramp = 2;
    plan.warm_up = 3;
    plan.duration = 0;
    auto pieces = plan.pieces();
    ASSERT_EQ(pieces.size(), 3U);
    EXPECT_EQ(pieces[0].from, 0);
    EXPECT_EQ(pieces[0].to, 100);
    EXPECT_EQ(pieces[1].seconds, 3);
    EXPECT_TRUE(std::isinf(pieces[2].seconds));
    EXPECT_EQ(plan.uncounted_seconds(), 5);
    plan.steps = {{200, 1}, {400, 2}};
    pieces = plan.pieces();
    ASSERT_EQ(pieces.size(), 4U);
    EXPECT_EQ(pieces[0].to, 200) << "the first step's";
    EXPECT_EQ(pieces[3].from, 400);
    EXPECT_EQ(plan.counted_seconds(), 3);
    EXPECT_EQ(plan.highest_rate(), 400);
}

TEST(Plan, tuples_must_be_enough_for_the_rate_and_what_stays_in_time_wait) {
    Plan plan = of(Mode::cps);
    plan.rate = 1000;
    plan.duration = 20;
    ASSERT_TRUE(complete(plan));
    // 20,000 of the 28,232 usual ports.
    EXPECT_TRUE(check_feasible(plan, config()));
    plan.duration = 40;
    auto status = check_feasible(plan, config());
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().what.find("need 40000 tuples"), std::string::npos)
        << status.error().what;
    EXPECT_NE(status.error().what.find("make 28232"), std::string::npos);
    // No longer than 2 MSL does an entry stay.
    plan.duration = 4000;
    EXPECT_NE(check_feasible(plan, config()).error().what.find("need 60000 tuples"),
              std::string::npos);
    Plan other = plan;
    other.closing = Closing::server;
    EXPECT_TRUE(check_feasible(other, config()));
    other.closing = Closing::reset;
    EXPECT_TRUE(check_feasible(other, config()));
    Config reuses = config();
    reuses.tcp.tcp_tw_reuse = 1;
    EXPECT_TRUE(check_feasible(plan, reuses));
    reuses.tcp.tcp_timestamps = 0;
    EXPECT_FALSE(check_feasible(plan, reuses));
    Plan sources = plan;
    sources.sources = {Address::v4(10, 77, 0, 2), Address::v4(10, 77, 0, 3)};
    EXPECT_FALSE(check_feasible(sources, config()));
    sources.sources.push_back(Address::v4(10, 77, 0, 4));
    EXPECT_TRUE(check_feasible(sources, config()));
}

TEST(Plan, connections_that_stand_need_tuples_and_room) {
    Plan plan = of(Mode::closed);
    plan.connections = 28232;
    EXPECT_TRUE(check_feasible(plan, config()));
    plan.connections = 28233;
    EXPECT_FALSE(check_feasible(plan, config()));
    Config small = config();
    small.tcp.max_connections = 100;
    plan.connections = 101;
    const auto status = check_feasible(plan, small);
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().what.find("max_connections = 100"), std::string::npos);
}

TEST(Plan, what_it_asks_of_the_configuration_is_put_in) {
    Plan plan;
    plan.sources = {Address::v4(10, 77, 0, 2), Address::v4(10, 77, 0, 9)};
    plan.source_ports = {2000, 3000};
    plan.vlan = 7;
    Config applied = config();
    ASSERT_TRUE(apply(plan, applied));
    ASSERT_EQ(applied.ports[0].addresses.size(), 2U);
    EXPECT_EQ(applied.ports[0].addresses[1].to_string(), "10.77.0.9/24");
    EXPECT_EQ(applied.tcp.ip_local_port_range_min, 2000U);
    EXPECT_EQ(applied.tcp.ip_local_port_range_max, 3000U);
    EXPECT_EQ(applied.ports[0].vlan, 7U);
    plan.sources = {Address::v4(10, 78, 0, 2)};
    const auto status = apply(plan, applied);
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().what.find("10.78.0.2"), std::string::npos);
}

}  // namespace
}  // namespace millrace::apps
