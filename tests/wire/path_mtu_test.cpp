// The path's MTU by the packet: what ICMP says (RFC 1191, RFC 8201), what probes find (RFC 4821).
#include "icmp_error.h"

namespace millrace::testing {
namespace {

constexpr auto both = {Family::ipv4, Family::ipv6};

Script::Options options(Family family, uint32_t probing = 0) {
    Script::Options o;
    o.family = family;
    o.config.tcp.tcp_mtu_probing = probing;
    return o;
}

uint32_t headers(Family family) { return family == Family::ipv4 ? 40 : 60; }

Packet syn() { return S(0).window(65535).mss(1460); }

/// Everything that is sent next is of `size`, `count` times, from `first` on.
void expect_segments(Script& s, uint32_t first, uint32_t count, uint32_t size) {
    for (uint32_t i = 0; i < count; ++i)
        s.expect(A(first + i * size, 1).data(size), "segment " + std::to_string(i));
}

TEST(PathMtu, what_was_too_large_goes_again_at_once_in_smaller_segments) {
    for (const Family family : both) {
        Script s(options(family));
        s.establish(syn());
        const uint32_t full = 1500 - headers(family);
        s.send(4 * full);
        expect_segments(s, 1, 4, full);
        const uint32_t cwnd = s.tcb().window.cwnd;
        inject_icmp(s, too_big(family, 1300));
        const uint32_t small = 1300 - headers(family);
        expect_segments(s, 1, 4 * full / small, small);
        s.expect(PA(1 + 4 * full / small * small, 1).data(4 * full % small));
        s.expect_silence();
        EXPECT_EQ(s.tcb().snd_mss, small);
        EXPECT_EQ(s.tcb().window.mss, small);
        EXPECT_EQ(s.tcb().window.cwnd, cwnd) << "no congestion has been found";
        EXPECT_EQ(s.tcb().window.ssthresh, congestion::Window::unlimited);
        EXPECT_EQ(s.counters().tcp_timeouts, 0U);
        s.inject(A(1, 1 + 4 * full));
        EXPECT_EQ(s.tcb().recovery, tcp::Recovery::open);
        EXPECT_GE(s.tcb().window.cwnd, cwnd);
        s.send(2 * small);
        s.expect(A(1 + 4 * full, 1).data(small));
    }
}

TEST(PathMtu, only_what_was_too_large_goes_again) {
    Script s;
    s.establish(syn());
    s.tcb().no_delay = true;
    s.send(1460);
    s.expect(PA(1, 1).data(1460));
    s.advance(1_ms);
    s.send(500);
    s.expect(PA(1461, 1).data(500));
    inject_icmp(s, too_big(Family::ipv4, 1000));
    s.expect(A(1, 1).data(960));
    s.expect(A(961, 1).data(500));
    s.expect_silence();
}

TEST(PathMtu, a_router_that_names_no_mtu_gets_the_next_plateau) {  // RFC 1191 section 7.1
    Script s;
    s.establish(syn());
    s.send(1460);
    inject_icmp(s, too_big(Family::ipv4, 0));
    EXPECT_EQ(s.tcb().snd_mss, 1492 - 40);
    inject_icmp(s, {.type = 3, .code = 4, .quoted = 1492});
    EXPECT_EQ(s.tcb().snd_mss, 1006 - 40);
    // A quotation that claims to be larger than anything that we send brings nothing back.
    inject_icmp(s, {.type = 3, .code = 4, .quoted = 9000});
    EXPECT_EQ(s.tcb().snd_mss, 552 - 40) << "and no plateau goes below the floor";
}

/// Attack case 38.
TEST(Attack, case_38_packet_too_big_must_quote_what_is_in_flight) {
    for (const Family family : both) {
        Script s(options(family));
        s.establish(syn());
        const uint16_t mss = s.tcb().snd_mss;
        inject_icmp(s, too_big(family, 1280));
        EXPECT_EQ(s.tcb().snd_mss, mss) << "nothing is in flight";
        s.send(3 * mss);
        s.forget_sent();
        for (const int32_t offset : {-1, 3 * mss, 100'000, -100'000}) {
            IcmpError error = too_big(family, 1280);
            error.offset = offset;
            inject_icmp(s, error);
            EXPECT_EQ(s.tcb().snd_mss, mss) << offset;
        }
        EXPECT_EQ(s.stack().population().path_mtus, 0U);
        s.expect_silence();
        IcmpError last = too_big(family, 1400);
        last.offset = 3 * mss - 1;
        inject_icmp(s, last);
        EXPECT_EQ(s.tcb().snd_mss, 1400 - headers(family));
        EXPECT_EQ(s.stack().population().path_mtus, 1U);
    }
}

TEST(Attack, case_38_nobody_talks_us_below_552_or_1280) {
    for (const Family family : both) {
        Script s(options(family));
        s.establish(syn());
        s.send(1000);
        for (const uint32_t mtu : {1U, 68U, 296U, 551U}) {
            inject_icmp(s, too_big(family, mtu));
            EXPECT_EQ(s.tcb().snd_mss, (family == Family::ipv4 ? 552 : 1280) - headers(family));
        }
    }
}

TEST(PathMtu, icmp_never_widens_a_path) {
    for (const Family family : both) {
        Script s(options(family));
        s.establish(syn());
        s.send(1000);
        for (const uint32_t mtu : {1500U, 9000U, 65535U}) {
            inject_icmp(s, too_big(family, mtu));
            EXPECT_EQ(s.tcb().snd_mss, 1500 - headers(family));
        }
        inject_icmp(s, too_big(family, 1400));
        inject_icmp(s, too_big(family, 1450));
        EXPECT_EQ(s.tcb().snd_mss, 1400 - headers(family));
    }
}

TEST(PathMtu, it_lowers_an_attempt_before_it_is_established) {
    for (const Family family : both) {
        Script s(options(family));
        s.connect();
        EXPECT_EQ(s.next().options.mss, 1500 - headers(family));
        inject_icmp(s, too_big(family, 1300));
        EXPECT_FALSE(s.end().closed);
        s.inject(SA(0, 1).window(65535).mss(1460));
        s.expect(A(1, 1));
        EXPECT_EQ(s.tcb().snd_mss, 1300 - headers(family));
        EXPECT_EQ(s.tcb().window.cwnd, 10 * (1300 - headers(family)));
    }
}

/// RFC 1191 section 6.3: after ten minutes the path is tried at full size again.
TEST(PathMtu, others_to_the_destination_begin_with_it_until_it_is_stale) {
    for (const Family family : both) {
        Script s(options(family));
        s.establish(syn());
        s.send(1000);
        s.forget_sent();
        inject_icmp(s, too_big(family, 1400));
        s.inject(A(1, 1001));
        s.inject(syn().client(41000));
        s.expect(SA(0, 1).client(41000).mss(static_cast<uint16_t>(1500 - headers(family))),
                 "what we receive does not depend on the way there");
        s.inject(A(1, 1).client(41000));
        tcp::Connection& first = s.tcb();
        EXPECT_EQ(s.accept().connection->snd_mss, 1400 - headers(family));
        s.advance(599_s);
        s.send(100);
        EXPECT_EQ(s.tcb().snd_mss, 1400 - headers(family));
        s.advance(2_s);
        s.send(100);
        EXPECT_EQ(s.tcb().snd_mss, 1500 - headers(family));
        EXPECT_EQ(first.snd_mss, 1400 - headers(family)) << "until it sends";
        s.forget_sent();
        s.inject(syn().client(41001));
        s.expect(SA(0, 1).client(41001));
        s.inject(A(1, 1).client(41001));
        EXPECT_EQ(s.accept().connection->snd_mss, 1500 - headers(family));
        EXPECT_EQ(s.stack().population().path_mtus, 0U);
    }
}

TEST(PathMtu, other_cores_tell_theirs) {
    Script s;
    s.stack().receive_message(stack::PathMtuNews{s.peer(), 1200});
    s.establish(syn());
    EXPECT_EQ(s.tcb().snd_mss, 1160);
}

/// RFC 9293 section 3.7.1: what we offer fits into what we can receive, whatever the link.
TEST(MUST_67, the_advertised_mss_is_the_links_mtu_less_the_headers) {
    for (const Family family : both)
        for (const uint16_t mtu : {uint16_t{1280}, uint16_t{1500}, uint16_t{9000}}) {
            Script::Options o = options(family);
            o.mtu = mtu;
            Script active(o);
            active.connect();
            EXPECT_EQ(active.next().options.mss, mtu - headers(family));
            Script passive(o);
            passive.listen();
            passive.inject(syn());
            EXPECT_EQ(passive.next().options.mss, mtu - headers(family));
        }
}

/// The MTU is one for each interface here: the smallest effective MTU is that of the one which
/// leads to the peer, and what the path turns out to carry *from* us changes nothing in it.
TEST(SHLD_6, the_advertised_mss_is_from_the_smallest_mtu_of_the_way_in) {
    Script::Options o = options(Family::ipv4);
    o.mtu = 1400;
    Script s(o);
    s.establish(syn());
    EXPECT_EQ(s.tcb().link_mss, 1360);
    EXPECT_EQ(s.tcb().snd_mss, 1360) << "MUST-16: the smaller of the peer's and ours";
    s.send(100);
    s.forget_sent();
    inject_icmp(s, too_big(Family::ipv4, 1000));
    s.inject(syn().client(41000));
    EXPECT_EQ(s.next().options.mss, 1360);
}

// --- RFC 4821

/// What is larger than `limit` vanishes; what is left of the flight is acknowledged at once.
class BlackHole : public ::testing::TestWithParam<Family> {
protected:
    /// Large segments are lost until `seconds` have passed or everything has arrived.
    void run(Script& s, uint32_t limit, uint32_t bytes, int seconds) {
        s.send(bytes);
        const Instant end = s.now() + Duration::from_s(seconds);
        while (received < bytes && s.now() < end) {
            if (!s.anything_sent()) {
                s.advance(10_ms);
                continue;
            }
            const wire::Segment segment = s.next();
            const uint32_t size = segment.payload_size;
            largest = std::max(largest, size);
            if (size + headers(GetParam()) > limit) continue;
            const uint32_t from = segment.seq.value() - isn(s);
            if (from <= received + 1) received = std::max(received, from - 1 + size);
            s.inject(A(1, 1 + received));
        }
    }
    uint32_t isn(Script& s) {
        if (isn_ == 0) isn_ = s.tcb().snd_una.value() - 1;
        return isn_;
    }
    uint32_t received = 0;
    uint32_t largest = 0;

private:
    uint32_t isn_ = 0;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, BlackHole, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(BlackHole, case_67_at_1400_bytes_is_crossed_after_three_backoffs) {
    Script s(options(GetParam(), 1));
    s.establish(syn());
    isn(s);
    run(s, 1400, 6000, 30);
    EXPECT_EQ(received, 6000U);
    EXPECT_LE(s.now() - Instant::from_ns(1'000'000'000), 30_s);
    EXPECT_EQ(s.tcb().snd_mss, 1024) << "tcp_base_mss";
}

TEST_P(BlackHole, is_not_crossed_without_probing) {
    Script s(options(GetParam(), 0));
    s.establish(syn());
    isn(s);
    run(s, 1400, 6000, 120);
    EXPECT_EQ(received, 0U);
    EXPECT_EQ(s.tcb().snd_mss, 1500 - headers(GetParam()));
}

/// Each further timeout halves the segment, down to tcp_mtu_probe_floor.
TEST_P(BlackHole, at_400_bytes_takes_two_more_timeouts) {
    Script s(options(GetParam(), 1));
    s.establish(syn());
    isn(s);
    run(s, 400, 1500, 120);
    EXPECT_EQ(received, 1500U);
    EXPECT_EQ(s.tcb().snd_mss, 256);
}

TEST(MtuProbing, the_floor_is_kept) {
    Script::Options o = options(Family::ipv4, 1);
    o.config.tcp.tcp_mtu_probe_floor = 200;
    Script s(o);
    s.establish(syn());
    s.send(3000);
    s.advance(600_s);
    EXPECT_EQ(s.tcb().snd_mss, 200);
}

/// With tcp_mtu_probing = 2 a connection begins small and searches upward.
class Probe : public ::testing::Test {
protected:
    Probe() : s(options(Family::ipv4, 2)) {
        s.listen();
        s.inject(syn().sack_permitted());
        s.next();
        s.advance(20_ms);
        s.inject(A(1, 1));
        s.accept();
        // The congestion window is too small for a probe at first.
        EXPECT_EQ(s.tcb().snd_mss, 1024);
        s.send(10 * 1024);
        s.forget_sent();
        s.advance(20_ms);
        s.inject(A(1, 1 + 10 * 1024));
        cwnd = s.tcb().window.cwnd;
        EXPECT_GE(cwnd, 11U * 1024);
        s.send(20 * 1024);
    }
    Script s;
    static constexpr uint32_t at = 1 + 10 * 1024;
    static constexpr uint32_t probe = (1064 + 1500) / 2 - 40;  // the middle of what may pass
    uint32_t cwnd = 0;
};

TEST_F(Probe, that_arrives_makes_segments_larger) {
    s.expect(A(at, 1).data(probe));
    s.expect(A(at + probe, 1).data(1024), "one probe at a time");
    s.forget_sent();
    s.advance(20_ms);
    s.inject(A(1, at + probe));
    EXPECT_EQ(s.tcb().snd_mss, probe);
    EXPECT_EQ(s.counters().tcp_mtup_success, 1U);
    EXPECT_GE(s.tcb().window.cwnd, cwnd);
    EXPECT_EQ(tcp::effective_mtu(s.tcb()), probe + 40);
}

TEST_F(Probe, that_is_lost_is_no_congestion) {
    s.expect(A(at, 1).data(probe));
    s.forget_sent();
    s.advance(20_ms);
    const uint32_t behind = at + probe;
    s.inject(A(1, at).sack({{behind, behind + 1024}}));
    s.inject(A(1, at).sack({{behind, behind + 2048}}));
    s.forget_sent();
    s.inject(A(1, at).sack({{behind, behind + 3072}}));
    s.expect(A(at, 1).data(1024), "the same bytes, in pieces that pass");
    s.expect(A(at + 1024, 1).data(probe - 1024));
    EXPECT_EQ(s.counters().tcp_mtup_fail, 1U);
    EXPECT_EQ(s.counters().tcp_fast_retrans, 0U);
    EXPECT_GE(s.tcb().window.cwnd, cwnd);
    EXPECT_EQ(s.tcb().window.ssthresh, congestion::Window::unlimited);
    EXPECT_EQ(s.tcb().snd_mss, 1024);
    ASSERT_NE(s.tcb().probing, nullptr);
    EXPECT_EQ(s.tcb().probing->high, probe + 40 - 1) << "the search goes on below it";
}

/// Whoever loses other segments, too, has met congestion.
TEST_F(Probe, that_is_lost_with_others_is_congestion) {
    s.forget_sent();
    s.advance(20_ms);
    const uint32_t behind = at + probe + 1024;  // one segment behind it is missing as well
    s.inject(A(1, at).sack({{behind, behind + 1024}}));
    s.inject(A(1, at).sack({{behind, behind + 3072}}));
    EXPECT_EQ(s.counters().tcp_mtup_fail, 0U);
    EXPECT_EQ(s.tcb().recovery, tcp::Recovery::recovery);
    EXPECT_LT(s.tcb().window.ssthresh, cwnd);
}

TEST_F(Probe, icmp_about_it_ends_the_search_above) {
    s.expect(A(at, 1).data(probe));
    s.forget_sent();
    inject_icmp(s, too_big(Family::ipv4, 1100));
    EXPECT_EQ(s.tcb().snd_mss, 1024);
    EXPECT_EQ(s.tcb().probing->high, 1100);
    s.expect(A(at, 1).data(1024), "the probe's bytes");
}

}  // namespace
}  // namespace millrace::testing
