// Keep-alive (RFC 9293 section 3.8.4), by the packet and by the clock.
#include "script.h"

namespace millrace::testing {
namespace {

using tcp::State;

/// Established; probes after 10 s of silence, then every 2 s, three of them.
class Keepalive : public ::testing::Test {
protected:
    explicit Keepalive(bool on = true) {
        s.establish();
        if (on) turn_on();
    }
    void turn_on(Duration idle = 10_s, Duration interval = 2_s, uint32_t probes = 3) {
        EXPECT_TRUE(tcp::set_keepalive(env(), s.tcb(), true, idle, interval, probes));
    }
    void turn_off() {
        EXPECT_TRUE(tcp::set_keepalive(env(), s.tcb(), false, {}, {}, 0));
    }
    /// The next segment is a probe, and comes when it should.
    void expect_probe_after(Duration time) {
        const Duration waited = s.advance_to_next_segment(time + 1_s);
        EXPECT_GE(waited, time - 1_ms);
        EXPECT_LE(waited, time + 1_ms);
        s.expect(A(0, 1).data(0));
    }
    tcp::Env& env() { return s.stack().env(); }

    Script s;
};
using MUST_24 = Keepalive;
using MUST_26 = Keepalive;
using MUST_27 = Keepalive;
using MUST_29 = Keepalive;
using SHLD_12 = Keepalive;

struct MUST_28 : Keepalive {
    MUST_28() : Keepalive(false) {}
};

TEST(MUST_25, nothing_is_sent_unless_the_application_asks_for_it) {
    Script s;
    s.establish();
    s.advance(86400_s);
    s.expect_silence();
    EXPECT_EQ(s.counters().tcp_keepalives, 0U);
    EXPECT_EQ(s.tcb().state, State::established);
}

TEST_F(MUST_24, each_connection_is_turned_on_and_off_by_itself) {
    s.inject(S(0).window(65535).mss(1460).client(40001));
    s.expect(SA(0, 1).client(40001));
    s.inject(A(1, 1).client(40001));
    expect_probe_after(10_s);  // of the first; the second was never turned on
    s.expect_silence();
    s.inject(A(1, 1));
    turn_off();
    s.advance(3600_s);
    s.expect_silence();
    turn_on();
    // It has been silent for long enough already.
    expect_probe_after(0_s);
}

TEST_F(SHLD_12, a_probe_is_empty_and_one_below_what_is_acknowledged) {
    s.send(100);
    s.expect(PA(1, 1).data(100));
    s.inject(A(1, 101));
    s.advance_to_next_segment(11_s);
    s.expect(A(100, 1).data(0));
    EXPECT_EQ(s.counters().tcp_keepalives, 1U);
}

TEST_F(MUST_26, whatever_arrives_begins_the_interval_anew) {
    s.advance(9_s);
    s.inject(PA(1, 1).data(10));
    s.expect(A(1, 11));
    s.advance(9_s);
    s.inject(A(11, 1));  // an ACK alone does, too
    s.expect_silence();
    const Duration waited = s.advance_to_next_segment(20_s);
    EXPECT_NEAR(waited.seconds(), 10, 0.002);
    s.expect(A(0, 11).data(0));
}

TEST_F(MUST_26, no_probe_goes_out_while_something_is_outstanding) {
    s.send(100);
    s.advance(60_s);  // nobody acknowledges it: retransmissions, and nothing else
    EXPECT_GT(s.counters().tcp_timeouts, 5U);
    EXPECT_EQ(s.counters().tcp_keepalives, 0U);
    s.forget_sent();
    s.inject(A(1, 101));
    s.send(100);  // sent once: its round trip ends the backing off (Karn)
    s.inject(A(1, 201).window(0));
    s.send(100);  // a closed window has probes of its own
    s.advance(5_s);
    EXPECT_GT(s.counters().tcp_zero_window_probes, 2U);
    s.inject(A(1, 201).window(0));
    s.advance(20_s);
    EXPECT_EQ(s.counters().tcp_keepalives, 0U);
    EXPECT_EQ(s.tcb().state, State::established);
}

TEST_F(MUST_27, the_times_are_the_applications) {
    turn_on(100_s, 7_s, 2);
    expect_probe_after(100_s);
    expect_probe_after(7_s);
    s.advance(6_s);
    EXPECT_FALSE(s.end().closed);
    s.advance(2_s);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

TEST_F(MUST_27, times_out_of_range_are_refused_and_change_nothing) {
    for (const Duration wrong : {-1_s, 32768_s})
        for (const bool idle : {true, false}) {
            const auto answer = tcp::set_keepalive(env(), s.tcb(), false, idle ? wrong : 0_s,
                                                   idle ? 0_s : wrong, 0);
            ASSERT_FALSE(answer);
            EXPECT_EQ(answer.error(), EINVAL);
        }
    EXPECT_FALSE(tcp::set_keepalive(env(), s.tcb(), false, {}, {}, 128));
    expect_probe_after(10_s);
    turn_on(500_ms, {}, 0);  // counts as a second
    s.inject(A(1, 1));
    expect_probe_after(1_s);
}

TEST(Tunables, keepalive_follows_the_configuration) {
    Script::Options options;
    options.config.tcp.tcp_keepalive_time = 20;
    options.config.tcp.tcp_keepalive_intvl = 3;
    options.config.tcp.tcp_keepalive_probes = 1;
    Script s(options);
    s.establish();
    EXPECT_TRUE(tcp::set_keepalive(s.stack().env(), s.tcb(), true, {}, {}, 0));
    EXPECT_NEAR(s.advance_to_next_segment(30_s).seconds(), 20, 0.002);
    s.expect(A(0, 1).data(0));
    EXPECT_NEAR(s.advance_to_next_segment(30_s).seconds(), 3, 0.002);
    EXPECT_TRUE(s.next().rst());
}

/// Linux's defaults: two hours, then nine probes 75 s apart.
TEST_F(MUST_28, the_first_probe_comes_after_two_hours) {
    turn_on({}, {}, 0);
    expect_probe_after(7200_s);
    for (int i = 1; i < 9; ++i) expect_probe_after(75_s);
    EXPECT_EQ(s.counters().tcp_keepalives, 9U);
    EXPECT_FALSE(s.end().closed);
    EXPECT_NEAR(s.advance_to_next_segment(80_s).seconds(), 75, 0.002);
    s.expect(RA(1, 1));
    EXPECT_EQ(s.end().error, ETIMEDOUT);
    EXPECT_EQ(s.counters().tcp_abort_on_timeout, 1U);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST_F(MUST_29, an_answer_starts_the_count_anew) {
    for (int round = 0; round < 3; ++round) {
        expect_probe_after(10_s);
        expect_probe_after(2_s);
        expect_probe_after(2_s);
        s.advance(1_s);
        s.inject(A(1, 1));  // two were lost, the third was answered
        EXPECT_EQ(s.tcb().probes_out, 0U);
    }
    EXPECT_FALSE(s.end().closed);
    EXPECT_EQ(s.counters().tcp_keepalives, 9U);
}

/// The peer has started anew and knows nothing of us: its reset is a clear answer.
TEST_F(MUST_29, a_reset_in_answer_ends_it) {
    expect_probe_after(10_s);
    s.inject(R(1));
    EXPECT_EQ(s.end().error, ECONNRESET);
    s.advance(60_s);
    s.expect_silence();
}

/// Linux: TCP_USER_TIMEOUT stands in for the count.
TEST_F(Keepalive, the_user_timeout_overrides_the_count) {
    EXPECT_TRUE(tcp::set_user_timeout(env(), s.tcb(), 25_s));
    expect_probe_after(10_s);
    for (int i = 0; i < 7; ++i) expect_probe_after(2_s);
    EXPECT_NEAR(s.advance_to_next_segment(3_s).seconds(), 2, 0.002);  // 26 s: past the 25
    s.expect(RA(1, 1));
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

TEST_F(Keepalive, an_infinite_user_timeout_probes_for_ever) {
    EXPECT_TRUE(tcp::set_user_timeout(env(), s.tcb(), Duration::max()));
    s.advance(3600_s);
    EXPECT_GT(s.counters().tcp_keepalives, 1700U);
    EXPECT_FALSE(s.end().closed);
}

TEST_F(Keepalive, it_watches_over_a_half_closed_connection) {
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    EXPECT_EQ(s.tcb().state, State::fin_wait_2);
    EXPECT_NEAR(s.advance_to_next_segment(11_s).seconds(), 10, 0.002);
    s.expect(A(1, 1).data(0));
}

TEST_F(Keepalive, it_is_kept_for_an_attempt_until_it_succeeds) {
    Script c;
    c.connect();
    c.next();
    EXPECT_TRUE(tcp::set_keepalive(c.stack().env(), c.tcb(), true, 10_s, 2_s, 3));
    EXPECT_EQ(c.tcb().slow_due, Instant::never());
    c.inject(SA(0, 1).window(65535).mss(1460));
    c.expect(A(1, 1));
    EXPECT_NEAR(c.advance_to_next_segment(11_s).seconds(), 10, 0.002);
    c.expect(A(0, 1).data(0));
}

/// The deadline stays where it is; when it is reached, it is looked what has happened since.
TEST_F(Keepalive, traffic_does_not_move_the_deadline) {
    const Instant due = s.tcb().slow_due;
    for (uint32_t i = 0; i < 9; ++i) {
        s.advance(1_s);
        s.inject(PA(1 + 10 * i, 1).data(10));
        s.forget_sent();
        EXPECT_EQ(s.tcb().slow_due, due);
    }
    s.advance(2_s);
    EXPECT_GT(s.tcb().slow_due, due);
    EXPECT_EQ(s.counters().tcp_keepalives, 0U);
}

TEST_F(Keepalive, a_probe_that_finds_no_buffer_is_still_a_probe_when_it_goes) {
    std::vector<buf::Frame> held;
    // The reserve, too: a probe is one of those that it is for.
    for (auto frame = s.stack().pools().control_frame(); frame;
         frame = s.stack().pools().control_frame())
        held.push_back(std::move(frame));
    s.advance(10_s + 1_ms);
    s.expect_silence();
    EXPECT_EQ(s.counters().tcp_keepalives, 1U);
    held.clear();
    s.advance(3_ms);
    s.expect(A(0, 1).data(0));
    EXPECT_EQ(s.counters().tcp_keepalives, 1U);
}

TEST_F(Keepalive, a_timer_does_not_outlive_its_connection) {
    s.advance(5_s);
    s.inject(R(1));
    EXPECT_EQ(s.stack().population().connections, 0U);
    s.inject(S(0).window(65535).mss(1460));  // takes the same place in the pool
    s.expect(SA(0, 1));
    s.inject(A(1, 1));
    s.accept();
    EXPECT_EQ(s.tcb().slow_due, Instant::never());
    s.advance(60_s);
    s.expect_silence();
    EXPECT_EQ(s.counters().tcp_keepalives, 0U);
}

/// Attack case 64: thirty seconds without a turn are one look, not fifteen unanswered probes.
TEST_F(Keepalive, a_stall_of_the_loop_counts_for_nothing) {
    expect_probe_after(10_s);
    expect_probe_after(2_s);
    s.network.stall(30_s);
    s.advance({});
    s.expect(A(0, 1).data(0));
    s.expect_silence();
    EXPECT_EQ(s.tcb().probes_out, 3U);
    s.network.stall(30_s);  // all three are out; the peer may have answered, nobody has looked
    s.advance({});
    s.expect(A(0, 1).data(0));
    EXPECT_FALSE(s.end().closed);
    s.inject(A(1, 1));
    s.advance(9_s);
    s.expect_silence();
    EXPECT_FALSE(s.end().closed);
}

}  // namespace
}  // namespace millrace::testing
