// What counts as a loss, and what only looks like one: order, small segments, lost handshakes.
#include "recovery.h"

namespace millrace::testing {
namespace {

/// A delayed ACK and the first duplicate in one: nothing has overtaken anything.
TEST_F(Recovery, an_ack_beside_the_first_sack_is_no_reordering) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(at(1), {{at(2), at(3)}}));
    s.inject(ack(at(1), {{at(2), at(4)}}));
    s.expect_silence();
    s.inject(ack(at(1), {{at(2), at(5)}}));
    EXPECT_FALSE(s.tcb().sending->reordering_seen);
    s.expect(segment(1));  // at once: no window of time for reordering
}

/// What is acknowledged of a burst that left together says nothing of the rest of it.
TEST_F(Recovery, a_partial_ack_of_a_burst_is_no_reordering) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(at(2)));
    s.inject(ack(at(2), {{at(3), at(4)}}));
    s.inject(ack(at(2), {{at(5), at(6)}, {at(3), at(4)}}));
    EXPECT_FALSE(s.tcb().sending->reordering_seen);
    EXPECT_EQ(counters().tcp_sack_reorder, 0U);
}

/// The newest block comes first; the ACK between was lost.
TEST_F(Recovery, blocks_of_one_ack_have_no_order) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(5), at(6)}, {at(2), at(3)}}));
    EXPECT_FALSE(s.tcb().sending->reordering_seen);
}

TEST_F(Recovery, what_arrives_behind_what_was_sent_later_is_reordering) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(2), at(3)}}));
    s.inject(ack(1, {{at(1), at(3)}}));
    EXPECT_TRUE(s.tcb().sending->reordering_seen);
    EXPECT_EQ(counters().tcp_sack_reorder, 1U);
}

/// While the hole is open the peer echoes what came before it: for RACK a retransmission that is
/// SACKed has arrived all the same, and shows the other one lost again.
TEST_F(Stamped, a_lost_retransmission_shows_by_one_that_is_sacked) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(2), at(10)}}));
    s.expect(segment(0));
    s.inject(ack(1, {{at(2), at(10)}}));
    s.expect(segment(1));
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(10)}}));
    s.expect(segment(0));
    EXPECT_EQ(counters().tcp_lost_retransmit, 1U);
    EXPECT_EQ(counters().tcp_timeouts, 0U);
}

/// RFC 6298 section 5 with RFC 7323: the echoed timestamp is a valid sample, and ends the backoff.
TEST_F(Stamped, an_echo_of_the_retransmission_ends_the_backoff) {
    send_flight(1);
    s.advance_to_next_segment(2_s);  // the probe
    s.forget_sent();
    s.advance_to_next_segment(2_s);
    EXPECT_GT(s.tcb().backoffs, 0);
    ts = s.next().options.ts_value;
    s.advance(100_ms);
    s.inject(ack(at(1)));
    EXPECT_EQ(s.tcb().backoffs, 0);
}

/// RFC 6675 section 5 counts segments, not bytes: three small ones are three.
TEST_F(Recovery, three_small_segments_are_three) {
    s.tcb().no_delay = true;
    for (int i = 0; i < 5; ++i) s.send(100);
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(1, {{101, 201}}));
    s.inject(ack(1, {{101, 301}}));
    s.expect_silence();
    s.inject(ack(1, {{101, 401}}));
    s.expect(A(1, 1).data(100));
    EXPECT_EQ(counters().tcp_sack_recovery, 1U);
}

TEST_F(NoSack, three_duplicates_of_small_segments_are_three) {
    s.tcb().no_delay = true;
    for (int i = 0; i < 5; ++i) s.send(100);
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(1));
    s.inject(ack(1));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::disorder);
    s.inject(ack(1));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_EQ(s.next().seq.value() - s.isn(), 1U);
}

/// RFC 6582 section 3.2 step 2: duplicates of what was sent again for nothing prove no loss.
TEST_F(NoSack, duplicates_after_recovery_begin_no_other_one) {
    send_flight(6);
    s.advance(100_ms);
    for (int i = 0; i < 3; ++i) s.inject(ack(1));
    s.expect(segment(0));
    s.inject(ack(at(6)));  // all of it, exactly to `recover`
    EXPECT_NE(s.tcb().recovery, tcp::Recovery::recovery);
    const uint32_t ssthresh = s.tcb().window.ssthresh;
    send_flight(4);
    for (int i = 0; i < 3; ++i) s.inject(ack(at(6)));
    s.expect_silence();
    EXPECT_EQ(s.tcb().window.ssthresh, ssthresh);
    s.inject(ack(at(7)));  // beyond it: from now on they count again
    for (int i = 0; i < 3; ++i) s.inject(ack(at(7)));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
}

/// Several small segments are no reason to wait for a delayed ACK (RFC 8985 section 7.2).
TEST_F(Recovery, the_tail_of_small_segments_is_probed_after_two_round_trips) {
    s.tcb().no_delay = true;
    s.send(100);
    s.advance(1_ms);
    s.send(100);
    s.forget_sent();
    EXPECT_LT(s.advance_to_next_segment(1_s), 210_ms);
    s.expect(PA(101, 1).data(100));
    EXPECT_EQ(counters().tcp_loss_probes, 1U);
}

/// RFC 8985 section 7.4.2: a plain duplicate answers a probe that was not needed.
TEST_F(Recovery, a_probe_for_nothing_is_known_without_dsack_too) {
    send_flight(2);
    s.advance_to_next_segment(1_s);
    s.expect(A(at(1), 1).data(mss));  // the probe
    s.inject(ack(at(2)));
    s.inject(ack(at(2)));  // its duplicate
    const uint32_t cwnd = s.tcb().window.cwnd;
    send_flight(1);
    s.inject(ack(at(3)));
    EXPECT_GE(s.tcb().window.cwnd, cwnd);
    EXPECT_EQ(counters().tcp_loss_probe_recovery, 0U);
}

/// Whether a probe was needed is remembered over idleness, however long.
TEST_F(Recovery, a_probe_is_judged_after_idleness) {
    for (const bool needed : {false, true}) {
        send_flight(1);
        s.advance_to_next_segment(1_s);
        s.forget_sent();
        s.inject(ack(at(sent / mss)));
        EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
        if (!needed) s.inject(ack(at(sent / mss), {{at(sent / mss - 1), at(sent / mss)}}));
        EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
        s.advance(50_ms);
        send_flight(1);
        s.inject(ack(at(sent / mss)));
        EXPECT_EQ(counters().tcp_loss_probe_recovery, needed ? 1U : 0U);
    }
}

/// RFC 6298 (5.1): who writes all the time puts no timeout off.
TEST_F(Recovery, transmissions_do_not_put_the_probe_off_beyond_the_timeout) {
    s.tcb().no_delay = true;
    Duration waited;
    while (counters().tcp_loss_probes == 0 && waited < 2_s) {
        s.send(10);
        s.advance(20_ms);
        waited += 20_ms;
        s.forget_sent();
    }
    EXPECT_LE(waited, 320_ms);  // SRTT of 100 ms, four times 50 ms of RTTVAR
}

// ---- handshakes that needed more than one SYN

TEST(LostSyn, with_timestamps_a_repeated_syn_ack_is_a_sample_too) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460).timestamps(5000, 0));
    s.next();
    s.advance_to_next_segment(2_s);
    const wire::Segment again = s.next();
    s.advance(30_ms);
    s.inject(A(1, 1).timestamps(5000, again.options.ts_value));
    s.accept();
    EXPECT_NEAR(static_cast<double>(s.tcb().rtt.srtt().ms()), 30, 1);
}

TEST(LostSyn, with_timestamps_the_answer_is_a_sample_all_the_same) {
    Script s;
    s.connect();
    s.next();
    s.advance_to_next_segment(2_s);
    const wire::Segment again = s.next();
    s.advance(30_ms);
    s.inject(SA(0, 1).window(65535).mss(1460).timestamps(5000, again.options.ts_value));
    EXPECT_NEAR(static_cast<double>(s.tcb().rtt.srtt().ms()), 30, 1);
    EXPECT_EQ(s.tcb().window.cwnd, 10U * s.tcb().window.mss);
}

/// RFC 6298 (5.7).
TEST(LostSyn, without_a_sample_data_begins_with_three_seconds) {
    Script s;
    s.connect();
    s.next();
    s.advance_to_next_segment(2_s);
    s.forget_sent();
    s.inject(SA(0, 1).window(65535).mss(1460));
    s.forget_sent();
    s.send(100);
    s.expect(PA(1, 1).data(100));
    EXPECT_NEAR(static_cast<double>(s.advance_to_next_segment(10_s).ms()), 3000, 2);
}

/// RFC 6928 section 2.
TEST(LostSyn, more_than_one_leaves_a_window_of_one_segment) {
    Script s;
    s.connect();
    s.next();
    for (int i = 0; i < 2; ++i) {
        s.advance_to_next_segment(2_s);
        s.forget_sent();
    }
    s.inject(SA(0, 1).window(65535).mss(1460));
    EXPECT_EQ(s.tcb().window.cwnd, s.tcb().window.mss);
}

TEST(LostSyn, a_syn_ack_that_went_out_three_times_does_so_too) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.next();
    for (int i = 0; i < 2; ++i) {
        s.advance_to_next_segment(4_s);
        s.forget_sent();
    }
    s.inject(A(1, 1));
    s.accept();
    EXPECT_EQ(s.tcb().window.cwnd, s.tcb().window.mss);
    EXPECT_FALSE(s.tcb().rtt.has_sample());
}

// ---- what stands beyond the peer's window

/// RFC 9293 section 3.8.6: a FIN takes a sequence number, and room in the window.
TEST(ClosedWindow, a_fin_waits_for_room) {
    Script s;
    s.establish();
    s.inject(A(1, 1).window(0));
    s.shutdown();
    s.expect_silence();
    s.advance_to_next_segment(2_s);
    EXPECT_FALSE(s.next().fin());  // a probe
    s.inject(A(1, 1).window(1));
    s.expect(FA(1, 1));
}

TEST(ClosedWindow, data_that_fills_the_window_leaves_no_room_for_the_fin) {
    Script s;
    s.establish(S(0).window(1000).mss(1460));
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    s.shutdown();
    s.expect_silence();
    s.inject(A(1, 1001).window(1000));
    s.expect(FA(1001, 1));
}

/// Linux's tcp_acceptable_seq: an empty segment at SND.NXT would be refused.
TEST(ClosedWindow, acks_stand_where_the_peer_accepts_them) {
    Script s;
    s.establish();
    s.send(2000);
    s.forget_sent();
    s.inject(A(1, 1).window(500));  // it has shrunk
    s.inject(A(1, 1).window(500).data(100));
    s.inject(A(101, 1).window(500).data(100));
    s.advance(300_ms);
    bool acknowledged = false;
    while (s.anything_sent()) {
        const wire::Segment segment = s.next();
        if (segment.payload_size > 0) continue;
        EXPECT_EQ(segment.seq.value() - s.isn(), 501U);
        acknowledged = true;
    }
    EXPECT_TRUE(acknowledged);
}

}  // namespace
}  // namespace millrace::testing
