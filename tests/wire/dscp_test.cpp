// What the application and the stack put into the IP header: DSCP, TTL, identification, flow label.
#include <array>
#include <set>

#include "icmp_error.h"

namespace millrace::testing {
namespace {

Script::Options options(Family family) {
    Script::Options o;
    o.family = family;
    return o;
}

constexpr std::array families{Family::ipv4, Family::ipv6};

TEST(MUST_48, the_applications_dscp_is_on_every_segment) {
    for (const Family family : families) {
        Script s(options(family));
        s.connect();
        s.forget_sent();
        EXPECT_TRUE(tcp::set_dscp(s.tcb(), 46));
        s.advance_to_next_segment(2_s);  // the SYN again
        ASSERT_TRUE(s.next().syn());
        EXPECT_EQ(s.ip().tos, 46 << 2);
        s.inject(SA(0, 1).window(65535).mss(1460));
        s.expect(A(1, 1));
        EXPECT_EQ(s.ip().tos, 46 << 2);
        s.send(5000);
        while (s.anything_sent()) {
            s.next();
            EXPECT_EQ(s.ip().tos, 46 << 2);
        }
        s.inject(A(1, 5001));
        s.close();
        s.expect(FA(5001, 1));
        EXPECT_EQ(s.ip().tos, 46 << 2);
        s.inject(FA(1, 5002));
        s.expect(A(5002, 2));
        s.inject(FA(1, 5002));  // now answered out of TIME-WAIT
        s.expect(A(5002, 2));
        EXPECT_EQ(s.ip().tos, 46 << 2);
    }
}

/// Set between connect() and the turn's egress, it is on the first SYN.
TEST(MUST_48, it_is_on_the_first_syn) {
    Pair pair(1);
    std::vector<uint8_t> tos;
    pair.network.set_filter([&](const sim::Node&, std::span<const uint8_t> frame) {
        const auto ip = wire::Ip::parse(frame.subspan(14), frame.size() - 14, false);
        if (ip && ip->protocol == wire::Protocol::tcp) tos.push_back(ip->tos);
        return true;
    });
    Endpoint& end = pair.client.connect({Pair::address(2), 80});
    EXPECT_TRUE(tcp::set_dscp(*end.connection, 10));
    pair.network.run_for(1_ms);
    ASSERT_FALSE(tos.empty());
    EXPECT_EQ(tos[0], 10 << 2);
}

TEST(MUST_48, a_listeners_dscp_and_ttl_are_on_its_syn_acks_and_connections) {
    for (const Family family : families) {
        Script s(options(family));
        tcp::Listener* listener = s.listen();
        // The packets' own family counts: what is set for the other is not sent.
        const bool v4 = family == Family::ipv4;
        (v4 ? listener->marks_v4 : listener->marks_v6) = {.dscp = 34, .ttl = 7};
        (v4 ? listener->marks_v6 : listener->marks_v4) = {.dscp = 11, .ttl = 99};
        s.inject(S(0).window(65535).mss(1460));
        s.expect(SA(0, 1));
        EXPECT_EQ(s.ip().tos, 34 << 2);
        EXPECT_EQ(s.ip().ttl, 7);
        s.inject(A(1, 1));
        s.accept();
        s.send(100);
        s.expect(PA(1, 1).data(100));
        EXPECT_EQ(s.ip().tos, 34 << 2);
        EXPECT_EQ(s.ip().ttl, 7);
    }
}

TEST(SHLD_21, the_dscp_may_change_while_the_connection_lives) {
    for (const Family family : families) {
        Script s(options(family));
        s.establish();
        for (uint32_t dscp = 0; dscp < 64; ++dscp) {
            EXPECT_TRUE(tcp::set_dscp(s.tcb(), dscp));
            s.send(10);
            s.expect(PA(1 + 10 * dscp, 1).data(10));
            EXPECT_EQ(s.ip().tos, dscp << 2);  // SHLD-22: unchanged
            s.inject(A(1, 11 + 10 * dscp));
        }
        const auto refused = tcp::set_dscp(s.tcb(), 64);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().value, EINVAL);
        EXPECT_EQ(s.tcb().dscp, 63);
    }
}

TEST(MAY_9, the_received_dscp_is_there_to_see) {
    for (const Family family : families) {
        Script s(options(family));
        s.establish();
        s.inject(PA(1, 1).data(10).dscp(46));
        EXPECT_EQ(s.tcb().rcv_dscp, 46);
        s.inject(A(70000, 1).dscp(12));
        EXPECT_EQ(s.tcb().rcv_dscp, 46) << "a segment out of the window says nothing";
    }
}

TEST(MUST_49, the_ttl_is_configurable_for_all_and_for_one) {
    for (const Family family : families) {
        Script::Options o = options(family);
        o.config.ip.ip_default_ttl = 33;
        Script s(o);
        s.connect();
        s.next();
        EXPECT_EQ(s.ip().ttl, 33);
        s.inject(SA(0, 1).window(65535).mss(1460));
        s.expect(A(1, 1));
        EXPECT_TRUE(tcp::set_ttl(s.tcb(), 1));
        s.send(10);
        s.next();
        EXPECT_EQ(s.ip().ttl, 1);
        EXPECT_FALSE(tcp::set_ttl(s.tcb(), 0));
        EXPECT_FALSE(tcp::set_ttl(s.tcb(), 256));
    }
}

/// Attack case 36: with DF and identification 0 there is no counter to observe (RFC 6864).
TEST(Attack, case_36_no_identification_is_shared_between_destinations) {
    Script s;
    s.establish();
    s.send(20000);
    s.inject(A(1, 14601));
    int seen = 0;
    while (s.anything_sent()) {
        s.next();
        ++seen;
        EXPECT_EQ(s.ip().identification, 0U);
        EXPECT_TRUE(s.ip().dont_fragment);
    }
    EXPECT_GT(seen, 10);
    s.inject(R(5).client(41000));
    s.inject(A(5, 5).client(41001));  // answered by a RST that no connection sends
    s.next();
    EXPECT_EQ(s.ip().identification, 0U);
    EXPECT_TRUE(s.ip().dont_fragment);
}

/// RFC 6437: one label per connection, from SYN-ACK to TIME-WAIT, and different ones for others.
TEST(FlowLabel, is_one_per_connection_and_not_guessable) {
    Script s(options(Family::ipv6));
    s.listen();
    std::set<uint32_t> labels;
    for (uint16_t client = 40000; client < 40050; ++client) {
        s.inject(S(0).window(65535).mss(1460).client(client));
        s.next();
        EXPECT_NE(s.ip().flow_label, 0U);
        labels.insert(s.ip().flow_label);
    }
    EXPECT_GE(labels.size(), 49U);

    Script one(options(Family::ipv6));
    one.listen();
    one.inject(S(0).window(65535).mss(1460));
    one.next();
    const uint32_t label = one.ip().flow_label;
    one.inject(A(1, 1));
    one.accept();
    one.send(3000);
    while (one.anything_sent()) {
        one.next();
        EXPECT_EQ(one.ip().flow_label, label);
    }
    one.inject(A(1, 3001));
    one.close();
    one.expect(FA(3001, 1));
    EXPECT_EQ(one.ip().flow_label, label);
    one.inject(FA(1, 3002));
    one.expect(A(3002, 2));
    one.inject(FA(1, 3002));
    one.expect(A(3002, 2));
    EXPECT_EQ(one.ip().flow_label, label) << "of TIME-WAIT";
}

}  // namespace
}  // namespace millrace::testing
