// Attack cases 41 and 54: what received data may pin, by tiny segments and by slow readers.
#include "tcp/receive_queue.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

struct Queues : ::testing::Test {
    Queues() { s.establish(S(0).window(65535).mss(1460).sack_permitted()); }
    void one_byte(uint32_t seq) {
        s.inject(A(seq, 1).data(1));
        s.forget_sent();
        most = std::max(most, tcp::receive_charge(s.tcb()));
    }
    size_t limit() { return size_t{2} * s.tcb().rcv_buf; }
    /// What the peer has sent and we have not acknowledged goes again, in full segments.
    void send_again(uint32_t end) {
        for (uint32_t at = 1; at < end; at += 1460)
            s.inject(A(at, 1).data(std::min(1460U, end - at)));
    }
    Script s;
    size_t most = 0;
};

TEST_F(Queues, case_41_one_byte_segments_with_holes_are_bounded_by_the_buffers_they_pin) {
    for (uint32_t i = 0; i < 5000; ++i) one_byte(3 + 2 * i);
    EXPECT_LE(most, limit());
    EXPECT_GT(s.counters().tcp_rcv_q_drop, 4000U);
    EXPECT_EQ(s.drops(observe::Drop::tcp_receive_full), s.counters().tcp_rcv_q_drop);
    EXPECT_EQ(s.counters().payload_copied, 0U);  // a copy of a byte frees nothing
    send_again(10'002);
    EXPECT_EQ(s.end().received, 10'001U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_EQ(tcp::receive_charge(s.tcb()), 0U);
}

TEST_F(Queues, case_41_what_is_needed_first_displaces_what_lies_highest) {
    for (uint32_t i = 2000; i > 0; --i) one_byte(1 + 2 * i);
    EXPECT_LE(most, limit());
    EXPECT_GT(s.counters().tcp_ofo_pruned, 1000U);
    EXPECT_EQ(s.counters().tcp_rcv_q_drop, 0U);
    s.inject(A(1, 1).data(2));  // up to the first of them, which is there
    EXPECT_EQ(s.end().received, 3U);
    send_again(4002);
    EXPECT_EQ(s.end().received, 4001U);
    EXPECT_TRUE(s.end().intact);
}

TEST_F(Queues, case_41_one_byte_segments_in_a_row_are_collapsed) {
    for (uint32_t i = 0; i < 3000; ++i) one_byte(2 + i);
    EXPECT_LE(most, limit());
    EXPECT_GT(s.counters().tcp_rcv_collapsed, 2000U);
    EXPECT_LT(s.counters().payload_copied, 3U * 3000U);  // each byte a few times, not each time
    EXPECT_EQ(s.counters().tcp_rcv_q_drop, 0U);
    one_byte(1);
    EXPECT_EQ(s.end().received, 3001U);
    EXPECT_TRUE(s.end().intact);
}

/// Each part between two islands took a reference, and pinned the whole buffer.
TEST_F(Queues, case_41_segments_over_one_byte_islands_pin_no_more_than_their_bytes) {
    const uint32_t hole = 1000;
    for (uint32_t begin = 1 + hole; begin < 40'000; begin += 1400) {
        for (uint32_t i = 0; i < 80; ++i) one_byte(begin + 7 + 16 * i);
        s.inject(A(begin, 1).data(1400));
        s.forget_sent();
    }
    EXPECT_LE(most, limit());
    EXPECT_LT(tcp::receive_charge(s.tcb()), 4U * 40'000U);
    EXPECT_EQ(s.counters().tcp_rcv_q_drop, 0U);
    s.inject(A(1, 1).data(hole));
    EXPECT_EQ(s.end().received, hole + 28U * 1400U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_EQ(tcp::receive_charge(s.tcb()), 0U);
}

/// What waits behind the peer's FIN belongs to nothing.
TEST_F(Queues, case_41_nothing_is_kept_behind_the_end) {
    s.inject(A(1002, 1).data(1460));
    EXPECT_EQ(s.stack().population().reassemblies, 1U);
    s.forget_sent();
    s.inject(FA(1, 1).data(1000));
    EXPECT_EQ(s.stack().population().reassemblies, 0U);
    EXPECT_EQ(tcp::receive_charge(s.tcb()), 0U);
    s.send(10);
    EXPECT_EQ(s.next().options.sack_count, 0U);
}

/// Where all buffers are short, who has waited longest behind a hole gives up what waits there.
TEST_F(Queues, case_41_holes_that_nobody_fills_are_given_up_when_buffers_are_short) {
    for (uint32_t i = 0; i < 100; ++i) one_byte(3 + 2 * i);
    EXPECT_EQ(s.stack().population().reassembly_ranges, 100U);
    tcp::relieve(s.stack().env());
    EXPECT_EQ(s.stack().population().reassemblies, 0U);
    EXPECT_EQ(s.counters().tcp_ofo_pruned, 100U);
    EXPECT_EQ(tcp::receive_charge(s.tcb()), 0U);
    send_again(202);
    EXPECT_EQ(s.end().received, 201U);
    EXPECT_TRUE(s.end().intact);
}

TEST_F(Queues, case_54_an_application_that_does_not_read_pins_twice_its_buffer_at_most) {
    tcp::Connection& c = s.tcb();
    void* owner = std::exchange(c.owner, nullptr);  // it is told nothing, and does not look
    for (uint32_t i = 0; i < 3000; ++i) one_byte(1 + i);
    EXPECT_LE(most, limit());
    EXPECT_GT(s.counters().tcp_rcv_collapsed, 2000U);
    EXPECT_EQ(s.counters().tcp_rcv_q_drop, 0U);
    c.owner = owner;
    s.end().drain();
    EXPECT_EQ(s.end().received, 3000U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_EQ(tcp::receive_charge(c), 0U);
}

/// An application that sends back what it receives, zero-copy, to a peer whose window stays closed.
struct EchoedBytes : ::testing::Test {
    void start(Script& s) {
        s.establish(S(0).window(65535).mss(1460).sack_permitted());
        s.inject(A(1, 1).window(0));
        owner = std::exchange(s.tcb().owner, nullptr);
    }
    /// One more byte arrives and is sent back. False where that found no room.
    bool echo(Script& s) {
        tcp::Connection& c = s.tcb();
        s.inject(A(1 + echoed, 1).window(0).data(1));
        s.forget_sent();
        BufferChain data = tcp::receive(s.stack().env(), c);
        EXPECT_EQ(data.size(), 1U);
        ++echoed;
        tcp::consumed(s.stack().env(), c, 1);
        const auto taken = tcp::send(s.stack().env(), c, data);
        if (!taken) {
            EXPECT_EQ(taken.error().value, EAGAIN);
            EXPECT_EQ(data.size(), 1U);
        }
        return taken.has_value();
    }
    uint32_t echoed = 0;
    void* owner = nullptr;
};

TEST_F(EchoedBytes, case_41_pin_twice_the_send_buffer_at_most) {
    Script::Options o;
    o.config.tcp.tcp_wmem = 65'536;
    Script s(o);
    start(s);
    uint32_t taken = 0;
    for (int i = 0; i < 1000; ++i) taken += echo(s) ? 1 : 0;
    tcp::Connection& c = s.tcb();
    EXPECT_GT(taken, 40U);
    EXPECT_LT(taken, 70U);
    EXPECT_LE(c.sending->queue.pinned(), size_t{2} * c.snd_buf + 2500);
    c.owner = owner;
    s.inject(A(1 + echoed, 1).window(65535));
    uint32_t sent = 0;
    for (int i = 0; i < 10 && sent < taken; ++i) {
        while (s.anything_sent()) sent += s.next().payload_size;
        s.inject(A(1 + echoed, 1 + sent));
    }
    EXPECT_EQ(sent, taken);
    EXPECT_EQ(c.send_charge(), 0U);
    EXPECT_EQ(s.end().writable_notices, 1U);
}

TEST_F(EchoedBytes, case_54_leave_a_reserve_of_receive_buffers_and_few_copies) {
    Script s;
    start(s);
    const size_t before = s.stack().pools().available();
    for (int i = 0; i < 6000; ++i) ASSERT_TRUE(echo(s)) << i;
    const rte_mempool* pool = s.stack().pools().receive_pool();
    EXPECT_GT(rte_mempool_avail_count(pool), pool->size / 6);
    EXPECT_LT(before - s.stack().pools().available(), pool->size * 5 / 6 + 10);
    EXPECT_GT(s.counters().payload_copied, 2000U);
    EXPECT_EQ(s.counters().drops_total(), 0U);
}

/// Many of them: the reserve of receive buffers stays, and everything arrives once they read.
TEST(SlowReaders, case_54_leave_a_reserve_of_receive_buffers) {
    constexpr size_t readers = 64;
    constexpr uint64_t bytes = 192 * 1024;
    sim::NodeOptions small;
    small.pools.receive = 2048;
    small.pools.payload = 1024;
    Pair pair(1, {}, small);
    pair.server.hold_accepts = true;
    pair.server.prototype = {.salt_in = 1, .close_at_end = true};
    tcp::Listener* listener = pair.server.listen(Address::any(Family::ipv4), 80);
    for (size_t i = 0; i < readers; ++i)
        pair.client.connect({Pair::address(2), 80}, {.salt_out = 1, .to_send = bytes,
                                                     .shutdown_when_sent = true,
                                                     .close_at_end = true});
    pair.network.run_for(3_s);
    const rte_mempool* pool = pair.b.pools().receive_pool();
    EXPECT_GT(rte_mempool_avail_count(pool), pool->size / 8);
    EXPECT_GT(pair.b.stack().counters().tcp_rcv_collapsed, 0U);
    EXPECT_GT(pair.b.stack().counters().tcp_rcv_q_drop, 0U);
    // Nor do their copies take what sends are copied into: a share of that is left, too.
    std::vector<std::byte> answer(128 * 1024);
    while (tcp::Connection* c = pair.b.stack().accept(*listener)) {
        EXPECT_LE(tcp::receive_charge(*c), size_t{2} * c->rcv_buf);
        if (pair.server.accepted.empty()) {
            const auto taken = tcp::send_copy(pair.b.stack().env(), *c, answer);
            ASSERT_TRUE(taken);
            EXPECT_EQ(*taken, answer.size());
        }
        pair.server.adopt(pair.b.stack(), *c);
    }
    ASSERT_EQ(pair.server.accepted.size(), readers);
    pair.network.run_for(120_s);
    for (const auto& end : pair.server.accepted) {
        EXPECT_EQ(end->received, bytes);
        EXPECT_TRUE(end->intact);
    }
    pair.expect_nothing_left();
}

}  // namespace
}  // namespace millrace::testing
