// The receive buffer finds its size, or is given one.
#include "script.h"
#include "tcp/receive_window.h"

namespace millrace::testing {
namespace {

Script::Options options(uint32_t moderate = 1) {
    Script::Options o;
    o.config.tcp.tcp_moderate_rcvbuf = moderate;
    return o;
}

/// A peer that fills the window once in each round trip of 50 ms. Answers the window that the last
/// ACK offered, bytes.
uint32_t fill_windows(Script& s, int round_trips) {
    uint32_t next = static_cast<uint32_t>(s.end().received) + 1;
    uint32_t window = 65535;
    for (int i = 0; i < round_trips; ++i) {
        std::vector<Packet> burst;
        for (uint32_t left = window; left >= 1460; left -= 1460, next += 1460) {
            burst.push_back(A(next, 1).data(1460));
            if (burst.size() < 64) continue;
            s.inject_burst(burst);
            burst.clear();
        }
        if (!burst.empty()) s.inject_burst(burst);
        while (s.anything_sent())
            window = static_cast<uint32_t>(s.next().window) << s.tcb().rcv_wind_shift;
        s.advance(50_ms);
    }
    return window;
}

Packet scaled_syn() { return S(0).window(65535).mss(1460).scale(7); }

TEST(ReceiveWindow, grows_with_what_is_consumed_in_a_round_trip) {
    Script s(options());
    s.establish(scaled_syn());
    const uint32_t window = fill_windows(s, 6);
    EXPECT_GT(s.tcb().rcv_buf, 500'000U);
    EXPECT_GT(window, 400'000U);
    EXPECT_TRUE(s.end().intact);
}

TEST(ReceiveWindow, stays_where_moderation_is_off) {
    Script s(options(0));
    s.establish(scaled_syn());
    EXPECT_LE(fill_windows(s, 6), 131072U);
    EXPECT_EQ(s.tcb().rcv_buf, 131072U);
}

TEST(ReceiveWindow, grows_no_further_than_tcp_rmem_max) {
    Script::Options o = options();
    o.config.tcp.tcp_rmem_max = 300'000;
    Script s(o);
    s.establish(scaled_syn());
    EXPECT_LE(fill_windows(s, 8), 300'000U);
    EXPECT_EQ(s.tcb().rcv_buf, 300'000U);
}

/// Growing costs others: not for a sender of small segments.
TEST(ReceiveWindow, an_interactive_connection_borrows_nothing_for_it) {
    Script s(options());
    s.establish(scaled_syn());
    for (uint32_t i = 0; i < 20; ++i) s.inject(PA(1 + 100 * i, 1).data(100));
    EXPECT_EQ(s.stack().population().tunings, 0U);
}

TEST(ReceiveWindow, the_application_may_set_the_buffer_within_limits) {
    Script s(options());
    s.establish(scaled_syn());
    auto& env = s.stack().env();
    EXPECT_EQ(tcp::set_receive_buffer(env, s.tcb(), 1), 4096U);
    EXPECT_EQ(tcp::set_receive_buffer(env, s.tcb(), UINT32_MAX), 33554432U);
    EXPECT_EQ(tcp::set_receive_buffer(env, s.tcb(), 1'000'000), 1'000'000U);
    s.advance({});
    // A larger buffer is a larger window, at once.
    EXPECT_GT(uint32_t{s.next().window} << s.tcb().rcv_wind_shift, 990'000U);
    fill_windows(s, 6);
    EXPECT_EQ(s.tcb().rcv_buf, 1'000'000U);
}

TEST(ReceiveWindow, SHLD_14_a_smaller_buffer_takes_back_no_window) {
    Script s(options());
    s.establish(scaled_syn());
    const uint32_t edge = 1 + s.tcb().rcv_window();
    tcp::set_receive_buffer(s.stack().env(), s.tcb(), 4096);
    s.inject(A(1, 1).data(1000));
    const wire::Segment ack = s.next();
    // By less than one unit of the scale (RFC 7323 section 2.4).
    const uint32_t unit = 1U << s.tcb().rcv_wind_shift;
    EXPECT_GT(1001 + ack.window * unit, edge - unit);
    fill_windows(s, 1);
    EXPECT_LE(s.tcb().rcv_window(), 4096U);
}

/// A buffer below the window's unit: it must not look closed while there is room.
TEST(ReceiveWindow, a_small_buffer_under_a_large_scale_opens_again) {
    Script::Options o = options();
    o.config.tcp.tcp_rmem_max = 1U << 30;
    Script s(o);
    s.establish(scaled_syn());
    ASSERT_EQ(s.tcb().rcv_wind_shift, 14);
    tcp::set_receive_buffer(s.stack().env(), s.tcb(), 8192);
    uint32_t next = 1;
    while (next < 1 + 65535) {  // what the SYN-ACK has offered
        const uint32_t size = std::min(1460U, 65536 - next);
        s.inject(A(next, 1).data(size));
        next += size;
    }
    s.advance(1_s);
    EXPECT_EQ(s.end().received, 65535U);
    uint16_t window = 0;
    while (s.anything_sent()) window = s.next().window;
    EXPECT_EQ(window, 1U);
    s.inject(A(next, 1).data(1460));
    EXPECT_EQ(s.end().received, 65535U + 1460);
}

}  // namespace
}  // namespace millrace::testing
