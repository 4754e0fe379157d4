// Pacing by the packet, the choice of congestion control, and windows that nobody needs.
#include <algorithm>
#include <cerrno>
#include <functional>

#include "script.h"
#include "tcp/pacing.h"

namespace millrace::testing {
namespace {

constexpr uint32_t mss = 1000;
constexpr uint64_t megabyte = 1'000'000;

/// Established, a round trip of 100 ms measured.
class Pacing : public ::testing::Test {
protected:
    explicit Pacing(CongestionControl algorithm = CongestionControl::reno, uint32_t tcp_pacing = 0)
        : s(options(algorithm, tcp_pacing)) {
        s.establish(S(0).window(65535).mss(mss).scale(7).sack_permitted(), 100_ms);
    }
    static Script::Options options(CongestionControl algorithm, uint32_t tcp_pacing) {
        Script::Options o;
        o.config.tcp.tcp_congestion_control = algorithm;
        o.config.tcp.tcp_pacing = tcp_pacing;
        return o;
    }
    /// Of what the window would allow, a cap is the smaller: so let that be large.
    void cap(uint64_t rate) {
        s.tcb().window.set(64U << 20);
        EXPECT_TRUE(tcp::set_max_pacing_rate(s.stack().env(), s.tcb(), rate));
    }
    /// What leaves within `time`, burst by burst: when, and how many bytes.
    std::vector<std::pair<Duration, uint32_t>> bursts(Duration time) {
        std::vector<std::pair<Duration, uint32_t>> all;
        const Instant start = s.now();
        const auto take = [&] {
            uint32_t bytes = 0;
            while (s.anything_sent()) bytes += s.next().payload_size;
            if (bytes > 0) all.emplace_back(s.now() - start, bytes);
        };
        take();
        while (s.network.run_while(start + time - s.now(), [&] { return s.anything_sent(); }))
            take();
        return all;
    }
    static uint32_t total(const std::vector<std::pair<Duration, uint32_t>>& bursts) {
        uint32_t bytes = 0;
        for (const auto& burst : bursts) bytes += burst.second;
        return bytes;
    }
    static uint32_t at(uint32_t number) { return 1 + number * mss; }

    Script s;
};

TEST_F(Pacing, without_a_wish_for_it_the_window_leaves_at_once) {
    s.send(20 * mss);
    for (uint32_t i = 0; i < 10; ++i) s.expect(A(at(i), 1).data(mss));
    EXPECT_EQ(tcp::pacing::rate(s.stack().env(), s.tcb()), 0U);
}

/// A megabyte a second: two segments each two milliseconds, on the timing wheel's ticks.
TEST_F(Pacing, a_capped_connection_sends_a_quantum_at_a_time) {
    cap(megabyte);
    s.send(10 * mss);
    const auto sent = bursts(20_ms);
    ASSERT_EQ(sent.size(), 5U);
    EXPECT_EQ(tcp::pacing::rate(s.stack().env(), s.tcb()), megabyte);
    for (size_t i = 0; i < sent.size(); ++i) {
        EXPECT_EQ(sent[i].second, 2 * mss);
        const int64_t due = static_cast<int64_t>(i) * 2000;
        EXPECT_NEAR(static_cast<double>(sent[i].first.us()), static_cast<double>(due), 140);
    }
}

/// Each firing of the wheel is late by up to a tick; the rate is kept all the same.
class PacedAt : public Pacing, public ::testing::WithParamInterface<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Rates, PacedAt,
                         ::testing::Values(3 * megabyte, 17 * megabyte, 130 * megabyte));

TEST_P(PacedAt, lateness_is_made_up_for) {
    const auto rate = static_cast<double>(GetParam());
    cap(GetParam());
    s.send(1'000'000);
    const double bytes = total(bursts(5_ms));
    // The quantum with which it begins, and the credit of two ticks, are on top.
    const double quantum = std::clamp(rate / 1000, 2.0 * mss, 65536.0);
    EXPECT_GE(bytes, rate * 0.005 * 0.97);
    EXPECT_LE(bytes, rate * 0.005 * 1.01 + rate * 131e-6 + quantum);
}

TEST_F(Pacing, an_ack_does_not_wait_for_the_pace) {
    cap(100'000);
    s.send(10 * mss);
    s.expect(A(at(0), 1).data(mss));
    s.expect(A(at(1), 1).data(mss));
    s.expect_silence();
    s.inject(A(1, 1).data(mss));
    s.expect(A(at(2), 1 + mss));
    s.expect_silence();
}

TEST_F(Pacing, what_is_sent_again_is_paced) {
    cap(megabyte);
    s.send(10 * mss);
    s.advance(20_ms);
    s.forget_sent();
    s.advance(80_ms);
    s.inject(A(1, 1).window(65535).sack({{at(6), at(10)}}));  // six are lost
    EXPECT_EQ(s.tcb().sending->sent.lost(), 4 * mss);  // two have gone already
    s.tcb().window.set(20 * mss);
    const auto again = bursts(100_ms);
    EXPECT_EQ(total(again), 6 * mss);
    EXPECT_GE(again.size(), 3U);
    EXPECT_GE(again.back().first, 3_ms);
}

/// Each write is acknowledged before the next: between them nothing is in flight.
TEST_F(Pacing, small_writes_keep_to_the_rate) {
    cap(100'000);
    const Instant start = s.now();
    for (uint32_t i = 0; i < 50; ++i) {
        s.send(mss);
        while (!s.anything_sent()) s.advance_to_next_segment(1_s);
        s.expect(A(at(i), 1).data(mss));
        s.inject(A(1, at(i + 1)).window(65535));
    }
    EXPECT_GE((s.now() - start).ms(), 480);
    EXPECT_LE((s.now() - start).ms(), 510);
    s.advance(100_ms);
    EXPECT_EQ(s.tcb().sending, nullptr);
}

/// So slow that the pace is longer than any timeout: nobody probes, nobody gives up.
TEST_F(Pacing, a_slow_pace_is_no_timeout) {
    cap(100);
    s.send(10 * mss);
    s.expect(A(at(0), 1).data(mss));
    s.expect(A(at(1), 1).data(mss));
    s.inject(A(1, at(2)).window(65535));
    EXPECT_GE(s.advance_to_next_segment(60_s), 19_s);
    s.expect(A(at(2), 1).data(mss));
    EXPECT_EQ(s.counters().tcp_timeouts, 0U);
    EXPECT_EQ(s.counters().tcp_zero_window_probes, 0U);
    EXPECT_EQ(s.counters().tcp_loss_probes, 0U);
}

/// A new cap counts from now, not when the old one would have let something go.
TEST_F(Pacing, a_cap_can_be_raised_and_taken_away) {
    cap(100);
    s.send(10 * mss);
    s.forget_sent();
    cap(megabyte);
    s.network.run_for({});
    s.expect(A(at(2), 1).data(mss));
    s.expect(A(at(3), 1).data(mss));
    s.expect_silence();
    cap(tcp::Settings::unpaced);
    s.network.run_for({});
    for (uint32_t i = 4; i < 10; ++i) s.expect(A(at(i), 1).data(mss));
    const auto zero = tcp::set_max_pacing_rate(s.stack().env(), s.tcb(), 0);
    ASSERT_FALSE(zero);
    EXPECT_EQ(zero.error().value, EINVAL);
}

class TunedPacing : public Pacing {
protected:
    TunedPacing() : Pacing(CongestionControl::cubic, 1) {}
};

/// Linux's 200 % of the window a round trip: ten segments in 50 ms.
TEST_F(TunedPacing, tcp_pacing_spreads_the_window) {
    EXPECT_EQ(tcp::pacing::rate(s.stack().env(), s.tcb()), 200'000U);
    s.send(20 * mss);
    const auto sent = bursts(100_ms);
    EXPECT_EQ(total(sent), 10 * mss);
    EXPECT_EQ(sent.size(), 5U);
    EXPECT_NEAR(static_cast<double>(sent.back().first.ms()), 40, 1);
}

class BbrPacing : public Pacing {
protected:
    BbrPacing() : Pacing(CongestionControl::bbr) {}
};

TEST_F(BbrPacing, is_paced_by_itself) {
    s.send(20 * mss);
    EXPECT_GT(tcp::pacing::rate(s.stack().env(), s.tcb()), 0U);
    EXPECT_EQ(total(bursts(10_ms)), 10 * mss);
    s.advance(90_ms);
    s.inject(A(1, at(2)).window(65535));  // the round trip is known: 277 % of the window in it
    EXPECT_NEAR(static_cast<double>(tcp::pacing::rate(s.stack().env(), s.tcb())), 277'000, 20'000);
}

// ---- TCP_CONGESTION -----------------------------------------------------------------------------

TEST_F(Pacing, MAY_18_the_algorithm_changes_in_mid_connection_and_the_window_stays) {
    using congestion::Algorithm;
    s.send(5 * mss);
    s.tcb().window.set(37 * mss);
    s.tcb().window.ssthresh = 30 * mss;
    for (const auto& [name, algorithm] :
         {std::pair{"cubic", Algorithm::cubic}, {"bbr", Algorithm::bbr},
          {"dctcp", Algorithm::dctcp}, {"bbr", Algorithm::bbr}, {"reno", Algorithm::reno}}) {
        ASSERT_TRUE(tcp::set_congestion_control(s.stack().env(), s.tcb(), name));
        EXPECT_EQ(s.tcb().sending->control.algorithm(), algorithm);
        EXPECT_EQ(s.tcb().window.cwnd, 37 * mss);
        EXPECT_EQ(s.tcb().window.ssthresh, 30 * mss);
    }
    for (const char* unknown : {"vegas", "", "CUBIC", "bbr3"}) {
        const auto refused = tcp::set_congestion_control(s.stack().env(), s.tcb(), unknown);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().value, ENOENT);
        EXPECT_EQ(s.tcb().sending->control.algorithm(), Algorithm::reno);
    }
    s.forget_sent();
    s.inject(A(1, at(5)).window(65535));
    EXPECT_TRUE(tcp::is_at_rest(s.tcb()));
    EXPECT_EQ(s.stack().population().bbrs, 0U);
}

/// Chosen while the SYN is on its way: the answer begins what was chosen, not the default.
TEST(MAY_18, an_algorithm_chosen_before_the_answer_is_kept) {
    Script s;
    s.connect();
    s.expect(S(0));
    ASSERT_TRUE(tcp::set_congestion_control(s.stack().env(), s.tcb(), "dctcp"));
    s.inject(SA(0, 1).window(65535).mss(mss));
    EXPECT_EQ(s.tcb().sending->control.algorithm(), congestion::Algorithm::dctcp);
    EXPECT_FALSE(s.tcb().ecn);
}

// ---- RFC 7661 -----------------------------------------------------------------------------------

/// The application needs two segments a round trip of a window of 80: it comes half-way down each
/// timeout's time, and ssthresh remembers it.
TEST_F(Pacing, a_window_that_is_not_needed_comes_down) {
    s.tcb().window.set(80 * mss);
    uint32_t sent = 0;
    std::vector<uint32_t> windows;
    for (int round = 0; round < 40; ++round) {
        s.send(2 * mss);
        s.forget_sent();
        s.advance(100_ms);
        s.inject(A(1, at(sent += 2)).window(65535));
        windows.push_back(s.tcb().window.cwnd);
    }
    EXPECT_TRUE(std::ranges::is_sorted(windows, std::greater<>()));
    EXPECT_LE(windows.back(), 12 * mss);
    EXPECT_GE(windows.back(), 10 * mss);
    EXPECT_GE(s.tcb().window.ssthresh, 60 * mss);
}

}  // namespace
}  // namespace millrace::testing
