// ICMP errors, by RFC 9293's IDs (section 3.9.2.2), and IP options (section 3.9.2). Attack cases 38
// and 39.
#include "script.h"

#include "wire/icmp.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

namespace v4 = wire::icmp4;
namespace v6 = wire::icmp6;

struct Kind {
    uint8_t type;
    uint8_t code;
    bool operator==(const Kind&) const = default;
};

/// What RFC 9293 calls soft in each family.
std::vector<Kind> soft_errors(Family family) {
    if (family == Family::ipv4)
        return {{v4::destination_unreachable, 0}, {v4::destination_unreachable, 1},
                {v4::destination_unreachable, 5}, {v4::time_exceeded, 0},
                {v4::time_exceeded, 1},           {v4::parameter_problem, 0}};
    return {{v6::destination_unreachable, 0}, {v6::destination_unreachable, 3},
            {v6::time_exceeded, 0},           {v6::time_exceeded, 1},
            {v6::parameter_problem, 0},       {v6::parameter_problem, 1},
            {v6::parameter_problem, 2}};
}

Kind port_unreachable(Family family) {
    if (family == Family::ipv4) return {v4::destination_unreachable, v4::code_port_unreachable};
    return {v6::destination_unreachable, v6::code_port_unreachable};
}

BOTH_FAMILIES(MUST_54);
TEST_P(MUST_54, an_error_reaches_the_connection_that_it_quotes) {
    Script s(options());
    s.connect();
    s.next();
    const Kind kind = port_unreachable(GetParam());
    s.inject_icmp_error(kind.type, kind.code, S(0));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNREFUSED);
    EXPECT_EQ(s.counters().icmp_in_errors, 1U);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST_P(MUST_54, an_error_that_quotes_nothing_of_ours_is_dropped) {
    Script s(options());
    s.connect();
    s.next();
    const Kind kind = port_unreachable(GetParam());
    s.inject_icmp_error(kind.type, kind.code, S(1));           // not in flight
    s.inject_icmp_error(kind.type, kind.code, S(0x40000000));  // a guess
    EXPECT_FALSE(s.end().closed);
    EXPECT_EQ(s.drops(Drop::icmp_unhandled), 2U);
}

BOTH_FAMILIES(MUST_56);
TEST_P(MUST_56, a_soft_error_ends_no_connection) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1460));
    s.send(100);
    s.expect(PA(1, 1).data(100));
    for (const Kind& kind : soft_errors(GetParam())) {
        s.inject_icmp_error(kind.type, kind.code, PA(1, 1).data(100));
        EXPECT_FALSE(s.end().closed) << int{kind.type} << " " << int{kind.code};
    }
    EXPECT_EQ(s.counters().icmp_in_errors, soft_errors(GetParam()).size());
    s.inject(PA(1, 101).data(10));
    s.expect(A(101, 11));
    s.send(10);
    s.expect(PA(101, 11).data(10));
    EXPECT_EQ(s.tcb().state, State::established);
}

/// A deviation as Linux has it (RFC 5461): once established, only a reset is believed.
BOTH_FAMILIES(SHLD_26);
TEST_P(SHLD_26, case_39_hard_errors_end_an_attempt_but_no_connection) {
    const std::vector<std::pair<Kind, int>> hard =
        GetParam() == Family::ipv4
            ? std::vector<std::pair<Kind, int>>{{{v4::destination_unreachable, 2}, ENOPROTOOPT},
                                                {{v4::destination_unreachable, 3}, ECONNREFUSED}}
            : std::vector<std::pair<Kind, int>>{{{v6::destination_unreachable, 1}, EACCES},
                                                {{v6::destination_unreachable, 4}, ECONNREFUSED}};
    for (const auto& [kind, error] : hard) {
        Script attempt(options());
        attempt.connect();
        attempt.next();
        attempt.inject_icmp_error(kind.type, kind.code, S(0));
        EXPECT_TRUE(attempt.end().closed);
        EXPECT_EQ(attempt.end().error, error);

        Script s(options());
        s.establish(S(0).window(65535).mss(1460));
        s.send(100);
        s.expect(PA(1, 1).data(100));
        s.inject_icmp_error(kind.type, kind.code, PA(1, 1).data(100));
        EXPECT_FALSE(s.end().closed);
        s.inject(A(1, 101));
        EXPECT_EQ(s.tcb().state, State::established);
    }
}

TEST(MUST_55, case_39_source_quench_is_discarded_silently) {
    Script s;
    s.establish(S(0).window(65535).mss(1460));
    s.send(4380);
    uint32_t sent = 0;
    while (s.anything_sent()) sent += s.next().payload_size;
    EXPECT_EQ(sent, 4380U);
    s.inject_icmp_error(v4::source_quench, 0, PA(1, 1).data(100));
    EXPECT_EQ(s.drops(Drop::icmp_unhandled), 1U);
    EXPECT_EQ(s.tcb().state, State::established);
    s.send(4380);  // it does not slow us down either
    sent = 0;
    while (s.anything_sent()) sent += s.next().payload_size;
    EXPECT_EQ(sent, 4380U);
}

BOTH_FAMILIES(PathMtu);
TEST_P(PathMtu, case_38_a_report_on_what_is_not_in_flight_is_ignored) {
    const uint8_t type = GetParam() == Family::ipv4 ? v4::destination_unreachable
                                                    : v6::packet_too_big;
    const uint8_t code = GetParam() == Family::ipv4 ? v4::code_fragmentation_needed : 0;
    Script s(options());
    s.establish(S(0).window(65535).mss(1460));
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    for (const uint32_t seq : {0U, 1001U, 2000U, 0x80000000U})
        s.inject_icmp_error(type, code, A(seq, 1).data(1000), 1300);
    s.expect_silence();
    EXPECT_EQ(s.drops(Drop::icmp_unhandled), 4U);
    s.inject(A(1, 1001));
    s.send(mss());
    s.expect(PA(1001, 1).data(mss()));
    s.inject_icmp_error(type, code, A(1, 1).data(1000), 1300);  // acknowledged long ago
    s.inject(A(1, 1001U + mss()));
    s.send(mss());
    s.expect(PA(1001U + mss(), 1).data(mss()));
}

/// How small a path may claim to be: 552 bytes, 1280 in IPv6; then segments are no smaller.
TEST_P(PathMtu, case_38_a_tiny_mtu_is_floored) {
    const bool is_v4 = GetParam() == Family::ipv4;
    for (const uint32_t mtu : {0U, 1U, 20U, 68U, 551U}) {
        Script s(options());
        s.establish(S(0).window(65535).mss(1460));
        s.send(mss());
        s.expect(PA(1, 1).data(mss()));
        if (is_v4)
            s.inject_icmp_error(v4::destination_unreachable, v4::code_fragmentation_needed,
                                A(1, 1).data(mss()), mtu);
        else
            s.inject_icmp_error(v6::packet_too_big, 0, A(1, 1).data(mss()), mtu);
        EXPECT_EQ(s.tcb().state, State::established);
        s.forget_sent();
        s.inject(A(1, 1U + mss()));
        s.send(10U * mss());
        s.advance({});
        EXPECT_GE(s.next().payload_size, (is_v4 ? 552U : 1280U) - s.ip_header_size() - 20) << mtu;
    }
}

TEST(MUST_50, ip_options_that_nobody_understands_are_ignored) {
    Script s;
    s.listen();
    // Router alert, an experimental option and the end of the list, in a header of 32 bytes.
    const std::vector<uint8_t> ip_options{148, 4, 0, 0, 0x5e, 6, 1, 2, 3, 4, 0, 0};
    const auto with_ip_options = [&](std::vector<uint8_t> frame) {
        frame.insert(frame.begin() + 34, ip_options.begin(), ip_options.end());
        frame[14] = 0x48;
        wire::store16(&frame[16], static_cast<uint16_t>(frame.size() - 14));
        Script::repair_checksums(frame);
        return frame;
    };
    s.inject_raw(with_ip_options(s.frame(S(0).window(65535).mss(1460))));
    s.expect(SA(0, 1));
    s.inject_raw(with_ip_options(s.frame(A(1, 1))));
    s.accept();
    s.inject_raw(with_ip_options(s.frame(PA(1, 1).data(100))));
    s.expect(A(1, 101));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_EQ(s.counters().drops_total(), 0U);
}

}  // namespace
}  // namespace millrace::testing
