// The urgent mechanism (RFC 9293 section 3.8.5, RFC 6093).
#include "script.h"
#include "tcp/urgent.h"

namespace millrace::testing {
namespace {

struct Urgent : ::testing::Test {
    Urgent() { s.establish(); }
    void send_urgent(uint32_t bytes) {
        const std::vector<std::byte> data = s.end().write_next(bytes);
        EXPECT_EQ(tcp::send_urgent(s.stack().env(), s.tcb(), data), bytes);
        s.advance({});
    }
    Script s;
};

TEST_F(Urgent, MUST_30_MUST_62_the_pointer_names_the_octet_behind_the_urgent_data) {
    send_urgent(5);
    s.expect(PA(1, 1).data(5).urgent(5));
    s.inject(A(1, 6));
    s.send(10);  // all of it has arrived: no URG any more
    s.expect(PA(6, 1).data(10));
}

TEST_F(Urgent, MUST_62_counts_from_each_segment_that_bears_it) {
    const std::vector<std::byte> before = s.end().write_next(3000);
    EXPECT_EQ(tcp::send_copy(s.stack().env(), s.tcb(), before), 3000U);
    send_urgent(10);
    s.expect(A(1, 1).data(1460).urgent(3010));
    s.expect(A(1461, 1).data(1460).urgent(1550));
    s.expect(PA(2921, 1).data(90).urgent(90));
}

TEST_F(Urgent, is_held_back_by_no_nagle) {
    s.send(10);
    s.expect(PA(1, 1).data(10));
    send_urgent(5);
    s.expect(PA(11, 1).data(5).urgent(5));
}

TEST_F(Urgent, is_repeated_with_what_is_sent_again) {
    send_urgent(5);
    s.expect(PA(1, 1).data(5).urgent(5));
    s.advance_to_next_segment(2_s);
    s.expect(PA(1, 1).data(5).urgent(5));
}

TEST_F(Urgent, MUST_31_of_any_length) {
    send_urgent(100'000);
    uint32_t at = 1;
    while (at < 100'001) {
        ASSERT_TRUE(s.anything_sent());
        while (s.anything_sent()) {
            const wire::Segment segment = s.next();
            const uint32_t ahead = 100'001 - at;
            EXPECT_EQ(segment.has(wire::TcpFlags::urg), ahead <= 65535) << at;
            EXPECT_EQ(segment.urgent, ahead <= 65535 ? ahead : 0) << at;
            at += segment.payload_size;
        }
        s.inject(A(1, at));
    }
}

TEST_F(Urgent, is_announced_to_a_peer_whose_window_is_closed) {
    s.inject(A(1, 1).window(0));
    send_urgent(5);
    s.expect(A(1, 1).urgent(5));
}

TEST_F(Urgent, MUST_32_MUST_33_the_application_is_told_first_and_when_the_pointer_advances) {
    Endpoint& end = s.end();
    s.inject(PA(1, 1).data(10).urgent(20));
    EXPECT_EQ(end.urgent_notices, 1U);
    EXPECT_EQ(end.urgent_ahead, 20U);
    EXPECT_EQ(end.received, 10U);
    EXPECT_EQ(tcp::urgent_remaining(s.tcb()), 10U);
    s.inject(PA(11, 1).data(5).urgent(10));  // the same place
    EXPECT_EQ(end.urgent_notices, 1U);
    EXPECT_EQ(tcp::urgent_remaining(s.tcb()), 5U);
    s.inject(PA(16, 1).data(5).urgent(10));  // further
    EXPECT_EQ(end.urgent_notices, 2U);
    EXPECT_EQ(end.urgent_ahead, 10U);
    s.inject(PA(21, 1).data(5));
    EXPECT_EQ(tcp::urgent_remaining(s.tcb()), 0U);
    s.inject(PA(26, 1).data(5));
    EXPECT_EQ(end.urgent_notices, 2U);
    EXPECT_EQ(end.received, 30U);
    EXPECT_TRUE(end.intact);
}

/// The pointer of a segment that comes before its turn counts at once.
TEST_F(Urgent, MUST_32_is_announced_ahead_of_missing_data) {
    s.inject(PA(101, 1).data(10).urgent(10));
    EXPECT_EQ(s.end().urgent_notices, 1U);
    EXPECT_EQ(s.end().urgent_ahead, 110U);
    EXPECT_EQ(s.end().received, 0U);
}

TEST(UrgentWindow, MUST_66_is_heard_with_a_closed_window) {
    Script::Options o;
    o.config.tcp.tcp_rmem = 4096;
    Script s(o);
    s.establish();
    s.end().consume = false;
    for (uint32_t at = 1; at < 4097; at += 1024) s.inject(A(at, 1).data(1024));
    EXPECT_EQ(s.tcb().rcv_window(), 0U);
    s.inject(A(4097, 1).urgent(100));
    EXPECT_EQ(s.end().urgent_notices, 1U);
    EXPECT_EQ(s.end().urgent_ahead, 100U);
}

}  // namespace
}  // namespace millrace::testing
