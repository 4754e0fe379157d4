// When a connection is given up: R1, R2, user timeout, closed windows, orphans. Times are exact on
// the virtual clock.
#include "script.h"

namespace millrace::testing {
namespace {

using tcp::State;

constexpr uint32_t mss = 1000;

/// Established; the round trip is so short that the RTO is its floor, 200 ms.
class Timeout : public ::testing::Test {
protected:
    explicit Timeout(const Script::Options& options = {}) : s(options) { s.establish(); }

    void set_user_timeout(Duration timeout) {
        EXPECT_TRUE(tcp::set_user_timeout(s.stack().env(), s.tcb(), timeout));
    }
    /// How long from now until the connection ends, at most `limit`. Probes are answered with a
    /// closed window if asked for.
    Duration time_until_over(Duration limit, bool answer_probes = false) {
        const Instant start = s.now();
        const auto over = [&] {
            const auto population = s.stack().population();
            return population.connections + population.time_wait == 0;
        };
        while (!over() && s.now() - start < limit) {
            s.network.run_while(limit - (s.now() - start),
                                [&] { return s.anything_sent() || over(); });
            if (s.anything_sent() && answer_probes && !over()) {
                s.forget_sent();
                s.inject(A(1, 1).window(0));
            }
            if (s.anything_sent()) ++segments, s.forget_sent();
        }
        return s.now() - start;
    }
    /// The peer's window is closed, and something waits for it.
    void close_window() {
        s.inject(A(1, 1).window(0));
        s.send(100);
        s.expect_silence();
    }

    Script s;
    int segments = 0;
};
using MUST_20 = Timeout;
using MUST_21 = Timeout;
using SHLD_9 = Timeout;
using MUST_36 = Timeout;

/// tcp_retries2 is 15: 0.2 s doubled up to 120 s makes 924.6 s (SHLD-11 asks for 100 s).
TEST_F(MUST_20, unanswered_retransmissions_end_the_connection_at_r2) {
    s.send(100);
    s.expect(PA(1, 1).data(100));
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 924.6, 0.1);
    EXPECT_EQ(segments, 15);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
    EXPECT_EQ(s.counters().tcp_abort_on_timeout, 1U);
}

/// At R1 the way to the peer is doubted: its next hop is asked again, although it was confirmed.
TEST_F(MUST_20, at_r1_the_next_hop_is_asked_again) {
    const auto solicitations = [&] { return s.counters().neighbour_solicitations; };
    s.send(100);  // the first segments have confirmed the neighbour meanwhile
    s.advance(10_ms);
    s.inject(A(1, 101));
    s.forget_sent();
    const uint64_t before = solicitations();
    s.send(100);
    s.advance(2900_ms);  // retransmissions at 0.2, 0.6 and 1.4 s: three, as tcp_retries1 says
    EXPECT_EQ(s.counters().tcp_timeouts, 3U);
    EXPECT_EQ(solicitations(), before);
    s.advance(200_ms);
    EXPECT_EQ(s.counters().tcp_timeouts, 4U);
    EXPECT_EQ(solicitations(), before + 1);
    s.forget_sent();
    s.inject(A(1, 201));  // it was only slow
    s.send(100);
    s.expect(PA(201, 1).data(100));
}

/// SHLD-10: not before three retransmissions.
TEST_F(SHLD_9, trouble_is_reported_between_r1_and_r2) {
    s.send(100);
    s.advance(2900_ms);
    EXPECT_EQ(s.tcb().soft_error, 0);
    s.advance(200_ms);
    EXPECT_EQ(s.tcb().soft_error, ETIMEDOUT);
    EXPECT_FALSE(s.end().closed);
}

/// Linux counts from the first retransmission.
TEST_F(MUST_21, a_user_timeout_is_this_connections_r2) {
    set_user_timeout(10_s);
    s.send(100);
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 10.2, 0.002);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

TEST_F(MUST_21, it_may_be_longer_than_the_tunable_allows) {
    set_user_timeout(5000_s);
    s.send(100);
    EXPECT_NEAR(time_until_over(7200_s).seconds(), 5000.2, 0.01);
}

TEST_F(MUST_21, it_may_be_set_while_nobody_answers) {
    s.send(100);
    s.advance(20_s);
    set_user_timeout(30_s);
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 10.2, 0.01);
}

TEST_F(MUST_21, progress_starts_it_anew) {
    set_user_timeout(5_s);
    for (uint32_t i = 0; i < 5; ++i) {
        s.send(100);
        s.advance(4_s);
        s.inject(A(1, 101 + 100 * i));
    }
    EXPECT_FALSE(s.end().closed);
    s.forget_sent();
}

TEST_F(MUST_21, r2_may_be_infinite) {
    set_user_timeout(Duration::max());
    s.send(100);
    s.advance(86400_s);
    EXPECT_FALSE(s.end().closed);
    s.forget_sent();
    EXPECT_LE(s.advance_to_next_segment(200_s), 121_s);
    s.inject(A(1, 101));
    EXPECT_EQ(s.tcb().outstanding(), 0U);
    // The application's patience ends with the application.
    s.send(100);
    s.close();
    EXPECT_LT(time_until_over(3600_s), 400_s);
}

TEST_F(MUST_21, what_linux_refuses_is_refused) {
    tcp::Env& env = s.stack().env();
    EXPECT_EQ(tcp::set_user_timeout(env, s.tcb(), -1_ms).error(), EINVAL);
    EXPECT_EQ(tcp::set_user_timeout(env, s.tcb(), 2147483648000_ms).error(), EINVAL);
    EXPECT_EQ(tcp::set_syn_retries(s.stack().env(), s.tcb(), 128).error(), EINVAL);
    EXPECT_EQ(tcp::set_linger2(s.stack().env(), s.tcb(), 121_s).error(), EINVAL);
}

// --- SYN

class Attempt : public ::testing::Test {
protected:
    Attempt() {
        s.connect();
        s.next();
    }
    double seconds_until_over() {
        const Instant start = s.now();
        EXPECT_TRUE(s.network.run_while(3600_s, [&] { return s.end().closed; }));
        return (s.now() - start).seconds();
    }
    Script s;
};
using MUST_22 = Attempt;
using MUST_23 = Attempt;

TEST_F(MUST_22, the_default_gives_an_attempt_up_after_131_seconds) {
    EXPECT_NEAR(seconds_until_over(), 131, 0.01);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
    EXPECT_EQ(s.counters().tcp_attempt_fails, 1U);
}

TEST_F(MUST_22, an_attempt_is_reported_and_its_way_doubted_at_r1) {
    s.advance(3500_ms);
    EXPECT_EQ(s.tcb().soft_error, 0);
    s.advance(1_s);
    EXPECT_EQ(s.tcb().soft_error, ETIMEDOUT);
}

TEST_F(MUST_22, the_number_of_retransmissions_is_the_applications) {
    EXPECT_TRUE(tcp::set_syn_retries(s.stack().env(), s.tcb(), 1));  // and four linear ones before it
    EXPECT_NEAR(seconds_until_over(), 7, 0.01);
    EXPECT_EQ(s.counters().tcp_timeouts, 5U);
}

TEST_F(MUST_22, a_user_timeout_counts_from_the_syn) {
    EXPECT_TRUE(tcp::set_user_timeout(s.stack().env(), s.tcb(), 2500_ms));
    EXPECT_NEAR(seconds_until_over(), 2.5, 0.002);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

TEST_F(MUST_22, an_infinite_user_timeout_tries_for_ever) {
    EXPECT_TRUE(tcp::set_user_timeout(s.stack().env(), s.tcb(), Duration::max()));
    s.advance(86400_s);
    EXPECT_FALSE(s.end().closed);
    EXPECT_GT(s.counters().tcp_timeouts, 500U);
}

/// The default is Linux's, under three minutes; one more retransmission is over four.
TEST_F(MUST_23, three_minutes_can_be_had) {
    EXPECT_TRUE(tcp::set_syn_retries(s.stack().env(), s.tcb(), 7));
    s.advance(180_s);
    EXPECT_FALSE(s.end().closed);
    EXPECT_NEAR(seconds_until_over(), 251 - 180, 0.01);
}

// --- closed windows

/// MUST-37.
TEST_F(Timeout, case_50_a_window_stays_closed_as_long_as_somebody_answers) {
    close_window();
    EXPECT_GE(time_until_over(100'000_s, true), 100'000_s);
    EXPECT_FALSE(s.end().closed);
    s.inject(A(1, 1));
    s.expect(PA(1, 1).data(100));
}

TEST_F(MUST_36, probes_back_off_and_end_at_r2_where_nobody_answers) {
    close_window();
    Duration at;
    for (const double expected : {0.2, 0.6, 1.4, 3.0, 6.2, 12.6}) {
        at += s.advance_to_next_segment(100_s);
        s.expect(A(0, 1).data(0));
        EXPECT_NEAR(at.seconds(), expected, 0.002);
    }
    EXPECT_NEAR(time_until_over(3600_s).seconds() + at.seconds(), 924.6, 0.1);
    EXPECT_EQ(segments, 15 - 6);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

/// An answer in between starts the count anew, not the intervals.
TEST_F(MUST_36, only_unanswered_probes_count) {
    close_window();
    s.advance(900_s);
    EXPECT_EQ(s.tcb().probes_out, 15U);
    s.inject(A(1, 1).window(0));
    EXPECT_EQ(s.tcb().probes_out, 0U);
    s.forget_sent();
    const Duration more = time_until_over(7200_s);
    EXPECT_EQ(segments, 15);
    EXPECT_GT(more, 1800_s);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

/// Linux: a closed window must not outlast the user timeout, whoever answers.
TEST_F(Timeout, case_58_a_user_timeout_ends_a_closed_window) {
    set_user_timeout(10_s);
    close_window();
    EXPECT_NEAR(time_until_over(3600_s, true).seconds(), 10.2, 0.002);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

TEST_F(Timeout, a_user_timeout_ends_a_window_that_closed_over_data_in_flight) {
    set_user_timeout(10_s);
    s.send(100);
    s.forget_sent();
    s.inject(A(1, 1).window(0));
    EXPECT_NEAR(time_until_over(3600_s, true).seconds(), 10.2, 0.002);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

// --- orphans (attack case 55)

struct OrphanRetries : Timeout {
    static Script::Options options() {
        Script::Options o;
        o.config.tcp.tcp_orphan_retries = 2;
        o.config.tcp.tcp_max_orphans = 2;
        return o;
    }
    OrphanRetries() : Timeout(options()) {}
};

/// tcp_orphan_retries 0 acts as 8: 0.2 s doubled eight times makes 102.2 s.
TEST_F(Timeout, an_orphans_fin_is_given_up_sooner) {
    s.close();
    s.expect(FA(1, 1));
    EXPECT_EQ(s.stack().env().orphans, 1U);
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 102.2, 0.1);
    EXPECT_EQ(segments, 8);
    EXPECT_EQ(s.stack().env().orphans, 0U);
}

TEST_F(OrphanRetries, say_how_often_a_fin_is_sent_again) {
    s.close();
    s.expect(FA(1, 1));
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 1.4, 0.01);
    EXPECT_EQ(segments, 2);
}

TEST_F(Timeout, last_ack_is_given_up_as_well) {
    s.inject(FA(1, 1));
    s.expect(A(1, 2));
    s.close();
    s.expect(FA(1, 2));
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 102.2, 0.1);
}

/// Nobody will ever take the data: answers do not keep it once the intervals are at their ceiling.
TEST_F(Timeout, an_orphan_does_not_wait_for_a_window_for_ever) {
    close_window();
    s.close();
    EXPECT_NEAR(time_until_over(3600_s, true).seconds(), 324.6, 0.5);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST_F(Timeout, the_user_timeout_holds_after_close) {
    set_user_timeout(10_s);
    s.send(100);
    s.close();
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 10.2, 0.002);
}

/// Who waits for nothing but the peer's FIN is no orphan.
TEST_F(OrphanRetries, case_55_what_is_in_fin_wait_2_does_not_count) {
    s.close();
    s.expect(FA(1, 1));
    EXPECT_EQ(s.stack().env().orphans, 1U);
    s.inject(A(1, 2));
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    EXPECT_EQ(s.stack().env().orphans, 0U);
    s.advance(61_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
    EXPECT_EQ(s.stack().env().orphans, 0U);
}

TEST_F(OrphanRetries, case_55_beyond_tcp_max_orphans_there_is_a_reset) {
    s.close();
    s.expect(FA(1, 1));
    for (const uint16_t client : {uint16_t{40001}, uint16_t{40002}}) {
        s.inject(S(0).window(65535).mss(1460).client(client));
        s.expect(SA(0, 1).client(client));
        s.inject(A(1, 1).client(client));
        s.accept();
        s.close();
        if (client == 40001)
            s.expect(FA(1, 1).client(client));
        else
            s.expect(RA(1, 1).client(client));
    }
    EXPECT_EQ(s.counters().tcp_abort_on_memory, 1U);
    EXPECT_EQ(s.stack().env().orphans, 2U);
    s.advance(70_s);
    EXPECT_EQ(s.stack().env().orphans, 0U);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

struct HalfClosed : Timeout {
    /// Closed by us, acknowledged by the peer, who does not close: a tick of `TimeWaitQueue`, at
    /// the most two, later than asked for.
    void close_half() {
        s.close();
        s.expect(FA(1, 1));
        s.inject(A(1, 2));
    }
};

TEST_F(HalfClosed, linger2_says_how_long) {
    EXPECT_TRUE(tcp::set_linger2(s.stack().env(), s.tcb(), 5_s));
    close_half();
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 5, 0.51);
    EXPECT_EQ(segments, 0);  // silently
}

TEST_F(HalfClosed, a_negative_linger2_resets) {
    EXPECT_TRUE(tcp::set_linger2(s.stack().env(), s.tcb(), -1_s));
    close_half();
    s.expect(RA(2, 1));
    EXPECT_EQ(s.counters().tcp_abort_on_linger, 1U);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST_F(HalfClosed, traffic_does_not_lengthen_it) {
    close_half();
    for (int i = 0; i < 5; ++i) {
        s.advance(10_s);
        s.inject(A(1, 2));
    }
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 10, 0.51);
}

/// One that the application still holds waits for ever (RFC 9293 section 3.6: half-close).
TEST_F(HalfClosed, a_half_closed_connection_that_is_held_stays) {
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    s.advance(7200_s);
    s.inject(A(1, 2));  // gives the stack a turn, and with it the time
    EXPECT_EQ(s.stack().population().connections, 1U);
    s.close();
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 60, 0.51);
}

// --- a loop that stood still

TEST_F(Timeout, case_64_a_stall_of_thirty_seconds_resets_nothing) {
    set_user_timeout(20_s);
    s.send(100);
    s.expect(PA(1, 1).data(100));
    s.network.stall(30_s);
    s.advance({});
    s.expect(PA(1, 1).data(100), "one retransmission");
    s.expect_silence();
    s.network.stall(30_s);  // in the midst of a series
    s.advance({});
    s.expect(PA(1, 1).data(100), "one more");
    s.expect_silence();
    EXPECT_FALSE(s.end().closed);
    s.inject(A(1, 101));
    EXPECT_EQ(s.tcb().outstanding(), 0U);
    // The time in which the loop ran still counts: from the first retransmission, which comes after
    // 0.8 s, since what was sent twice has measured nothing (Karn).
    s.send(100);
    EXPECT_NEAR(time_until_over(3600_s).seconds(), 20.8, 0.01);
}

TEST_F(Timeout, case_64_a_stall_at_the_very_end_leaves_time_for_an_answer) {
    set_user_timeout(10_s);
    s.send(100);
    s.advance(10_s);
    s.forget_sent();
    s.network.stall(30_s);
    s.advance({});
    s.expect(PA(1, 1).data(100));
    EXPECT_FALSE(s.end().closed);
    EXPECT_NEAR(time_until_over(60_s).seconds(), 0.2, 0.002);
}

TEST_F(Timeout, case_64_what_arrived_during_a_stall_comes_before_the_timers) {
    s.send(100);
    s.forget_sent();
    s.network.stall(30_s);
    s.inject(A(1, 101));
    s.advance({});
    s.expect_silence();
    EXPECT_EQ(s.counters().tcp_timeouts, 0U);
}

TEST_F(Attempt, case_64_a_stall_is_one_timeout) {
    s.network.stall(30_s);
    s.advance({});
    EXPECT_EQ(s.counters().tcp_timeouts, 1U);
    EXPECT_FALSE(s.end().closed);
}

}  // namespace
}  // namespace millrace::testing
