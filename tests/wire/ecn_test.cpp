// Explicit congestion notification by the packet: RFC 3168's handshake, echo and response, the
// fallback, and DCTCP's echo (RFC 8257). SHLD-8 and attack case 65.
#include "script.h"

namespace millrace::testing {
namespace {

using wire::TcpFlags;

constexpr uint8_t ece = TcpFlags::ece;
constexpr uint8_t cwr = TcpFlags::cwr;
constexpr uint8_t both = ece | cwr;
constexpr uint8_t not_ect = 0;
constexpr uint8_t ect0 = 2;
constexpr uint8_t ce = 3;
constexpr uint32_t mss = 1000;

Script::Options options(uint32_t tcp_ecn, uint32_t fallback = 1) {
    Script::Options o;
    o.config.tcp.tcp_ecn = tcp_ecn;
    o.config.tcp.tcp_ecn_fallback = fallback;
    o.config.tcp.tcp_congestion_control = CongestionControl::reno;
    return o;
}
Packet syn() { return S(0).window(65535).mss(mss); }
/// Both sides have agreed; the peer opened.
Script established(Family family = Family::ipv4) {
    Script::Options o = options(2);
    o.family = family;
    return Script(o);
}

class Ecn : public ::testing::TestWithParam<Family> {
protected:
    Ecn() {
        s.listen();
        s.inject(syn().sack_permitted().flag(both));
        s.expect(SA(0, 1).flag(ece));
        s.advance(100_ms);  // the round trip
        s.inject(A(1, 1));
        s.accept();
        EXPECT_TRUE(s.tcb().ecn);
    }
    Packet segment(uint32_t number) const { return A(1 + number * mss, 1).data(mss); }
    static uint32_t at(uint32_t number) { return 1 + number * mss; }
    /// A full segment of the peer's with these ECN bits; `number` counts them.
    static Packet text(uint32_t number, uint8_t bits) {
        return A(1 + number * mss, 1).data(mss).ecn_bits(bits);
    }
    Script s = established(GetParam());
};
INSTANTIATE_TEST_SUITE_P(SHLD_8, Ecn, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

// ---- The handshake ------------------------------------------------------------------------------

/// RFC 3168 section 6.1.1, the passive side: only a SYN with both bits asks; the answer is ECE
/// alone, on segments that are not ECN-capable themselves.
TEST(SHLD_8, case_65_a_syn_with_both_bits_is_accepted_and_no_other) {
    for (const uint32_t tunable : {0U, 1U, 2U})
        for (const uint8_t bits : {uint8_t{0}, ece, cwr, both}) {
            SCOPED_TRACE("tcp_ecn " + std::to_string(tunable) + " bits " + std::to_string(bits));
            Script s(options(tunable));
            s.listen();
            s.inject(syn().flag(bits));
            const bool agreed = tunable != 0 && bits == both;
            s.expect(SA(0, 1).flag(agreed ? ece : 0).ecn_bits(not_ect));
            s.inject(A(1, 1));
            s.accept();
            EXPECT_EQ(s.tcb().ecn, agreed);
            s.send(mss);
            s.expect(A(1, 1).data(mss).ecn_bits(agreed ? ect0 : not_ect));
        }
}

/// The active side: an answer with ECE alone agrees; both bits are a reflection.
TEST(SHLD_8, case_65_an_answer_with_ece_alone_agrees_and_no_other) {
    for (const uint32_t tunable : {0U, 1U, 2U})
        for (const uint8_t bits : {uint8_t{0}, ece, cwr, both}) {
            SCOPED_TRACE("tcp_ecn " + std::to_string(tunable) + " bits " + std::to_string(bits));
            Script s(options(tunable));
            s.connect();
            s.expect(S(0).flag(tunable == 1 ? both : 0).ecn_bits(not_ect));
            s.inject(SA(0, 1).window(65535).mss(mss).flag(bits));
            const bool agreed = tunable == 1 && bits == ece;
            s.expect(A(1, 1).ecn_bits(not_ect));  // the answer's ECE is no echo
            EXPECT_EQ(s.tcb().ecn, agreed);
            const uint32_t cwnd = s.tcb().window.cwnd;
            s.send(mss);
            s.expect(A(1, 1).data(mss).ecn_bits(agreed ? ect0 : not_ect));
            EXPECT_EQ(s.tcb().window.cwnd, cwnd);
        }
}

/// A SYN is never ECN-capable itself: somebody on the path writes over the field.
TEST(SHLD_8, case_65_a_syn_that_is_marked_itself_gets_no_ecn) {
    for (const uint8_t bits : {uint8_t{1}, ect0, ce}) {
        Script s(options(1));
        s.listen();
        s.inject(syn().flag(both).ecn_bits(bits));
        s.expect(SA(0, 1));
    }
}

/// RFC 3168 section 6.1.1.1: no answer, so the SYN goes again without the bits, and what agrees to
/// the first one later comes too late.
TEST(SHLD_8, case_65_fallback_of_a_syn_that_gets_no_answer) {
    Script s(options(1));
    s.connect();
    s.expect(S(0).flag(both));
    EXPECT_NEAR(static_cast<double>(s.advance_to_next_segment(2_s).ms()), 1000, 1);
    s.expect(S(0));
    s.advance_to_next_segment(2_s);
    s.expect(S(0));
    EXPECT_EQ(s.counters().ecn_fallbacks, 1U);
    s.inject(SA(0, 1).window(65535).mss(mss).flag(ece));
    s.expect(A(1, 1));
    EXPECT_FALSE(s.tcb().ecn);
    s.send(mss);
    s.expect(A(1, 1).data(mss).ecn_bits(not_ect));
}

TEST(SHLD_8, fallback_can_be_turned_off) {
    Script s(options(1, 0));
    s.connect();
    s.expect(S(0).flag(both));
    s.advance_to_next_segment(2_s);
    s.expect(S(0).flag(both));
    s.inject(SA(0, 1).window(65535).mss(mss).flag(ece));
    s.expect(A(1, 1));
    EXPECT_TRUE(s.tcb().ecn);
    EXPECT_EQ(s.counters().ecn_fallbacks, 0U);
}

/// The peer has fallen back: who has received one SYN without the bits uses no ECN.
TEST(SHLD_8, case_65_fallback_of_the_peer_is_followed) {
    Script s(options(2));
    s.listen();
    s.inject(syn().flag(both));
    s.expect(SA(0, 1).flag(ece));
    s.inject(syn());
    s.expect(SA(0, 1));
    s.inject(A(1, 1));
    s.accept();
    EXPECT_FALSE(s.tcb().ecn);
}

TEST(SHLD_8, the_syn_ack_that_goes_again_still_agrees) {
    Script s(options(2));
    s.listen();
    s.inject(syn().flag(both));
    s.expect(SA(0, 1).flag(ece));
    s.advance_to_next_segment(2_s);
    s.expect(SA(0, 1).flag(ece));
}

TEST(SHLD_8, a_simultaneous_open_agrees_where_both_have_asked) {
    for (const uint32_t tunable : {1U, 2U})
        for (const uint8_t answer : {uint8_t{0}, ece}) {
            Script s(options(tunable));
            s.connect();
            s.expect(S(0).flag(tunable == 1 ? both : 0));
            s.inject(syn().flag(both));
            s.expect(SA(0, 1).flag(tunable == 1 ? ece : 0));
            s.inject(SA(0, 1).window(65535).mss(mss).flag(answer));
            EXPECT_EQ(s.tcb().state, tcp::State::established);
            EXPECT_EQ(s.tcb().ecn, tunable == 1 && answer == ece);
            EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
        }
}

// ---- The receiver -------------------------------------------------------------------------------

/// Section 6.1.3: every ACK bears ECE until CWR comes, data of ours too.
TEST_P(Ecn, a_mark_is_echoed_until_cwr) {
    s.inject(text(0, ect0));
    s.expect(A(1, at(1)).ecn_bits(not_ect));
    s.inject(text(1, ce));
    s.expect(A(1, at(2)).flag(ece).ecn_bits(not_ect));
    s.inject(text(2, ect0));
    s.expect(A(1, at(3)).flag(ece));
    s.send(mss);
    s.expect(A(1, at(3)).data(mss).flag(ece).ecn_bits(ect0));
    s.inject(A(at(3), at(1)).data(mss).filled_from(3 * mss).flag(cwr).ecn_bits(ect0));
    s.expect(A(at(1), at(4)));
    s.inject(A(at(4), at(1)).data(mss).filled_from(4 * mss).ecn_bits(ect0));
    s.advance_to_next_segment(200_ms);
    s.expect(A(at(1), at(5)));
    EXPECT_EQ(s.counters().ip_in_ce_pkts, 1U);
    EXPECT_EQ(s.counters().ip_in_ect0_pkts, 4U);
    EXPECT_TRUE(s.end().intact);
    EXPECT_EQ(s.end().received, 5 * mss);
}

/// The segment with CWR was marked itself: that is another mark.
TEST_P(Ecn, a_mark_beside_cwr_begins_the_echo_anew) {
    s.inject(text(0, ce));
    s.expect(A(1, at(1)).flag(ece));
    s.inject(text(1, ce).flag(cwr));
    s.expect(A(1, at(2)).flag(ece));
    s.inject(text(2, ect0).flag(cwr));
    s.expect(A(1, at(3)));
}

/// Out of order or not, a mark counts; an ACK of its own for each, as it stood.
TEST_P(Ecn, a_mark_out_of_order_is_echoed) {
    s.inject_burst({text(1, ect0), text(2, ce)});
    s.expect(A(1, at(0)).sack({{at(1), at(2)}}));
    s.expect(A(1, at(0)).flag(ece).sack({{at(1), at(3)}}));
    s.inject(text(0, ect0));
    s.expect(A(1, at(3)).flag(ece));
}

/// Section 6.1.5: marks on what lies outside the window or bears no text say nothing.
TEST_P(Ecn, marks_outside_the_window_and_on_empty_segments_are_ignored) {
    s.inject(text(0, ect0));
    s.expect(A(1, at(1)));
    s.inject(text(0, ce));  // an old one
    s.expect(A(1, at(1)));
    s.inject(A(at(1), 1).ecn_bits(ce));
    s.expect_silence();
    s.inject(text(1, ect0));
    s.expect(A(1, at(2)));
}

// ---- The sender ---------------------------------------------------------------------------------

/// Section 6.1.2: once a window of data, and CWR on the first new segment after it alone.
TEST_P(Ecn, an_echo_halves_the_window_once_and_is_answered_by_cwr) {
    s.send(30 * mss);
    for (uint32_t i = 0; i < 10; ++i) s.expect(segment(i).ecn_bits(ect0));
    s.expect_silence();
    s.advance(50_ms);
    s.inject(A(1, at(2)).flag(ece));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::cwr);
    EXPECT_EQ(s.tcb().window.ssthresh, 4 * mss);  // half of the eight that are left
    s.expect(segment(10).flag(cwr).ecn_bits(ect0));
    s.expect_silence();
    for (uint32_t i = 4; i <= 10; i += 2) s.inject(A(1, at(i)).flag(ece));
    EXPECT_EQ(s.tcb().window.ssthresh, 4 * mss);
    EXPECT_LE(s.tcb().window.cwnd, 4 * mss);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    uint32_t next = 11;
    while (s.anything_sent()) s.expect(segment(next++).ecn_bits(ect0));
    EXPECT_EQ(s.counters().tcp_retrans_segs, 0U);
    EXPECT_EQ(s.counters().tcp_delivered_ce, 10U);
    // Our CWR has arrived: an echo now is of another mark.
    s.inject(A(1, at(11)));
    s.inject(A(1, at(12)).flag(ece));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::cwr);
    EXPECT_LT(s.tcb().window.ssthresh, 4 * mss);
}

/// What is sent again is not ECN-capable (section 6.1.5), and a loss is answered by CWR, too.
TEST_P(Ecn, a_retransmission_is_not_ecn_capable_and_cwr_follows_on_new_data) {
    s.send(20 * mss);
    for (uint32_t i = 0; i < 10; ++i) s.expect(segment(i));
    s.advance(50_ms);
    s.inject(A(1, 1).sack({{at(1), at(4)}}));
    s.expect(segment(0).ecn_bits(not_ect));
    EXPECT_TRUE(s.tcb().cwr_due);
    s.inject(A(1, 1).sack({{at(1), at(8)}}).flag(ece));  // no second reduction for the same window
    EXPECT_EQ(s.tcb().window.ssthresh, 5 * mss);
    s.expect(segment(10).flag(cwr).ecn_bits(ect0));
    s.advance(50_ms);
    s.inject(A(1, at(10)).flag(ece));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_EQ(s.tcb().window.ssthresh, 5 * mss);
    s.expect(segment(11).ecn_bits(ect0));
}

/// The echo is for everything that was in flight: nothing waits for an ACK that will not come.
TEST_P(Ecn, an_echo_on_the_last_ack_leaves_nothing_behind) {
    s.send(4 * mss);
    s.forget_sent();
    s.advance(50_ms);
    s.inject(A(1, at(4)).flag(ece));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
    EXPECT_EQ(s.tcb().window.cwnd, 2 * mss);
    s.send(mss);
    s.expect(segment(4).flag(cwr).ecn_bits(ect0));
}

TEST_P(Ecn, probes_of_a_closed_window_are_not_ecn_capable) {
    s.send(mss);
    s.expect(segment(0).ecn_bits(ect0));
    s.inject(A(1, at(1)).window(0));
    s.send(mss);
    s.expect_silence();
    s.advance_to_next_segment(2_s);
    s.expect(A(at(1) - 1, 1).ecn_bits(not_ect));
}

/// Nobody agreed on it: marks and echoes mean nothing.
TEST(SHLD_8, case_65_marks_and_echoes_without_negotiation_are_ignored) {
    Script s(options(2));
    s.establish(syn());
    s.inject(A(1, 1).data(mss).ecn_bits(ce));
    s.expect(A(1, 1 + mss));
    s.send(4 * mss);
    for (uint32_t i = 0; i < 4; ++i) s.expect(A(1 + i * mss, 1 + mss).data(mss).ecn_bits(not_ect));
    const uint32_t cwnd = s.tcb().window.cwnd;
    s.advance(10_ms);
    s.inject(A(1 + mss, 1 + 2 * mss).flag(ece));
    EXPECT_GE(s.tcb().window.cwnd, cwnd);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    s.inject(A(1 + mss, 1 + 4 * mss).flag(both));
    EXPECT_GE(s.tcb().window.cwnd, cwnd);
    EXPECT_FALSE(s.tcb().cwr_due);
    EXPECT_EQ(s.counters().tcp_delivered_ce, 0U);
}

/// The path wipes the field: the peer never sees a mark, nor do we; all else goes on.
TEST_P(Ecn, case_65_a_path_that_bleaches_the_field_costs_nothing) {
    s.inject(text(0, not_ect));
    s.expect(A(1, at(1)));
    s.send(4 * mss);
    for (uint32_t i = 0; i < 4; ++i) s.expect(A(at(i), at(1)).data(mss).ecn_bits(ect0));
    s.advance(10_ms);
    s.inject(A(at(1), at(4)).ecn_bits(not_ect));
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
    s.inject(A(at(1), at(4)).data(mss).filled_from(mss));
    s.advance_to_next_segment(200_ms);
    s.expect(A(at(4), at(2)));
    EXPECT_TRUE(s.end().intact);
}

// ---- DCTCP --------------------------------------------------------------------------------------

class DctcpEcho : public ::testing::Test {
protected:
    static Script::Options dctcp() {
        Script::Options o = options(0);  // what DCTCP needs it asks for, whatever tcp_ecn says
        o.config.tcp.tcp_congestion_control = CongestionControl::dctcp;
        o.config.tcp.tcp_rmem = 65535;  // all of it offered: no updates of the window between
        return o;
    }
    static Packet text(uint32_t number, uint8_t bits) {
        return A(1 + number * mss, 1).data(mss).ecn_bits(bits);
    }
    static uint32_t at(uint32_t number) { return 1 + number * mss; }
    Script s{dctcp()};
};

TEST_F(DctcpEcho, asks_on_its_syn) {
    s.connect();
    s.expect(S(0).flag(both));
}

/// RFC 8257 section 3.2: what is owed for packets of the other kind goes out at once, as it stood.
TEST_F(DctcpEcho, a_change_of_the_mark_sends_the_ack_that_is_owed) {
    s.establish(syn().flag(both));
    s.tcb().quick_acks = 0;
    s.inject(text(0, ect0));
    s.expect_silence();  // delayed
    s.inject(text(1, ce));
    s.expect(A(1, at(1)), "the unmarked one");
    s.expect(A(1, at(2)).flag(ece), "the mark is told at once");
    s.inject(text(2, ce));
    s.expect_silence();
    s.inject(text(3, ce));
    s.expect(A(1, at(4)).flag(ece));
    // In one burst, too: CWR changes nothing, the mark alone counts.
    s.inject_burst({text(4, ce), text(5, ect0).flag(cwr), text(6, ect0), text(7, ce)});
    s.expect(A(1, at(5)).flag(ece));
    s.expect(A(1, at(7)));
    s.expect(A(1, at(8)).flag(ece));
    s.expect_silence();
}

/// A tenth of the bytes marked: the window comes down by about a twentieth, not by half.
TEST_F(DctcpEcho, the_sender_comes_down_by_what_was_marked) {
    s.establish(syn().flag(both));
    uint32_t acked = 0;
    uint32_t sent = 0;
    for (int round = 0; round < 60; ++round) {
        s.send(10 * mss);
        sent += 10;
        s.advance(10_ms);
        while (s.anything_sent()) EXPECT_EQ(s.next().ecn, ect0);
        while (acked < sent && s.tcb().snd_nxt >= s.tcb().snd_una + mss) {
            ++acked;
            s.inject(A(1, at(acked)).flag(acked % 10 == 5 ? ece : 0));
            while (s.anything_sent()) s.next();
        }
    }
    const congestion::Dctcp& control = *s.tcb().sending->control.dctcp();
    EXPECT_NEAR(static_cast<double>(control.alpha()) / congestion::Dctcp::one, 0.1, 0.06);
    EXPECT_EQ(s.counters().tcp_retrans_segs, 0U);
}

}  // namespace
}  // namespace millrace::testing
