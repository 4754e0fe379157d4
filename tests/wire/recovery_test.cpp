// Loss recovery by the packet: SACK, RACK, tail loss probes, PRR, undo, F-RTO, NewReno.
#include "icmp_error.h"
#include "recovery.h"

namespace millrace::testing {
namespace {

TEST_F(Recovery, the_third_sacked_segment_brings_the_hole_again) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(2)}}));
    s.expect_silence();
    s.inject(ack(1, {{at(1), at(3)}}));
    s.expect_silence();
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    s.expect_silence();
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * mss);  // CUBIC's beta: defaults.md
    EXPECT_EQ(counters().tcp_sack_recovery, 1U);
    EXPECT_EQ(counters().tcp_retrans_segs, 1U);
    // Everything arrives: recovery ends, the window is what it had to come down to.
    s.inject(ack(at(10)));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_GE(s.tcb().window.cwnd, 7 * mss);
    EXPECT_LE(s.tcb().window.cwnd, 8 * mss);
    EXPECT_EQ(counters().tcp_timeouts, 0U);
}

/// RFC 6675's pipe: several holes are filled as the window allows, none twice.
TEST_F(Recovery, several_holes_are_filled_once_each) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(2)}}));
    s.inject(ack(1, {{at(3), at(4)}, {at(1), at(2)}}));
    s.inject(ack(1, {{at(5), at(6)}, {at(3), at(4)}, {at(1), at(2)}}));
    s.expect(segment(0));
    s.inject(ack(1, {{at(7), at(8)}, {at(5), at(6)}, {at(3), at(4)}}));
    s.inject(ack(1, {{at(9), at(10)}, {at(7), at(8)}, {at(5), at(6)}}));
    std::vector<uint32_t> again;
    while (s.anything_sent()) again.push_back(s.next().payload_size);
    s.advance(100_ms);
    s.inject(ack(at(2), {{at(3), at(4)}, {at(5), at(6)}, {at(7), at(8)}}));
    while (s.anything_sent()) again.push_back(s.next().payload_size);
    s.advance(100_ms);
    s.inject(ack(at(6), {{at(7), at(8)}, {at(9), at(10)}}));
    while (s.anything_sent()) again.push_back(s.next().payload_size);
    s.advance(100_ms);
    s.inject(ack(at(10)));
    EXPECT_EQ(counters().tcp_retrans_segs, 5U);
    EXPECT_EQ(counters().tcp_timeouts, 0U);
    EXPECT_EQ(again, (std::vector<uint32_t>(4, mss)));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
}

/// RFC 8985: a retransmission that is lost itself is found by what was sent after it.
TEST_F(Recovery, case_66_a_lost_retransmission_is_found_without_a_timeout) {
    send_flight(10);
    s.send(10 * mss);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    s.forget_sent();
    s.advance(50_ms);
    s.inject(ack(1, {{at(1), at(8)}}));  // new data goes out behind the retransmission
    s.inject(ack(1, {{at(1), at(10)}}));
    ASSERT_TRUE(s.anything_sent());
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(12)}}));
    // RACK: what was sent after it has arrived a round trip later.
    EXPECT_EQ(counters().tcp_lost_retransmit, 1U);
    s.expect(segment(0));
    EXPECT_EQ(counters().tcp_timeouts, 0U);
}

/// A tail loss is recovered in about two round trips, not by RTO.
TEST_F(Recovery, case_66_a_tail_loss_is_probed_after_two_round_trips) {
    send_flight(4);
    s.advance(100_ms);
    s.inject(ack(at(2)));  // the last two are lost
    const Duration waited = s.advance_to_next_segment(1_s);
    EXPECT_GE(waited, 200_ms);
    EXPECT_LT(waited, 203_ms);
    s.expect(segment(3));
    EXPECT_EQ(counters().tcp_loss_probes, 1U);
    s.advance(100_ms);
    s.inject(ack(at(2), {{at(3), at(4)}}));
    // The probe arrived and shows the hole; RACK gives the rest a quarter of a round trip.
    if (!s.anything_sent()) s.advance_to_next_segment(30_ms);
    s.expect(segment(2));
    s.advance(100_ms);
    s.inject(ack(at(4)));
    EXPECT_EQ(counters().tcp_timeouts, 0U);
    EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
}

/// An idle connection holds no record of what is sent; one that has met a loss keeps what that has
/// taught.
TEST_F(Recovery, what_a_loss_has_taught_outlasts_idleness) {
    send_flight(4);
    s.advance(100_ms);
    s.inject(ack(at(4)));
    EXPECT_EQ(s.tcb().sending, nullptr);
    EXPECT_EQ(s.stack().population().sendings, 0U);
    send_flight(4);
    s.advance(100_ms);
    s.inject(ack(at(4), {{at(5), at(8)}}));
    s.expect(segment(4));
    s.advance(100_ms);
    s.inject(ack(at(8)));
    ASSERT_NE(s.tcb().sending, nullptr);
    EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
    const uint32_t w_max = s.tcb().sending->control.cubic()->w_max();
    EXPECT_GT(w_max, 0U);
    s.advance(60_s);
    s.expect_silence();
    send_flight(1);
    s.advance(100_ms);
    s.inject(ack(at(9)));
    ASSERT_NE(s.tcb().sending, nullptr);
    EXPECT_EQ(s.tcb().sending->control.cubic()->w_max(), w_max);
    EXPECT_EQ(s.tcb().sending->total_retrans, 1U);
    EXPECT_EQ(s.stack().population().sent_ranges, 0U);
}

/// Who is told of the end may still ask how it went; buffers and ranges have gone.
TEST_F(Recovery, what_was_lost_is_told_after_the_end) {
    send_flight(4);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    tcp::finish(s.stack().env(), s.tcb(), ECONNRESET);
    ASSERT_NE(s.tcb().sending, nullptr);
    EXPECT_EQ(s.tcb().sending->total_retrans, 1U);
    EXPECT_EQ(s.tcb().sending->lost, mss);
    EXPECT_EQ(s.tcb().queued(), 0U);
    EXPECT_EQ(s.stack().population().sent_ranges, 0U);
    s.advance(1_ms);
    EXPECT_EQ(s.stack().population().sendings, 0U);
}

TEST_F(Recovery, a_probe_sends_new_data_where_there_is_some) {
    s.tcb().no_delay = false;
    send_flight(1);
    s.send(10);
    s.expect(PA(at(1), 1).data(10));
    s.send(10);  // Nagle holds it back: one small segment is on its way
    s.expect_silence();
    EXPECT_GE(s.advance_to_next_segment(1_s), 200_ms);
    s.expect(PA(at(1) + 10, 1).data(10));
    EXPECT_EQ(counters().tcp_retrans_segs, 0U);
    s.inject(ack(at(1) + 20));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
}

/// RFC 8985 section 7.4.2: the probe repaired a loss that nobody else has seen.
TEST_F(Recovery, a_probe_that_repairs_a_loss_reduces_the_window) {
    send_flight(1);
    // Not later than the RTO would have come.
    EXPECT_NEAR(static_cast<double>(s.advance_to_next_segment(1_s).ms()), 300, 2);
    EXPECT_EQ(counters().tcp_loss_probes, 1U);
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(at(1)));
    const uint32_t cwnd = s.tcb().window.cwnd;
    send_flight(1);
    s.advance(100_ms);
    s.inject(ack(at(2)));
    EXPECT_EQ(counters().tcp_loss_probe_recovery, 1U);
    EXPECT_LT(s.tcb().window.cwnd, cwnd);
}

TEST_F(Recovery, reordering_is_learned_from_a_duplicate) {
    send_flight(10);
    s.advance(100_ms);
    // Segment 0 is only late: three SACKs make us send it again.
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    s.advance(20_ms);
    s.inject(ack(at(4)));  // the original
    s.forget_sent();
    s.advance(20_ms);
    s.inject(ack(at(4), {{at(0), at(1)}}));  // DSACK: the retransmission was for nothing
    EXPECT_EQ(counters().tcp_dsack_recv, 1U);
    EXPECT_GE(counters().tcp_dsack_undo + counters().tcp_full_undo, 1U);
    EXPECT_GE(s.tcb().window.cwnd, 10 * mss);
    EXPECT_EQ(s.tcb().window.ssthresh, congestion::Window::unlimited);
}

/// The first of each flight arrives a whole round trip behind the others. Each time that it was sent
/// again for nothing, DSACK says so; then the reordering window is wide enough, and stays so.
TEST_F(Recovery, case_66_reordering_by_a_round_trip_costs_nothing_once_rack_has_adapted) {
    constexpr uint32_t flight = 6;
    uint64_t needless = 0;
    const auto round = [&] {
        const uint32_t first = sent / mss;
        const uint64_t before = counters().tcp_retrans_segs;
        send_flight(flight);
        s.advance(100_ms);
        s.inject(ack(at(first), {{at(first + 1), at(first + flight)}}));
        s.advance(100_ms);
        s.inject(ack(at(first + flight)));
        s.advance(100_ms);  // what was sent again meanwhile reports back
        needless = counters().tcp_retrans_segs - before;
        if (needless > 0) s.inject(ack(at(first + flight), {{at(first), at(first + 1)}}));
        s.forget_sent();
        s.advance(1_s);
    };
    int adapting = 0;
    do round();
    while (needless > 0 && ++adapting < 16);
    EXPECT_GE(adapting, 1);
    EXPECT_LE(adapting, 8);
    const uint64_t before = counters().tcp_retrans_segs;
    for (int i = 0; i < 20; ++i) round();
    EXPECT_EQ(counters().tcp_retrans_segs, before);
    EXPECT_EQ(counters().tcp_timeouts, 0U);
    EXPECT_EQ(s.tcb().window.ssthresh, congestion::Window::unlimited);
}

/// RFC 3522: the ACK echoes the original's timestamp.
TEST_F(Stamped, a_spurious_fast_retransmit_is_undone_by_the_echo) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    s.advance(10_ms);
    s.inject(ack(at(10)));  // echoes what was sent before the retransmission
    EXPECT_EQ(counters().tcp_full_undo, 1U);
    EXPECT_GE(s.tcb().window.cwnd, 10 * mss);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
}

/// What one recovery has sent again is still on its way when the next begins: its arrival shows
/// nothing of the second loss, although it echoes a time from before that one's retransmission.
TEST_F(Stamped, a_retransmission_of_an_earlier_recovery_undoes_nothing) {
    send_flight(10);
    s.advance(100_ms);
    s.send(20 * mss);
    s.inject(ack(1, {{at(1), at(9)}}));  // 0 and 9 are lost
    ts = s.next().options.ts_value;
    for (uint32_t i = 10; i < 14; ++i) s.expect(segment(i));
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(at(9)));
    ts = s.next().options.ts_value;  // of 9, again
    s.forget_sent();
    // So is 11, sent again before the first recovery ends.
    s.inject(ack(at(9), {{at(10), at(11)}, {at(12), at(14)}}));
    const wire::Segment again = s.next();
    EXPECT_EQ(again.seq, s.tcb().snd_una + 2 * mss);
    s.advance(50_ms);
    s.inject(ack(at(11), {{at(12), at(14)}}));
    EXPECT_NE(s.tcb().recovery, tcp::Recovery::recovery);
    s.forget_sent();
    // And 14: the second recovery.
    s.inject(ack(at(11), {{at(15), at(17)}, {at(12), at(14)}}));
    s.expect(segment(14));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    const uint32_t reduced = s.tcb().window.ssthresh;
    s.advance(50_ms);
    ts = again.options.ts_value;
    s.inject(ack(at(14), {{at(15), at(17)}}));  // 11 has arrived the second time
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_EQ(s.tcb().window.ssthresh, reduced);
    EXPECT_EQ(counters().tcp_partial_undo + counters().tcp_full_undo, 0U);
}

TEST_F(Stamped, a_spurious_timeout_is_undone) {
    send_flight(10);
    s.advance_to_next_segment(1_s);
    s.forget_sent();  // the probe
    s.advance_to_next_segment(1_s);
    s.expect(segment(0));
    EXPECT_EQ(counters().tcp_timeouts, 1U);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::loss);
    s.advance(1_ms);
    s.inject(ack(at(10)));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_GE(s.tcb().window.cwnd, 10 * mss);
    EXPECT_EQ(counters().tcp_loss_undo + counters().tcp_spurious_rtos, 1U);
    EXPECT_EQ(counters().tcp_retrans_segs, 2U);
}

/// RFC 5682: without timestamps, two new segments after the timeout tell.
TEST_F(Recovery, frto_sends_new_data_and_takes_the_timeout_back) {
    send_flight(10);
    s.send(4 * mss);
    s.advance_to_next_segment(1_s);
    s.forget_sent();
    s.advance_to_next_segment(1_s);
    s.expect(segment(0));
    s.forget_sent();
    s.inject(ack(at(1)));  // could be for the original or for the retransmission
    ASSERT_TRUE(s.anything_sent());
    const wire::Segment fresh = s.next();
    s.forget_sent();
    EXPECT_GE(fresh.seq - s.tcb().snd_una, static_cast<int32_t>(9 * mss));  // new data
    s.inject(ack(at(2)));  // an original that was never sent again: the timeout was spurious
    EXPECT_EQ(counters().tcp_spurious_rtos, 1U);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_GE(s.tcb().window.cwnd, 10 * mss);
}

TEST_F(Recovery, a_timeout_sends_one_segment_and_slow_starts) {
    send_flight(10);
    s.advance_to_next_segment(1_s);
    s.forget_sent();  // the tail loss probe, lost as the rest
    s.advance_to_next_segment(2_s);
    s.expect(segment(0));
    s.expect_silence();
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * mss);
    EXPECT_EQ(s.tcb().window.cwnd, mss);
    s.advance(100_ms);
    s.inject(ack(at(1)));
    EXPECT_EQ(s.tcb().window.cwnd, 2 * mss);
    s.expect(segment(1), "first");
    s.expect(segment(2), "second");
    s.expect_silence();
    s.advance(100_ms);
    s.inject(ack(at(3)));
    for (uint32_t i = 3; i < 7; ++i) s.expect(segment(i));
    s.expect_silence();
    EXPECT_EQ(counters().tcp_timeouts, 1U);
}

/// RFC 2018 section 8: what was SACKed may be dropped by the peer; it is kept until acknowledged.
TEST_F(Recovery, case_43_reneging_is_survived) {
    send_flight(4);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    s.advance(100_ms);
    s.inject(ack(at(1)));  // and of the rest it knows nothing any more
    Duration waited;
    uint32_t next = 1;
    while (next < 4 && waited < 60_s) {
        if (!s.anything_sent()) waited += s.advance_to_next_segment(60_s);
        const wire::Segment segment = s.next();
        if (segment.seq.value() - s.tcb().snd_una.value() == 0) s.inject(ack(at(++next)));
    }
    EXPECT_EQ(counters().tcp_sack_reneging, 1U);
    EXPECT_EQ(s.tcb().snd_una, s.tcb().snd_nxt);
    EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
}

/// Blocks of what was never sent, or lies before the ACK.
TEST_F(Recovery, case_43_impossible_blocks_are_ignored) {
    send_flight(4);
    s.advance(100_ms);
    s.inject(ack(at(1), {{at(1), at(1) + 5'000'000}}));
    s.inject(ack(at(1), {{at(3), at(2)}}));
    s.inject(ack(at(1), {{at(2), at(2)}}));
    EXPECT_EQ(counters().tcp_sack_discard, 3U);
    EXPECT_EQ(s.tcb().sending->sent.sacked(), 0U);
    s.inject(ack(at(4)));
    EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
}

/// One-byte blocks do not make the scoreboard grow without bound.
TEST_F(Recovery, case_42_tiny_blocks_have_a_bound) {
    send_flight(10);
    for (uint32_t i = 0; i < 2000; ++i) {
        const uint32_t b = at(1) + 2 * i;
        s.inject(ack(1, {{b, b + 1}}));
    }
    EXPECT_LE(s.tcb().sending->sent.size(), 10U + 64U + 2U);
    s.forget_sent();
    s.inject(ack(at(10)));
    s.advance(10_s);
    EXPECT_EQ(s.stack().population().sent_ranges, 0U);
}

/// A spurious DSACK must not give the window back.
TEST_F(Recovery, case_47_a_dsack_of_what_was_not_sent_again_undoes_nothing) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    s.inject(ack(1, {{at(0) - 1000, at(0)}, {at(1), at(4)}}));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * mss);
}

/// The network has duplicated an original behind the hole: that proves nothing of the hole.
TEST_F(Recovery, case_47_a_dsack_of_an_original_behind_a_hole_undoes_nothing) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1, {{at(1), at(4)}}));
    s.expect(segment(0));
    s.inject(ack(1, {{at(2), at(3)}, {at(1), at(4)}}));
    EXPECT_EQ(counters().tcp_dsack_recv, 1U);
    EXPECT_EQ(counters().tcp_dsack_undo, 0U);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * mss);
}

/// Linux's tcp_may_raise_cwnd: once the network is known to reorder, SACKs let the window grow, too.
TEST_F(Recovery, under_reordering_the_window_grows_by_what_is_delivered) {
    tcp::borrow_sending(s.stack().env(), s.tcb()).reordering_seen = true;
    send_flight(10);
    s.advance(100_ms);
    const uint32_t cwnd = s.tcb().window.cwnd;
    s.inject(ack(1, {{at(1), at(9)}}));
    EXPECT_EQ(s.tcb().window.cwnd, cwnd + 8 * mss);
    s.inject(ack(at(10)));
    EXPECT_EQ(s.tcb().window.cwnd, cwnd + 10 * mss);  // each byte once
}

/// RFC 5681 section 3.2, RFC 6582, RFC 3042 (limited transmit).
TEST_F(NoSack, newreno_recovers_two_losses_by_partial_acks) {
    send_flight(10);
    s.send(20 * mss);
    s.advance(100_ms);
    s.inject(ack(1));
    s.expect(segment(10));  // limited transmit
    s.inject(ack(1));
    s.expect(segment(11));
    s.inject(ack(1));
    s.expect(segment(0));
    EXPECT_EQ(counters().tcp_reno_recovery, 1U);
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * mss);
    for (int i = 0; i < 6; ++i) s.inject(ack(1));
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(at(5)));  // partial: 5 is missing, too
    s.expect(segment(5));
    s.forget_sent();
    s.advance(100_ms);
    s.inject(ack(at(16)));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_EQ(counters().tcp_timeouts, 0U);
}

/// Duplicates of ACKs, which stood for no segment: what they seemed to say does not outlast what is
/// in flight (Linux's tcp_limit_reno_sacked).
TEST_F(NoSack, duplicates_stand_for_no_more_than_is_in_flight) {
    send_flight(4);
    s.advance(100_ms);
    for (int i = 0; i < 3; ++i) s.inject(ack(1));
    s.expect(segment(0));
    for (const int arrived : {1, 2, 3}) {
        s.inject(ack(at(arrived)));
        s.forget_sent();
        const tcp::Connection& c = s.tcb();
        EXPECT_LE(c.sending->reno_sacked, c.outstanding() - mss) << arrived;
        if (arrived < 3) {
            EXPECT_GE(c.in_flight(), mss) << arrived;
        }
    }
}

/// All that was in flight goes again as the window allows: duplicates of before the timeout make no
/// room (Linux's tcp_process_loss).
TEST_F(NoSack, duplicates_behind_a_timeout_bring_nothing_again) {
    send_flight(10);
    s.advance_to_next_segment(2_s);
    s.expect(segment(0));
    const uint64_t delivered = s.tcb().delivered;
    for (int i = 0; i < 20; ++i) s.inject(ack(1));
    s.expect_silence();
    EXPECT_EQ(s.tcb().sending->reno_sacked, 0U);
    EXPECT_EQ(s.tcb().delivered, delivered);
    EXPECT_EQ(s.tcb().in_flight(), mss);
}

/// RFC 5682: of new data that was sent behind the timeout they do tell.
TEST_F(NoSack, duplicates_of_f_rto_stand_for_what_is_new) {
    send_flight(10);
    s.send(10 * mss);
    s.advance_to_next_segment(2_s);
    s.expect(segment(0));
    s.advance(10_ms);
    s.inject(ack(at(1)));
    s.expect(segment(10));
    s.expect(segment(11));
    s.expect_silence();
    for (int i = 0; i < 6; ++i) {
        s.inject(ack(at(1)));
        s.forget_sent();
        const tcp::Connection& c = s.tcb();
        EXPECT_LE(c.sending->reno_sacked, distance(c.sending->recover, c.snd_nxt));
        EXPECT_LE(c.sending->reno_sacked + c.sending->sent.lost(), c.outstanding());
    }
    EXPECT_GT(s.tcb().sending->reno_sacked, 0U);
}

/// Linux's tcp_simple_retransmit: what a router has dropped for its size has made no duplicate.
TEST_F(NoSack, duplicates_do_not_stand_for_what_was_too_large) {
    send_flight(10);
    s.advance(100_ms);
    for (int i = 0; i < 2; ++i) s.inject(ack(1));
    EXPECT_EQ(s.tcb().sending->reno_sacked, 2 * mss);
    inject_icmp(s, too_big(Family::ipv4, 600));
    s.forget_sent();
    const tcp::Connection& c = s.tcb();
    EXPECT_EQ(c.sending->reno_sacked, 0U);
    EXPECT_EQ(c.in_flight(), c.outstanding() - c.sending->sent.lost());
}

TEST_F(NoSack, two_duplicates_are_no_loss) {
    send_flight(10);
    s.advance(100_ms);
    s.inject(ack(1));
    s.inject(ack(1));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::disorder);
    s.expect_silence();
    s.inject(ack(at(10)));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_EQ(counters().tcp_retrans_segs, 0U);
}

}  // namespace
}  // namespace millrace::testing
