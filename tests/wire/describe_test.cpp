// What `ss` and TCP_INFO say of a connection while it sends.
#include "script.h"
#include "tcp/describe.h"

namespace millrace::testing {
namespace {

constexpr uint32_t mss = 1000;

/// Established; whoever answers does so after 100 ms.
class Described : public ::testing::Test {
protected:
    explicit Described(uint32_t tcp_frto = 2) : s(reno(tcp_frto)) {
        s.establish(S(0).window(65535).mss(mss).scale(7).sack_permitted(), 100_ms);
    }
    static Script::Options reno(uint32_t tcp_frto) {
        Script::Options o;
        o.config.tcp.tcp_congestion_control = CongestionControl::reno;
        o.config.tcp.tcp_frto = tcp_frto;
        return o;
    }
    SocketRecord record() {
        SocketRecord r;
        tcp::describe(s.stack().env(), s.tcb(), r);
        return r;
    }
    static uint64_t in_units(uint64_t rate) { return rate / 64 * 64; }
    void acknowledge(uint32_t segments) {
        s.forget_sent();
        s.advance(100_ms);
        s.inject(A(1, 1 + segments * mss).window(65535));
    }

    Script s;
};

TEST_F(Described, the_delivery_rate_is_what_arrived_in_the_last_round_trip) {
    s.send(100 * mss);
    EXPECT_EQ(record().outstanding, 10 * mss);
    EXPECT_EQ(record().delivery_rate, 0U) << "nobody has answered";
    acknowledge(6);
    EXPECT_EQ(record().delivery_rate, in_units(60'000));
    EXPECT_TRUE(record().delivery_app_limited) << "it was sent from rest";
    acknowledge(10);  // of the first flight still: ten in two hundred milliseconds
    EXPECT_EQ(record().delivery_rate, in_units(60'000)) << "the path could do so much at least";
    acknowledge(22);  // of those that the first answer had let go
    EXPECT_EQ(record().delivery_rate, in_units(80'000)) << "16 in 200 ms";
    EXPECT_FALSE(record().delivery_app_limited);
    s.advance(50_ms);
    EXPECT_EQ(record().delivery_rate, in_units(80'000)) << "as of the last ACK";
}

/// ACKs that come together are no faster path: each sample is as long as its flight took.
TEST_F(Described, a_second_ack_at_once_is_measured_over_the_whole_flight) {
    s.send(100 * mss);
    acknowledge(6);
    s.inject(A(1, 1 + 10 * mss).window(65535));
    EXPECT_EQ(record().delivery_rate, in_units(100'000)) << "ten in 100 ms";
    EXPECT_TRUE(record().delivery_app_limited);
    s.inject(A(1, 1 + 12 * mss).window(65535));
    EXPECT_EQ(record().delivery_rate, in_units(60'000)) << "six since those two were sent";
    EXPECT_FALSE(record().delivery_app_limited);
}

TEST_F(Described, an_exchange_that_has_had_its_answer_is_not_measured) {
    s.send(3 * mss);
    acknowledge(1);
    EXPECT_EQ(record().delivery_rate, in_units(10'000));
    acknowledge(3);
    EXPECT_EQ(record().outstanding, 0U);
    EXPECT_EQ(record().delivery_rate, 0U);
    EXPECT_FALSE(record().delivery_app_limited);
}

TEST_F(Described, what_was_sacked_has_arrived) {
    s.send(10 * mss);
    s.forget_sent();
    s.advance(100_ms);
    s.inject(A(1, 1).window(65535).sack({{1 + 2 * mss, 1 + 7 * mss}}));
    EXPECT_EQ(record().sacked, 5 * mss);
    EXPECT_EQ(record().retrans, 2 * mss) << "the hole";
    EXPECT_EQ(record().delivery_rate, in_units(50'000));
}

class DescribedWithoutFrto : public Described {
protected:
    DescribedWithoutFrto() : Described(0) {}
};

/// The timeout was none: the network had held back ACKs. The first brings what is thought lost out
/// again, and the next, a moment later, seems to answer that. No path is so fast.
TEST_F(DescribedWithoutFrto, a_sample_that_is_shorter_than_the_path_does_not_count) {
    s.send(100 * mss);
    while (s.counters().tcp_timeouts == 0) s.advance(1_ms);
    s.forget_sent();
    s.inject(A(1, 1 + 6 * mss).window(65535));
    const uint64_t rate = record().delivery_rate;
    EXPECT_GT(rate, 0U);
    EXPECT_TRUE(s.anything_sent());
    s.advance(1_ms);
    s.inject(A(1, 1 + 6 * mss + record().outstanding).window(65535));
    EXPECT_EQ(record().delivery_rate, rate);
}

/// Send-Q less what has not been sent is what is under way, in every state, as in Linux.
TEST_F(Described, a_fin_counts_as_its_octet) {
    s.send(12 * mss);
    s.shutdown();
    EXPECT_EQ(record().send_queue, 12 * mss + 1);
    EXPECT_EQ(record().unsent, 2 * mss + 1);
    EXPECT_EQ(record().outstanding, 10 * mss);
    acknowledge(10);
    EXPECT_EQ(record().send_queue, 2 * mss + 1);
    EXPECT_EQ(record().unsent, 0U);
    EXPECT_EQ(record().outstanding, 2 * mss + 1);
    acknowledge(12);
    EXPECT_EQ(record().send_queue, 1U);
    s.inject(A(1, 2 + 12 * mss).window(65535));
    EXPECT_EQ(record().send_queue, 0U);
    EXPECT_EQ(record().outstanding, 0U);
}

TEST(DescribedOpening, a_syn_counts_as_its_octet) {
    Script s;
    s.connect();
    s.next();
    SocketRecord r;
    tcp::describe(s.stack().env(), s.tcb(), r);
    EXPECT_EQ(r.state, SocketState::syn_sent);
    EXPECT_EQ(r.send_queue, 1U);
    EXPECT_EQ(r.unsent, 0U);
    EXPECT_EQ(r.outstanding, 1U);
}

}  // namespace
}  // namespace millrace::testing
