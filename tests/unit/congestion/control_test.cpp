#include "congestion/control.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace millrace::congestion
