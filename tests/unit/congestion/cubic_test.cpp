#include "congestion/cubic.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace millrace::congestion {
namespace {

using namespace literals;

TEST(Cubic, cube_roots_are_the_integer_part) {
    EXPECT_EQ(cube_root(0), 0U);
    EXPECT_EQ(cube_root(1), 1U);
    EXPECT_EQ(cube_root(7), 1U);
    EXPECT_EQ(cube_root(8), 2U);
    for (const uint64_t n : {3ULL, 1000ULL, 65'537ULL, 2'642'245ULL, 695'000'000ULL, 4'294'967'294ULL}) {
        const auto cube = static_cast<unsigned __int128>(n) * n * n;
        EXPECT_EQ(cube_root(cube), n);
        EXPECT_EQ(cube_root(cube - 1), n - 1);
        EXPECT_EQ(cube_root(cube + 3 * n * n), n);
    }
}

TEST(Cubic, ten_segments_and_a_loss_give_seven) {
    Cubic cubic;
    Window window{.cwnd = 10'000, .mss = 1000};
    cubic.begin(window, Instant());
    EXPECT_EQ(cubic.ssthresh(window, Ack()), 7'000U);
    EXPECT_EQ(cubic.w_max(), 10'000U);
    window.cwnd = 2000;
    EXPECT_EQ(cubic.ssthresh(window, Ack()), 2000U);
}

}  // namespace
}  // namespace millrace::congestion
