// Opening, by RFC 9293's IDs (sections 3.5, 3.9.1.1 and 3.9.2.3).
#include <map>
#include <set>

#include "script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

BOTH_FAMILIES(MUST_11);
TEST_P(MUST_11, a_reset_in_syn_received_goes_by_where_the_open_came_from) {
    {
        Script s(options());
        s.connect();  // active: the application hears of it
        s.next();
        s.inject(S(0).window(65535).mss(1460));
        s.expect(SA(0, 1));
        ASSERT_EQ(s.tcb().state, State::syn_received);
        s.inject(R(1));
        EXPECT_TRUE(s.end().closed);
        EXPECT_EQ(s.end().error, ECONNREFUSED);
        EXPECT_EQ(s.stack().population().connections, 0U);
    }
    {
        Script s(options());
        s.listen();  // passive: back to LISTEN, and nobody needs to know
        s.inject(S(0).window(65535).mss(1460));
        s.expect(SA(0, 1));
        s.inject(R(1));
        s.expect_silence();
        EXPECT_EQ(s.stack().population().half_open, 0U);
        s.inject(S(0).window(65535).mss(1460));
        s.expect(SA(0, 1));
        s.inject(A(1, 1));
        s.accept();
        EXPECT_EQ(s.tcb().state, State::established);
    }
}

BOTH_FAMILIES(MUST_41);
TEST_P(MUST_41, a_passive_open_disturbs_no_connection) {
    Script s(options());
    s.connect();
    s.next();
    s.inject(SA(0, 1).window(65535).mss(1460));
    s.expect(A(1, 1));
    s.listen(50000);  // the port of the connection
    s.inject(PA(1, 1).data(10));
    s.expect(A(1, 11));
    s.send(10);
    s.expect(PA(1, 11).data(10));
    EXPECT_EQ(s.end().received, 10U);
}

BOTH_FAMILIES(MUST_42);
TEST_P(MUST_42, a_port_may_listen_while_it_is_in_syn_sent_or_syn_received) {
    Script s(options());
    s.connect();
    s.next();
    ASSERT_EQ(s.tcb().state, State::syn_sent);
    tcp::Listener* listener = s.listen(50000);
    ASSERT_NE(listener, nullptr);
    s.stack().close_listener(*listener);
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    ASSERT_EQ(s.tcb().state, State::syn_received);
    ASSERT_NE(s.listen(50000), nullptr);
    // A second peer is served by the listener, the first by its connection.
    s.inject(A(1, 1));
    EXPECT_EQ(s.tcb().state, State::established);
    s.inject(S(0).window(65535).mss(1460).client(81));
    EXPECT_TRUE(s.next().syn());
    EXPECT_EQ(s.stack().population().half_open, 1U);
}

BOTH_FAMILIES(MUST_43);
TEST_P(MUST_43, open_takes_a_local_address) {
    Script::Options o = options();
    o.addresses = {{Pair::address(1, GetParam()), 24}, {Pair::address(3, GetParam()), 24}};
    Script s(o);
    Endpoint end;
    const auto c = s.stack().connect({s.peer(), 80}, {Pair::address(3, GetParam()), 0}, &end);
    ASSERT_TRUE(c);
    EXPECT_EQ(s.stack().local_address((*c)->key).address, Pair::address(3, GetParam()));
    s.advance({});
    s.next();
    const std::span<const uint8_t> ip = std::span(s.last_frame()).subspan(14);
    EXPECT_EQ(wire::Ip::parse(ip, ip.size(), true)->source, Pair::address(3, GetParam()));
    const auto foreign = s.stack().connect({s.peer(), 80}, {Pair::address(9, GetParam()), 0}, &end);
    EXPECT_EQ(foreign.error().value, EADDRNOTAVAIL);
}

BOTH_FAMILIES(MUST_44);
TEST_P(MUST_44, without_a_local_address_the_route_names_it_before_the_syn) {
    Script s(options());
    s.connect();
    EXPECT_EQ(s.stack().local_address(s.tcb().key).address, s.local());
    s.next();
    const std::span<const uint8_t> ip = std::span(s.last_frame()).subspan(14);
    EXPECT_EQ(wire::Ip::parse(ip, ip.size(), true)->source, s.local());
}

BOTH_FAMILIES(MUST_45);
TEST_P(MUST_45, a_connection_keeps_the_local_address_it_has) {
    Script::Options o = options();
    o.addresses = {{Pair::address(1, GetParam()), 24}, {Pair::address(3, GetParam()), 24}};
    Script s(o);
    const Address other = Pair::address(3, GetParam());
    const size_t size = v4() ? 4 : 16;
    const auto inject = [&](const Packet& p) {  // to the second address, which no route prefers
        auto frame = s.frame(p);
        std::memcpy(&frame[14 + s.ip_header_size() - size], other.wire(), size);
        Script::repair_checksums(frame);
        s.inject_raw(frame);
    };
    const auto source = [&] {
        const std::span<const uint8_t> ip = std::span(s.last_frame()).subspan(14);
        return wire::Ip::parse(ip, ip.size(), true)->source;
    };
    s.listen();
    inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    EXPECT_EQ(source(), other);
    inject(A(1, 1));
    s.accept();
    s.send(10);
    s.expect(PA(1, 1).data(10));
    EXPECT_EQ(source(), other);
    inject(FA(1, 11));
    s.expect(A(11, 2));
    EXPECT_EQ(source(), other);
}

TEST(MUST_46, an_open_to_a_group_is_refused) {
    Script s;
    Endpoint end;
    for (const char* text : {"224.0.0.1", "239.255.255.255", "255.255.255.255", "10.0.0.255",
                             "0.0.0.0", "::", "ff02::1", "ff0e::1:2"}) {
        const auto c = s.stack().connect({*Address::parse(text), 80}, {}, &end);
        ASSERT_FALSE(c) << text;
        EXPECT_EQ(c.error().value, ENETUNREACH) << text;
    }
    s.advance(5_s);
    s.expect_silence();
    EXPECT_EQ(s.stack().population().connections, 0U);
}

BOTH_FAMILIES(MUST_57);
TEST_P(MUST_57, a_syn_to_a_group_is_discarded_silently) {
    Script s(options());
    s.listen();
    const std::vector<const char*> groups =
        v4() ? std::vector<const char*>{"224.0.0.1", "255.255.255.255", "10.0.0.255"}
             : std::vector<const char*>{"ff02::1", "ff05::2"};
    const size_t size = v4() ? 4 : 16;
    for (const char* text : groups) {
        auto frame = s.frame(S(0));
        std::memcpy(&frame[14 + s.ip_header_size() - size], Address::parse(text)->wire(), size);
        Script::repair_checksums(frame);
        s.inject_raw(frame);
        s.expect_silence();
    }
    EXPECT_EQ(s.drops(Drop::tcp_broadcast), groups.size());
    EXPECT_EQ(s.stack().population().half_open, 0U);
}

BOTH_FAMILIES(MUST_63);
TEST_P(MUST_63, a_syn_from_an_impossible_source_is_ignored) {
    Script s(options());
    s.listen();
    const std::vector<const char*> sources =
        v4() ? std::vector<const char*>{"0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.0.255",
                                        "127.0.0.1", "10.0.0.1"}
             : std::vector<const char*>{"::", "::1", "ff02::1", "fd00::1"};
    const size_t size = v4() ? 4 : 16;
    for (const char* text : sources) {
        auto frame = s.frame(S(0));
        std::memcpy(&frame[14 + s.ip_header_size() - 2 * size], Address::parse(text)->wire(), size);
        Script::repair_checksums(frame);
        s.inject_raw(frame);
        s.expect_silence();
    }
    EXPECT_EQ(s.drops(Drop::ip_bad_source), sources.size());
    EXPECT_EQ(s.stack().population().half_open, 0U);
}

/// RFC 6056 section 3.3.4: as long as a port is free it is found, wherever the walk begins.
BOTH_FAMILIES(EphemeralPorts);
TEST_P(EphemeralPorts, are_all_found_behind_a_long_row_of_taken_ones) {
    constexpr uint16_t first = 40'000, last = 43'999, taken = 3'900;
    Config config;
    config.tcp.ip_local_port_range_min = first;
    config.tcp.ip_local_port_range_max = last;
    Script s(options(config));
    Endpoint owner;
    const auto connect = [&](uint16_t port) {
        return s.stack().connect({s.peer(), 80}, {Address::any(GetParam()), port}, &owner);
    };
    for (uint16_t port = first; port < first + taken; ++port) ASSERT_TRUE(connect(port));
    std::set<uint16_t> ports;
    for (int i = taken; i <= last - first; ++i) {
        const auto c = connect(0);
        ASSERT_TRUE(c) << i;
        ports.insert((*c)->key.local_port);
    }
    EXPECT_EQ(ports.size(), 100U);
    EXPECT_EQ(*ports.begin(), first + taken);
    const auto none = connect(0);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().value, EADDRNOTAVAIL);
}

/// No search looks up more than a thousand candidates, and yet none of a large range stays unused;
/// what is given back is found again.
TEST_P(EphemeralPorts, of_a_large_range_are_used_to_the_last) {
    constexpr uint16_t first = 40'000, last = 51'999;
    constexpr size_t all = last - first + 1;
    Config config;
    config.tcp.ip_local_port_range_min = first;
    config.tcp.ip_local_port_range_max = last;
    Script s(options(config));
    Endpoint owner;
    const auto connect = [&] {
        return s.stack().connect({s.peer(), 80}, {Address::any(GetParam()), 0}, &owner);
    };
    std::map<uint16_t, tcp::Connection*> ports;
    for (size_t i = 0; i < all; ++i) {
        const auto c = connect();
        ASSERT_TRUE(c) << i;
        ports[(*c)->key.local_port] = *c;
    }
    EXPECT_EQ(ports.size(), all);
    for (int i = 0; i < 3; ++i) {
        const auto none = connect();
        ASSERT_FALSE(none);
        EXPECT_EQ(none.error().value, EADDRNOTAVAIL);
    }
    for (const uint16_t port : std::initializer_list<uint16_t>{first, 45'000, last}) {
        tcp::abort(s.stack().env(), *ports[port]);
        s.advance(1_ms);
        s.forget_sent();
        const auto again = connect();
        ASSERT_TRUE(again);
        EXPECT_EQ((*again)->key.local_port, port);
    }
    EXPECT_FALSE(connect());
}

/// What was just given back comes again last (RFC 6056 section 3.3.4), also where a long row of taken
/// ports is passed over.
TEST_P(EphemeralPorts, given_back_come_again_as_late_as_can_be) {
    constexpr uint16_t first = 40'000, last = 40'999, taken = 900;
    Config config;
    config.tcp.ip_local_port_range_min = first;
    config.tcp.ip_local_port_range_max = last;
    Script s(options(config));
    Endpoint owner;
    const auto connect = [&](uint16_t port) {
        const auto c = s.stack().connect({s.peer(), 80}, {Address::any(GetParam()), port}, &owner);
        EXPECT_TRUE(c);
        return *c;
    };
    for (uint16_t port = first; port < first + taken; ++port) connect(port);
    std::set<uint16_t> ports;
    for (int i = 0; i < 100; ++i) {
        tcp::Connection* c = connect(0);
        EXPECT_TRUE(ports.insert(c->key.local_port).second) << i;
        tcp::abort(s.stack().env(), *c);
        s.advance(1_ms);
        s.forget_sent();
    }
}

// RFC 9293 section 3.10.7.3: where no acknowledgment vouches for a RST in SYN-SENT, it is dropped.
TEST(U_3, in_syn_sent_the_acknowledgment_must_vouch_for_a_reset) {
    Script s;
    s.connect();
    s.next();
    for (const Packet& reset : {R(0), R(1), RA(0, 0), RA(0, 2), RA(1, 77)}) {
        s.inject(reset);
        EXPECT_FALSE(s.end().closed);
    }
    s.expect_silence();
    s.inject(RA(1, 1));
    EXPECT_TRUE(s.end().closed);
}

}  // namespace
}  // namespace millrace::testing
