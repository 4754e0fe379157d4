#include "congestion/hystart.h"

#include <gtest/gtest.h>

#include "congestion/cubic.h"

namespace millrace::congestion {
namespace {

using namespace literals;

/// Rounds of `acks` ACKs, each round with one round trip time.
struct Rounds {
    HyStart hystart;
    Seq una = Seq(0xffff'0000);  // crosses the wrap
    uint32_t window = 20'000;

    Rounds() {
        hystart.begin();
        Ack first;  // of the SYN: the first round begins here
        first.snd_una = una;
        first.snd_nxt = una + window;
        hystart.on_ack(first);
    }
    /// True: slow start is over.
    bool round(Duration rtt, int acks = 10) {
        bool over = false;
        const Seq end = una + window;
        for (int i = 1; i <= acks; ++i) {
            Ack ack;
            ack.rtt = rtt;
            ack.snd_una =
                i == acks ? end
                          : una + window / static_cast<uint32_t>(acks) * static_cast<uint32_t>(i);
            ack.snd_nxt = ack.snd_una + window;
            over = hystart.on_ack(ack) || over;
        }
        una = end;
        return over;
    }
};

TEST(HyStart, a_round_trip_longer_by_an_eighth_begins_css) {  // RFC 9406 section 4.2
    for (const auto& [base, limit] :
         {std::pair{80_ms, 90_ms}, {100_ms, Duration::from_us(112'500)}}) {
        Rounds under, over;
        for (Rounds* r : {&under, &over}) {
            r->round(base);
            r->round(base);
        }
        under.round(limit - 1_us);
        EXPECT_FALSE(under.hystart.in_css());
        over.round(limit);
        EXPECT_TRUE(over.hystart.in_css());
    }
}

TEST(HyStart, the_threshold_lies_between_4_and_16_ms) {
    for (const auto& [base, threshold] : {std::pair{1_ms, 4_ms},
                                          {30_us, 4_ms},
                                          {32_ms, 4_ms},
                                          {40_ms, 5_ms},
                                          {128_ms, 16_ms},
                                          {400_ms, 16_ms}}) {
        Rounds under, over;
        for (Rounds* r : {&under, &over}) r->round(base);
        under.round(base + threshold - 1_us);
        EXPECT_FALSE(under.hystart.in_css()) << base.us();
        over.round(base + threshold);
        EXPECT_TRUE(over.hystart.in_css()) << base.us();
    }
}

TEST(HyStart, fewer_than_eight_samples_decide_nothing) {
    Rounds rounds;
    rounds.round(50_ms);
    rounds.round(200_ms, 7);
    EXPECT_FALSE(rounds.hystart.in_css());
    Rounds other;
    other.round(50_ms);
    other.round(200_ms, 8);
    EXPECT_TRUE(other.hystart.in_css());
}

TEST(HyStart, acks_without_a_sample_are_not_counted) {
    Rounds rounds;
    rounds.round(50_ms);
    rounds.round(Duration(), 50);
    EXPECT_FALSE(rounds.hystart.in_css());
    rounds.round(200_ms);  // and the round before had no minimum to compare with
    EXPECT_FALSE(rounds.hystart.in_css());
}

TEST(HyStart, css_grows_by_a_quarter_and_ends_after_five_rounds) {
    Rounds rounds;
    EXPECT_EQ(rounds.hystart.growth(4000), 4000U);
    EXPECT_EQ(rounds.hystart.growth(20'000), 20'000U);  // no L
    rounds.round(50_ms);
    EXPECT_FALSE(rounds.round(60_ms));  // the round in which CSS begins is the first
    ASSERT_TRUE(rounds.hystart.in_css());
    EXPECT_EQ(rounds.hystart.growth(4000), 1000U);
    EXPECT_EQ(rounds.hystart.growth(20'000), 5000U);
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(rounds.round(60_ms));
    EXPECT_TRUE(rounds.round(60_ms));
    EXPECT_FALSE(rounds.hystart.active());
    EXPECT_EQ(rounds.hystart.growth(4000), 4000U);
}

TEST(HyStart, a_false_alarm_goes_back_to_slow_start) {
    Rounds rounds;
    rounds.round(50_ms);
    rounds.round(60_ms);
    rounds.round(60_ms);
    ASSERT_TRUE(rounds.hystart.in_css());
    rounds.round(59_ms);  // below the baseline of 60
    EXPECT_FALSE(rounds.hystart.in_css());
    EXPECT_TRUE(rounds.hystart.active());
    rounds.round(70_ms);  // and again, with all its five rounds
    ASSERT_TRUE(rounds.hystart.in_css());
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(rounds.round(75_ms));
    EXPECT_TRUE(rounds.round(75_ms));
}

TEST(HyStart, is_over_after_the_first_slow_start) {  // RFC 9406 section 4.3
    Cubic cubic;
    Window window{.cwnd = 100'000, .mss = 1000};
    cubic.begin(window, Instant());
    window.ssthresh = cubic.ssthresh(window, Ack());
    window.cwnd = 1000;
    Seq una;
    for (int round = 0; round < 6; ++round)
        for (int i = 0; i < 10; ++i) {
            Ack ack;
            ack.acked = 1000;
            ack.window_limited = true;
            ack.rtt = ack.srtt = 10_ms + 20_ms * round;
            ack.snd_una = una += 1000;
            ack.snd_nxt = una + 10'000;
            cubic.on_ack(window, ack);
            EXPECT_FALSE(cubic.in_hystart_css());
        }
}

TEST(HyStart, ends_cubics_slow_start_at_the_window_of_the_time) {
    Cubic cubic;
    Window window{.cwnd = 10'000, .mss = 1000};
    cubic.begin(window, Instant());
    Seq una;
    bool css = false;
    for (int round = 0; round < 12 && window.in_slow_start(); ++round)
        for (int i = 0; i < 10; ++i) {
            Ack ack;
            ack.acked = 1000;
            ack.window_limited = true;
            ack.rtt = ack.srtt = round < 3 ? 50_ms : 60_ms;
            ack.snd_una = una += 1000;
            ack.snd_nxt = una + 10'000;
            cubic.on_ack(window, ack);
            css = css || cubic.in_hystart_css();
        }
    EXPECT_TRUE(css);
    EXPECT_FALSE(window.in_slow_start());
    EXPECT_NEAR(static_cast<double>(window.ssthresh), static_cast<double>(window.cwnd), 1000);
    EXPECT_LT(window.cwnd, 62'000U);  // three rounds doubled, CSS grew by a quarter
    EXPECT_EQ(cubic.k(), Duration());
}

}  // namespace
}  // namespace millrace::congestion
