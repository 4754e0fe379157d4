// Attack cases 25, 26, 34 and 35: openings out of the ordinary, and what must not be guessed.
#include <algorithm>
#include <cmath>
#include <set>

#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

Packet open_syn() { return S(0).window(65535).mss(1460); }

BOTH_FAMILIES(Opening);

TEST_P(Opening, case_25_simultaneous_open_is_one_connection) {
    Script s(options());
    s.connect();
    s.next();
    s.inject(open_syn());
    s.expect(SA(0, 1));
    EXPECT_EQ(s.tcb().state, State::syn_received);
    s.inject(SA(0, 1).window(65535).mss(1460));  // what the peer makes of our SYN
    EXPECT_EQ(s.tcb().state, State::established);
    s.forget_sent();
    s.send(100);
    s.expect(PA(1, 1).data(100));
    s.inject(PA(1, 101).data(100));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_EQ(s.stack().population().connections, 1U);
    EXPECT_EQ(s.stack().population().half_open, 0U);
}

TEST_P(Opening, case_25_simultaneous_open_also_by_a_bare_ack) {
    Script s(options());
    s.connect();
    s.next();
    s.inject(open_syn());
    s.expect(SA(0, 1));
    s.inject(A(1, 1));  // the peer has had our SYN, its SYN-ACK was lost
    EXPECT_EQ(s.tcb().state, State::established);
    EXPECT_TRUE(s.end().connected);
    EXPECT_EQ(s.stack().population().connections, 1U);
}

/// The peer answers with ACK and SYN in two segments (or with the SYN alone).
TEST_P(Opening, case_25_split_handshake_is_one_connection) {
    for (const bool acknowledged : {true, false}) {
        Script s(options());
        s.connect();
        s.next();
        if (acknowledged) s.inject(A(0, 1));  // no SYN: nothing to establish with
        s.expect_silence();
        EXPECT_EQ(s.tcb().state, State::syn_sent);
        s.inject(open_syn());
        s.expect(SA(0, 1));
        s.inject(A(1, 1));
        EXPECT_EQ(s.tcb().state, State::established);
        s.forget_sent();
        s.inject(PA(1, 1).data(50));
        EXPECT_EQ(s.end().received, 50U);
        EXPECT_EQ(s.stack().population().connections, 1U);
    }
}

TEST_P(Opening, case_25_a_connection_to_itself_is_one_connection) {
    Pair pair(3);
    const SocketAddress self{Pair::address(1, GetParam()), 50000};
    Endpoint& end = pair.client.connect(
        self, {.salt_out = 1, .salt_in = 1, .to_send = 100'000, .shutdown_when_sent = true,
               .close_at_end = true},
        self);
    EXPECT_TRUE(pair.network.run_while(60_s, [&] { return end.connection == nullptr; }));
    EXPECT_TRUE(end.connected);
    EXPECT_EQ(end.error, 0);
    EXPECT_EQ(end.received, 100'000U);
    EXPECT_TRUE(end.intact);
    pair.expect_nothing_left();
}

TEST_P(Opening, case_26_data_on_a_syn_is_not_delivered_early) {
    Script s(options());
    s.listen();
    s.inject(open_syn().data(100));
    s.expect(SA(0, 1));  // the data is not acknowledged: the peer will send it again
    EXPECT_EQ(s.stack().accept(*s.listener()), nullptr);
    EXPECT_EQ(s.counters().payload_received, 0U);
    s.inject(A(1, 1));
    s.accept();
    EXPECT_EQ(s.end().received, 0U);
    s.inject(PA(1, 1).data(100));
    s.expect(A(1, 101));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().intact);
}

TEST_P(Opening, case_26_data_on_a_syn_ack_waits_for_the_connection) {
    Script s(options());
    s.connect();
    s.next();
    s.inject(SA(0, 1).window(65535).mss(1460).data(100));
    const wire::Segment answer = s.next();
    EXPECT_EQ(answer.flags, wire::TcpFlags::ack);
    EXPECT_TRUE(s.end().connected);
    // Taken now or sent again: what was acknowledged is what has been delivered.
    EXPECT_EQ(answer.ack.value(), 1001U + s.end().received);
    s.inject(PA(1, 1).data(100));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().intact);
}

TEST_P(Opening, case_26_data_on_a_crossing_syn_is_not_delivered_early) {
    Script s(options());
    s.connect();
    s.next();
    s.inject(open_syn().data(100));
    s.expect(SA(0, 1));
    EXPECT_EQ(s.end().received, 0U);
    s.inject(A(1, 1));
    s.inject(PA(1, 1).data(100));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().intact);
}

/// Every bit of the difference between the ISNs of neighbouring tuples is set half of the time.
TEST_P(Opening, case_34_isns_of_neighbouring_tuples_have_nothing_in_common) {
    Script s(options());
    s.listen();
    constexpr int samples = 2000;
    std::array<int, 32> set{};
    uint32_t before = 0;
    std::set<uint32_t> differences;
    for (int i = 0; i < samples; ++i) {
        const auto port = static_cast<uint16_t>(20000 + i);
        s.inject(open_syn().client(port));
        const uint32_t isn = s.next().seq.value();
        s.inject(R(1).client(port));
        for (size_t bit = 0; bit < 32; ++bit) set[bit] += (isn ^ before) >> bit & 1;
        differences.insert(isn - before);
        before = isn;
    }
    // Five standard deviations of a fair coin.
    const double sigma = std::sqrt(samples) / 2;
    for (const int count : set) EXPECT_NEAR(count, samples / 2, 5 * sigma);
    EXPECT_GE(differences.size(), samples - 2U);
}

TEST_P(Opening, case_34_isns_of_one_tuple_rise_with_time) {
    Script s(options());
    s.listen();
    std::optional<Seq> before;
    for (int i = 0; i < 1000; ++i) {
        s.inject(open_syn());
        const Seq isn = s.next().seq;
        s.inject(R(1));
        if (before) {
            EXPECT_GT(isn, *before);
        }
        before = isn;
        s.advance(Duration::from_us(4 + 100 * i));
    }
}

/// What a server learns of our ports says nothing of where those to another server start.
TEST_P(Opening, case_35_ports_to_one_destination_do_not_tell_those_to_another) {
    std::set<int> distances;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        Pair pair(seed);
        Endpoint end;
        std::array<int, 2> ports{};
        for (uint8_t i = 0; i < 2; ++i) {
            const auto c = pair.a.stack().connect(
                {Pair::address(static_cast<uint8_t>(10 + i), GetParam()), 80}, {}, &end);
            ASSERT_TRUE(c);
            ports[i] = (*c)->key.local_port;
            EXPECT_GE(ports[i], 32768);
            EXPECT_LE(ports[i], 60999);
            tcp::abort(pair.a.stack().env(), **c);
        }
        distances.insert(ports[1] - ports[0]);
    }
    EXPECT_GE(distances.size(), 38U);
}

}  // namespace
}  // namespace millrace::testing
