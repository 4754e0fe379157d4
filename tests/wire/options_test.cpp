// TCP options and the checksum, by RFC 9293's IDs (sections 3.1, 3.2 and 3.7.1).
#include <algorithm>

#include "script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using wire::TcpFlags;

/// The kinds in option bytes, NOPs included, up to their end.
std::vector<uint8_t> kinds_of(std::span<const uint8_t> options) {
    std::vector<uint8_t> kinds;
    for (size_t at = 0; at < options.size() && options[at] != 0;) {
        kinds.push_back(options[at]);
        at += options[at] == 1 ? 1 : options[at + 1];
    }
    return kinds;
}

BOTH_FAMILIES(MUST_2);
TEST_P(MUST_2, every_kind_of_segment_bears_its_checksum) {  // `next` verifies each
    Script s(options());
    s.establish(S(0).window(65535).mss(1460).timestamps(1, 0).scale(7));
    s.send(5000);
    while (s.anything_sent()) s.next();
    s.inject(A(1, 5001).timestamps(2, 0));
    s.inject(PA(1, 5001).data(1).timestamps(3, 0));
    s.expect(A(5001, 2));
    s.close();
    s.expect(FA(5001, 2));
    s.inject(A(77, 4).client(41000));
    EXPECT_TRUE(s.next().rst());
}

BOTH_FAMILIES(MUST_4);
TEST_P(MUST_4, end_of_list_no_operation_and_mss_are_understood) {
    Script s(options());
    s.listen();
    // What follows the end of the list is no option any more.
    s.inject_raw(s.frame_with_options(S(0), {1, 2, 4, 0x03, 0xe8, 1, 0, 3, 3, 7, 8, 9}));
    EXPECT_FALSE(s.next().options.has_window_scale);
    s.inject(A(1, 1));
    s.accept();
    s.send(1200);
    s.expect(A(1, 1).data(1000));
    s.expect(PA(1001, 1).data(200));
    EXPECT_EQ(s.counters().drops_total(), 0U);
}

BOTH_FAMILIES(MUST_5);
TEST_P(MUST_5, options_are_accepted_in_any_segment) {
    Script s(options());
    s.listen();
    const std::vector<uint8_t> unknown{253, 6, 1, 2, 3, 4, 1, 1};
    s.inject_raw(s.frame_with_options(S(0), unknown));
    s.expect(SA(0, 1));
    s.inject_raw(s.frame_with_options(A(1, 1), unknown));
    s.accept();
    s.inject_raw(s.frame_with_options(PA(1, 1).data(10), unknown));
    s.expect(A(1, 11));
    EXPECT_EQ(s.end().received, 10U);
    EXPECT_TRUE(s.end().intact);
    s.inject_raw(s.frame_with_options(FA(11, 1), unknown));
    s.expect(A(1, 12));
    EXPECT_TRUE(s.end().peer_closed);
    s.inject_raw(s.frame_with_options(R(12), unknown));
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.counters().drops_total(), 0U);
}

TEST(MUST_6, unknown_options_with_a_length_are_skipped) {
    Script s;
    s.listen();
    s.inject_raw(s.frame_with_options(S(0), {99, 3, 0xff, 2, 4, 0x03, 0xe8, 200, 2}));
    s.next();
    s.inject(A(1, 1));
    s.accept();
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    EXPECT_EQ(s.counters().drops_total(), 0U);
}

TEST(MUST_68, every_kind_but_end_and_no_operation_has_a_length) {
    Script s;
    s.establish();
    uint32_t seq = 1;
    for (int kind = 2; kind < 256; ++kind) {
        if (kind == 5 || kind == 8) continue;  // SACK and timestamps mean something here
        const auto byte = static_cast<uint8_t>(kind);
        s.inject_raw(s.frame_with_options(PA(seq, 1).data(1), {byte, 4, 0, 1}));
        ++seq;
        EXPECT_EQ(s.end().received, seq - 1) << kind;
    }
    const uint64_t received = s.end().received;
    for (int kind = 2; kind < 256; ++kind) {
        const auto byte = static_cast<uint8_t>(kind);
        s.inject_raw(s.frame_with_options(PA(seq, 1).data(1), {byte, 0, 1, 1}));
    }
    EXPECT_EQ(s.drops(Drop::tcp_bad_option), 254U);
    EXPECT_EQ(s.end().received, received);
}

TEST(MUST_64, options_are_read_at_any_alignment) {
    for (size_t nops = 0; nops < 4; ++nops) {
        Script s;
        s.listen();
        std::vector<uint8_t> bytes(nops, 1);
        bytes.insert(bytes.end(), {2, 4, 0x03, 0xe8, 8, 10, 0, 0, 0, 42, 0, 0, 0, 0, 3, 3, 5});
        s.inject_raw(s.frame_with_options(S(0).window(1000), bytes));
        s.expect(SA(0, 1).mss(1460).scale(0).timestamps(0, 42));
        s.inject(A(1, 1).timestamps(43, 0).window(1000));
        s.accept();
        EXPECT_EQ(s.tcb().snd_wnd, 32000U);
        s.send(2000);
        s.expect(A(1, 1).data(988));
    }
}

BOTH_FAMILIES(MUST_14);
TEST_P(MUST_14, mss_is_sent_and_received) {
    Script s(options());
    s.listen();
    s.inject(S(0).window(65535).mss(700));
    s.expect(SA(0, 1).mss(mss()));
    s.inject(A(1, 1));
    s.accept();
    s.send(1400);
    s.expect(A(1, 1).data(700));
    s.expect(PA(701, 1).data(700));
}

BOTH_FAMILIES(SHLD_5);
TEST_P(SHLD_5, every_syn_bears_an_mss) {
    Script s(options());
    s.connect();
    EXPECT_EQ(s.next().options.mss, mss());
    s.advance_to_next_segment(2_s);
    EXPECT_EQ(s.next().options.mss, mss());  // also when it is sent again
    s.inject(S(0).window(65535).mss(1460));
    const wire::Segment answer = s.next();   // simultaneous open
    EXPECT_TRUE(answer.syn() && answer.has_ack());
    EXPECT_EQ(answer.options.mss, mss());
}

BOTH_FAMILIES(MUST_15);
TEST_P(MUST_15, without_an_mss_the_default_is_assumed) {
    const uint32_t assumed = v4() ? 536 : 1220;
    Script s(options());
    s.establish(S(0).window(65535));
    s.send(3000);
    s.expect(A(1, 1).data(assumed));
    s.expect(A(1 + assumed, 1).data(assumed));
    Script active(options());
    active.connect();
    active.next();
    active.inject(SA(0, 1).window(65535));
    active.expect(A(1, 1));
    active.send(3000);
    active.expect(A(1, 1).data(assumed));
}

BOTH_FAMILIES(MUST_16);
TEST_P(MUST_16, segments_fit_the_peers_limit_and_the_links_less_options) {
    {
        Script s(options());
        s.establish(S(0).window(65535).mss(9000));  // the link is the narrower
        s.send(9000);
        s.expect(A(1, 1).data(mss()));
        EXPECT_EQ(s.last_frame().size(), 14U + 1500);
    }
    {
        Script s(options());
        s.establish(S(0).window(65535).mss(9000).timestamps(1, 0));
        s.send(9000);
        s.expect(A(1, 1).data(mss() - 12U));
        EXPECT_EQ(s.last_frame().size(), 14U + 1500);
    }
    {
        Script s(options());
        s.establish(S(0).window(65535).mss(1000).timestamps(1, 0));
        s.send(9000);
        s.expect(A(1, 1).data(988));
    }
}

BOTH_FAMILIES(MUST_65);
TEST_P(MUST_65, no_segment_without_syn_bears_an_mss) {
    Script s(options());
    s.listen();
    s.inject(S(0).window(65535).mss(1460).timestamps(1, 0).scale(7));
    s.next();
    EXPECT_EQ(kinds_of(s.last_options())[0], 2);
    s.inject(A(1, 1).timestamps(2, 0));
    s.accept();
    s.send(5000);
    s.inject(PA(1, 1).data(10).timestamps(3, 0));
    s.inject(PA(21, 1).data(10).timestamps(3, 0));  // out of order
    s.shutdown();
    s.advance(3_s);
    s.inject(A(99, 1).client(41000));
    int segments = 0;
    for (; s.anything_sent(); ++segments) {
        s.next();
        EXPECT_FALSE(std::ranges::count(kinds_of(s.last_options()), 2));
    }
    EXPECT_GE(segments, 8);
}

BOTH_FAMILIES(MUST_67);
TEST_P(MUST_67, the_mss_offered_is_no_more_than_the_link_takes) {
    Script s(options());
    s.listen();
    s.inject(S(0).window(65535).mss(1460).timestamps(1, 0));
    // Options are the sender's affair: they are not subtracted from what is offered (RFC 6691).
    EXPECT_EQ(s.next().options.mss, 1500 - s.ip_header_size() - 20);
    s.inject(A(1, 1).timestamps(1, 0));
    s.accept();
    s.inject(PA(1, 1).data(mss() - 12U).timestamps(1, 0));  // and as much is taken
    EXPECT_EQ(s.end().received, mss() - 12U);
}

BOTH_FAMILIES(MUST_69);
TEST_P(MUST_69, options_are_padded_with_zeros) {
    std::vector<Packet> syns{S(0), S(0).scale(1), S(0).timestamps(1, 0), S(0).sack_permitted(),
                             S(0).mss(1460).scale(7).timestamps(1, 0).sack_permitted()};
    for (const Packet& syn : syns) {
        Script s(options());
        s.establish(syn);
        s.inject(PA(11, 1).data(10).timestamps(2, 0));
        s.send(10);
        s.shutdown();
        for (; s.anything_sent(); s.next()) {
            const auto bytes = s.last_options();
            EXPECT_EQ(bytes.size() % 4, 0U);
            size_t at = 0;
            while (at < bytes.size() && bytes[at] != 0) at += bytes[at] == 1 ? 1 : bytes[at + 1];
            for (; at < bytes.size(); ++at) EXPECT_EQ(bytes[at], 0);
        }
    }
}

}  // namespace
}  // namespace millrace::testing
