#include "congestion/control.h"

#include <gtest/gtest.h>

#include "unit/congestion/bottleneck.h"

namespace millrace::congestion {
namespace {

using namespace literals;

TEST(Control, has_the_names_of_linux) {
    for (const std::string_view n : {"reno", "cubic", "dctcp", "bbr"}) {
        const auto algorithm = algorithm_named(n);
        ASSERT_TRUE(algorithm.has_value()) << n;
        EXPECT_EQ(name(*algorithm), n);
    }
    for (const std::string_view n : {"", "Reno", "cubic ", "vegas"})
        EXPECT_FALSE(algorithm_named(n).has_value()) << n;
}

TEST(Control, is_reno_until_it_begins_and_after_it_is_released) {
    Pool<Bbr> bbrs(1);
    Window window{.cwnd = 10'000, .mss = 1000};
    Control control, other;
    EXPECT_EQ(control.algorithm(), Algorithm::reno);
    EXPECT_FALSE(control.controls_recovery());
    EXPECT_TRUE(control.begin(Algorithm::bbr, window, Instant(), bbrs));
    EXPECT_EQ(control.algorithm(), Algorithm::bbr);
    EXPECT_TRUE(control.controls_recovery());
    EXPECT_EQ(bbrs.in_use(), 1U);
    EXPECT_FALSE(other.begin(Algorithm::bbr, window, Instant(), bbrs));
    EXPECT_EQ(other.algorithm(), Algorithm::reno);
    control.release(bbrs);
    EXPECT_EQ(control.algorithm(), Algorithm::reno);
    EXPECT_EQ(bbrs.in_use(), 0U);
    control.release(bbrs);
    EXPECT_TRUE(control.begin(Algorithm::dctcp, window, Instant(), bbrs));
    EXPECT_TRUE(control.wants_ecn());
    EXPECT_TRUE(control.begin(Algorithm::cubic, window, Instant(), bbrs));
    EXPECT_FALSE(control.wants_ecn());
}

TEST(Control, paces_others_than_bbr_only_where_wanted) {
    Control control;
    Window window{.cwnd = 100'000, .mss = 1000};
    EXPECT_EQ(control.pacing_rate(window, 100_ms, false), 0U);
    EXPECT_EQ(control.pacing_rate(window, Duration(), true), 0U);
    EXPECT_EQ(control.pacing_rate(window, 100_ms, true), 2'000'000U);
    window.ssthresh = 100'000;
    EXPECT_EQ(control.pacing_rate(window, 100_ms, true), 1'200'000U);
    window.cwnd = Window::max_size;
    EXPECT_EQ(control.pacing_rate(window, 1_ns, true), uint64_t{Window::max_size} * 1'200'000);
}

TEST(Control, each_fills_a_path_with_a_buffer_of_its_product) {
    for (const Algorithm algorithm :
         {Algorithm::reno, Algorithm::cubic, Algorithm::dctcp, Algorithm::bbr}) {
        Bottleneck flow(algorithm, {.buffer = 200'000});
        flow.run_for(5_s);
        EXPECT_GE(flow.share_over(15_s), 90U) << name(algorithm);
        EXPECT_LE(flow.lost() * 100, flow.delivered()) << name(algorithm);
    }
}

TEST(Control, each_fills_short_and_long_paths) {
    for (const Algorithm algorithm :
         {Algorithm::reno, Algorithm::cubic, Algorithm::dctcp, Algorithm::bbr})
        for (const auto& [rate, rtt] : {std::pair{10'000'000ULL, 100_us},
                                        {2'000'000ULL, 5_ms},
                                        {2'500'000ULL, 200_ms},
                                        {20'000ULL, 300_ms}}) {
            const auto product =
                static_cast<uint32_t>(rate * static_cast<uint64_t>(rtt.us()) / 1'000'000);
            Bottleneck flow(algorithm, {.rate = rate, .rtt = rtt, .buffer = product + 30'000});
            flow.run_for(8_s);
            EXPECT_GE(flow.share_over(6_s), 85U) << name(algorithm) << " " << rate;
        }
}

TEST(Control, cubic_takes_back_a_long_fat_path_that_reno_leaves_empty) {
    // 1250 segments in flight: after a loss Reno needs 625 round trips, a minute.
    const Path path{.rate = 12'500'000, .rtt = 100_ms, .buffer = 125'000};
    Bottleneck reno(Algorithm::reno, path), cubic(Algorithm::cubic, path);
    for (Bottleneck* flow : {&reno, &cubic}) {
        flow->run_for(5_s);
    }
    EXPECT_GE(cubic.share_over(15_s), reno.share_over(15_s) + 5);
}

TEST(Control, marks_keep_dctcps_queue_short) {  // RFC 8257 section 1
    const Path path{.buffer = 1'000'000, .mark_above = 60'000};
    Bottleneck dctcp(Algorithm::dctcp, path), reno(Algorithm::reno, path);
    uint32_t longest = 0;
    for (Bottleneck* flow : {&dctcp, &reno}) flow->run_for(5_s);
    dctcp.watch = [&](const Ack&) { longest = std::max(longest, dctcp.queue()); };
    EXPECT_GE(dctcp.share_over(10_s), 97U);
    EXPECT_LE(longest, 110'000U);
    EXPECT_EQ(dctcp.lost(), 0U);
    EXPECT_LT(reno.share_over(10_s), 97U);  // it halves for each mark
}

TEST(Control, bbr_leaves_a_deep_buffer_empty_that_cubic_fills) {
    const Path path{.buffer = 1'000'000};
    Bottleneck bbr(Algorithm::bbr, path), cubic(Algorithm::cubic, path);
    uint64_t queued[2] = {0, 0}, acks[2] = {0, 0};
    for (Bottleneck* flow : {&bbr, &cubic}) {
        flow->run_for(5_s);
        const int i = flow == &bbr ? 0 : 1;
        flow->watch = [&, flow, i](const Ack&) {
            queued[i] += flow->queue();
            ++acks[i];
        };
        flow->run_for(10_s);
    }
    EXPECT_LT(queued[0] / acks[0], 40'000U);
    EXPECT_GT(queued[1] / acks[1], 300'000U);
}

TEST(Control, hystart_leaves_slow_start_before_the_buffer_overflows) {  // RFC 9406 section 1
    const Path path{.rate = 12'500'000, .rtt = 60_ms, .buffer = 1'500'000};
    Bottleneck reno(Algorithm::reno, path), cubic(Algorithm::cubic, path);
    bool css = false;
    cubic.watch = [&](const Ack&) { css = css || cubic.control().in_hystart_css(); };
    reno.run_for(3_s);
    cubic.run_for(3_s);
    EXPECT_TRUE(css);
    EXPECT_LT(cubic.window().ssthresh, Window::unlimited);
    EXPECT_LT(cubic.lost(), reno.lost() / 2) << cubic.lost() << " " << reno.lost();
}

TEST(Control, pacing_the_others_costs_nothing) {
    for (const Algorithm algorithm : {Algorithm::reno, Algorithm::cubic}) {
        Bottleneck flow(algorithm, {.buffer = 200'000});
        flow.paced = true;
        flow.run_for(5_s);
        EXPECT_GE(flow.share_over(15_s), 85U) << name(algorithm);
    }
}

TEST(Control, an_application_that_pauses_earns_no_window) {
    for (const Algorithm algorithm : {Algorithm::reno, Algorithm::cubic}) {
        Bottleneck flow(algorithm, {.buffer = 200'000});
        flow.may_send = [&] { return flow.in_flight() < 5000; };
        flow.run_for(10_s);
        EXPECT_LE(flow.window().cwnd, 12'000U) << name(algorithm);
    }
}

}  // namespace
}  // namespace millrace::congestion
