// Opening and closing, by the packet.
#include <algorithm>

#include "script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;
using wire::TcpFlags;

class BothFamilies : public ::testing::TestWithParam<Family> {
protected:
    Script::Options options() const {
        Script::Options o;
        o.family = GetParam();
        return o;
    }
    uint16_t mss() const { return GetParam() == Family::ipv4 ? 1460 : 1440; }
};
INSTANTIATE_TEST_SUITE_P(Handshake, BothFamilies,
                         ::testing::Values(Family::ipv4, Family::ipv6), [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(BothFamilies, passive_open_data_and_close) {
    Script s(options());
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1).mss(mss()).window(65535));
    s.inject(A(1, 1));
    s.accept();
    EXPECT_EQ(s.tcb().state, State::established);
    s.inject(PA(1, 1).data(100));
    s.expect(A(1, 101));
    EXPECT_EQ(s.end().received, 100U);
    s.send(200);
    s.expect(PA(1, 101).data(200));
    s.inject(A(101, 201));
    s.inject(FA(101, 201));
    s.expect_silence();  // request and response: ours may carry its ACK
    EXPECT_TRUE(s.end().peer_closed);
    s.close();
    s.expect(FA(201, 102));
    s.inject(A(102, 202));
    s.expect_silence();
    EXPECT_EQ(s.stack().population().connections, 0U);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
}

TEST_P(BothFamilies, active_open_then_active_close_ends_in_time_wait) {
    Script s(options());
    s.connect();
    const wire::Segment syn = s.next();
    EXPECT_EQ(syn.flags, TcpFlags::syn);
    EXPECT_EQ(syn.options.mss, mss());
    EXPECT_TRUE(syn.options.has_timestamps);
    EXPECT_TRUE(syn.options.has_window_scale);
    s.inject(SA(0, 1).window(65535).mss(1460));
    s.expect(A(1, 1));
    EXPECT_TRUE(s.end().connected);
    s.close();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    s.inject(FA(1, 2));
    s.expect(A(2, 2));
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    EXPECT_EQ(s.stack().population().connections, 0U);
    // MUST-13: 2 MSL; a FIN sent again is acknowledged and starts them anew.
    s.advance(50_s);
    s.inject(FA(1, 2));
    s.expect(A(2, 2));
    s.advance(59_s);
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    s.advance(2_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
}

TEST_P(BothFamilies, simultaneous_close_passes_through_closing) {
    Script s(options());
    s.establish();
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(FA(1, 1));
    EXPECT_EQ(s.tcb().state, State::closing);
    s.expect(A(2, 2));
    s.inject(A(2, 2));
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, 0);
}

TEST_P(BothFamilies, half_close_lets_the_peer_go_on) {
    Script s(options());
    s.establish();
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    EXPECT_EQ(s.tcb().state, State::fin_wait_2);
    s.inject(PA(1, 2).data(1000));
    s.expect(A(2, 1001));
    EXPECT_EQ(s.end().received, 1000U);
    s.inject(FA(1001, 2));
    s.expect(A(2, 1002));
    EXPECT_TRUE(s.end().peer_closed);
    EXPECT_TRUE(s.end().closed);
}

TEST(MUST_10, simultaneous_open_gives_one_connection) {
    Script s;
    s.connect();
    s.next();
    s.inject(S(0).window(65535).mss(1460));
    EXPECT_EQ(s.tcb().state, State::syn_received);
    s.expect(SA(0, 1));
    s.inject(SA(0, 1).window(65535).mss(1460));
    EXPECT_EQ(s.tcb().state, State::established);
    EXPECT_TRUE(s.end().connected);
    EXPECT_EQ(s.stack().population().connections, 1U);
}

TEST(SynSent, reset_in_answer_is_refused) {
    Script s;
    s.connect();
    s.next();
    s.inject(RA(0, 1));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNREFUSED);
    s.expect_silence();
}

TEST(SynSent, reset_that_acknowledges_nothing_is_ignored) {
    Script s;
    s.connect();
    s.next();
    s.inject(R(0));
    EXPECT_FALSE(s.end().closed);
    s.inject(RA(0, 77));
    EXPECT_FALSE(s.end().closed);
    s.expect_silence();
}

TEST(SynSent, acknowledgment_of_something_else_is_reset) {
    Script s;
    s.connect();
    s.next();
    s.inject(A(5, 99));
    s.expect(R(99));
    EXPECT_FALSE(s.end().closed);
}

TEST(SynReceived, syn_ack_is_retransmitted_then_given_up) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    int count = 0;
    for (const int64_t expected : {1, 2, 4, 8, 16}) {  // tcp_synack_retries 5
        EXPECT_NEAR(s.advance_to_next_segment(100_s).seconds(), static_cast<double>(expected), 0.01);
        s.expect(SA(0, 1));
        ++count;
    }
    EXPECT_EQ(count, 5);
    s.advance(100_s);
    s.expect_silence();
    EXPECT_EQ(s.stack().population().half_open, 0U);
}

TEST(SynReceived, retransmitted_syn_is_answered_again_and_makes_no_second_entry) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    EXPECT_EQ(s.stack().population().half_open, 1U);
}

TEST(SynReceived, reset_at_rcv_nxt_frees_the_entry) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.inject(R(7));
    EXPECT_EQ(s.stack().population().half_open, 1U);
    s.inject(R(1));
    EXPECT_EQ(s.stack().population().half_open, 0U);
    s.expect_silence();
}

/// RFC 7323 section 3.2, Linux since 6.15: a third ACK has seen a SYN-ACK, and echoes its time.
TEST(SynReceived, an_ack_that_echoes_no_time_of_a_syn_ack_does_not_open) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460).timestamps(1000, 0));
    const uint32_t first = s.next().options.ts_value;
    ASSERT_NEAR(s.advance_to_next_segment(2_s).seconds(), 1.0, 0.01);
    const uint32_t second = s.next().options.ts_value;
    ASSERT_EQ(second, first + 1000);
    s.inject(A(1, 1).timestamps(1001, first - 2));  // of an earlier connection
    s.expect(SA(0, 1));
    s.inject(A(1, 1).timestamps(1001, second + 1));  // of none yet
    s.expect_silence();                              // tcp_invalid_ratelimit
    EXPECT_EQ(s.counters().tcp_tsecr_rejected, 2U);
    s.inject(RA(1, 1).timestamps(1001, first - 2));
    EXPECT_EQ(s.counters().tcp_tsecr_rejected, 3U);
    EXPECT_EQ(s.drops(Drop::tcp_bad_echo), 3U);
    EXPECT_EQ(s.stack().population().half_open, 1U);
    EXPECT_TRUE(s.listener()->accept_queue.empty());
    s.inject(A(1, 1).timestamps(1001, first));  // to the first, whose copy came late
    EXPECT_EQ(s.stack().population().half_open, 0U);
    s.accept();
    EXPECT_EQ(s.tcb().state, tcp::State::established);
}

/// RFC 7323 section 3.2: what a segment without ACK echoes says nothing.
TEST(SynReceived, a_reset_without_ack_ends_it_whatever_it_echoes) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460).timestamps(1000, 0));
    s.next();
    s.inject(R(1).timestamps(1001, 77));
    EXPECT_EQ(s.counters().tcp_tsecr_rejected, 0U);
    EXPECT_EQ(s.stack().population().half_open, 0U);
}

TEST(SynReceived, the_echo_of_an_honest_peer_is_good_at_any_part_of_a_millisecond) {
    for (const int64_t before : {0, 1, 499, 999})
        for (const int64_t later : {0, 1, 2, 500, 999, 1000, 1001}) {
            Script s;
            s.listen();
            s.advance(Duration::from_us(before));
            s.inject(S(0).window(65535).mss(1460).timestamps(1000, 0));
            const uint32_t echo = s.next().options.ts_value;
            s.advance(Duration::from_us(later));
            s.inject(A(1, 1).timestamps(1001, echo));
            EXPECT_EQ(s.stack().population().half_open, 0U) << before << ' ' << later;
            EXPECT_EQ(s.counters().tcp_tsecr_rejected, 0U);
        }
}

/// TCP_DEFER_ACCEPT for longer than 32 bits count microseconds.
TEST(SynReceived, an_echo_may_be_as_old_as_who_waits_for_data) {
    Script s;
    s.listen();
    s.listener()->defer_accept = 100;
    s.inject(S(0).window(65535).mss(1460).timestamps(1000, 0));
    const uint32_t echo = s.next().options.ts_value;
    s.inject(A(1, 1).timestamps(1001, echo));
    s.advance(Duration::from_s(72 * 60));
    s.expect_silence();
    EXPECT_EQ(s.stack().population().half_open, 1U);
    s.inject(PA(1, 1).data(100).timestamps(1002, echo));
    EXPECT_EQ(s.stack().population().half_open, 0U);
    s.accept();
    EXPECT_EQ(s.tcb().state, tcp::State::established);
}

/// As Linux: some peers echo nothing in their third ACK.
TEST(SynReceived, an_echo_of_zero_is_none) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460).timestamps(1000, 0));
    s.next();
    s.inject(A(1, 1).timestamps(1001, 0));
    s.accept();
    EXPECT_EQ(s.tcb().state, tcp::State::established);
}

TEST(SynReceived, data_on_the_third_ack_is_delivered) {
    Script s;
    s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.inject(PA(1, 1).data(300));
    s.accept();
    s.advance({});
    EXPECT_EQ(s.end().received, 300U);
    s.expect(A(1, 301));
}

TEST(Closed, segment_without_listener_is_reset_as_the_rfc_says) {
    Script s;
    s.inject(S(0));
    wire::Segment reset = s.next();
    EXPECT_EQ(reset.flags, TcpFlags::rst | TcpFlags::ack);
    EXPECT_EQ(reset.seq.value(), 0U);
    EXPECT_EQ(reset.ack.value(), 1001U);
    s.inject(A(5, 4242));
    reset = s.next();
    EXPECT_EQ(reset.flags, TcpFlags::rst);
    EXPECT_EQ(reset.seq.value(), 4242U);
    s.inject(R(1));
    s.expect_silence();
    EXPECT_EQ(s.counters().tcp_out_rsts, 2U);
}

TEST(Established, reset_is_reported) {
    Script s;
    s.establish();
    s.inject(R(1));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
    s.expect_silence();
}

TEST(Established, close_with_unread_data_resets) {
    Script s;
    s.establish();
    s.end().consume = false;
    s.inject(PA(1, 1).data(10));
    s.forget_sent();
    // The application has taken it all; then more comes that it does not take.
    s.end().connection->owner = nullptr;
    s.inject(PA(11, 1).data(10));
    s.forget_sent();
    s.close();
    s.expect(RA(1, 21));
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST(Established, abort_resets) {
    Script s;
    s.establish();
    s.send(100);
    s.expect(PA(1, 1).data(100));
    s.abort();
    s.expect(RA(101, 1));
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST(FinWait1, data_for_an_orphan_is_reset) {
    Script s;
    s.establish();
    s.close();
    s.expect(FA(1, 1));
    s.inject(PA(1, 1).data(10));
    const wire::Segment reset = s.next();
    EXPECT_TRUE(reset.rst());
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST(TimeWait, new_syn_with_a_higher_sequence_opens_again) {
    Script s;
    s.establish();
    s.close();
    s.expect(FA(1, 1));
    s.inject(FA(1, 2));
    s.expect(A(2, 2));
    ASSERT_EQ(s.stack().population().time_wait, 1U);
    s.inject(S(1).window(65535));  // not above the last sequence number: an old duplicate
    s.expect(A(2, 2));
    s.inject(R(2));                // RFC 1337
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    s.inject(S(100000).window(65535).mss(1460));
    const wire::Segment answer = s.next();
    EXPECT_TRUE(answer.syn() && answer.has_ack());
    EXPECT_EQ(s.stack().population().half_open, 1U);
}

TEST(Listener, close_resets_half_open_and_unaccepted) {
    Script s;
    tcp::Listener* listener = s.listen();
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.inject(A(1, 1));
    EXPECT_EQ(s.stack().population().connections, 1U);
    s.stack().close_listener(*listener);
    s.advance({});
    s.expect(RA(1, 1));
    EXPECT_EQ(s.stack().population().connections, 0U);
}

TEST(Listener, a_backlog_of_zero_takes_one_connection_and_is_full_until_accept) {
    Script s;
    tcp::Listener* listener = s.listen(80, 0);  // takes one
    s.inject(S(0).window(65535).mss(1460));
    s.expect(SA(0, 1));
    s.inject(A(1, 1));
    EXPECT_EQ(listener->accept_queue.size(), 1U);
    EXPECT_TRUE(listener->accept_queue_full());
    EXPECT_EQ(s.counters().tcp_listen_overflows, 0U);
    s.inject(S(0).window(65535).mss(1460));  // this tuple is known: a challenge, nothing more
    s.forget_sent();
    s.accept();
    EXPECT_FALSE(listener->accept_queue_full());
}

/// Must show 6: all of one tuple in one burst, in every order.
TEST(Burst, syn_ack_data_fin_and_rst_of_one_tuple_in_every_order) {
    std::array<int, 5> order{0, 1, 2, 3, 4};
    int runs = 0;
    do {
        Script s;
        s.listen();
        // Our ISN depends on the tuple and the clock alone: a dry run tells it.
        const uint32_t isn = [&] {
            Script dry;
            dry.listen();
            dry.inject(S(0).window(65535).mss(1460));
            return dry.next().seq.value();
        }();
        const std::array<Packet, 5> packets{S(0).window(65535).mss(1460), A(1, isn + 1),
                                            PA(1, isn + 1).data(100), FA(101, isn + 1), R(102)};
        std::vector<Packet> burst;
        for (const int i : order) burst.push_back(packets[static_cast<size_t>(i)]);
        s.inject_burst(burst);
        // Whatever happened, it was one tuple: at most one entry of any kind.
        const auto population = s.stack().population();
        EXPECT_LE(population.connections + population.half_open, 1U);
        const auto at = [&](int what) { return std::ranges::find(order, what) - order.begin(); };
        // The ACK for a SYN-ACK that has not been sent is no third ACK: nothing gets established
        // within one burst, and the reset (not at RCV.NXT) frees nothing.
        EXPECT_EQ(population.connections, 0U);
        EXPECT_EQ(population.half_open, 1U) << "SYN at place " << at(0);
        // A reset where it belongs frees the entry, and nothing leaks.
        s.inject(R(1));
        EXPECT_EQ(s.stack().population().half_open, 0U);
        s.advance(200_s);
        ++runs;
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(runs, 120);
}

/// The same on an established connection: data, FIN, ACK of ours, RST, a SYN with them.
TEST(Burst, data_fin_rst_and_syn_on_an_established_connection_in_every_order) {
    std::array<int, 5> order{0, 1, 2, 3, 4};
    do {
        Script s;
        s.establish();
        s.send(10);
        s.forget_sent();
        const std::array<Packet, 5> packets{S(500), A(1, 11), PA(1, 11).data(100), FA(101, 11),
                                            R(102)};
        std::vector<Packet> burst;
        for (const int i : order) burst.push_back(packets[static_cast<size_t>(i)]);
        s.inject_burst(burst);
        const auto at = [&](int what) { return std::ranges::find(order, what) - order.begin(); };
        // The RST is at RCV.NXT only behind both data and FIN; then it ends the connection.
        const bool reset = at(4) > at(2) && at(4) > at(3);
        EXPECT_EQ(s.end().connection == nullptr, reset);
        if (!reset) {
            EXPECT_EQ(s.tcb().state, State::close_wait);
            EXPECT_EQ(s.end().received, 100U);
            EXPECT_TRUE(s.end().peer_closed);
            s.close();
            s.forget_sent();
            s.inject(A(102, 12));
        }
        EXPECT_TRUE(s.end().intact);
        EXPECT_EQ(s.stack().population().connections, 0U);
    } while (std::ranges::next_permutation(order).found);
}

BOTH_FAMILIES(EarlySend);
TEST_P(EarlySend, is_refused_and_room_is_announced_with_the_connection) {
    Script s(options());
    s.connect();
    s.next();
    const std::vector<std::byte> data(10);
    const auto refused = tcp::send_copy(s.stack().env(), s.tcb(), data);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().value, EAGAIN);
    EXPECT_EQ(s.end().writable_notices, 0U);
    s.inject(SA(0, 1).mss(1460));
    EXPECT_TRUE(s.end().connected);
    EXPECT_EQ(s.end().writable_notices, 1U);
    EXPECT_TRUE(tcp::send_copy(s.stack().env(), s.tcb(), data));
}

}  // namespace
}  // namespace millrace::testing
