// Blind attacks (RFC 5961) and what else comes from outside the window: attack cases 29 to 33.
#include "script.h"
#include "tcp/ingress.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

/// Established, with 100 bytes received and 100 sent and acknowledged: RCV.NXT and SND.NXT are 101.
void converse(Script& s) {
    s.establish(S(0).window(65535).mss(1460));
    s.inject(PA(1, 1).data(100));
    s.expect(A(1, 101));
    s.send(100);
    s.expect(PA(1, 101).data(100));
    s.inject(A(101, 101));
    s.expect_silence();
}

BOTH_FAMILIES(U_2);
TEST_P(U_2, case_29_a_reset_outside_the_window_is_dropped_silently) {
    Script s(options());
    converse(s);
    for (const uint32_t seq : {0U, 100U, 101U + 131072, 0x80000000U, 0xf0000000U}) s.inject(R(seq));
    s.expect_silence();
    EXPECT_EQ(s.drops(Drop::tcp_out_of_window), 5U);
    EXPECT_EQ(s.counters().tcp_challenge_acks, 0U);
    EXPECT_EQ(s.tcb().state, State::established);
}

TEST_P(U_2, case_29_a_reset_in_the_window_is_challenged) {
    Script s(options());
    converse(s);
    s.inject(R(102));
    s.expect(A(101, 101));
    s.advance(1_s);
    s.inject(R(101 + 30000));
    s.expect(A(101, 101));
    EXPECT_EQ(s.drops(Drop::tcp_challenge), 2U);
    EXPECT_EQ(s.counters().tcp_challenge_acks, 2U);
    EXPECT_EQ(s.tcb().state, State::established);
    // The honest peer, which has lost the connection, answers the challenge with the exact number.
    s.inject(R(101));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
}

TEST_P(U_2, case_29_a_reset_at_rcv_nxt_ends_every_state) {
    const auto reach = [&](Script& s, State state) {
        converse(s);
        switch (state) {
            case State::close_wait: s.inject(FA(101, 101)); return;
            case State::last_ack:
                s.inject(FA(101, 101));
                s.shutdown();
                return;
            case State::established: return;
            default: break;
        }
        s.shutdown();
        if (state == State::fin_wait_2) s.inject(A(101, 102));
        if (state == State::closing) s.inject(FA(101, 101));
    };
    for (const State state : {State::established, State::close_wait, State::last_ack,
                              State::fin_wait_1, State::fin_wait_2, State::closing}) {
        Script s(options());
        reach(s, state);
        ASSERT_EQ(s.tcb().state, state);
        s.forget_sent();
        const bool fin = state == State::close_wait || state == State::last_ack ||
                         state == State::closing;
        s.inject(R(fin ? 102 : 101));
        EXPECT_TRUE(s.end().closed) << tcp::name(state);
        EXPECT_EQ(s.stack().population().connections, 0U) << tcp::name(state);
        s.expect_silence();
    }
}

BOTH_FAMILIES(U_4);
TEST_P(U_4, case_30_a_syn_on_a_connection_is_challenged_whatever_its_sequence) {
    Script s(options());
    converse(s);
    uint64_t challenges = 0;
    for (const uint32_t seq : {0U, 100U, 101U, 5000U, 101U + 131072, 0x80000000U}) {
        for (const Packet& syn : {S(seq).mss(1460), SA(seq, 101).mss(1460)}) {
            s.inject(syn);
            s.expect(A(101, 101), "SYN at " + std::to_string(seq));
            EXPECT_EQ(s.counters().tcp_challenge_acks, ++challenges);
            s.advance(1_s);
        }
    }
    EXPECT_EQ(s.tcb().state, State::established);
    s.send(10);  // as if nothing had happened
    s.expect(PA(101, 101).data(10));
}

BOTH_FAMILIES(U_5);
TEST_P(U_5, case_31_an_ack_outside_what_was_sent_is_dropped_and_answered) {
    Script s(options());
    converse(s);
    s.send(100);
    s.expect(PA(101, 101).data(100));
    uint64_t bad = 0;
    // Above SND.NXT; below SND.UNA by more than the largest window there was.
    for (const uint32_t ack : {202U, 70000U, 0x7fff0000U, 101U - 65536, 0x90000000U}) {
        s.inject(PA(101, ack).data(10));
        s.expect(A(201, 101));
        EXPECT_EQ(s.drops(Drop::tcp_bad_ack), ++bad);
        EXPECT_EQ(s.end().received, 100U);
        s.advance(600_ms);
        s.forget_sent();  // the 100 bytes may go again meanwhile
    }
    // An old one within the largest window is fine: its data counts.
    s.inject(PA(101, 1).data(10));
    EXPECT_EQ(s.end().received, 110U);
}

TEST(MAY_12, injected_data_needs_a_plausible_ack) {
    Script s;
    converse(s);
    // An off-path attacker who has met the window still has to meet the acknowledgment.
    for (uint32_t i = 0; i < 64; ++i) {
        const uint32_t ack = 101 + 65536 + i * 0x03f00000;
        s.inject(PA(101, ack).data(10));
    }
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_EQ(s.drops(Drop::tcp_bad_ack), 64U);
    EXPECT_EQ(s.counters().tcp_challenge_acks, 1U);  // tcp_invalid_ratelimit
}

TEST(ChallengeAck, case_32_one_connections_limit_is_no_others) {
    Script s;
    s.listen();
    const auto connect_from = [&](uint16_t port) {
        s.inject(S(0).window(65535).mss(1460).client(port));
        s.next();
        s.inject(A(1, 1).client(port));
        s.accept();
    };
    connect_from(40000);
    for (int i = 0; i < 1000; ++i) s.inject(R(2));
    EXPECT_EQ(s.counters().tcp_challenge_acks, 1U);
    s.forget_sent();
    connect_from(41000);
    s.inject(R(2).client(41000));
    s.expect(A(1, 1).client(41000));
    EXPECT_EQ(s.counters().tcp_challenge_acks, 2U);
}

TEST(ChallengeAck, case_33_segments_that_cannot_be_right_earn_one_ack_in_half_a_second) {
    Script s;
    converse(s);
    // The peer disagrees about sequence numbers and answers each ACK of ours with one of its own.
    uint32_t answers = 0;
    const Instant start = s.now();
    s.inject(A(0x70000000, 101));
    while (s.now() - start < 10_s) {
        while (s.anything_sent()) {
            s.next();
            ++answers;
            s.inject(A(0x70000000, 101));
        }
        s.advance(1_ms);
        s.inject(A(0x70000000, 101));
    }
    EXPECT_LE(answers, 21U);
    EXPECT_GE(answers, 19U);
    EXPECT_GT(s.counters().tcp_skipped_acks, 9000U);
}

TEST(ChallengeAck, case_32_a_syn_with_data_counts_against_the_limit) {
    Script s;
    converse(s);
    for (int i = 0; i < 1000; ++i) s.inject(S(0x70000000).data(100).mss(1460));
    EXPECT_EQ(s.counters().tcp_challenge_acks, 1U);
    EXPECT_EQ(s.counters().tcp_skipped_acks, 999U);
    s.expect(A(101, 101));
    s.expect_silence();
}

/// The same with two stacks: what they say to each other comes to rest by itself.
TEST(ChallengeAck, case_33_two_stacks_that_disagree_fall_silent) {
    Pair pair(1);
    pair.server.listen(Address(), 80);
    Endpoint& client = pair.client.connect({Pair::address(2), 80});
    pair.network.run_for(1_s);
    ASSERT_EQ(pair.server.accepted.size(), 1U);
    tcp::Connection& a = *client.connection;
    tcp::Connection& b = *pair.server.accepted[0]->connection;
    // Each expects of the other what that will never send.
    for (tcp::Connection* c : {&a, &b}) {
        c->rcv_nxt += 0x20000000;
        c->rcv_adv += 0x20000000;
    }
    const auto acks = [&] {
        return pair.a.stack().counters().tcp_challenge_acks +
               pair.b.stack().counters().tcp_challenge_acks;
    };
    tcp::challenge_ack(pair.a.stack().env(), a);
    pair.network.run_for(10_s);
    EXPECT_LE(acks(), 41U);  // two in half a second, and the one that began it
    const uint64_t before = pair.a.stack().counters().tcp_out_segs;
    pair.network.run_for(1_s);
    EXPECT_LE(pair.a.stack().counters().tcp_out_segs - before, 3U);
}

}  // namespace
}  // namespace millrace::testing
