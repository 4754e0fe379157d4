// Attack cases 42, 46 and 47: acknowledgments that lie.
#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;

constexpr uint32_t full = 1000;
constexpr uint32_t flight = 10 * full;  // what an initial window takes

Packet offer(bool sack) {
    const Packet syn = S(0).window(65535).mss(full).scale(7);
    return sack ? syn.sack_permitted() : syn;
}
Packet ack(uint32_t upto) { return A(1, upto).window(65535); }

BOTH_FAMILIES(LyingAcks);

/// The window after a flight has been acknowledged in pieces of `piece` bytes.
uint32_t window_after(Script& s, uint32_t piece) {
    s.establish(offer(true));
    s.send(flight);
    for (uint32_t upto = piece; upto <= flight; upto += piece) s.inject(ack(1 + upto));
    EXPECT_EQ(s.tcb().outstanding(), 0U);
    return s.tcb().window.cwnd;
}

TEST_P(LyingAcks, case_46_divided_acks_open_the_window_by_bytes) {
    Script whole(options());
    Script divided(options());
    const uint32_t honest = window_after(whole, full);
    EXPECT_EQ(honest, 2 * flight);
    EXPECT_LE(window_after(divided, 4), honest);
}

/// Savage's spoofed duplicates: each may release a segment, none opens the window.
TEST_P(LyingAcks, case_46_spoofed_duplicates_do_not_open_the_window) {
    Script s(options());
    s.establish(offer(false));
    s.send(200 * full);
    s.forget_sent();
    uint32_t released = 0;
    for (int i = 0; i < 150; ++i) {
        s.inject(ack(1));
        uint32_t now = 0;
        for (; s.anything_sent(); ++now) s.next();
        EXPECT_LE(now, 2U) << i;  // the retransmission, and one more
        released += now;
        EXPECT_LE(s.tcb().window.cwnd, flight);
        EXPECT_LE(s.tcb().in_flight(), flight);
    }
    EXPECT_LE(released, 151U);
    EXPECT_EQ(s.counters().tcp_reno_recovery, 1U);
    EXPECT_EQ(s.counters().tcp_retrans_segs, 1U);
}

TEST_P(LyingAcks, case_46_an_optimistic_ack_beyond_snd_nxt_is_rejected) {
    Script s(options());
    s.establish(offer(true));
    s.send(flight);
    s.forget_sent();
    const uint32_t cwnd = s.tcb().window.cwnd;
    for (uint32_t beyond = 1; beyond < 20 * full; beyond += full) s.inject(ack(1 + flight + beyond));
    EXPECT_EQ(s.drops(Drop::tcp_bad_ack), 20U);
    EXPECT_EQ(s.tcb().window.cwnd, cwnd);
    EXPECT_EQ(s.tcb().outstanding(), flight);
    s.expect(A(1 + flight, 1));  // the one that tcp_invalid_ratelimit allows
    s.expect_silence();
    // One that runs ahead of the data but not of us earns what it covers, once.
    s.inject(ack(1 + flight));
    const uint32_t earned = s.tcb().window.cwnd - cwnd;
    EXPECT_GT(earned, 0U);
    EXPECT_LE(earned, flight);
    s.inject(ack(1 + flight));
    EXPECT_EQ(s.tcb().window.cwnd, cwnd + earned);
}

/// CVE-2019-11477 to 11479: the smallest MSS, and a hole behind every segment.
TEST_P(LyingAcks, case_42_the_smallest_mss_and_holes_everywhere_are_bounded) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1).scale(7).sack_permitted());
    ASSERT_EQ(s.tcb().snd_mss, 48);
    constexpr uint32_t bytes = 60'000;
    s.send(bytes);
    s.forget_sent();
    uint32_t una = 1;
    size_t ranges = 0;
    for (int turn = 0; una < 1 + bytes && turn < 20'000; ++turn) {
        const uint32_t next = s.tcb().snd_nxt.value() - s.isn();
        // Every second segment of what is out has arrived, says the peer, in ever new places.
        for (uint32_t at = una + 48; at + 48 <= next; at += 4 * 96)
            s.inject(ack(una).sack({{at, at + 48}, {at + 96, at + 144}, {at + 192, at + 240}}));
        if (s.tcb().sending != nullptr) ranges = std::max(ranges, s.tcb().sending->sent.size());
        una = std::min(next, una + 480);
        s.inject(ack(una));
        s.forget_sent();
        if (s.tcb().snd_nxt.value() - s.isn() == una && una < 1 + bytes) s.advance(1_s);
    }
    EXPECT_EQ(una, 1 + bytes);
    EXPECT_GT(ranges, 40U);
    EXPECT_LE(ranges, bytes / 48 + 64);
    s.advance(1_s);
    EXPECT_EQ(s.stack().population().sent_ranges, 0U);
}

/// A flight of which the first has been sent again: the window has come down.
void reduce(Script& s) {
    s.establish(offer(true));
    s.send(flight);
    s.forget_sent();
    s.advance(1_ms);
    s.inject(ack(1).sack({{1 + full, 1 + 4 * full}}));
    s.expect(A(1, 1).data(full));
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * full);
}

TEST_P(LyingAcks, case_47_a_dsack_of_what_cannot_have_come_twice_is_discarded) {
    Script s(options());
    reduce(s);
    const uint64_t before = s.counters().tcp_sack_discard;
    const uint32_t una = 1;
    s.inject(ack(una).sack({{una - 100, una - 100}}));          // nothing
    s.inject(ack(una).sack({{una - 100, una - 200}}));          // less than nothing
    s.inject(ack(una).sack({{una - 100, 1 + flight + 1}}));     // never sent
    s.inject(ack(una).sack({{una - 0x20000000, una - 1000}}));  // long gone
    EXPECT_EQ(s.counters().tcp_sack_discard, before + 4);
    EXPECT_EQ(s.counters().tcp_dsack_recv, 0U);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_EQ(s.tcb().window.ssthresh, 7 * full);
}

/// One duplicate was sent and one is reported: that is the proof, and it works once.
TEST_P(LyingAcks, case_47_only_what_was_sent_again_is_taken_back_and_once) {
    Script s(options());
    reduce(s);
    s.inject(ack(1 + full).sack({{1, 1 + full}, {1 + full, 1 + 4 * full}}));
    EXPECT_EQ(s.counters().tcp_dsack_undo, 1U);
    EXPECT_EQ(s.tcb().window.ssthresh, congestion::Window::unlimited);
    const uint32_t cwnd = s.tcb().window.cwnd;
    EXPECT_LE(cwnd, flight + full);
    for (int i = 0; i < 100; ++i) s.inject(ack(1 + full).sack({{1, 1 + full}}));
    EXPECT_EQ(s.tcb().window.cwnd, cwnd);
    EXPECT_EQ(s.counters().tcp_dsack_undo, 1U);
}

}  // namespace
}  // namespace millrace::testing
