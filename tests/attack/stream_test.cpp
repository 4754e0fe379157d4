// Attack cases 43, 44, 45 and 48: what a sender may claim to have received or sent, and when.
#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

Packet open_syn() { return S(0).window(65535).mss(1460); }

BOTH_FAMILIES(Stream);

TEST_P(Stream, case_43_sack_of_unsent_or_acknowledged_data_is_ignored) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1000).sack_permitted());
    s.send(4000);
    for (uint32_t seq = 1; seq < 4000; seq += 1000) s.expect(A(seq, 1).data(1000));
    s.inject(A(1, 1001));
    using Blocks = std::vector<std::pair<uint32_t, uint32_t>>;
    const std::vector<Blocks> lies{
        {{5000, 6000}},                      // never sent
        {{3001, 5001}},                      // partly so
        {{1, 501}},                          // acknowledged long ago
        {{2001, 2001}},                      // empty
        {{3001, 2001}},                      // backwards
        {{0x80000000, 0x80000100}},          // from the other half of the number space
        {{1, 0}, {0, 0xffffffff}, {4000, 4002}, {0x7fffffff, 0x80000001}}};
    for (const Blocks& blocks : lies)
        for (int i = 0; i < 4; ++i) s.inject(A(1, 1001).sack(blocks));
    EXPECT_EQ(s.tcb().state, State::established);
    EXPECT_EQ(s.tcb().in_flight(), 3000U);
    s.forget_sent();
    // All of it is still there to be sent again.
    uint32_t acknowledged = 1001;
    for (int i = 0; i < 20 && acknowledged < 4001; ++i) {
        s.advance_to_next_segment(130_s);
        while (s.anything_sent()) {
            const wire::Segment segment = s.next();
            const uint32_t begin = segment.seq.value() - s.isn();
            if (begin == acknowledged) acknowledged += segment.payload_size;
        }
        s.inject(A(1, acknowledged));
    }
    EXPECT_EQ(acknowledged, 4001U);
}

/// The peer says that it holds data, then drops it: it may until it has acknowledged it.
TEST_P(Stream, case_43_what_was_sacked_is_kept_until_it_is_acknowledged) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1000).sack_permitted());
    s.send(5000);
    for (uint32_t seq = 1; seq < 5000; seq += 1000) s.expect(A(seq, 1).data(1000));
    for (uint32_t end = 2001; end <= 5001; end += 1000) s.inject(A(1, 1).sack({{1001, end}}));
    s.forget_sent();
    uint32_t acknowledged = 1;
    for (int i = 0; i < 40 && acknowledged < 5001; ++i) {
        s.advance_to_next_segment(130_s);
        bool advanced = false;
        while (s.anything_sent()) {
            const wire::Segment segment = s.next();
            // One at a time: the peer keeps nothing that it has not acknowledged.
            if (segment.seq.value() - s.isn() == acknowledged && !advanced) {
                acknowledged += segment.payload_size;
                advanced = true;
            }
        }
        if (advanced) s.inject(A(1, acknowledged));
    }
    EXPECT_EQ(acknowledged, 5001U);
    s.send(100);
    s.expect(PA(5001, 1).data(100));
}

/// A frame whose payload bytes from `begin` to `end` (of the stream) are all wrong.
std::vector<uint8_t> spoilt(const Script& s, const Packet& p, uint32_t begin, uint32_t end) {
    auto frame = s.frame(p);
    const size_t payload_at = frame.size() - *p.size;
    for (uint32_t i = 0; i < *p.size; ++i) {
        const uint32_t position = p.seq - 1 + i;
        if (position >= begin && position < end) frame[payload_at + i] ^= 0xff;
    }
    Script::repair_checksums(frame);
    return frame;
}

TEST_P(Stream, case_44_of_two_that_overlap_the_first_arrival_wins) {
    // The first byte stays missing while both arrive: [a, b) is right, [c, d) differs where they
    // meet. One connection carries all the shapes, one behind the other.
    constexpr uint32_t size = 7;
    Script s(options());
    s.establish(open_syn());
    uint32_t base = 0;
    for (uint32_t a = 1; a < size; ++a)
        for (uint32_t b = a + 1; b <= size; ++b)
            for (uint32_t c = 1; c < size; ++c)
                for (uint32_t d = c + 1; d <= size; ++d, base += size) {
                    s.inject(PA(1 + base + a, 1).data(b - a));
                    s.inject_raw(
                        spoilt(s, PA(1 + base + c, 1).data(d - c), base + a, base + b));
                    ASSERT_EQ(s.end().received, base);
                    // What is missing comes byte by byte; what is there is not replaced.
                    for (uint32_t i = 0; i < size; ++i) {
                        const bool held = (i >= a && i < b) || (i >= c && i < d);
                        const uint32_t at = base + i;
                        s.inject_raw(spoilt(s, PA(1 + at, 1).data(1), at, held ? at + 1 : at));
                    }
                    ASSERT_EQ(s.end().received, base + size);
                    ASSERT_TRUE(s.end().intact) << a << " " << b << " " << c << " " << d;
                    s.forget_sent();
                }
}

TEST_P(Stream, case_44_delivered_data_is_not_delivered_again) {
    Script s(options());
    s.establish(open_syn());
    s.inject(PA(1, 1).data(100));
    s.inject_raw(spoilt(s, PA(1, 1).data(100), 0, 100));   // the same again, but not the same
    s.inject_raw(spoilt(s, PA(51, 1).data(100), 0, 100));  // half of it new
    EXPECT_EQ(s.end().received, 150U);
    EXPECT_TRUE(s.end().intact);
}

/// Both sides' numbers pass 2^32 within the first kilobytes.
TEST_P(Stream, case_45_sequence_numbers_wrap) {
    Script::Options o = options();
    o.peer_isn = 0xffffffff - 2500;
    uint32_t isn = 0;
    Instant at;
    {
        Script dry(o);
        dry.listen();
        dry.inject(open_syn());
        isn = dry.next().seq.value();
        at = dry.now();
    }
    Script s(o);
    // The ISN rises by one in four microseconds: wait until it is just under 2^32.
    s.advance(Duration::from_us(int64_t{4} * (0xffffffff - 2500 - isn)));
    s.establish(open_syn());
    ASSERT_GE(s.isn(), 0xffffffff - 2600);
    // In order, out of order, overlapping, across the wrap.
    s.inject(PA(1, 1).data(1000));
    s.inject(PA(2001, 1).data(1000));
    s.inject(PA(3001, 1).data(1000));
    s.inject(PA(1501, 1).data(1000));
    s.inject(PA(1001, 1).data(600));
    EXPECT_EQ(s.end().received, 4000U);
    EXPECT_TRUE(s.end().intact);
    s.forget_sent();
    s.send(5000);
    uint32_t seq = 1;
    while (s.anything_sent()) {
        const wire::Segment segment = s.next();
        EXPECT_EQ(segment.seq.value() - s.isn(), seq);
        EXPECT_EQ(segment.ack.value() - o.peer_isn, 4001U);
        seq += segment.payload_size;
    }
    EXPECT_EQ(seq, 5001U);
    s.inject(A(4001, 2000));  // before the wrap, then behind it
    s.inject(A(4001, 5001));
    EXPECT_EQ(s.tcb().in_flight(), 0U);
    // Behind the wrap old is still old: windows, resets and acknowledgments.
    s.advance(1_s);
    s.inject(R(1));
    s.inject(R(4001 - 3000));
    EXPECT_FALSE(s.end().closed);
    s.inject(A(4001, 5001).window(1000));
    s.inject(A(4000, 5001).window(60000));  // an older segment's window
    EXPECT_EQ(s.tcb().snd_wnd, 1000U);
    s.inject(FA(4001, 5001));
    s.forget_sent();
    s.shutdown();
    s.expect(FA(5001, 4002));
    s.inject(A(4002, 5002));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, 0);
    EXPECT_GT(s.now(), at);
}

TEST_P(Stream, case_45_a_retransmission_crosses_the_wrap) {
    Script::Options o = options();
    uint32_t isn = 0;
    {
        Script dry(o);
        dry.listen();
        dry.inject(open_syn());
        isn = dry.next().seq.value();
    }
    Script s(o);
    s.advance(Duration::from_us(int64_t{4} * (0xffffffff - 500 - isn)));
    s.establish(open_syn());
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    s.advance_to_next_segment(5_s);
    s.expect(A(1, 1).data(1000));
    s.inject(A(1, 1001));
    EXPECT_EQ(s.tcb().in_flight(), 0U);
}

BOTH_FAMILIES(Paws);

/// Established with timestamps; the peer's clock stood at 1000 on its SYN, and data came at 1100.
void converse(Script& s) {
    s.establish(open_syn().timestamps(1000, 0));
    s.inject(PA(1, 1).data(100).timestamps(1100, 0));
    s.expect(A(1, 101).timestamps(0, 1100));
    s.advance(1_s);
    s.expect_silence();
}

TEST_P(Paws, case_48_an_old_timestamp_in_the_window_earns_an_ack_and_a_drop) {
    Script s(options());
    converse(s);
    s.inject(PA(101, 1).data(100).timestamps(1099, 0));
    s.expect(A(1, 101).timestamps(0, 1100));
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_EQ(s.drops(Drop::tcp_paws), 1U);
    EXPECT_EQ(s.counters().tcp_paws_estab_rejected, 1U);
    s.inject(PA(101, 1).data(100).timestamps(1100, 0));  // as old as the last one: good
    EXPECT_EQ(s.end().received, 200U);
}

TEST_P(Paws, case_48_an_old_timestamp_never_brings_a_fin) {
    Script s(options());
    converse(s);
    s.inject(FA(101, 1).timestamps(900, 0));
    s.expect(A(1, 101));
    EXPECT_FALSE(s.end().peer_closed);
    EXPECT_EQ(s.tcb().state, State::established);
    s.inject(FA(101, 1).timestamps(1101, 0));
    EXPECT_TRUE(s.end().peer_closed);
}

/// RFC 7323 section 5.2: a reset is not subject to PAWS; its sequence number is what counts.
TEST_P(Paws, case_48_a_reset_counts_by_its_sequence_alone) {
    Script s(options());
    converse(s);
    s.inject(R(102).timestamps(1, 0));
    s.expect(A(1, 101));
    EXPECT_FALSE(s.end().closed);
    s.inject(R(101).timestamps(1, 0));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ECONNRESET);
}

TEST_P(Paws, case_48_timestamps_wrap) {
    Script s(options());
    s.establish(open_syn().timestamps(0xfffffff0, 0));
    s.inject(PA(1, 1).data(10).timestamps(0xfffffff8, 0));
    s.inject(PA(11, 1).data(10).timestamps(5, 0));
    EXPECT_EQ(s.end().received, 20U);
    s.forget_sent();
    s.advance(1_s);
    s.inject(PA(21, 1).data(10).timestamps(0xfffffffe, 0));
    EXPECT_EQ(s.end().received, 20U);
    EXPECT_EQ(s.drops(Drop::tcp_paws), 1U);
}

TEST_P(Paws, case_48_after_24_days_of_idleness_any_timestamp_is_good) {
    Script s(options());
    converse(s);
    const Duration day = 86400_s;
    s.advance(day * 23);
    s.inject(PA(101, 1).data(100).timestamps(900, 0));
    EXPECT_EQ(s.end().received, 100U);
    s.forget_sent();
    s.advance(day * 2);
    s.inject(PA(101, 1).data(100).timestamps(900, 0));
    EXPECT_EQ(s.end().received, 200U);
    s.expect(A(1, 201).timestamps(0, 900));
}

/// What an earlier ACK says of what has arrived is true also when a later one overtakes it.
TEST_P(Paws, case_48_a_pure_ack_that_was_overtaken_brings_its_sack) {
    Script s(options());
    s.establish(open_syn().timestamps(1000, 0).sack_permitted());
    s.send(4000);
    s.forget_sent();
    const auto sack = [&](uint32_t begin, uint32_t end, uint32_t at) {
        s.inject(A(1, 1).sack({{begin, end}}).timestamps(at, 0));
    };
    s.inject(PA(1, 1).data(10).timestamps(1100, 0));
    const uint32_t before = s.tcb().in_flight();
    const auto overtaken = [&](uint32_t at, uint16_t window, uint32_t ack) {
        s.inject(A(11, ack).window(window).sack({{3001, 3501}}).timestamps(at, 0));
    };
    overtaken(1099, 60000, 1);  // another window
    overtaken(100, 65535, 1);   // too old
    sack(3001, 3501, 1099);     // not in order
    EXPECT_EQ(s.drops(Drop::tcp_paws), 3U);
    EXPECT_EQ(s.tcb().in_flight(), before);
    overtaken(1099, 65535, 1);
    EXPECT_EQ(s.drops(Drop::tcp_paws), 3U);
    EXPECT_EQ(s.tcb().in_flight(), before - 500);
    EXPECT_EQ(s.tcb().ts_recent, 1100U);
}

/// An outsider who has not met the window must not move TS.Recent, or the peer's segments are lost.
TEST_P(Paws, case_48_only_an_acceptable_segment_moves_the_timestamp) {
    Script s(options());
    converse(s);
    s.inject(PA(0x40000000, 1).data(10).timestamps(0x40000000, 0));      // outside the window
    s.inject(PA(101, 0x40000000).data(10).timestamps(0x40000000, 0));   // a bad ACK
    s.inject(PA(201, 1).data(10).timestamps(0x40000000, 0));            // beyond the left edge
    s.forget_sent();
    s.inject(PA(101, 1).data(100).timestamps(1101, 0));
    EXPECT_EQ(s.end().received, 210U);
    EXPECT_EQ(s.drops(Drop::tcp_paws), 0U);
}

}  // namespace
}  // namespace millrace::testing
