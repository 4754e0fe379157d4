// Attack cases 33, 37, 39 and 40: what is answered how often, and what an answer gives away.
#include <cmath>
#include <set>

#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;

Packet open_syn() { return S(0).window(65535).mss(1460); }

/// One in half a second, over ten seconds in which a packet arrives each millisecond.
uint32_t answers_in_ten_seconds(Script& s, const Packet& packet, const Packet& answer) {
    uint32_t answers = 0;
    for (int i = 0; i < 10'000; ++i) {
        s.inject(packet);
        if (s.anything_sent()) {
            s.expect(answer);
            ++answers;
        }
        s.expect_silence();
        s.advance(1_ms);
    }
    return answers;
}

BOTH_FAMILIES(HalfOpenAnswers);

/// Whoever forges a client's address must not make us send it more than it would get anyway.
TEST_P(HalfOpenAnswers, case_33_repeated_syns_earn_one_syn_ack_in_half_a_second) {
    for (const uint32_t seq : {0U, 77U}) {  // the same SYN, and one with another ISN
        Script s(options());
        s.listen();
        s.inject(open_syn());
        s.expect(SA(0, 1));
        const uint32_t answers =
            answers_in_ten_seconds(s, S(seq).window(65535).mss(1460), SA(0, 1));
        EXPECT_GE(answers, 20U);
        EXPECT_LE(answers, 24U);  // the timer's, at 1, 3 and 7 s, are not among the limited
        EXPECT_EQ(s.counters().tcp_skipped_acks + answers, 10'003U);
        EXPECT_EQ(s.stack().population().half_open, 1U);
        s.inject(A(1, 1));
        s.accept();
    }
}

TEST_P(HalfOpenAnswers, case_33_segments_outside_the_window_earn_one_in_half_a_second) {
    Script s(options());
    s.listen();
    s.inject(open_syn());
    s.expect(SA(0, 1));
    const uint32_t answers = answers_in_ten_seconds(s, A(0x70000000, 1), SA(0, 1));
    EXPECT_GE(answers, 20U);
    EXPECT_LE(answers, 24U);
    EXPECT_EQ(s.drops(Drop::tcp_out_of_window), 10'000U);
}

/// A peer whose SYN-ACK was lost asks again after a second: it does not wait for our timer.
TEST_P(HalfOpenAnswers, an_honest_retransmission_is_answered_at_once) {
    Script s(options());
    s.listen();
    s.inject(open_syn());
    s.expect(SA(0, 1));
    s.advance(900_ms);
    s.inject(open_syn());
    s.expect(SA(0, 1));
}

BOTH_FAMILIES(TimeWaitAnswers);

void to_time_wait(Script& s, bool timestamps = false) {
    s.establish(timestamps ? open_syn().timestamps(1000, 0) : open_syn());
    s.close();
    s.expect(FA(1, 1));
    const Packet fin = FA(1, 2);
    s.inject(timestamps ? fin.timestamps(1000, s.next().options.ts_value) : fin);
    s.forget_sent();
    ASSERT_EQ(s.stack().population().time_wait, 1U);
}

/// Two that disagree about a connection that is over would answer each other's ACKs for ever.
TEST_P(TimeWaitAnswers, case_33_empty_segments_earn_one_ack_in_half_a_second) {
    for (const Packet& packet : {A(0x70000000, 2), SA(0, 2).mss(1460), S(0x80000003).mss(1460)}) {
        Script s(options());
        to_time_wait(s);
        const uint32_t answers = answers_in_ten_seconds(s, packet, A(2, 2));
        EXPECT_GE(answers, 19U);
        EXPECT_LE(answers, 21U);
        EXPECT_EQ(s.counters().tcp_skipped_acks + answers, 10'000U);
        EXPECT_EQ(s.stack().population().time_wait, 1U);
    }
}

/// A FIN that comes again, and data, are answered each time: no ACK of ours brings them forth.
TEST_P(TimeWaitAnswers, case_33_what_bears_an_octet_is_answered_each_time) {
    Script s(options());
    to_time_wait(s);
    for (int i = 0; i < 10; ++i) {
        s.inject(FA(1, 2));
        s.expect(A(2, 2));
        s.inject(PA(500, 2).data(10));
        s.expect(A(2, 2));
    }
    EXPECT_EQ(s.counters().tcp_skipped_acks, 0U);
}

TEST_P(TimeWaitAnswers, case_33_the_limit_is_the_tunables) {
    Config config;
    config.tcp.tcp_invalid_ratelimit = 0;
    Script s(options(config));
    to_time_wait(s);
    EXPECT_EQ(answers_in_ten_seconds(s, A(0x70000000, 2), A(2, 2)), 10'000U);
}

BOTH_FAMILIES(Timestamps);

uint32_t timestamp_for(Script& s, uint16_t port) {
    s.inject(open_syn().timestamps(1, 0).client(port));
    const uint32_t value = s.next().options.ts_value;
    s.inject(R(1).client(port));
    return value;
}

/// At one instant every bit of the difference between two tuples' values is set half of the time.
TEST_P(Timestamps, case_37_those_of_neighbouring_tuples_have_nothing_in_common) {
    Script s(options());
    s.listen();
    constexpr int samples = 2000;
    std::array<int, 32> set{};
    uint32_t before = timestamp_for(s, 19999);
    for (int i = 0; i < samples; ++i) {
        const uint32_t value = timestamp_for(s, static_cast<uint16_t>(20000 + i));
        for (size_t bit = 0; bit < 32; ++bit) set[bit] += (value ^ before) >> bit & 1;
        before = value;
    }
    const double sigma = std::sqrt(samples) / 2;
    for (const int count : set) EXPECT_NEAR(count, samples / 2, 5 * sigma);
}

/// What one tuple shows is how time goes by, not when it began.
TEST_P(Timestamps, case_37_one_tuple_counts_milliseconds_from_nowhere) {
    Script s(options());
    s.listen();
    const uint32_t first = timestamp_for(s, 40000);
    s.advance(5_s);
    EXPECT_EQ(timestamp_for(s, 40000) - first, 5000U);
    const auto uptime = static_cast<uint32_t>(s.now().ns() / 1'000'000);
    EXPECT_GT(first - uptime, 1'000'000U);
}

/// As the wire shows a UDP datagram, or a protocol that nobody speaks.
std::vector<uint8_t> other_protocol(Script& s, uint8_t protocol) {
    std::vector<uint8_t> bytes = s.frame(A(1, 1));
    bytes[14 + 9] = protocol;
    wire::store16(&bytes[14 + 20 + 4], 20);  // UDP's length
    wire::store16(&bytes[14 + 20 + 6], 0);   // and no checksum
    Script::repair_checksums(bytes);
    return bytes;
}

/// A limit on ICMP errors could be probed by an outsider (CVE-2020-25705): so many a second, but
/// nobody knows how many, and other seconds have other limits. Unknown protocols and datagrams in
/// pieces meet silence.
TEST(IcmpErrors, case_40_are_limited_by_a_number_that_nobody_knows) {
    Script s;
    std::vector<uint8_t> piece = other_protocol(s, 17);
    piece[14 + 6] = 0x20;  // more fragments: the rest never comes
    Script::repair_checksums(piece);
    s.inject_raw(piece);
    std::set<uint64_t> limits;
    constexpr uint64_t most = 1000;
    for (int second = 0; second < 12; ++second) {
        const uint64_t before = s.counters().frames_out;
        for (int i = 0; i < 1500; ++i) {
            s.inject_raw(other_protocol(s, 17));
            s.inject_raw(other_protocol(s, 99));
        }
        const uint64_t sent = s.counters().frames_out - before;
        EXPECT_LE(sent, most);
        EXPECT_GE(sent, most - most / 8);
        limits.insert(sent);
        s.advance(1_s);
    }
    EXPECT_GT(limits.size(), 6U);
    EXPECT_EQ(s.drops(Drop::udp_no_socket), 12U * 1500);
    EXPECT_EQ(s.counters().icmp_out_dest_unreachs + s.counters().icmp_out_rate_limited, 12U * 1500);
    const uint64_t before = s.counters().frames_out;
    s.advance(120_s);
    EXPECT_EQ(s.counters().frames_out, before);
}

struct Told {
    Family family;
    uint8_t type;
    uint8_t code;
    bool ends;
};

/// What Linux makes of errors in SYN-RECEIVED (tcp_v4_err, tcp_v6_err).
TEST(HalfOpenErrors, case_39_end_a_half_open_connection_where_linux_says_so) {
    constexpr auto v4 = Family::ipv4;
    constexpr auto v6 = Family::ipv6;
    for (const Told& told : std::initializer_list<Told>{
             {v4, 3, 0, true},  {v4, 3, 1, true},  {v4, 3, 2, false}, {v4, 3, 3, false},
             {v4, 3, 4, false}, {v4, 3, 13, false}, {v4, 4, 0, false}, {v4, 11, 0, true},
             {v4, 12, 0, true}, {v6, 1, 0, false}, {v6, 1, 1, true},  {v6, 1, 3, false},
             {v6, 1, 4, true},  {v6, 2, 0, false}, {v6, 3, 0, false}, {v6, 4, 1, true}}) {
        SCOPED_TRACE(std::to_string(told.type) + ' ' + std::to_string(told.code));
        Script s({.family = told.family});
        s.listen();
        s.inject(open_syn());
        s.expect(SA(0, 1));
        s.inject_icmp_error(told.type, told.code, SA(1, 1));  // not what is in flight
        s.inject_icmp_error(told.type, told.code, SA(0x50000000, 1));
        EXPECT_EQ(s.drops(Drop::icmp_unhandled), 2U);
        EXPECT_EQ(s.stack().population().half_open, 1U);
        s.inject_icmp_error(told.type, told.code, SA(0, 1));
        EXPECT_EQ(s.stack().population().half_open, told.ends ? 0U : 1U);
        EXPECT_EQ(s.counters().tcp_attempt_fails, told.ends ? 1U : 0U);
        if (told.ends) {
            s.advance(100_s);
            s.expect_silence();
        } else {
            s.inject(A(1, 1));
            s.accept();
        }
    }
}

}  // namespace
}  // namespace millrace::testing
