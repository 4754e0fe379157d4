// The ends of a program: one that lets its peers finish, and the start behind one that did not.
#include "sim/leftovers.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

using wire::TcpFlags;

BOTH_FAMILIES(GracefulEnd);

TEST_P(GracefulEnd, who_comes_when_the_listener_has_stopped_is_reset) {
    Script s(options());
    s.listen();
    s.stack().stop(*s.listener());
    s.inject(S(0).window(65535).mss(1460));
    s.expect(RA(0, 1));
    EXPECT_EQ(s.drops(observe::Drop::tcp_no_listener), 1U);
    EXPECT_EQ(s.stack().population().listeners, 1U);
}

TEST_P(GracefulEnd, a_handshake_under_way_is_finished_and_accepted) {
    Script s(options());
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.stack().stop_listening();
    s.inject(S(0).window(65535).mss(1460));  // its answer was lost
    s.expect(SA(0, 1));
    s.inject(PA(1, 1).data(100));
    s.accept();
    EXPECT_EQ(s.end().received, 100U);
    s.expect(A(1, 101));
    s.send(10);
    s.expect(PA(1, 101).data(10));
}

TEST_P(GracefulEnd, what_waits_is_accepted_and_the_port_is_free_behind_the_close) {
    Script s(options());
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.inject(A(1, 1));
    s.stack().stop_listening();
    s.stack().stop_listening();  // once is enough
    EXPECT_FALSE(s.stack().listen({Address::any(s.local().family()), 80}, 1, nullptr));
    s.accept();
    s.stack().close_listener(*s.listener());
    EXPECT_TRUE(s.stack().listen({Address::any(s.local().family()), 80}, 1, nullptr));
    s.expect_silence();
}

TEST_P(GracefulEnd, of_several_that_share_a_port_the_others_go_on) {
    Script s(options());
    const stack::BindOptions shared{.reuse_port = true};
    const SocketAddress any{Address::any(s.local().family()), 80};
    tcp::Listener* const one = *s.stack().listen(**s.stack().bind(any, shared), 99, &s.stack());
    tcp::Listener* const two = *s.stack().listen(**s.stack().bind(any, shared), 99, &s.stack());
    s.stack().stop(*one);
    for (uint16_t client = 40001; client < 40021; ++client) {
        s.inject(S(0).window(65535).mss(1460).client(client));
        s.expect(SA(0, 1).client(client));
    }
    EXPECT_EQ(one->half_open_count, 0U);
    EXPECT_EQ(two->half_open_count, 20U);
}

TEST_P(GracefulEnd, what_is_left_is_reset_whoever_has_it) {
    Config config;
    config.tcp.tcp_syncookies = 0;
    Script s(options(config));
    s.establish();
    s.inject(S(0).window(65535).mss(1460).client(40001));  // nobody accepts this one
    s.expect(SA(0, 1).client(40001));
    s.inject(A(1, 1).client(40001));
    s.inject(S(0).window(65535).mss(1460).client(40002));  // and this one stays half open
    s.expect(SA(0, 1).client(40002));
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    s.stack().stop_listening();
    EXPECT_EQ(s.stack().abort_all(), 2U);
    s.advance({});
    std::map<uint16_t, uint8_t> flags;
    while (s.anything_sent()) {
        const wire::Segment segment = s.next();
        flags[segment.destination_port] |= segment.flags;
    }
    EXPECT_EQ(flags.size(), 3U);
    for (const auto& [port, seen] : flags) EXPECT_TRUE((seen & TcpFlags::rst) != 0) << port;
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNABORTED);
    EXPECT_EQ(s.stack().population().half_open, 0U);
}

/// A client that was let go of, whose last bytes nobody has acknowledged.
TEST_P(GracefulEnd, an_orphan_is_reset_too_and_nothing_is_left) {
    Script s(options());
    s.establish();
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    s.close();
    s.forget_sent();
    EXPECT_EQ(s.stack().abort_all(), 1U);
    s.advance({});
    EXPECT_TRUE((s.next().flags & TcpFlags::rst) != 0);
    s.stack().close_listener(*s.listener());
    s.advance(60_s);
    for_each_leftover(s.node(), [](uint16_t, std::string_view what, size_t count) {
        ADD_FAILURE() << count << " " << what;
    });
}

/// Frames as after a crash: of a host whose link address this stack does not know yet.
struct Stranger {
    explicit Stranger(Script& script) : s(script) {}
    std::vector<uint8_t> frame(uint16_t port) const {
        std::vector<uint8_t> bytes = s.frame(PA(5000, 7000).client(port).data(1));
        const size_t last = s.local().is_v4() ? 14 + 15 : 14 + 23;  // of the source address
        bytes[last] = 77;
        Script::repair_checksums(bytes);
        return bytes;
    }
    Script& s;
};

TEST_P(GracefulEnd, a_program_that_has_just_started_resets_a_thousand_peers_before_it_knows_them) {
    Script s(options());
    s.listen();
    const Stranger stranger(s);
    std::vector<std::vector<uint8_t>> burst;
    for (uint16_t port = 1001; port <= 2000; ++port) {
        burst.push_back(stranger.frame(port));
        if (burst.size() < 64 && port != 2000) continue;
        s.network.inject_burst(s.node(), burst);
        burst.clear();
    }
    size_t resets = 0;
    while (s.anything_sent()) {
        EXPECT_EQ(s.next().flags, TcpFlags::rst);
        const std::vector<uint8_t> sender{0x02, 0, 0, 0, 0, 0x99};
        EXPECT_TRUE(std::equal(sender.begin(), sender.end(), s.last_frame().begin()));
        ++resets;
    }
    EXPECT_EQ(resets, 1000U);
    EXPECT_EQ(s.counters().neighbour_solicitations, 0U);
    EXPECT_EQ(s.drops(observe::Drop::neighbour_queue_full), 0U);
    EXPECT_EQ(s.counters().tcp_rsts_limited, 0U);
}

/// Addresses on the wire, by when they were told: ARP's sender, or a neighbour advertisement's
/// target.
TEST(Announcement, addresses_are_told_at_start_three_times) {
    sim::Network network(1);
    std::vector<std::pair<int64_t, std::vector<uint8_t>>> told;
    network.set_filter([&](const sim::Node&, std::span<const uint8_t> bytes) {
        told.emplace_back((network.now() - Instant::from_ns(1'000'000'000)).ms(),
                          std::vector<uint8_t>(bytes.begin(), bytes.end()));
        return false;
    });
    sim::NodeOptions options{.name = "new", .addresses = {}, .announces = true};
    options.addresses = {*Prefix::parse("10.0.0.1/24"), *Prefix::parse("fd00::1/64")};
    sim::Node& node = network.add_node(std::move(options));
    network.run_for(10_s);
    ASSERT_EQ(told.size(), 6U);
    for (size_t i = 0; i < told.size(); ++i) {
        const auto& [at, bytes] = told[i];
        EXPECT_NEAR(static_cast<double>(at), static_cast<double>(i / 2 * 1000), 5.0);
        const auto ethernet = wire::Ethernet::parse(bytes);
        EXPECT_EQ(ethernet->source, node.mac());
        const std::span payload = std::span(bytes).subspan(ethernet->size);
        if (ethernet->type == wire::EtherType::arp) {
            const auto arp = wire::Arp::parse(payload);
            EXPECT_EQ(ethernet->destination, wire::MacAddress::broadcast());
            EXPECT_EQ(arp->operation, wire::Arp::Operation::request);
            EXPECT_EQ(arp->sender, Address::v4(10, 0, 0, 1));
            EXPECT_EQ(arp->target, arp->sender);
            EXPECT_EQ(arp->sender_mac, node.mac());
        } else {
            const auto ip = wire::Ip::parse(payload, payload.size(), true);
            const auto ndp = wire::Ndp::parse(payload.subspan(ip->header_size));
            EXPECT_EQ(ip->destination, *Address::parse("ff02::1"));
            EXPECT_TRUE(ndp->is_advertisement);
            EXPECT_EQ(ndp->flags, wire::Ndp::flag_override);
            EXPECT_EQ(ndp->target, *Address::parse("fd00::1"));
            EXPECT_EQ(ndp->link_address, node.mac());
        }
    }
}

}  // namespace
}  // namespace millrace::testing
