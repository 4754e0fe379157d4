#include "congestion/bbr.h"

#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "unit/congestion/bottleneck.h"

namespace millrace::congestion {
namespace {

using namespace literals;
using State = Bbr::State;

struct Visit {
    State state;
    Instant begin;
    uint32_t in_flight;
    uint32_t queue;
    uint32_t cwnd;
};

/// The states that the flow goes through, with what it found at each.
std::vector<Visit> visits(Bottleneck& flow, Duration time) {
    std::vector<Visit> found;
    flow.watch = [&](const Ack& ack) {
        if (found.empty() || found.back().state != flow.bbr().state())
            found.push_back(
                {flow.bbr().state(), flow.now(), ack.in_flight, flow.queue(), flow.window().cwnd});
    };
    flow.run_for(time);
    flow.watch = nullptr;
    return found;
}

double near_rate(const Bottleneck& flow, uint64_t rate) {
    return static_cast<double>(flow.bbr().max_bandwidth()) / static_cast<double>(rate);
}

TEST(Bbr, startup_doubles_until_the_pipe_is_full_then_drains) {  // draft sections 5.3.1, 5.3.2
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    uint64_t rounds_flat = 0;
    uint64_t delivered_flat = 0;
    flow.watch = [&](const Ack& ack) {
        if (flow.bbr().state() != State::startup) return;
        EXPECT_EQ(flow.bbr().pacing_gain_percent(), 277U);
        EXPECT_EQ(flow.bbr().cwnd_gain_percent(), 200U);
        // Rounds in which the rate has not grown by a quarter.
        if (flow.bbr().max_bandwidth() * 5 / 4 < 5'000'000) delivered_flat = ack.delivered;
        if (delivered_flat != 0 && ack.rate.prior_delivered > delivered_flat) {
            delivered_flat = ack.delivered;
            ++rounds_flat;
        }
    };
    while (flow.bbr().state() == State::startup) flow.run_for(1_ms);
    EXPECT_GE(rounds_flat, 3U);
    EXPECT_LE(rounds_flat, 5U);
    EXPECT_LT(flow.now() - Instant(), 1_s + 40_ms * 14);  // log2(BDP / initial window) and three
    EXPECT_TRUE(flow.bbr().full_bandwidth_reached());
    EXPECT_NEAR(near_rate(flow, 5'000'000), 1.0, 0.01);
    EXPECT_EQ(flow.bbr().inflight_longterm(), Window::unlimited);  // no loss told it
    ASSERT_EQ(flow.bbr().state(), State::drain);
    EXPECT_EQ(flow.bbr().pacing_gain_percent(), 50U);
    const std::vector<Visit> after = visits(flow, 200_ms);
    ASSERT_GE(after.size(), 2U);
    EXPECT_TRUE(after[1].state == State::probe_bw_down || after[1].state == State::probe_bw_cruise);
    EXPECT_LE(after[1].in_flight, flow.bdp() + 5000);
    EXPECT_LE(after[1].queue, 5000U);
    EXPECT_NEAR(static_cast<double>(flow.bbr().min_rtt().us()), 40'200, 10);
}

TEST(Bbr, probe_bw_cycles_with_its_gains) {  // draft section 5.3.3 and the table of 5.6.1
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    flow.run_for(2_s);
    const std::map<State, std::pair<uint32_t, uint32_t>> gains{{State::probe_bw_down, {90, 200}},
                                                               {State::probe_bw_cruise, {100, 200}},
                                                               {State::probe_bw_refill, {100, 200}},
                                                               {State::probe_bw_up, {125, 225}},
                                                               {State::probe_rtt, {100, 50}}};
    const std::map<State, State> next{{State::probe_bw_down, State::probe_bw_cruise},
                                      {State::probe_bw_cruise, State::probe_bw_refill},
                                      {State::probe_bw_refill, State::probe_bw_up},
                                      {State::probe_bw_up, State::probe_bw_down},
                                      {State::probe_rtt, State::probe_bw_cruise}};
    std::vector<Visit> all;
    for (int i = 0; i < 200; ++i) {
        for (const Visit& v : visits(flow, 100_ms))
            if (all.empty() || all.back().state != v.state) all.push_back(v);
        const auto [pacing, cwnd] = gains.at(flow.bbr().state());
        EXPECT_EQ(flow.bbr().pacing_gain_percent(), pacing);
        EXPECT_EQ(flow.bbr().cwnd_gain_percent(), cwnd);
        EXPECT_EQ(flow.bbr().pacing_rate(), flow.bbr().bandwidth() * pacing * 99 / 10'000);
    }
    int ups = 0;
    for (size_t i = 1; i < all.size(); ++i) {
        EXPECT_TRUE(all[i].state == State::probe_rtt || all[i].state == next.at(all[i - 1].state));
        if (all[i].state == State::probe_bw_up) ++ups;
    }
    EXPECT_GE(ups, 6);
    EXPECT_LE(ups, 10);  // one in 2 to 3 seconds
}

TEST(Bbr, a_small_path_is_probed_as_often_as_reno_would_fill_it) {  // draft section 5.3.3.8
    // Ten segments of bandwidth-delay product: ten round trips.
    Bottleneck flow(Algorithm::bbr, {.rate = 1'000'000, .rtt = 10_ms, .buffer = 100'000});
    flow.run_for(1_s);
    int ups = 0;
    for (const Visit& v : visits(flow, 3_s)) ups += v.state == State::probe_bw_up ? 1 : 0;
    EXPECT_GE(ups, 12);
}

TEST(Bbr, probe_rtt_each_five_seconds_at_half_the_product) {  // draft section 5.3.4
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    std::vector<Instant> begins, ends;
    uint32_t largest_late = 0;
    flow.watch = [&](const Ack& ack) {
        const bool in = flow.bbr().state() == State::probe_rtt;
        if (in && begins.size() == ends.size()) begins.push_back(flow.now());
        if (!in && begins.size() > ends.size()) ends.push_back(flow.now());
        if (in && flow.now() - begins.back() > 100_ms)
            largest_late = std::max(largest_late, ack.in_flight);
    };
    flow.run_for(23_s);
    ASSERT_GE(ends.size(), 4U);
    for (size_t i = 0; i < ends.size(); ++i) {
        EXPECT_GE(ends[i] - begins[i], 200_ms);
        EXPECT_LE(ends[i] - begins[i], 340_ms);
        if (i > 0) {
            EXPECT_GE(begins[i] - ends[i - 1], 5_s);
            EXPECT_LE(begins[i] - ends[i - 1], 5200_ms);
        }
    }
    EXPECT_LE(largest_late, flow.bdp() / 2 + 2000);
    EXPECT_GE(flow.window().cwnd, flow.bdp());  // given back
}

TEST(Bbr, idle_time_stands_in_for_probe_rtt) {  // draft sections 5.3.4.2 and 5.4.1
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    flow.run_for(2_s);
    const uint32_t cwnd = flow.window().cwnd;
    flow.idle_for(7_s);
    EXPECT_EQ(flow.bbr().pacing_rate(), flow.bbr().bandwidth() * 99 / 100);
    for (const Visit& v : visits(flow, 1_s)) EXPECT_NE(v.state, State::probe_rtt);
    EXPECT_GE(flow.window().cwnd, cwnd / 2);
    EXPECT_GE(flow.share_over(2_s), 95U);
}

TEST(Bbr, finds_more_bandwidth_and_less) {
    Bottleneck flow(Algorithm::bbr, {.rate = 2'000'000, .buffer = 160'000});
    flow.run_for(4_s);
    flow.path().rate = 8'000'000;
    flow.run_for(10_s);
    EXPECT_NEAR(near_rate(flow, 8'000'000), 1.0, 0.02);
    EXPECT_GE(flow.share_over(5_s), 90U);
    flow.path().rate = 2'000'000;
    flow.run_for(15_s);
    EXPECT_NEAR(near_rate(flow, 2'000'000), 1.0, 0.02);
    EXPECT_GE(flow.share_over(5_s), 90U);
}

TEST(Bbr, finds_a_longer_path) {  // draft section 5.5.7: within ten seconds and a ProbeRTT
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    flow.run_for(3_s);
    flow.path().rtt = 80_ms;
    flow.run_for(16_s);
    EXPECT_NEAR(static_cast<double>(flow.bbr().min_rtt().us()), 80'200, 1000);
    EXPECT_GE(flow.share_over(5_s), 90U);
}

TEST(Bbr, loss_under_two_percent_costs_little) {  // draft section 2.8, LossThresh
    Bottleneck bbr(Algorithm::bbr, {.buffer = 400'000, .lose_one_in = 100});
    Bottleneck reno(Algorithm::reno, {.buffer = 400'000, .lose_one_in = 100});
    bbr.run_for(5_s);
    reno.run_for(5_s);
    EXPECT_GE(bbr.share_over(10_s), 70U);
    EXPECT_LE(reno.share_over(10_s), 30U);
}

TEST(Bbr, a_shallow_buffer_bounds_what_is_in_flight) {  // draft section 5.5.10.2
    Bottleneck flow(Algorithm::bbr, {.buffer = 60'000});
    flow.run_for(10_s);
    const uint64_t lost = flow.lost();
    const uint64_t delivered = flow.delivered();
    EXPECT_GE(flow.share_over(30_s), 85U);
    EXPECT_NE(flow.bbr().inflight_longterm(), Window::unlimited);
    EXPECT_LE(flow.bbr().inflight_longterm(), flow.bdp() * 15 / 10);
    // The design's aim: one percent on average (draft section 3.1).
    EXPECT_LE((flow.lost() - lost) * 100, (flow.delivered() - delivered) * 1);
}

TEST(Bbr, heavy_loss_ends_startup) {  // draft section 5.3.1.3
    Bottleneck flow(Algorithm::bbr, {.buffer = 40'000, .lose_one_in = 12});
    flow.run_for(400_ms);
    EXPECT_TRUE(flow.bbr().full_bandwidth_reached());
    EXPECT_NE(flow.bbr().inflight_longterm(), Window::unlimited);
}

/// BBR fed by hand.
struct Fed {
    Bbr bbr;
    Window window{.cwnd = 10'000, .mss = 1000};
    Instant now = Instant::from_ns(0);
    uint64_t delivered = 0;

    Fed() { bbr.begin(window, now); }
    /// An ACK that ends a round in which `bytes` were delivered in 10 ms.
    Ack round(uint32_t bytes) {
        now = now + 10_ms;
        Ack ack;
        ack.now = now;
        ack.rate.prior_delivered = delivered;
        ack.delivered = delivered += bytes;
        ack.acked = ack.newly_delivered = bytes;
        ack.rate.delivered = bytes;
        ack.rate.interval = 10_ms;
        ack.rate.tx_in_flight = bytes;
        ack.rtt = ack.srtt = 10_ms;
        ack.in_flight = bytes;
        ack.window_limited = true;
        return ack;
    }
    void acked(uint32_t bytes) { bbr.on_ack(window, round(bytes)); }
    void fill_the_pipe(uint32_t bytes) {
        for (int i = 0; i < 5; ++i) acked(bytes);
    }
};

TEST(Bbr, begins_with_the_initial_window_a_millisecond_then_a_round_trip) {  // draft section 5.6.2
    Fed fed;
    EXPECT_EQ(fed.bbr.pacing_rate(), 10'000ULL * 1000 * 277 / 100);
    Ack ack = fed.round(1000);
    fed.bbr.on_ack(fed.window, ack);
    EXPECT_EQ(fed.bbr.pacing_rate(), 10'000ULL * 100 * 277 / 100);
    EXPECT_EQ(fed.bbr.min_rtt(), 10_ms);
}

TEST(Bbr, three_rounds_without_a_quarter_more_are_a_full_pipe) {  // draft section 5.3.1.2
    Fed fed;
    fed.acked(100'000);
    fed.acked(124'000);
    fed.acked(124'000);
    EXPECT_EQ(fed.bbr.state(), State::startup);
    fed.acked(125'000);  // grown by a quarter: counted anew
    fed.acked(126'000);
    fed.acked(127'000);
    EXPECT_EQ(fed.bbr.state(), State::startup);
    fed.acked(127'000);
    EXPECT_NE(fed.bbr.state(), State::startup);
}

TEST(Bbr, what_the_application_held_back_fills_no_pipe) {  // draft section 5.5.4
    Fed fed;
    for (int i = 0; i < 20; ++i) {
        Ack ack = fed.round(50'000);
        ack.rate.app_limited = true;
        fed.bbr.on_ack(fed.window, ack);
    }
    EXPECT_EQ(fed.bbr.state(), State::startup);
    EXPECT_EQ(fed.bbr.max_bandwidth(), 5'000'000U);
    Ack ack = fed.round(60'000);  // but more than was known is more
    ack.rate.app_limited = true;
    fed.bbr.on_ack(fed.window, ack);
    EXPECT_EQ(fed.bbr.max_bandwidth(), 6'000'000U);
}

TEST(Bbr, six_losses_of_more_than_two_percent_in_a_round_of_recovery_end_startup) {
    for (const int losses : {5, 6}) {
        Fed fed;
        fed.acked(100'000);
        fed.window.ssthresh = fed.bbr.ssthresh(fed.window, Ack());
        for (int i = 0; i < losses; ++i) {
            Ack ack = fed.round(0);
            ack.in_recovery = true;
            ack.newly_lost = 1000;
            ack.rate = {};
            fed.bbr.on_ack(fed.window, ack);
        }
        Ack ack = fed.round(200'000);
        ack.in_recovery = true;
        ack.rate.lost = 6000;
        fed.bbr.on_ack(fed.window, ack);
        EXPECT_EQ(fed.bbr.full_bandwidth_reached(), losses == 6);
        if (losses < 6) continue;
        EXPECT_EQ(fed.bbr.inflight_longterm(), 200'000U);
        fed.bbr.undo(fed.window);  // draft section 5.5.11.2
        EXPECT_EQ(fed.bbr.state(), State::startup);
        EXPECT_EQ(fed.bbr.inflight_longterm(), Window::unlimited);
        EXPECT_FALSE(fed.bbr.full_bandwidth_reached());
    }
}

TEST(Bbr, an_undo_goes_back_to_before_the_first_of_many_rounds_of_loss) {  // draft section 5.5.11
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    while (flow.bbr().state() != State::probe_bw_cruise) flow.run_for(10_ms);
    Bbr bbr = flow.bbr();
    Window window = flow.window();
    const Window before = window;
    Ack ack;
    ack.now = flow.now();
    ack.delivered = flow.delivered();
    ack.newly_lost = 1000;
    bbr.ssthresh(window, ack);
    for (int round = 0; round < 6; ++round) {
        ack.now = ack.now + 40_ms;
        ack.rate.prior_delivered = ack.delivered;
        ack.delivered += 50'000;
        ack.newly_delivered = ack.rate.delivered = 50'000;
        ack.rate.interval = 40_ms;
        ack.in_recovery = true;
        bbr.on_ack(window, ack);
    }
    EXPECT_NE(bbr.inflight_shortterm(), Window::unlimited);
    EXPECT_LT(window.cwnd, before.cwnd / 2);
    bbr.undo(window);
    EXPECT_EQ(bbr.inflight_shortterm(), Window::unlimited);
    EXPECT_EQ(window.cwnd, before.cwnd);
}

TEST(Bbr, recovery_gives_back_the_window_that_it_began_with) {  // draft section 5.6.4.4
    Fed fed;
    fed.fill_the_pipe(200'000);
    const uint32_t before = fed.window.cwnd;
    const uint32_t ssthresh = fed.window.ssthresh;
    EXPECT_EQ(fed.bbr.ssthresh(fed.window, Ack()), ssthresh);
    fed.window.set(1000);
    fed.bbr.on_timeout(fed.window, fed.round(0));
    fed.acked(1000);
    EXPECT_LT(fed.window.cwnd, before);
    fed.bbr.on_recovery_exit(fed.window, fed.round(0));
    EXPECT_GE(fed.window.cwnd, before * 7 / 10);
}

TEST(Bbr, a_round_with_loss_lowers_the_short_term_bounds) {  // draft section 5.5.10.3
    Bottleneck flow(Algorithm::bbr, {.buffer = 1'000'000});
    while (flow.bbr().state() != State::probe_bw_cruise) flow.run_for(10_ms);
    EXPECT_EQ(flow.bbr().inflight_shortterm(), Window::unlimited);
    flow.path().lose_one_in = 20;
    flow.run_for(200_ms);
    ASSERT_EQ(flow.bbr().state(), State::probe_bw_cruise);
    EXPECT_NE(flow.bbr().inflight_shortterm(), Window::unlimited);
    EXPECT_LE(flow.window().cwnd, flow.bbr().inflight_shortterm());
    flow.path().lose_one_in = 0;
    while (flow.bbr().state() != State::probe_bw_refill) flow.run_for(1_ms);
    EXPECT_EQ(flow.bbr().inflight_shortterm(), Window::unlimited);
}

TEST(Bbr, ece_ends_startup) {  // draft section 3.7
    Fed fed;
    fed.acked(100'000);
    Ack ack = fed.round(200'000);
    ack.ece = true;
    fed.bbr.on_ecn(fed.window, ack);
    fed.bbr.on_ack(fed.window, ack);
    EXPECT_NE(fed.bbr.state(), State::startup);
    EXPECT_EQ(fed.bbr.inflight_longterm(), 200'000U);
}

TEST(Bbr, quanta_are_a_millisecond) {  // draft section 5.6.3
    EXPECT_EQ(send_quantum(10'000'000, 1000), 10'000U);
    EXPECT_EQ(send_quantum(1, 1000), 2000U);
    EXPECT_EQ(send_quantum(1ULL << 40, 1000), 65'536U);
    EXPECT_EQ(send_quantum(1ULL << 40, 65'000), 130'000U);
}

TEST(Bbr, flows_that_began_together_probe_apart) {
    std::set<int64_t> times;
    for (uint32_t isn = 1; isn <= 8; ++isn) {
        Fed fed;
        for (int i = 0; i < 10'000 && fed.bbr.state() != State::probe_bw_refill; ++i) {
            Ack ack = fed.round(900'000);
            ack.snd_una = Seq(isn * 0x1234'5677) + static_cast<uint32_t>(fed.delivered);
            fed.bbr.on_ack(fed.window, ack);
        }
        times.insert(fed.now.ns());
    }
    EXPECT_GE(times.size(), 2U);
}

TEST(Bbr, any_ack_leaves_a_window_and_a_rate) {
    Random random(11);
    for (int run = 0; run < 300; ++run) {
        Fed fed;
        fed.window.mss = static_cast<uint16_t>(8 + random.below(15'993));
        const auto any = [&] {
            return static_cast<uint32_t>(random.below(1ULL << random.below(31)));
        };
        for (int i = 0; i < 200; ++i) {
            Ack ack = fed.round(any());
            fed.now = ack.now = fed.now + Duration::from_ns(any());
            ack.newly_lost = random.below(4) == 0 ? any() : 0;
            ack.loss = {any(), any(), any(), random.below(2) == 0};
            ack.rate = {fed.delivered - random.below(fed.delivered + 1),
                        any(),
                        any(),
                        any(),
                        Duration::from_ns(any()),
                        random.below(8) == 0,
                        false};
            ack.rtt = Duration::from_ns(any());
            ack.srtt = Duration::from_us(any());
            ack.in_flight = any();
            ack.in_recovery = random.below(4) == 0;
            ack.ece = random.below(50) == 0;
            ack.selective_acks = run % 2 == 0;
            fed.bbr.on_ecn(fed.window, ack);
            if (random.below(20) == 0) fed.bbr.ssthresh(fed.window, ack);
            if (random.below(40) == 0) fed.bbr.on_timeout(fed.window, ack);
            if (random.below(40) == 0) fed.bbr.undo(fed.window);
            if (random.below(40) == 0) fed.bbr.on_recovery_exit(fed.window, ack);
            if (random.below(40) == 0) fed.bbr.on_idle(fed.window, 1_s, 1_s, fed.now);
            fed.bbr.on_ack(fed.window, ack);
            ASSERT_GE(fed.window.cwnd, 4U * fed.window.mss);
            ASSERT_LE(fed.window.cwnd, Window::max_size);
            ASSERT_GT(fed.bbr.pacing_rate(), 0U);
            ASSERT_LE(fed.bbr.pacing_rate(), (1ULL << 40) * 3);
        }
    }
}

}  // namespace
}  // namespace millrace::congestion
