// Orphans in FIN-WAIT-2: an entry of 64 bytes waits for the peer's FIN (RFC 9293 section 3.10.7.4).
#include "script.h"
#include "tcp/delayed_ack.h"

namespace millrace::testing {
namespace {

using observe::Drop;

class FinWait2 : public FamilyTest {
protected:
    /// Closed by us, our FIN acknowledged: RCV.NXT is 1, SND.NXT is 2.
    static void reach(Script& s, bool timestamps = false) {
        const Packet syn = S(0).window(65535).mss(1460);
        s.establish(timestamps ? syn.timestamps(1000, 0) : syn);
        s.close();
        s.expect(FA(1, 1));
        s.inject(timestamps ? A(1, 2).timestamps(1000, 0) : A(1, 2));
        const auto population = s.stack().population();
        EXPECT_EQ(population.connections, 0U);
        EXPECT_EQ(population.sendings, 0U);
        EXPECT_EQ(population.time_wait, 1U);
        EXPECT_EQ(s.counters().tcp_time_waits, 0U);
        s.expect_silence();
    }
    static size_t waiting(Script& s) { return s.stack().population().time_wait; }
};
INSTANTIATE_TEST_SUITE_P(Families, FinWait2, ::testing::Values(Family::ipv4, Family::ipv6),
                         family_name);

TEST_P(FinWait2, an_orphan_ends_after_tcp_fin_timeout) {
    Script s(options());
    reach(s);
    s.advance(59_s);
    EXPECT_EQ(waiting(s), 1U);
    s.advance(2_s);
    EXPECT_EQ(waiting(s), 0U);
    s.expect_silence();
}

TEST_P(FinWait2, the_fin_begins_time_wait) {
    Script s(options());
    reach(s, true);
    s.advance(50_s);
    s.inject(FA(1, 2).timestamps(1200, 0));
    EXPECT_EQ(s.next().options.ts_echo, 1200U);
    EXPECT_EQ(s.counters().tcp_time_waits, 1U);
    s.inject(FA(1, 2).timestamps(1200, 0));  // our ACK was lost
    s.expect(A(2, 2));
    s.inject(R(2));  // RFC 1337
    s.advance(59_s);
    EXPECT_EQ(waiting(s), 1U);
    s.advance(2_s);
    EXPECT_EQ(waiting(s), 0U);
}

TEST_P(FinWait2, after_shutdown_close_leaves_an_entry_too) {
    Script s(options());
    s.establish();
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    s.inject(PA(1, 2).data(100));  // half closed: it still reads
    s.expect(A(2, 101));
    EXPECT_EQ(s.stack().population().connections, 1U);
    s.close();
    EXPECT_EQ(s.stack().population().connections, 0U);
    EXPECT_EQ(waiting(s), 1U);
    s.inject(FA(101, 2));
    s.expect(A(2, 102));
    EXPECT_EQ(s.counters().tcp_time_waits, 1U);
}

TEST_P(FinWait2, an_ack_that_is_owed_goes_first) {
    Script s(options());
    s.establish();
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    tcp::set_quick_ack(s.stack().env(), s.tcb(), false);
    s.inject(PA(1, 2).data(100));
    s.expect_silence();
    s.close();
    EXPECT_EQ(s.stack().population().connections, 1U);
    s.advance(200_ms);
    s.expect(A(2, 101));
    EXPECT_EQ(s.stack().population().connections, 0U);
    EXPECT_EQ(waiting(s), 1U);
}

TEST_P(FinWait2, data_that_nobody_will_read_is_reset) {
    // In order, behind a hole, before a FIN, behind what was received already.
    for (const Packet& segment : {PA(1, 2).data(10), PA(11, 2).data(10), FA(1, 2).data(10),
                                  PA(0, 2).data(10), FA(5, 2)}) {
        Script s(options());
        reach(s);
        s.inject(segment);
        s.expect(RA(2, 1));
        EXPECT_EQ(waiting(s), 0U);
        EXPECT_EQ(s.counters().tcp_abort_on_data, 1U);
    }
}

TEST_P(FinWait2, what_is_no_answer_is_dropped_or_acknowledged) {
    Script s(options());
    reach(s, true);
    const auto now = [](const Packet& p) { return p.timestamps(1000, 0); };
    s.inject(now(A(1, 2)));  // nothing new
    s.expect_silence();
    s.inject(now(Packet{.flags = 0, .seq = 1}));
    EXPECT_EQ(s.counters().drops(Drop::tcp_no_ack), 1U);
    s.expect_silence();
    s.inject(FA(1, 2).timestamps(900, 0));  // PAWS
    s.expect(A(2, 1).window(65535));        // RCV.WND stands
    s.inject(now(FA(1, 3)));  // acknowledges what was never sent
    s.expect(A(2, 1));
    s.inject(now(FA(1, 2U - 70000)));  // nor what was acknowledged that long ago
    s.expect(A(2, 1));
    s.inject(now(FA(70000, 2)));  // outside any window
    s.expect(A(2, 1));
    EXPECT_EQ(waiting(s), 1U);
}

/// RFC 5961: off-path, nobody ends it by a guess in the window.
TEST_P(FinWait2, a_reset_counts_at_rcv_nxt_alone_and_a_syn_is_challenged) {
    Script s(options());
    reach(s);
    s.inject(R(2));
    s.expect(A(2, 1));
    s.advance(1_s);
    s.inject(S(1));
    s.expect(A(2, 1));
    s.inject(S(1));  // tcp_invalid_ratelimit
    s.inject(R(70000));
    s.expect_silence();
    EXPECT_EQ(waiting(s), 1U);
    s.inject(R(1));
    s.expect_silence();
    EXPECT_EQ(waiting(s), 0U);
    EXPECT_EQ(s.counters().tcp_estab_resets, 1U);
}

TEST_P(FinWait2, where_no_entry_is_left_the_connection_waits_itself) {
    Config config;
    config.tcp.tcp_max_tw_buckets = 0;
    Script s(options(config));
    s.establish();
    s.close();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    EXPECT_EQ(s.stack().population().connections, 1U);
    EXPECT_EQ(s.counters().tcp_time_wait_overflow, 0U);
    s.advance(59_s);
    EXPECT_EQ(s.stack().population().connections, 1U);
    s.advance(2_s);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

/// Nothing tells a new connection's segments from the old one's yet.
TEST_P(FinWait2, connect_does_not_take_it_over) {
    Config config;
    config.tcp.tcp_tw_reuse = 1;
    Script s(options(config));
    reach(s, true);
    s.advance(10_s);
    const auto again =
        s.stack().connect({s.peer(), 40000}, {Address::any(s.peer().family()), 80}, nullptr);
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().value, EADDRNOTAVAIL);
}

}  // namespace
}  // namespace millrace::testing
