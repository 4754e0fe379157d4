// Attack cases 13 to 16: urgent pointers of every kind.
#include "tcp/urgent.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

TEST(UrgentAttack, case_13_a_pointer_of_zero_names_nothing) {
    Script s;
    s.establish();
    s.inject(PA(1, 1).data(10).urgent(0));
    s.expect(A(1, 11));
    s.inject(A(11, 1).urgent(0));
    EXPECT_EQ(s.end().urgent_notices, 0U);
    EXPECT_EQ(tcp::urgent_remaining(s.tcb()), 0U);
    EXPECT_EQ(s.end().received, 10U);
    EXPECT_TRUE(s.end().intact);
}

TEST(UrgentAttack, case_14_a_pointer_past_the_segment_and_the_window) {
    Script::Options o;
    o.config.tcp.tcp_rmem = 4096;
    Script s(o);
    s.establish(S(0).window(65535).mss(1460));
    s.inject(PA(1, 1).data(1).urgent(65535));
    s.expect(A(1, 2));
    EXPECT_EQ(s.end().urgent_ahead, 65535U);
    EXPECT_EQ(tcp::urgent_remaining(s.tcb()), 65534U);
    // Life goes on, and a stream that ends before the mark leaves nothing urgent to wait for.
    s.inject(PA(2, 1).data(100));
    s.expect(A(1, 102));
    s.inject(FA(102, 1));
    EXPECT_EQ(tcp::urgent_remaining(s.tcb()), 0U);
    EXPECT_TRUE(s.end().peer_closed);
    EXPECT_EQ(s.end().received, 101U);
    EXPECT_TRUE(s.end().intact);
}

TEST(UrgentAttack, case_14_a_pointer_that_leaps_in_each_segment) {
    Script s;
    s.establish();
    for (uint32_t i = 0; i < 1000; ++i)
        s.inject(PA(1 + i, 1).data(1).urgent(static_cast<uint16_t>(i * 7919)));
    EXPECT_EQ(s.end().received, 1000U);
    EXPECT_LE(tcp::urgent_remaining(s.tcb()), 65535U);
    EXPECT_TRUE(s.end().intact);
}

TEST(UrgentAttack, case_15_urg_during_connect_confuses_no_state) {
    Script passive;
    passive.listen();
    passive.inject(S(0).window(65535).mss(1460).urgent(40));
    passive.expect(SA(0, 1));
    passive.inject(A(1, 1));
    passive.accept();
    EXPECT_EQ(tcp::urgent_remaining(passive.tcb()), 0U);
    Script active;
    active.connect();
    active.next();
    active.inject(SA(0, 1).mss(1460).urgent(40));
    active.expect(A(1, 1));
    EXPECT_TRUE(active.end().connected);
    EXPECT_EQ(active.end().urgent_notices, 0U);
    EXPECT_EQ(tcp::urgent_remaining(active.tcb()), 0U);
    active.inject(PA(1, 1).data(10));
    EXPECT_EQ(active.end().received, 10U);
}

TEST(UrgentAttack, case_16_out_of_band_data_comes_in_line) {
    Script s;
    s.establish();
    s.inject(PA(1, 1).data(3).urgent(2));
    EXPECT_EQ(s.end().urgent_ahead, 2U);
    s.inject(PA(4, 1).data(3).urgent(1));
    EXPECT_EQ(s.end().urgent_notices, 2U);
    EXPECT_EQ(s.end().received, 6U);
    EXPECT_TRUE(s.end().intact);
}

}  // namespace
}  // namespace millrace::testing
