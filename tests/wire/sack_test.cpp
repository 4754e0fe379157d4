// What we tell the peer of data out of order: SACK (RFC 2018) and DSACK (RFC 2883).
#include "script.h"

namespace millrace::testing {
namespace {

Packet syn() { return S(0).window(65535).mss(1460).sack_permitted(); }

TEST(Sack, is_answered_only_where_it_was_offered) {
    Script with;
    with.listen();
    with.inject(syn());
    EXPECT_TRUE(with.next().options.sack_permitted);
    Script without;
    without.listen();
    without.inject(S(0).window(65535).mss(1460));
    EXPECT_FALSE(without.next().options.sack_permitted);
    Script off([] {
        Script::Options o;
        o.config.tcp.tcp_sack = 0;
        return o;
    }());
    off.listen();
    off.inject(syn());
    EXPECT_FALSE(off.next().options.sack_permitted);
}

TEST(Sack, each_segment_out_of_order_is_acknowledged_with_the_latest_block_first) {
    Script s;
    s.establish(syn());
    s.inject(A(101, 1).data(100));
    s.expect(A(1, 1).sack({{101, 201}}));
    s.inject(A(301, 1).data(100));
    s.expect(A(1, 1).sack({{301, 401}, {101, 201}}));
    s.inject(A(501, 1).data(100));
    s.expect(A(1, 1).sack({{501, 601}, {301, 401}, {101, 201}}));
    s.inject(A(201, 1).data(50));  // joins the oldest, which is the latest now
    s.expect(A(1, 1).sack({{101, 251}, {501, 601}, {301, 401}}));
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 251).sack({{501, 601}, {301, 401}}));
    s.inject(A(251, 1).data(50));
    s.expect(A(1, 401).sack({{501, 601}}));
    s.inject(A(401, 1).data(100));
    s.expect(A(1, 601).sack({}));
    EXPECT_EQ(s.end().received, 600U);
    EXPECT_TRUE(s.end().intact);
}

TEST(Sack, has_room_for_three_blocks_beside_a_timestamp) {
    Script s;
    s.establish(syn().timestamps(7, 0));
    for (const uint32_t at : {101U, 301U, 501U, 701U})
        s.inject(A(at, 1).data(100).timestamps(8, 0));
    for (int i = 0; i < 3; ++i) s.next();
    s.expect(A(1, 1).sack({{701, 801}, {501, 601}, {301, 401}}));
}

/// A burst is one turn: still an ACK for each segment out of order, as each one left things.
TEST(Sack, a_burst_is_acknowledged_segment_by_segment) {
    Script s;
    s.establish(syn());
    s.inject_burst({A(101, 1).data(100), A(201, 1).data(100), A(401, 1).data(100)});
    s.expect(A(1, 1).sack({{101, 201}}));
    s.expect(A(1, 1).sack({{101, 301}}));
    s.expect(A(1, 1).sack({{401, 501}, {101, 301}}));
    s.expect_silence();
}

TEST(Dsack, reports_a_segment_that_had_been_acknowledged) {
    Script s;
    s.establish(syn());
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 101));
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 101).sack({{1, 101}}));
    EXPECT_EQ(s.counters().tcp_dsack_old_sent, 1U);
}

TEST(Dsack, reports_what_was_held_out_of_order_before_the_range_that_holds_it) {
    Script s;
    s.establish(syn());
    s.inject(A(101, 1).data(200));
    s.expect(A(1, 1).sack({{101, 301}}));
    s.inject(A(201, 1).data(50));
    s.expect(A(1, 1).sack({{201, 251}, {101, 301}}));
    EXPECT_EQ(s.counters().tcp_dsack_ofo_sent, 1U);
}

TEST(Dsack, reports_the_part_that_is_old_and_takes_the_part_that_is_new) {
    Script s;
    s.establish(syn());
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 101));
    s.inject(A(51, 1).data(100).filled_from(50));
    s.expect(A(1, 151).sack({{51, 101}}));
    s.expect_silence();
    EXPECT_EQ(s.end().received, 150U);
    EXPECT_TRUE(s.end().intact);
    s.inject(A(301, 1).data(100));
    s.expect(A(1, 151).sack({{301, 401}}));
    s.inject(A(101, 1).data(100));
    s.expect(A(1, 201).sack({{101, 151}, {301, 401}}));
    s.expect_silence();
}

TEST(Dsack, without_sack_what_is_partly_old_is_acknowledged_once_with_the_new_number) {
    Script s;
    s.establish(S(0).window(65535).mss(1460));
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 101));
    for (uint32_t end = 111; end <= 141; end += 10) {  // no three of these are duplicate ACKs
        s.inject(A(51, 1).data(end - 51));
        s.expect(A(1, end));
        s.expect_silence();
    }
}

TEST(Dsack, can_be_turned_off) {
    Script::Options o;
    o.config.tcp.tcp_dsack = 0;
    Script s(o);
    s.establish(syn());
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 101));
    s.inject(A(1, 1).data(100));
    s.expect(A(1, 101).sack({}));
    EXPECT_EQ(s.counters().tcp_dsack_old_sent, 0U);
}

}  // namespace
}  // namespace millrace::testing
