// Attack case 27: a listener whose application does not keep up, or whom a flood keeps from it.
// Final ACKs and new SYNs are dropped and counted, a retry succeeds, nothing leaks.
#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

class AcceptQueue : public ::testing::TestWithParam<Family> {
protected:
    static Config config(uint32_t abort_on_overflow) {
        Config c;
        c.tcp.tcp_abort_on_overflow = abort_on_overflow;
        c.tcp.tcp_syncookies = 0;  // cookies have their own tests
        return c;
    }
    Script::Options options(uint32_t abort_on_overflow = 0) const {
        return {.family = GetParam(), .config = config(abort_on_overflow)};
    }
    static Packet syn(uint16_t client) { return S(0).window(65535).mss(1460).client(client); }
    static Packet ack(uint16_t client) { return A(1, 1).client(client); }

    /// A backlog of 1 holds two, as in Linux. They have come, and `last` has had its SYN-ACK: its
    /// final ACK is the first thing for which there is no room.
    static tcp::Listener& fill(Script& s) {
        tcp::Listener& listener = *s.listen(80, 1);
        s.inject(syn(first));
        s.expect(SA(0, 1).client(first));
        s.inject(ack(first));
        s.inject(syn(second));
        s.expect(SA(0, 1).client(second));
        s.inject(syn(last));
        s.expect(SA(0, 1).client(last));
        s.inject(ack(second));
        EXPECT_TRUE(listener.accept_queue_full());
        EXPECT_EQ(listener.accept_queue.size(), 2U);
        EXPECT_EQ(listener.half_open_count, 1U);
        expect_overflows(s, 0);
        return listener;
    }
    /// So many frames have met the full queue; nothing else was dropped.
    static void expect_overflows(Script& s, uint64_t count) {
        EXPECT_EQ(s.counters().tcp_listen_overflows, count);
        EXPECT_EQ(s.counters().tcp_listen_drops, count);
        EXPECT_EQ(s.drops(Drop::tcp_accept_queue_full), count);
        EXPECT_EQ(s.counters().drops_total(), count);
    }
    /// Everybody is accepted and reset: no entry and no buffer may be left.
    static void expect_nothing_left(Script& s, tcp::Listener& listener) {
        while (!listener.accept_queue.empty()) {
            s.accept();
            s.abort();
        }
        s.forget_sent();
        EXPECT_EQ(s.stack().population().connections, 0U);
        EXPECT_EQ(s.stack().population().half_open, 0U);
        EXPECT_EQ(listener.half_open_count, 0U);
        EXPECT_EQ(s.stack().pools().available(), s.stack().pools().capacity());
    }

    static constexpr uint16_t first = 40001, second = 40002, last = 40003, other = 40004;
};
INSTANTIATE_TEST_SUITE_P(Attack, AcceptQueue, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(AcceptQueue, case_27_the_final_ack_is_dropped_and_a_retransmitted_one_succeeds) {
    Script s(options());
    tcp::Listener& listener = fill(s);
    s.inject(ack(last));
    s.expect_silence();
    expect_overflows(s, 1);
    EXPECT_EQ(s.stack().population().half_open, 1U) << "the entry stays for the retry";
    EXPECT_EQ(s.stack().population().connections, 2U);
    s.inject(ack(last));
    expect_overflows(s, 2);
    Endpoint& a = s.accept();
    EXPECT_EQ(s.tcb().key.remote_port, first) << "who waits longest";
    s.inject(ack(last));
    s.expect_silence();
    expect_overflows(s, 2);
    EXPECT_EQ(listener.accept_queue.size(), 2U);
    EXPECT_EQ(s.stack().population().half_open, 0U);
    EXPECT_EQ(s.counters().tcp_passive_opens, 3U);
    Endpoint& b = s.accept();
    EXPECT_EQ(s.tcb().key.remote_port, second);
    s.accept();
    EXPECT_EQ(s.tcb().key.remote_port, last);
    EXPECT_EQ(s.tcb().state, State::established);
    s.send(100);  // it works both ways
    s.expect(PA(1, 1).data(100).client(last));
    s.inject(PA(1, 101).data(50).client(last));
    s.expect(A(101, 51).client(last));
    EXPECT_EQ(s.end().received, 50U);
    for (Endpoint* end : {&a, &b, &s.end()}) end->abort();
    s.advance({});
    expect_nothing_left(s, listener);
}

/// The client believes itself connected: what it sends first is the retry.
TEST_P(AcceptQueue, case_27_data_that_comes_again_completes_the_handshake) {
    Script s(options());
    tcp::Listener& listener = fill(s);
    const Packet data = PA(1, 1).data(300).client(last);
    s.inject(ack(last));
    s.inject(data);
    s.expect_silence();
    expect_overflows(s, 2);
    EXPECT_EQ(s.stack().pools().available(), s.stack().pools().capacity())
        << "what cannot be delivered is not kept";
    s.accept();
    s.abort();
    s.forget_sent();
    s.inject(data);
    s.expect(A(1, 301).client(last));
    s.accept();
    s.abort();
    s.forget_sent();
    s.accept();
    EXPECT_EQ(s.tcb().key.remote_port, last);
    EXPECT_EQ(s.end().received, 300U);
    EXPECT_TRUE(s.end().intact);
    s.abort();
    expect_nothing_left(s, listener);
}

/// The client's ACK was dropped, so ours is not the last word: the SYN-ACK goes again.
TEST_P(AcceptQueue, case_27_the_syn_ack_comes_again_and_its_answer_succeeds) {
    Script s(options());
    tcp::Listener& listener = fill(s);
    s.inject(ack(last));
    const Duration waited = s.advance_to_next_segment(2_s);
    EXPECT_GE(waited, 900_ms);
    EXPECT_LE(waited, 1100_ms);
    s.expect(SA(0, 1).client(last));
    s.inject(ack(last));  // still full
    expect_overflows(s, 2);
    s.accept();
    s.abort();
    s.forget_sent();
    s.advance_to_next_segment(3_s);
    s.expect(SA(0, 1).client(last));
    s.inject(ack(last));
    expect_overflows(s, 2);
    EXPECT_EQ(listener.accept_queue.size(), 2U);
    expect_nothing_left(s, listener);
}

TEST_P(AcceptQueue, case_27_new_syns_are_dropped_and_their_retry_is_answered) {
    Script s(options());
    tcp::Listener& listener = fill(s);
    for (uint64_t i = 1; i <= 100; ++i) {
        s.inject(syn(static_cast<uint16_t>(other + i)));
        s.expect_silence();
        expect_overflows(s, i);
    }
    EXPECT_EQ(s.stack().population().half_open, 1U) << "no state for any of them";
    EXPECT_EQ(s.stack().pools().available(), s.stack().pools().capacity());
    s.accept();
    s.abort();
    s.forget_sent();
    s.inject(syn(other));
    s.expect(SA(0, 1).client(other));
    s.inject(ack(other));
    EXPECT_EQ(listener.accept_queue.size(), 2U);
    // And `last`, who was first but slower, has to wait again.
    s.inject(ack(last));
    expect_overflows(s, 101);
    s.inject(R(1).client(last));
    expect_nothing_left(s, listener);
}

TEST_P(AcceptQueue, case_27_an_entry_that_never_finds_room_ends_after_its_retries) {
    Script s(options());
    tcp::Listener& listener = fill(s);
    s.inject(ack(last));
    // 1, 2, 4, 8 and 16 s behind the first; 32 s later it is given up without a word.
    for (int i = 0; i < 5; ++i) {
        s.advance_to_next_segment(20_s);
        s.expect(SA(0, 1).client(last));
    }
    EXPECT_EQ(s.stack().population().half_open, 1U);
    s.advance(33_s);
    s.expect_silence();
    EXPECT_EQ(s.stack().population().half_open, 0U);
    EXPECT_EQ(s.counters().tcp_attempt_fails, 1U);
    // What the client says now is for nobody.
    s.inject(ack(last));
    s.expect(R(1).client(last));
    expect_nothing_left(s, listener);
}

TEST_P(AcceptQueue, case_27_abort_on_overflow_resets_and_frees_the_entry) {
    Script s(options(1));
    tcp::Listener& listener = fill(s);
    s.inject(ack(last));
    s.expect(R(1).client(last));  // at the sequence number that the client acknowledged
    s.expect_silence();
    expect_overflows(s, 1);
    EXPECT_EQ(s.counters().tcp_out_rsts, 1U);
    EXPECT_EQ(s.stack().population().half_open, 0U);
    EXPECT_EQ(listener.half_open_count, 0U);
    EXPECT_EQ(s.stack().population().connections, 2U) << "those in the queue are left alone";
    s.advance(100_s);
    s.expect_silence();  // its timer is gone with it
    // A SYN is dropped all the same: only who believes itself connected is told.
    s.inject(syn(other));
    s.expect_silence();
    expect_overflows(s, 2);
    s.accept();
    s.abort();
    s.forget_sent();
    s.inject(syn(last));
    s.expect(SA(0, 1).client(last));
    s.inject(ack(last));
    EXPECT_EQ(listener.accept_queue.size(), 2U);
    expect_nothing_left(s, listener);
}

TEST_P(AcceptQueue, case_27_abort_on_overflow_resets_data_that_completes_the_handshake_too) {
    Script s(options(1));
    tcp::Listener& listener = fill(s);
    s.inject(PA(1, 1).data(1000).client(last));
    s.expect(R(1).client(last));
    s.expect_silence();
    EXPECT_EQ(s.stack().population().half_open, 0U);
    expect_nothing_left(s, listener);
}

/// All final ACKs of a burst meet the queue one after the other: it takes what it has room for.
TEST_P(AcceptQueue, case_27_a_burst_of_final_acks_fills_the_queue_and_not_more) {
    Script s(options());
    tcp::Listener& listener = *s.listen(80, 3);
    std::vector<Packet> acks;
    for (uint16_t client = 41000; client < 41004; ++client) {
        s.inject(syn(client));
        s.expect(SA(0, 1).client(client));
        acks.push_back(ack(client));
    }
    // A backlog of 3 is four half-open entries: the fifth comes when one of them is complete.
    s.inject_burst({acks[0]});
    s.inject(syn(41004));
    s.expect(SA(0, 1).client(41004));
    s.inject_burst({acks[1], acks[2], acks[3], ack(41004)});
    EXPECT_EQ(listener.accept_queue.size(), 4U);
    EXPECT_EQ(listener.half_open_count, 1U);
    expect_overflows(s, 1);
    s.accept();
    s.abort();
    s.forget_sent();
    s.inject(ack(41004));
    expect_overflows(s, 1);
    expect_nothing_left(s, listener);
}

}  // namespace
}  // namespace millrace::testing
