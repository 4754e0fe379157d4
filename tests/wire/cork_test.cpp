// What the application can say of how its data leaves: cork, buffers, low-water mark.
#include "script.h"

namespace millrace::testing {
namespace {

struct Corked : ::testing::Test {
    Corked() { s.establish(); }
    void write(uint32_t bytes) {
        const std::vector<std::byte> data = s.end().write_next(bytes);
        EXPECT_EQ(tcp::send_copy(env(), s.tcb(), data), bytes);
    }
    void cork(bool on) {
        tcp::set_cork(env(), s.tcb(), on);
        s.advance({});
    }
    tcp::Env& env() { return s.stack().env(); }
    Script s;
};

using Autocork = Corked;
using SendBuffer = Corked;
using NotSentLowWater = Corked;

TEST_F(Autocork, small_writes_of_one_turn_leave_as_one_segment) {
    for (int i = 0; i < 5; ++i) write(20);
    s.advance({});
    s.expect(PA(1, 1).data(100));
    s.expect_silence();
}

TEST_F(Corked, whole_segments_go_and_the_rest_waits) {
    cork(true);
    s.send(100);
    s.expect_silence();
    s.send(2000);
    s.expect(A(1, 1).data(1460));
    s.expect_silence();
    s.send(820);
    s.expect(PA(1461, 1).data(1460));
    s.expect_silence();
}

TEST_F(Corked, for_200_ms_at_most) {
    cork(true);
    s.send(100);
    EXPECT_EQ(s.advance_to_next_segment(1_s).ms(), 200);
    s.expect(PA(1, 1).data(100));
    s.inject(A(1, 101));
    s.send(50);
    EXPECT_EQ(s.advance_to_next_segment(1_s).ms(), 200);
    s.expect(PA(101, 1).data(50));
    EXPECT_EQ(s.counters().tcp_zero_window_probes, 0U);
}

TEST_F(Corked, until_it_is_turned_off) {
    cork(true);
    s.send(100);
    s.advance(50_ms);
    s.expect_silence();
    cork(false);
    s.expect(PA(1, 1).data(100));
}

TEST_F(Corked, whatever_nagle_says) {
    tcp::set_no_delay(env(), s.tcb(), true);
    cork(true);
    s.send(100);
    s.expect_silence();
    cork(false);
    s.expect(PA(1, 1).data(100));
}

TEST_F(Corked, holds_back_no_fin) {
    cork(true);
    s.send(100);
    s.shutdown();
    s.expect(FA(1, 1).data(100));
}

TEST_F(Corked, holds_back_no_urgent_data) {
    cork(true);
    const std::vector<std::byte> data = s.end().write_next(5);
    EXPECT_EQ(tcp::send_urgent(env(), s.tcb(), data), 5U);
    s.advance({});
    s.expect(PA(1, 1).data(5).urgent(5));
}

TEST_F(SendBuffer, may_be_set_within_limits) {
    EXPECT_EQ(tcp::set_send_buffer(env(), s.tcb(), 1), 4096U);
    EXPECT_EQ(tcp::set_send_buffer(env(), s.tcb(), UINT32_MAX), 4194304U);
    EXPECT_EQ(tcp::set_send_buffer(env(), s.tcb(), 4096), 4096U);
    s.send(10'000);
    EXPECT_EQ(s.end().sent, 4096U);
    s.forget_sent();
    s.inject(A(1, 4097));
    EXPECT_EQ(s.end().sent, 8192U);
}

TEST_F(SendBuffer, a_larger_one_wakes_the_writer) {
    tcp::set_send_buffer(env(), s.tcb(), 4096);
    s.send(10'000);
    EXPECT_EQ(s.end().sent, 4096U);
    tcp::set_send_buffer(env(), s.tcb(), 65536);
    s.advance({});
    EXPECT_EQ(s.end().sent, 10'000U);
}

TEST_F(NotSentLowWater, little_is_taken_that_cannot_be_sent) {
    s.inject(A(1, 1).window(1460));
    tcp::set_not_sent_low_water_mark(env(), s.tcb(), 2000);
    s.send(10'000);
    s.expect(A(1, 1).data(1460));
    EXPECT_EQ(s.end().sent, 3460U);  // 1460 on their way, 2000 not
    EXPECT_EQ(s.tcb().unsent(), 2000U);
    s.inject(A(1, 1461).window(1460));
    s.expect(A(1461, 1).data(1460));
    EXPECT_EQ(s.end().sent, 4920U);
    tcp::set_not_sent_low_water_mark(env(), s.tcb(), 0);  // the tunable's: none
    s.advance({});
    EXPECT_EQ(s.end().sent, 10'000U);
}

}  // namespace
}  // namespace millrace::testing
