// Closing, by RFC 9293's IDs (sections 3.5.3 and 3.6): FIN, RST, TIME-WAIT. Attack cases 49 and 56.
#include "script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

Packet open_syn() { return S(0).window(65535).mss(1460); }

/// Established, closed by us first, then by the peer: RCV.NXT and SND.NXT are 2.
void to_time_wait(Script& s, Packet syn = open_syn(), uint32_t ts = 0) {
    s.establish(syn);
    s.close();
    s.expect(FA(1, 1));
    const bool timestamps = syn.opts->has_timestamps;
    s.inject(timestamps ? FA(1, 2).timestamps(ts, 0) : FA(1, 2));
    s.expect(A(2, 2));
    ASSERT_EQ(s.stack().population().time_wait, 1U);
    ASSERT_EQ(s.stack().population().connections, 0U);
}

BOTH_FAMILIES(SHLD_2);
TEST_P(SHLD_2, a_reset_may_carry_data) {
    Script s(options());
    s.establish(open_syn());
    s.inject(RA(1, 1).data(30));  // RFC 1122: a text that says why
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
    EXPECT_EQ(s.end().received, 0U);
    s.expect_silence();
}

BOTH_FAMILIES(MUST_12);
TEST_P(MUST_12, the_application_learns_whether_it_was_a_close_or_an_abort) {
    Script closed(options());
    closed.establish(open_syn());
    closed.inject(PA(1, 1).data(10));
    closed.inject(FA(11, 1));
    EXPECT_TRUE(closed.end().peer_closed);
    EXPECT_FALSE(closed.end().closed);
    closed.shutdown();
    closed.inject(A(12, 2));
    EXPECT_TRUE(closed.end().closed);
    EXPECT_EQ(closed.end().error, 0);

    Script aborted(options());
    aborted.establish(open_syn());
    aborted.inject(PA(1, 1).data(10));
    aborted.inject(R(11));
    EXPECT_TRUE(aborted.end().closed);
    EXPECT_EQ(aborted.end().error, ECONNRESET);
}

TEST(MAY_1, close_ends_both_directions_for_the_application) {
    Script s;
    s.establish(open_syn());
    s.send(100);
    s.expect(PA(1, 1).data(100));
    s.close();  // what is queued still arrives
    s.expect(FA(101, 1));
    s.inject(A(1, 102));
    s.inject(FA(1, 102));
    s.expect(A(102, 2));
    EXPECT_EQ(s.stack().population().time_wait, 1U);
}

BOTH_FAMILIES(SHLD_3);
TEST_P(SHLD_3, data_after_close_is_answered_with_a_reset) {
    for (const bool acknowledged : {false, true}) {
        Script s(options());
        s.establish(open_syn());
        s.close();
        s.expect(FA(1, 1));
        if (acknowledged) s.inject(A(1, 2));
        s.inject(PA(1, acknowledged ? 2 : 1).data(10));
        const wire::Segment reset = s.next();
        EXPECT_TRUE(reset.rst());
        EXPECT_EQ(s.counters().tcp_abort_on_data, 1U);
        EXPECT_EQ(s.stack().population().connections, 0U);
        EXPECT_EQ(s.stack().population().time_wait, 0U);
    }
}

/// Who aborts in the turn in which the peer's FIN has come still owes him its
/// ACK, and TIME-WAIT.
BOTH_FAMILIES(AbortInTimeWait);
TEST_P(AbortInTimeWait, the_fin_is_acknowledged) {
    Script s(options());
    s.establish(open_syn());
    s.shutdown();
    s.expect(FA(1, 1));
    s.end().abort_at_end = true;
    s.inject(FA(1, 2));
    EXPECT_EQ(s.end().connection, nullptr);
    s.expect(A(2, 2));
    s.expect_silence();
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    EXPECT_EQ(s.stack().population().connections, 0U);
    s.inject(FA(1, 2));  // our ACK was lost
    s.expect(A(2, 2).window(0));
}

/// Our FIN is queued behind data that the peer never took: that is no close in good order.
BOTH_FAMILIES(ResetAfterClose);
TEST_P(ResetAfterClose, in_last_ack_with_data_queued_is_a_reset) {
    Script s(options());
    s.establish(S(0).window(1000).mss(1000));
    s.inject(FA(1, 1).window(1000));
    s.send(10'000);
    s.shutdown();
    ASSERT_EQ(s.tcb().state, State::last_ack);
    s.forget_sent();
    s.inject(R(2));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
    EXPECT_EQ(s.counters().tcp_estab_resets, 1U);
}

TEST_P(ResetAfterClose, in_closing_with_data_queued_is_a_reset) {
    Script s(options());
    s.establish(S(0).window(1000).mss(1000));
    s.send(10'000);
    s.shutdown();
    s.inject(FA(1, 1).window(1000));
    ASSERT_EQ(s.tcb().state, State::closing);
    s.forget_sent();
    s.inject(R(2));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
}

TEST_P(ResetAfterClose, where_only_the_fin_is_unacknowledged_is_a_close) {
    Script s(options());
    s.establish(open_syn());
    s.inject(FA(1, 1));
    s.send(100);
    s.shutdown();
    s.inject(A(2, 101));
    ASSERT_EQ(s.tcb().state, State::last_ack);
    s.inject(R(2));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, 0);
    EXPECT_EQ(s.counters().tcp_estab_resets, 0U);
}

BOTH_FAMILIES(MUST_13);
TEST_P(MUST_13, the_active_closer_stays_in_time_wait_for_two_msl) {
    Script s(options());
    to_time_wait(s);
    s.advance(59900_ms);  // tcp_timewait_len
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    s.advance(700_ms);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
    s.inject(FA(1, 2));  // now nobody knows it
    EXPECT_TRUE(s.next().rst());
}

TEST_P(MUST_13, the_passive_closer_does_not) {
    Script s(options());
    s.establish(open_syn());
    s.inject(FA(1, 1));
    s.expect(A(1, 2));
    s.close();
    s.expect(FA(1, 2));
    s.inject(A(2, 2));
    EXPECT_EQ(s.stack().population().time_wait, 0U);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

BOTH_FAMILIES(MAY_2);
TEST_P(MAY_2, a_syn_beyond_the_old_sequence_reopens) {
    Script s(options());
    to_time_wait(s);
    for (const uint32_t seq : {0U, 1U, 2U, 0x80000003U}) {  // old duplicates
        s.inject(S(seq).window(65535).mss(1460));
        s.expect(A(2, 2));
        s.advance(520_ms);  // tcp_invalid_ratelimit
    }
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    s.inject(S(3).window(65535).mss(1460));
    const wire::Segment answer = s.next();
    EXPECT_TRUE(answer.syn() && answer.has_ack());
    EXPECT_EQ(answer.ack.value(), 1000U + 4);
    EXPECT_EQ(s.stack().population().half_open, 1U);
    EXPECT_EQ(s.counters().tcp_time_wait_reopened, 1U);
}

BOTH_FAMILIES(SHLD_4);
TEST_P(SHLD_4, a_newer_timestamp_reopens_whatever_the_sequence) {
    Script s(options());
    to_time_wait(s, open_syn().timestamps(1000, 0), 1010);
    const Packet low = S(0xf0000000).window(65535).mss(1460);
    s.inject(low.timestamps(1009, 0));  // older: an old duplicate (RFC 6191)
    s.expect(A(2, 2));
    s.advance(520_ms);  // tcp_invalid_ratelimit
    s.inject(low.timestamps(1010, 0));  // neither newer nor beyond
    s.expect(A(2, 2));
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    s.inject(low.timestamps(1011, 0));
    const wire::Segment answer = s.next();
    EXPECT_TRUE(answer.syn() && answer.has_ack());
    EXPECT_EQ(s.stack().population().half_open, 1U);
}

TEST(TimeWait, case_56_a_fin_sent_again_restarts_it) {
    Script s;
    to_time_wait(s);
    for (int i = 0; i < 10; ++i) {
        s.advance(50_s);
        s.inject(FA(1, 2));
        s.expect(A(2, 2));
    }
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    s.advance(61_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
}

BOTH_FAMILIES(TimeWaitReset);
TEST_P(TimeWaitReset, case_56_counts_only_where_tcp_rfc1337_is_off) {
    for (const uint32_t protect : {1U, 0U}) {
        Config config;
        config.tcp.tcp_rfc1337 = protect;
        Script s(options(config));
        to_time_wait(s);
        s.inject(R(1));  // not at RCV.NXT
        s.inject(R(3));
        EXPECT_EQ(s.stack().population().time_wait, 1U);
        s.inject(R(2));
        s.expect_silence();
        s.inject(A(2, 2));
        if (protect != 0)
            s.expect_silence();  // still there
        else
            EXPECT_TRUE(s.next().rst());
    }
}

TEST(TimeWait, case_56_data_and_out_of_window_segments_are_answered_and_change_nothing) {
    Script s;
    to_time_wait(s);
    s.inject(PA(1, 2).data(10));
    s.expect(A(2, 2));
    s.inject(PA(500, 2).data(10));
    s.expect(A(2, 2));
    s.advance(61_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
}

TEST(Fin, case_49_out_of_order_waits_for_what_is_missing) {
    Script s;
    s.establish(open_syn());
    s.inject(FA(201, 1));
    s.expect(A(1, 1));
    EXPECT_EQ(s.tcb().state, State::established);
    s.inject(PA(101, 1).data(100));
    s.expect(A(1, 1));
    EXPECT_FALSE(s.end().peer_closed);
    s.inject(PA(1, 1).data(100));
    s.expect(A(1, 202));
    EXPECT_EQ(s.tcb().state, State::close_wait);
    EXPECT_EQ(s.end().received, 200U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_TRUE(s.end().peer_closed);
}

TEST(Fin, case_49_with_data_comes_after_it) {
    Script s;
    s.establish(open_syn());
    s.inject(FA(1, 1).data(100));
    s.expect(A(1, 102));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().peer_closed);
    EXPECT_EQ(s.tcb().state, State::close_wait);
}

TEST(Fin, case_49_twice_is_acknowledged_twice_and_counts_once) {
    Script s;
    s.establish(open_syn());
    for (int i = 0; i < 3; ++i) {
        s.inject(FA(1, 1));
        s.expect(A(1, 2));
        EXPECT_EQ(s.tcb().state, State::close_wait);
    }
    s.send(10);
    s.expect(PA(1, 2).data(10));
}

TEST(Fin, case_49_data_after_it_is_never_delivered) {
    Script s;
    s.establish(open_syn());
    s.inject(PA(1, 1).data(10));
    s.forget_sent();
    s.inject(FA(11, 1));
    s.expect(A(1, 12));
    s.inject(PA(12, 1).data(10));  // beyond the end of the stream
    EXPECT_EQ(s.end().received, 10U);
    EXPECT_EQ(s.tcb().state, State::close_wait);
    while (s.anything_sent()) EXPECT_EQ(s.next().ack.value(), 1000U + 12);
    s.shutdown();
    s.expect(FA(1, 12));
    s.inject(PA(12, 2).data(10));
    EXPECT_EQ(s.end().received, 10U);
    EXPECT_TRUE(s.end().closed);  // its ACK was good
}

TEST(Fin, case_49_a_second_one_further_on_does_not_move_the_end) {
    Script s;
    s.establish(open_syn());
    s.inject(FA(101, 1));            // the end is at 101 ...
    s.inject(FA(501, 1));            // ... says the first, which is believed
    s.inject(PA(1, 1).data(100));
    EXPECT_EQ(s.tcb().state, State::close_wait);
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().peer_closed);
}

TEST(Fin, case_49_one_that_the_stream_has_passed_is_forgotten) {
    Script s;
    s.establish(open_syn());
    s.inject(FA(51, 1));             // forged, within the window
    s.inject(PA(1, 1).data(100));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_EQ(s.tcb().state, State::established);
    s.inject(FA(101, 1));
    EXPECT_EQ(s.tcb().state, State::close_wait);
    EXPECT_TRUE(s.end().peer_closed);
}

TEST(Fin, case_49_one_beyond_the_end_does_not_shut_out_the_one_in_order) {
    Script s;
    s.establish(open_syn());
    s.inject(FA(501, 1));            // forged, beyond all that there will be
    s.inject(PA(1, 1).data(100));
    s.inject(FA(101, 1));
    EXPECT_EQ(s.tcb().state, State::close_wait);
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_TRUE(s.end().peer_closed);
}

TEST(Fin, case_49_data_queued_beyond_it_is_never_delivered) {
    Script s;
    s.establish(open_syn());
    s.inject(PA(101, 1).data(50));  // beyond the end that the FIN will name
    s.inject(FA(101, 1));
    s.inject(PA(1, 1).data(100));
    while (s.anything_sent()) s.next();
    // Whatever is made of the contradiction: nothing is delivered behind the end of the stream.
    if (s.end().peer_closed) {
        EXPECT_EQ(s.end().received, 100U);
    } else {
        EXPECT_LE(s.end().received, 150U);
    }
    EXPECT_TRUE(s.end().intact);
}

}  // namespace
}  // namespace millrace::testing
