#include "congestion/reno.h"

#include <gtest/gtest.h>

namespace millrace::congestion {
namespace {

Ack acked(uint32_t bytes) {
    Ack ack;
    ack.acked = bytes;
    ack.window_limited = true;
    return ack;
}

Ack with_flight(uint32_t bytes) {
    Ack ack;
    ack.snd_una = Seq(0xffff'f000);  // across the wrap
    ack.snd_nxt = ack.snd_una + bytes;
    return ack;
}

TEST(Reno, slow_start_counts_bytes_however_many_one_ack_covers) {
    Reno reno;
    Window window{.cwnd = 10'000, .mss = 1000};
    reno.on_ack(window, acked(1000));
    EXPECT_EQ(window.cwnd, 11'000U);
    reno.on_ack(window, acked(2000));
    EXPECT_EQ(window.cwnd, 13'000U);
    reno.on_ack(window, acked(9000));
    EXPECT_EQ(window.cwnd, 22'000U);
}

TEST(Reno, dividing_acks_earns_nothing) {  // attack case 46
    for (const uint32_t ssthresh : {Window::unlimited, 1000U}) {
        Reno whole, divided;
        Window a{.cwnd = 10'000, .ssthresh = ssthresh, .mss = 1000};
        Window b = a;
        for (int i = 0; i < 50; ++i) whole.on_ack(a, acked(1000));
        for (int i = 0; i < 50'000; ++i) divided.on_ack(b, acked(1));
        EXPECT_EQ(a.cwnd, b.cwnd);
    }
}

TEST(Reno, avoidance_grows_a_segment_a_window) {
    Reno reno;
    Window window{.cwnd = 10'000, .ssthresh = 10'000, .mss = 1000};
    for (uint32_t segments = 10; segments < 100; ++segments) {
        for (uint32_t i = 0; i < segments - 1; ++i) reno.on_ack(window, acked(1000));
        EXPECT_EQ(window.cwnd, segments * 1000);
        reno.on_ack(window, acked(1000));
        EXPECT_EQ(window.cwnd, (segments + 1) * 1000);
    }
    reno.on_ack(window, acked(5'000'000));  // an ACK for much earns a segment
    EXPECT_EQ(window.cwnd, 101'000U);
}

TEST(Reno, what_slow_start_leaves_counts_for_avoidance) {
    Reno reno;
    Window window{.cwnd = 9'500, .ssthresh = 10'000, .mss = 1000};
    reno.on_ack(window, acked(2000));
    EXPECT_EQ(window.cwnd, 10'000U);
    reno.on_ack(window, acked(8499));
    EXPECT_EQ(window.cwnd, 10'000U);
    reno.on_ack(window, acked(1));
    EXPECT_EQ(window.cwnd, 11'000U);
}

TEST(Reno, a_window_that_was_not_used_does_not_grow) {  // RFC 7661 section 4.3
    Reno reno;
    Window window{.cwnd = 10'000, .mss = 1000};
    Ack ack = acked(1000);
    ack.window_limited = false;
    reno.on_ack(window, ack);
    EXPECT_EQ(window.cwnd, 10'000U);
}

TEST(Reno, ssthresh_is_half_of_the_flight_and_two_segments_at_least) {  // RFC 5681 equation (4)
    Reno reno;
    Window window{.cwnd = 20'000, .mss = 1000};
    EXPECT_EQ(reno.ssthresh(window, with_flight(20'000)), 10'000U);
    EXPECT_EQ(reno.ssthresh(window, with_flight(8'000)), 4'000U);    // the application's limit
    EXPECT_EQ(reno.ssthresh(window, with_flight(22'000)), 10'000U);  // limited transmit
    EXPECT_EQ(reno.ssthresh(window, with_flight(1'000)), 2'000U);
    EXPECT_EQ(reno.ssthresh(window, with_flight(0)), 2'000U);
}

TEST(Reno, the_window_ends_at_one_gibibyte) {  // RFC 7323 section 2.3
    Reno reno;
    Window window{.cwnd = Window::max_size - 100, .mss = 16'000};
    reno.on_ack(window, acked(16'000));
    EXPECT_EQ(window.cwnd, Window::max_size);
    window.ssthresh = window.cwnd;
    for (int i = 0; i < 5; ++i) reno.on_ack(window, acked(0x7fff'ffff));
    EXPECT_EQ(window.cwnd, Window::max_size);
}

}  // namespace
}  // namespace millrace::congestion
