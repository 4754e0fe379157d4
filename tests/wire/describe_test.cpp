// What `ss` and TCP_INFO say of a connection while it sends.
#include "script.h"
#include "tcp/describe.h"

namespace millrace::testing {
namespace {

constexpr uint32_t mss = 1000;

/// Established; whoever answers does so after 100 ms.
class Described : public ::testing::Test {
protected:
    Described() : s(reno()) {
        s.listen();
        s.inject(S(0).window(65535).mss(mss).scale(7).sack_permitted());
        s.next();
        s.advance(100_ms);
        s.inject(A(1, 1).window(65535));
        s.accept();
    }
    static Script::Options reno() {
        Script::Options o;
        o.config.tcp.tcp_congestion_control = CongestionControl::reno;
        return o;
    }
    SocketRecord record() {
        SocketRecord r;
        tcp::describe(s.stack().env(), s.tcb(), r);
        return r;
    }
    void acknowledge(uint32_t segments) {
        s.forget_sent();
        s.advance(100_ms);
        s.inject(A(1, 1 + segments * mss).window(65535));
    }

    Script s;
};

TEST_F(Described, the_delivery_rate_is_what_arrived_in_the_last_round_trip) {
    s.send(100 * mss);
    EXPECT_EQ(record().outstanding, 10 * mss);
    EXPECT_EQ(record().delivery_rate, 0U) << "nobody has answered";
    acknowledge(6);
    EXPECT_EQ(record().delivery_rate, 60'000U);
    EXPECT_TRUE(record().delivery_app_limited) << "it was sent into an empty pipe";
    acknowledge(10);
    EXPECT_EQ(record().delivery_rate, 40'000U) << "of what was sent after the first six";
    EXPECT_FALSE(record().delivery_app_limited);
    s.advance(50_ms);
    EXPECT_EQ(record().delivery_rate, 40'000U) << "as of the last ACK";
}

TEST_F(Described, where_nothing_is_in_flight_no_rate_is_known) {
    s.send(3 * mss);
    acknowledge(1);
    EXPECT_EQ(record().delivery_rate, 10'000U);
    acknowledge(3);
    EXPECT_EQ(record().outstanding, 0U);
    EXPECT_EQ(record().delivery_rate, 0U);
    EXPECT_FALSE(record().delivery_app_limited);
}

/// What was sent last tells nothing yet; what was lost does not tell either.
TEST_F(Described, the_oldest_in_flight_is_asked_whatever_was_sacked_or_lost) {
    s.send(10 * mss);
    s.forget_sent();
    s.advance(100_ms);
    s.inject(A(1, 1).window(65535).sack({{1 + 2 * mss, 1 + 7 * mss}}));
    EXPECT_EQ(record().sacked, 5 * mss);
    EXPECT_EQ(record().delivery_rate, 50'000U);
}

}  // namespace
}  // namespace millrace::testing
