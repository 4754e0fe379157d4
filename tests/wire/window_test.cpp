// The peer's window and ours, by RFC 9293's IDs (section 3.8.6).
#include "script.h"

namespace millrace::testing {
namespace {

using observe::Drop;

Packet open_syn() { return S(0).window(65535).mss(1460); }

/// The window that the last segment looked at offers, unscaled.
uint32_t right_edge(const wire::Segment& segment, uint8_t shift = 0) {
    return segment.ack.value() + (uint32_t{segment.window} << shift);
}

TEST(MUST_1, the_window_is_unsigned) {
    Script s;
    s.establish(S(0).window(40000).mss(1000));
    s.send(60000);
    uint32_t sent = 0;
    // What slow start lets out is acknowledged until the window alone is the limit.
    while (sent < 60000) {
        s.advance({});
        const uint32_t before = sent;
        while (s.anything_sent()) sent += s.next().payload_size;
        ASSERT_GT(sent, before);
        if (sent == 60000) break;
        s.inject(A(1, 1 + sent).window(40000));
    }
    EXPECT_EQ(sent, 60000U);
    EXPECT_EQ(s.tcb().snd_wnd, 40000U);
}

TEST(REC_1, windows_are_kept_in_32_bits) {
    Script s;
    s.establish(S(0).window(65535).mss(1000).scale(14));
    s.inject(A(1, 1).window(65535));
    EXPECT_EQ(s.tcb().snd_wnd, 65535U << 14);
    s.send(3000);
    for (uint32_t seq = 1; seq < 3000; seq += 1000) s.expect(A(seq, 1).data(1000));
}

BOTH_FAMILIES(SHLD_14);
TEST_P(SHLD_14, the_right_edge_of_our_window_never_moves_left) {
    for (const bool scaled : {false, true}) {
        Config config;
        config.tcp.tcp_rmem = 100'001;  // no multiple of any scale
        Script s(options(config));
        s.establish(scaled ? open_syn().scale(7) : open_syn());
        s.end().consume = false;
        const uint8_t shift = scaled ? s.tcb().rcv_wind_shift : 0;
        uint32_t seq = 1;
        // A window is rounded to its unit: by less than that the edge may seem to move (RFC 7323
        // section 2.4).
        const int32_t slack = (1 << shift) - 1;
        std::optional<uint32_t> edge;
        for (uint32_t i = 0; i < 200; ++i) {
            const uint32_t size = 1 + (i * 379) % 1300;
            s.inject(PA(seq, 1).data(size));
            seq = 1 + static_cast<uint32_t>(s.end().received);
            s.advance(300_ms);
            // Now and then the application reads a little.
            if (i % 7 == 3)
                tcp::consumed(s.stack().env(), s.tcb(), static_cast<uint32_t>(i * 3));
            for (s.advance({}); s.anything_sent();) {
                const uint32_t next = right_edge(s.next(), shift);
                const int32_t moved = edge ? static_cast<int32_t>(next - *edge) : 0;
                EXPECT_GE(moved, -slack) << i;
                if (!edge || moved > 0) edge = next;
            }
        }
        EXPECT_GT(seq, 60'000U);
    }
}

TEST(SHLD_15, after_the_window_has_shrunk_nothing_new_goes_beyond_it) {
    Script s;
    s.establish(open_syn());
    s.send(2920);
    s.forget_sent();
    s.inject(A(1, 1).window(1000));  // 2920 are out: the usable window is negative
    s.send(5000);
    s.expect_silence();
    s.inject(A(1, 1461).window(1400));
    s.expect_silence();
    s.inject(A(1, 2921).window(3000));
    s.expect(A(2921, 1).data(1460));
    s.expect(A(4381, 1).data(1460));
    s.expect_silence();
}

TEST(SHLD_16, after_the_window_has_shrunk_what_is_inside_is_sent_again) {
    Script s;
    s.establish(open_syn());
    s.send(2920);
    s.forget_sent();
    s.inject(A(1, 1).window(2000));
    bool again = false;
    for (int i = 0; i < 3; ++i) {
        s.advance_to_next_segment(10_s);
        const wire::Segment segment = s.next();
        if (segment.seq.value() == s.isn() + 1 && segment.payload_size == 1460) again = true;
        s.forget_sent();
    }
    EXPECT_TRUE(again);
    s.inject(A(1, 2921).window(65535));
    s.send(10);
    s.expect(PA(2921, 1).data(10));
}

TEST(SHLD_17, data_beyond_the_right_edge_ends_no_connection) {
    Script s;
    s.establish(open_syn());
    s.send(2920);
    s.forget_sent();
    s.inject(A(1, 1461).window(0));  // the second segment is beyond the edge now
    const Instant start = s.now();
    while (s.now() - start < 7200_s) {
        s.advance_to_next_segment(130_s);
        s.forget_sent();
        s.inject(A(1, 1461).window(0));
        ASSERT_FALSE(s.end().closed);
    }
    s.inject(A(1, 1461).window(65535));
    s.advance_to_next_segment(130_s);
    s.expect(A(1461, 1).data(1460));
}

TEST(MUST_34, a_shrunk_window_is_survived) {
    Script s;
    s.establish(open_syn());
    s.send(14600);
    s.forget_sent();
    for (const uint16_t window : std::initializer_list<uint16_t>{14000, 5000, 1, 0, 1, 0})
        s.inject(A(1, 1).window(window));
    s.inject(A(1, 1461).window(1));
    s.inject(A(1, 14601).window(65535));
    s.forget_sent();
    s.send(100);
    s.advance_to_next_segment(5_s);
    s.expect(PA(14601, 1).data(100));
}

BOTH_FAMILIES(MUST_36);
TEST_P(MUST_36, a_closed_window_is_probed) {
    Script s(options());
    s.establish(open_syn());
    s.inject(A(1, 1).window(0));
    s.send(100);
    s.expect_silence();
    s.advance_to_next_segment(5_s);
    s.expect(A(0, 1));  // an empty segment at SND.UNA - 1, which the peer must answer
    EXPECT_EQ(s.counters().tcp_zero_window_probes, 1U);
    s.inject(A(1, 1).window(1000));
    s.expect(PA(1, 1).data(100));
}

TEST(MUST_35, a_window_that_shrinks_to_zero_is_probed_too) {
    Script s;
    s.establish(open_syn());
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    s.inject(A(1, 1).window(0));  // taken back with data in flight
    for (int i = 0; i < 3; ++i) {
        s.advance_to_next_segment(5_s);
        s.expect(PA(1, 1).data(1000));  // its own probe
        s.inject(A(1, 1).window(0));
    }
    s.inject(A(1, 1).window(1000));
    s.expect(PA(1, 1).data(1000));
}

/// A window that only seems closed, since less than its unit is left of it: what was lost inside
/// goes again, segment by segment, and nobody waits for the application.
TEST(MUST_35, what_a_window_of_zero_hides_arrives_all_the_same) {
    Script s;
    s.establish(open_syn());
    s.send(2 * 1460 + 300);
    s.forget_sent();
    s.inject(A(1, 1).window(0));
    s.advance_to_next_segment(5_s);
    s.expect(A(1, 1).data(1460));
    s.inject(A(1, 1461).window(0));
    s.advance_to_next_segment(5_s);
    s.expect(A(1461, 1).data(1460));
    s.inject(A(1, 2921).window(0));
    s.advance_to_next_segment(5_s);
    s.expect(PA(2921, 1).data(300));
    s.inject(A(1, 3221).window(0));
    EXPECT_EQ(s.tcb().outstanding(), 0U);
    EXPECT_EQ(s.counters().tcp_zero_window_probes, 0U);
}

TEST(SHLD_29, the_first_probe_goes_after_one_retransmission_timeout) {
    Script s;
    s.establish(open_syn());
    s.send(100);
    s.forget_sent();
    s.advance(100_ms);
    s.inject(A(1, 101).window(0));
    // SRTT is at most 100 ms, four times RTTVAR at most 200 ms: the RTO lies between 212 and 300.
    s.send(100);
    const Duration first = s.advance_to_next_segment(5_s);
    EXPECT_GE(first, 212_ms);
    EXPECT_LE(first, 302_ms);
    EXPECT_EQ(s.counters().tcp_zero_window_probes, 1U);
}

TEST(SHLD_30, probes_go_at_intervals_that_double) {
    Script s;
    s.establish(open_syn());
    s.inject(A(1, 1).window(0));
    s.send(100);
    Duration before = s.advance_to_next_segment(5_s);
    s.expect(A(0, 1));
    for (int i = 0; i < 5; ++i) {
        s.inject(A(1, 1).window(0));
        const Duration interval = s.advance_to_next_segment(130_s);
        s.expect(A(0, 1));
        EXPECT_NEAR(interval.seconds(), 2 * before.seconds(), 0.01);
        before = interval;
    }
    for (int i = 0; i < 10; ++i) {
        s.inject(A(1, 1).window(0));
        EXPECT_LE(s.advance_to_next_segment(130_s), 121_s);  // tcp_rto_max_ms
        s.expect(A(0, 1));
    }
}

TEST(MUST_37, a_window_may_stay_closed_for_a_day_while_probes_are_answered) {
    Script s;
    s.establish(open_syn());
    s.inject(A(1, 1).window(0));
    s.send(100);
    const Instant start = s.now();
    while (s.now() - start < 86400_s) {
        s.advance_to_next_segment(130_s);
        s.expect(A(0, 1));
        s.inject(A(1, 1).window(0));
        ASSERT_FALSE(s.end().closed);
    }
    s.inject(A(1, 1).window(100));
    s.expect(PA(1, 1).data(100));
    EXPECT_EQ(s.counters().tcp_abort_on_timeout, 0U);
}

/// The receive buffer is full and nobody reads: 131072 bytes with a window of 65535 at most.
void fill(Script& s) {
    s.end().consume = false;
    uint32_t seq = 1;
    for (int i = 0; i < 200; ++i) {
        s.inject(PA(seq, 1).data(1400));
        const uint32_t next = 1 + static_cast<uint32_t>(s.end().received);
        if (next == seq) break;
        seq = next;
        s.advance(300_ms);
        s.forget_sent();
    }
    s.advance(1_s);
    s.forget_sent();
}

TEST(MAY_8, our_window_may_stay_closed) {
    Script s;
    s.establish(open_syn());
    fill(s);
    const auto received = static_cast<uint32_t>(s.end().received);
    EXPECT_GT(received, 131072U - 1460);  // less than a segment is not offered (MUST-39)
    for (int i = 0; i < 1000; ++i) {
        s.advance(120_s);
        s.inject(A(received, 1));  // the peer's probe
        s.expect(A(1, 1 + received).window(0));
    }
    EXPECT_FALSE(s.end().closed);
    tcp::consumed(s.stack().env(), s.tcb(), received);
    s.advance({});
    s.expect(A(1, 1 + received).window(65535));
}

TEST(U_7, with_a_closed_window_each_segment_is_answered) {
    Script s;
    s.establish(open_syn());
    fill(s);
    const auto received = static_cast<uint32_t>(s.end().received);
    for (int i = 0; i < 20; ++i) {
        s.inject(PA(1 + received, 1).data(1));
        s.expect(A(1, 1 + received).window(0));
    }
    EXPECT_EQ(s.end().received, received);
}

BOTH_FAMILIES(MUST_66);
TEST_P(MUST_66, acks_and_resets_count_while_our_window_is_closed) {
    Script s(options());
    s.establish(open_syn());
    fill(s);
    const auto received = static_cast<uint32_t>(s.end().received);
    s.send(100);
    s.expect(PA(1, 1 + received).data(100));
    s.inject(A(1 + received, 101));
    EXPECT_EQ(s.tcb().snd_una, s.tcb().snd_nxt);
    s.inject(R(1 + received));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
}

/// The peer has filled our window, and the first segment was lost on the way.
BOTH_FAMILIES(RightEdge);
TEST_P(RightEdge, an_ack_there_counts_and_a_reset_does_not) {
    Script s(options());
    s.establish(open_syn());
    s.send(100);
    s.expect(PA(1, 1).data(100));
    const uint32_t edge = 1 + s.tcb().rcv_window();
    s.inject(A(edge, 101).window(30000));
    s.expect_silence();
    EXPECT_EQ(s.tcb().outstanding(), 0U);
    EXPECT_EQ(s.tcb().snd_wnd, 30000U);
    EXPECT_EQ(s.counters().drops_total(), 0U);
    s.inject(R(edge));
    s.expect_silence();
    EXPECT_EQ(s.drops(Drop::tcp_out_of_window), 1U);
    s.inject(A(edge + 1, 101));
    s.expect(A(101, 1));
    EXPECT_EQ(s.drops(Drop::tcp_out_of_window), 2U);
    EXPECT_FALSE(s.end().closed);
}

/// A window of 10000 bytes, of which all but `left` are used up; the application takes nothing.
void use_up_window(Script& s, uint32_t left) {
    s.establish(open_syn());
    s.end().consume = false;
    for (uint32_t at = 1; at < 10'001 - left; at += 1000) s.inject(A(at, 1).data(1000));
    s.forget_sent();
    ASSERT_EQ(s.tcb().rcv_window(), left);
}
Config window_of_10000() {
    Config config;
    config.tcp.tcp_rmem = 10'000;
    return config;
}

TEST_P(RightEdge, a_fin_behind_data_that_fills_the_window_is_taken) {
    Script s(options(window_of_10000()));
    use_up_window(s, 1000);
    s.inject(FA(9001, 1).data(1000));
    s.expect(A(1, 10'002).window(0));
    EXPECT_EQ(s.end().received, 10'000U);
    EXPECT_TRUE(s.end().peer_closed);
    EXPECT_EQ(s.tcb().state, tcp::State::close_wait);
    EXPECT_EQ(s.tcb().rcv_window(), 0U);
}

TEST_P(RightEdge, a_fin_alone_is_taken_with_a_closed_window) {
    Script s(options(window_of_10000()));
    use_up_window(s, 0);
    for (int i = 0; i < 2; ++i) {  // and sent again it reads the same
        s.inject(FA(10'001, 1));
        s.expect(A(1, 10'002).window(0));
        EXPECT_TRUE(s.end().peer_closed);
        EXPECT_EQ(s.tcb().state, tcp::State::close_wait);
    }
}

TEST_P(RightEdge, a_fin_there_waits_for_what_is_missing) {
    Script s(options(window_of_10000()));
    use_up_window(s, 1000);
    s.inject(FA(10'001, 1));
    s.expect(A(1, 9001));
    EXPECT_EQ(s.counters().drops_total(), 0U);
    s.inject(A(9001, 1).data(1000));
    s.expect(A(1, 10'002));
    EXPECT_TRUE(s.end().peer_closed);
}

TEST_P(RightEdge, data_beyond_it_is_cut_off_and_the_fin_with_it) {
    Script s(options(window_of_10000()));
    use_up_window(s, 1000);
    s.inject(FA(9001, 1).data(1001));
    s.expect(A(1, 10'001).window(0));
    EXPECT_EQ(s.end().received, 10'000U);
    EXPECT_FALSE(s.end().peer_closed);
    s.inject(FA(10'001, 1).data(1));  // nor with a byte in front while the window is closed
    s.expect(A(1, 10'001).window(0));
    EXPECT_FALSE(s.end().peer_closed);
}

TEST(MUST_39, our_window_opens_by_segments_not_by_bytes) {
    Script s;
    s.establish(open_syn());
    fill(s);
    const auto received = static_cast<uint32_t>(s.end().received);
    // The application reads a byte at a time; the peer asks again and again. Each step of the edge
    // is a full segment at least.
    uint32_t offered = 0;
    int steps = 0;
    for (uint32_t read = 1; read < 6000; ++read) {
        tcp::consumed(s.stack().env(), s.tcb(), 1);
        s.advance({});
        if (read % 100 == 0) {
            s.advance(1_s);
            s.inject(A(received, 1));
        }
        while (s.anything_sent()) {
            const uint32_t window = s.next().window;
            if (window == offered) continue;
            EXPECT_GE(window, offered + 1460);
            offered = window;
            ++steps;
        }
    }
    EXPECT_GE(steps, 2);
}

}  // namespace
}  // namespace millrace::testing
