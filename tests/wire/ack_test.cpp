// When and what we acknowledge, by RFC 9293's IDs (sections 3.8.6.3 and 3.10.7.4).
#include "script.h"

namespace millrace::testing {
namespace {

/// With a scale, so that the window never hinges on 65535.
Packet open_syn() { return S(0).window(65535).mss(1460).scale(7); }

/// Sends bytes until the quick ACKs of the start are spent; answers the next sequence number.
uint32_t settle(Script& s) {
    uint32_t seq = 1;
    for (int i = 0; i < 40; ++i, seq += 100) {
        s.inject(PA(seq, 1).data(100));
        s.advance(100_ms);
    }
    s.forget_sent();
    return seq;
}

BOTH_FAMILIES(MUST_58);
TEST_P(MUST_58, a_burst_in_order_is_acknowledged_once) {
    Script s(options());
    s.establish(open_syn());
    std::vector<Packet> burst;
    for (uint32_t i = 0; i < 10; ++i) burst.push_back(PA(1 + i * 1000, 1).data(1000));
    s.inject_burst(burst);
    s.expect(A(1, 10001));
    s.expect_silence();
    EXPECT_EQ(s.end().received, 10000U);
}

TEST(MUST_59, all_that_is_queued_is_processed_before_an_ack_goes) {
    Script s;
    s.establish(open_syn());
    // A hole that the burst itself fills: what is said last speaks of all of it.
    s.inject_burst({PA(1, 1).data(100), PA(201, 1).data(100), PA(301, 1).data(100),
                    PA(101, 1).data(100), FA(401, 1)});
    wire::Segment last;
    while (s.anything_sent()) last = s.next();
    EXPECT_EQ(last.ack.value(), 1000U + 402);
    EXPECT_EQ(s.end().received, 400U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_TRUE(s.end().peer_closed);
}

BOTH_FAMILIES(SHLD_31);
TEST_P(SHLD_31, segments_out_of_order_are_queued) {
    Script s(options());
    s.establish(open_syn());
    s.inject(PA(301, 1).data(100));
    s.inject(PA(101, 1).data(100));
    s.forget_sent();
    EXPECT_EQ(s.end().received, 0U);
    EXPECT_EQ(s.counters().tcp_ofo_queue, 2U);
    s.inject(PA(1, 1).data(100));
    s.expect(A(1, 201));
    EXPECT_EQ(s.end().received, 200U);
    s.inject(PA(201, 1).data(100));
    s.expect(A(1, 401));
    EXPECT_EQ(s.end().received, 400U);
    EXPECT_TRUE(s.end().intact);
}

TEST(MAY_13, a_segment_beyond_the_left_edge_is_acknowledged_at_once) {
    Script s;
    s.establish(open_syn());
    const uint32_t seq = settle(s);
    for (uint32_t i = 1; i <= 3; ++i) {
        s.inject(PA(seq + i * 100, 1).data(100));
        s.expect(A(1, seq));
    }
}

TEST(SHLD_18, an_ack_is_delayed) {
    Script s;
    s.establish(open_syn());
    const uint32_t seq = settle(s);
    const uint64_t before = s.counters().tcp_delayed_acks;
    s.inject(PA(seq, 1).data(100));
    s.expect_silence();
    EXPECT_GE(s.advance_to_next_segment(1_s), 40_ms);
    s.expect(A(1, seq + 100));
    EXPECT_EQ(s.counters().tcp_delayed_acks, before + 1);
    // An answer that the application gives in time carries it.
    s.inject(PA(seq + 100, 1).data(100));
    s.expect_silence();
    s.send(10);
    s.expect(PA(1, seq + 200).data(10));
    s.inject(A(seq + 200, 11));
    s.advance(1_s);
    s.expect_silence();
}

BOTH_FAMILIES(MUST_40);
TEST_P(MUST_40, no_ack_waits_for_half_a_second) {
    Script s(options());
    s.establish(open_syn());
    uint32_t seq = 1;
    for (int i = 0; i < 60; ++i, seq += 100) {  // from the first segment on, at any distance
        s.inject(PA(seq, 1).data(100));
        if (!s.anything_sent()) {
            EXPECT_LT(s.advance_to_next_segment(1_s), 500_ms);
        }
        s.expect(A(1, seq + 100));
        s.advance(Duration::from_ms(i * 10));
    }
}

BOTH_FAMILIES(SHLD_19);
TEST_P(SHLD_19, every_second_full_segment_is_acknowledged_at_once) {
    Script s(options());
    s.establish(open_syn());
    uint32_t seq = settle(s);
    for (int pair = 0; pair < 10; ++pair) {
        s.inject(PA(seq, 1).data(mss()));
        s.forget_sent();
        s.inject(PA(seq + mss(), 1).data(mss()));
        seq += 2U * mss();
        s.expect(A(1, seq));
        s.advance(1_ms);
    }
    EXPECT_EQ(s.end().received, seq - 1);
}

TEST(MAY_17, data_is_delivered_whether_it_is_pushed_or_not) {
    Script s;
    s.establish(open_syn());
    s.inject(A(1, 1).data(100));
    EXPECT_EQ(s.end().received, 100U);
    s.inject(PA(101, 1).data(100));
    EXPECT_EQ(s.end().received, 200U);
}

}  // namespace
}  // namespace millrace::testing
