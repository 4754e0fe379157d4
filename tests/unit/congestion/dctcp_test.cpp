#include "congestion/dctcp.h"

#include <gtest/gtest.h>

namespace millrace::congestion {
namespace {

using namespace literals;

/// Windows of ten segments, of which some are acknowledged with ECE.
struct Windows {
    Dctcp dctcp;
    Window window{.cwnd = 100'000, .ssthresh = 100'000, .mss = 1000};
    Seq una = Seq(0xffff'e000);

    Windows() {
        dctcp.begin(window, Instant());
        dctcp.on_ecn(window, next(false, 0));  // from here on it observes
    }
    Ack next(bool ece, uint32_t bytes = 1000) {
        Ack ack;
        ack.acked = bytes;
        ack.ece = ece;
        ack.snd_una = una += bytes;
        ack.snd_nxt = una + 10'000;
        return ack;
    }
    void round(int marked) {
        for (int i = 0; i < 10; ++i) dctcp.on_ecn(window, next(i < marked));
    }
    double alpha() const { return static_cast<double>(dctcp.alpha()) / Dctcp::one; }
};

TEST(Dctcp, alpha_begins_at_one_and_converges_to_the_marked_fraction) {  // RFC 8257 section 3.3
    for (const int marked : {0, 1, 3, 5, 10}) {
        Windows w;
        EXPECT_EQ(w.alpha(), 1.0);
        double expected = 1.0;
        for (int i = 0; i < 200; ++i) {
            w.round(marked);
            expected = expected * 15 / 16 + marked / 10.0 / 16;
            ASSERT_NEAR(w.alpha(), expected, 1e-4) << i;
        }
        EXPECT_NEAR(w.alpha(), marked / 10.0, 1e-4);
    }
}

TEST(Dctcp, alpha_comes_to_zero) {
    Windows w;
    for (int i = 0; i < 400; ++i) w.round(0);
    EXPECT_EQ(w.dctcp.alpha(), 0U);
    Ack ack = w.next(true);
    EXPECT_EQ(w.dctcp.ssthresh(w.window, ack), w.window.cwnd);
}

TEST(Dctcp, the_window_comes_down_by_half_of_alpha) {  // RFC 8257 section 3.3
    Windows w;
    Ack ack = w.next(true);
    EXPECT_EQ(w.dctcp.ssthresh(w.window, ack), 50'000U);  // alpha = 1
    for (int i = 0; i < 300; ++i) w.round(2);
    EXPECT_NEAR(static_cast<double>(w.dctcp.ssthresh(w.window, ack)), 90'000, 20);
    w.window.cwnd = 2000;
    EXPECT_EQ(w.dctcp.ssthresh(w.window, ack), 2000U);
    w.window.cwnd = Window::max_size;
    EXPECT_NEAR(static_cast<double>(w.dctcp.ssthresh(w.window, ack)), 0.9 * Window::max_size, 2e5);
}

TEST(Dctcp, loss_halves) {  // RFC 8257 section 3.5
    Windows w;
    for (int i = 0; i < 300; ++i) w.round(0);
    Ack lost = w.next(true);
    lost.newly_lost = 1000;
    lost.snd_nxt = lost.snd_una + 100'000;
    EXPECT_EQ(w.dctcp.ssthresh(w.window, lost), 50'000U);
    Ack timeout = w.next(false);
    timeout.snd_nxt = timeout.snd_una + 60'000;
    EXPECT_EQ(w.dctcp.ssthresh(w.window, timeout), 30'000U);
}

TEST(Dctcp, counts_bytes_not_acks) {
    Windows w;
    for (int i = 0; i < 300; ++i) {
        w.dctcp.on_ecn(w.window, w.next(true, 2000));
        for (int j = 0; j < 80; ++j) w.dctcp.on_ecn(w.window, w.next(false, 100));
    }
    EXPECT_NEAR(w.alpha(), 0.2, 0.03);
}

TEST(Dctcp, grows_like_reno) {  // RFC 8257 section 3.4
    Windows w;
    for (int i = 0; i < 100; ++i) {
        Ack ack = w.next(false);
        ack.window_limited = true;
        w.dctcp.on_ack(w.window, ack);
    }
    EXPECT_EQ(w.window.cwnd, 101'000U);
}

TEST(Dctcp, duplicate_acks_alone_end_no_observation) {
    Windows w;
    Ack ack = w.next(true, 0);
    ack.snd_nxt = ack.snd_una;  // nothing in flight either
    for (int i = 0; i < 100; ++i) w.dctcp.on_ecn(w.window, ack);
    EXPECT_EQ(w.alpha(), 1.0);
}

}  // namespace
}  // namespace millrace::congestion
