#include "congestion/cubic.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/random.h"

namespace millrace::congestion {
namespace {

using namespace literals;

/// A sender that always fills its window and hears of each segment once a round trip.
struct Flow {
    Cubic cubic;
    Window window;
    Instant now = Instant::from_ns(0);
    Duration rtt;

    Flow(uint32_t segments, uint16_t mss, Duration round_trip)
        : window{.cwnd = segments * mss, .mss = mss}, rtt(round_trip) {
        cubic.begin(window, now);
    }
    Ack ack(uint32_t bytes) const {
        Ack a;
        a.now = now;
        a.acked = bytes;
        a.srtt = a.rtt = rtt;
        a.window_limited = true;
        return a;
    }
    void acked(uint32_t bytes) { cubic.on_ack(window, ack(bytes)); }
    /// A round trip, in at most 64 ACKs.
    void round() {
        const uint32_t window_at_start = window.cwnd;
        const uint32_t piece = std::max<uint32_t>(window_at_start / 64, window.mss);
        const uint32_t pieces = (window_at_start + piece - 1) / piece;
        for (uint32_t i = 0; i < pieces; ++i) {
            now = now + rtt / pieces;
            acked(std::min(piece, window_at_start - i * piece));
        }
    }
    void lose() {
        window.ssthresh = cubic.ssthresh(window, ack(0));
        window.set(window.ssthresh);
    }
    double segments() const { return static_cast<double>(window.cwnd) / window.mss; }
};

double plateau_time(double w_max, double cwnd) { return std::cbrt((w_max - cwnd) / 0.4); }

TEST(Cubic, cube_roots_are_the_integer_part) {
    EXPECT_EQ(cube_root(0), 0U);
    EXPECT_EQ(cube_root(1), 1U);
    EXPECT_EQ(cube_root(7), 1U);
    EXPECT_EQ(cube_root(8), 2U);
    for (const uint64_t n :
         {3ULL, 1000ULL, 65'537ULL, 2'642'245ULL, 695'000'000ULL, 4'294'967'294ULL}) {
        const auto cube = static_cast<unsigned __int128>(n) * n * n;
        EXPECT_EQ(cube_root(cube), n);
        EXPECT_EQ(cube_root(cube - 1), n - 1);
        EXPECT_EQ(cube_root(cube + 3 * n * n), n);
    }
}

TEST(Cubic, ten_segments_and_a_loss_give_seven) {
    Flow flow(10, 1000, 100_ms);
    flow.lose();
    EXPECT_EQ(flow.window.cwnd, 7000U);
    EXPECT_EQ(flow.cubic.w_max(), 10'000U);
    flow.window.cwnd = 2000;
    flow.lose();
    EXPECT_EQ(flow.window.cwnd, 2000U);  // RFC 9438 section 4.6: two segments at least
}

TEST(Cubic, k_is_the_cube_root_of_the_distance) {  // RFC 9438 equation (2)
    for (const uint16_t mss : std::initializer_list<uint16_t>{8, 536, 1460, 16'000})
        for (uint64_t segments = 10; segments * mss < Window::max_size; segments *= 7) {
            Flow flow(static_cast<uint32_t>(segments), mss, 50_ms);
            flow.lose();
            flow.acked(1);
            const double k = plateau_time(static_cast<double>(segments), flow.segments());
            EXPECT_NEAR(flow.cubic.k().seconds(), k, 1e-5 * k + 1e-6) << segments << " * " << mss;
        }
}

TEST(Cubic, follows_the_curve_to_the_plateau_and_beyond) {  // RFC 9438 equation (1)
    Flow flow(20'000, 1000, 50_ms);
    flow.lose();
    flow.acked(1);
    const double start = flow.segments();
    const double k = plateau_time(20'000, start);
    EXPECT_NEAR(k, 24.66, 0.01);
    for (double t = flow.rtt.seconds(); t < 2 * k; t += flow.rtt.seconds()) {
        flow.round();
        // It aims where the curve will be a round trip later, and takes that long to get there.
        const double expected = 0.4 * std::pow(t - k, 3) + 20'000;
        EXPECT_NEAR(flow.segments(), expected, 0.01 * expected) << t;
    }
    EXPECT_GT(flow.segments(), 25'500);
}

TEST(Cubic, is_never_behind_reno_on_a_short_path) {  // RFC 9438 section 4.3
    Flow flow(40, 1000, 10_ms);
    flow.lose();
    flow.acked(1);
    EXPECT_EQ(flow.cubic.w_est(), 28'000U);
    double w_est = 28;
    for (int round = 1; round < 60; ++round) {
        flow.round();
        w_est += w_est < 40 ? 9.0 / 17 : 1;
        EXPECT_NEAR(flow.segments(), w_est, 1.6) << round;
    }
    EXPECT_GT(flow.segments(), 70);  // the curve alone is at 40 only after 3.1 s
}

TEST(Cubic, a_lower_plateau_releases_some_more) {  // RFC 9438 section 4.7
    Flow flow(100, 1000, 50_ms);
    flow.lose();
    EXPECT_EQ(flow.cubic.w_max(), 100'000U);
    flow.window.cwnd = 90'000;
    flow.lose();
    EXPECT_EQ(flow.cubic.w_max(), 76'500U);
    EXPECT_EQ(flow.window.cwnd, 63'000U);
    flow.window.cwnd = 80'000;  // above the plateau: no release
    flow.lose();
    EXPECT_EQ(flow.cubic.w_max(), 80'000U);
}

TEST(Cubic, a_timeout_begins_on_a_plateau) {  // RFC 9438 section 4.8
    Flow flow(100, 1000, 50_ms);
    flow.window.ssthresh = flow.cubic.ssthresh(flow.window, flow.ack(0));
    flow.window.cwnd = 1000;
    flow.cubic.on_timeout(flow.window, flow.ack(0));
    while (flow.window.in_slow_start()) flow.round();
    flow.acked(1000);
    EXPECT_EQ(flow.cubic.k(), Duration());
    EXPECT_NEAR(static_cast<double>(flow.cubic.w_max()), 70'000, 1000);
}

TEST(Cubic, an_undo_gives_the_plateau_back) {  // RFC 9438 section 4.9
    Flow flow(1000, 1000, 50_ms);
    flow.lose();
    for (int i = 0; i < 40; ++i) flow.round();
    const Window before = flow.window;
    const double k_left = plateau_time(1000, flow.segments());
    flow.lose();
    EXPECT_LT(flow.cubic.w_max(), 1'000'000U);
    flow.window = before;
    flow.cubic.undo(flow.window);
    EXPECT_EQ(flow.cubic.w_max(), 1'000'000U);
    flow.acked(1);
    EXPECT_NEAR(flow.cubic.k().seconds(), k_left, 0.01);
}

TEST(Cubic, time_in_which_the_window_was_not_the_limit_does_not_count) {  // RFC 9438 section 5.8
    Flow busy(10'000, 1000, 50_ms);
    busy.lose();
    Flow slack = busy;
    busy.round();
    slack.round();
    for (int i = 0; i < 100; ++i) {
        slack.now = slack.now + 1_s;
        Ack ack = slack.ack(1000);
        ack.window_limited = false;
        slack.cubic.on_ack(slack.window, ack);
    }
    EXPECT_EQ(slack.window.cwnd, busy.window.cwnd);
    slack.now = slack.now + Duration::from_s(3 * 3600);  // longer than 32 bits of microseconds
    slack.cubic.on_idle(slack.window, Duration::from_s(3 * 3600), 1_s, slack.now);
    for (int i = 0; i < 20; ++i) {
        busy.round();
        slack.round();
    }
    EXPECT_NEAR(slack.segments(), busy.segments(), 0.002 * busy.segments());
}

TEST(Cubic, a_silence_is_not_time_spent_growing) {
    Flow flow(10'000, 1000, 50_ms);
    flow.lose();
    flow.round();
    flow.now = flow.now + 1200_s;  // behind a closed window: nobody spoke of an idle time
    flow.round();
    // 5 s to the plateau at the least; the curve is 20 minutes beyond it.
    EXPECT_LT(flow.segments(), 8000);
}

TEST(Cubic, at_most_half_as_much_again_in_a_round_trip) {  // RFC 9438 section 4.2
    Flow flow(100'000, 1000, 50_ms);
    flow.lose();
    flow.acked(1);
    flow.window.cwnd = flow.window.ssthresh = 1'000'000;  // taken down from outside
    const uint32_t before = flow.window.cwnd;
    flow.round();
    EXPECT_GT(flow.window.cwnd, before + before * 4 / 10);
    EXPECT_LE(flow.window.cwnd, before + before * 65 / 100);  // compounded over 64 ACKs
    flow.window.cwnd = flow.window.ssthresh = 1'000'000;
    flow.acked(0x7fff'ffff);  // one ACK for everything
    EXPECT_LE(flow.window.cwnd, 1'501'000U);
}

TEST(Cubic, dividing_acks_earns_nothing) {  // attack case 46
    for (const bool avoidance : {false, true}) {
        Flow whole(100, 1000, 50_ms);
        if (avoidance) whole.lose();
        Flow divided = whole;
        for (int i = 0; i < 2000; ++i) {
            whole.now = divided.now = whole.now + 1_ms;
            whole.acked(1000);
            for (int j = 0; j < 100; ++j) divided.acked(10);
            ASSERT_LE(divided.window.cwnd, whole.window.cwnd + 3000U) << i;
        }
    }
}

TEST(Cubic, crosses_the_wrap_of_its_clock) {
    Flow straight(1000, 1000, 50_ms);
    Flow wrapping = straight;
    wrapping.now = Instant::from_ns(((1LL << 32) - 200'000) * 1000);  // 0.2 s before it
    for (Flow* flow : {&straight, &wrapping}) {
        flow->lose();
        for (int i = 0; i < 100; ++i) flow->round();
    }
    EXPECT_EQ(straight.window.cwnd, wrapping.window.cwnd);
}

TEST(Cubic, any_window_segment_and_round_trip) {
    Random random(7);
    for (int run = 0; run < 3000; ++run) {
        const auto mss = static_cast<uint16_t>(8 + random.below(15'993));
        const uint64_t most = Window::max_size / mss;
        const auto rtt = Duration::from_us(1 << random.below(27));  // 1 us to 67 s
        Flow flow(static_cast<uint32_t>(1 + random.below(uint64_t{1} << random.below(28)) % most),
                  mss, rtt);
        if (random.below(2) == 0) flow.window.ssthresh = flow.window.cwnd;
        for (int i = 0; i < 40; ++i) {
            if (random.below(12) == 0) flow.lose();
            flow.now = flow.now + Duration::from_us(static_cast<int64_t>(
                                      random.below(static_cast<uint64_t>(2 * rtt.us()))));
            const uint32_t before = flow.window.cwnd;
            const auto bytes = static_cast<uint32_t>(random.below(uint64_t{2} * before));
            flow.acked(bytes);
            ASSERT_GE(flow.window.cwnd, before);
            ASSERT_LE(flow.window.cwnd, Window::max_size);
            const uint64_t started = before < flow.window.ssthresh ? bytes : 0;  // slow start
            ASSERT_LE(flow.window.cwnd, uint64_t{before} + before / 2 + started + 8ULL * mss + 1)
                << mss << " " << rtt.us() << " " << before << " " << bytes;
        }
    }
}

TEST(Cubic, stays_at_the_largest_window_however_long) {
    Flow flow(2, 8, 100_s);
    flow.lose();
    for (int i = 0; i < 200; ++i) flow.round();  // five and a half hours
    EXPECT_EQ(flow.window.cwnd, Window::max_size);
    flow.round();
    EXPECT_EQ(flow.window.cwnd, Window::max_size);
    flow.lose();
    EXPECT_EQ(flow.window.cwnd, static_cast<uint32_t>(uint64_t{Window::max_size} * 7 / 10));
}

}  // namespace
}  // namespace millrace::congestion
