// A tuple in TIME-WAIT and connect(): tcp_tw_reuse (RFC 6191).
#include "script.h"

namespace millrace::testing {
namespace {

using tcp::State;

constexpr uint32_t peer_time = 7000;

class Reuse : public FamilyTest {
protected:
    Script::Options with(uint32_t reuse) const {
        Config config;
        config.tcp.tcp_tw_reuse = reuse;
        config.tcp.ip_local_port_range_min = config.tcp.ip_local_port_range_max = 50000;
        return options(config);
    }
    /// Our active open and our active close; the peer's timestamps, if it has any.
    static void to_time_wait(Script& s, bool timestamps) {
        s.connect();
        const wire::Segment syn = s.next();
        const auto stamped = [&](const Packet& p) {
            return timestamps ? p.timestamps(peer_time, syn.options.ts_value) : p;
        };
        s.inject(stamped(SA(0, 1).window(65535).mss(1460)));
        s.next();
        s.close();
        s.next();
        s.inject(stamped(FA(1, 2)));
        s.next();
        EXPECT_EQ(s.stack().population().time_wait, 1U);
        s.expect_silence();
    }
    /// With one port to choose from.
    static Result<tcp::Connection*> again(Script& s, uint16_t port = 0) {
        return s.stack().connect({s.peer(), 80}, {Address::any(s.peer().family()), port}, nullptr);
    }
};
INSTANTIATE_TEST_SUITE_P(Families, Reuse, ::testing::Values(Family::ipv4, Family::ipv6),
                         family_name);

TEST_P(Reuse, takes_the_tuple_over_after_a_second_and_begins_beyond_the_old_sequence) {
    Script s(with(1));
    to_time_wait(s, true);
    const uint32_t old_end = s.isn() + 2;
    s.advance(900_ms);
    EXPECT_EQ(again(s).error().value, EADDRNOTAVAIL);
    s.advance(400_ms);
    const auto c = again(s);
    ASSERT_TRUE(c.has_value());
    s.advance({});
    const wire::Segment syn = s.next();
    EXPECT_EQ(syn.flags, wire::TcpFlags::syn);
    EXPECT_GT(static_cast<int32_t>(syn.seq.value() - old_end), 65535);
    EXPECT_EQ(s.counters().tcp_time_wait_recycled, 1U);
    tcp::abort(s.stack().env(), **c);
}

TEST_P(Reuse, without_timestamps_nothing_tells_old_from_new) {
    Script s(with(1));
    to_time_wait(s, false);
    s.advance(10_s);
    EXPECT_EQ(again(s).error().value, EADDRNOTAVAIL);
    s.advance(51_s);
    const auto c = again(s);
    EXPECT_TRUE(c.has_value());
    if (c) tcp::abort(s.stack().env(), **c);
}

TEST_P(Reuse, is_for_our_own_addresses_unless_asked_for) {
    for (const uint32_t reuse : {0U, 2U}) {
        Script s(with(reuse));
        to_time_wait(s, true);
        s.advance(10_s);
        EXPECT_EQ(again(s).error().value, EADDRNOTAVAIL);
        EXPECT_EQ(s.stack().population().time_wait, 1U);
    }
}

/// Linux's rule for a port that was bound: whoever names it means this tuple.
TEST_P(Reuse, a_port_that_is_named_is_taken_at_once_where_timestamps_tell_old_from_new) {
    for (const bool timestamps : {true, false}) {
        Script s(with(0));
        to_time_wait(s, timestamps);
        const uint32_t old_end = s.isn() + 2;
        const auto c = again(s, 50000);
        ASSERT_EQ(c.has_value(), timestamps);
        if (!timestamps) continue;
        s.advance({});
        EXPECT_GT(static_cast<int32_t>(s.next().seq.value() - old_end), 65535);
        tcp::abort(s.stack().env(), **c);
    }
}

TEST_P(Reuse, a_tuple_that_is_alive_is_not_taken) {
    Script s(with(1));
    s.connect();
    EXPECT_EQ(again(s).error().value, EADDRNOTAVAIL);
    EXPECT_EQ(again(s, 50000).error().value, EADDRNOTAVAIL);
}

}  // namespace
}  // namespace millrace::testing
