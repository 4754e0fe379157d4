// Attack cases 50, 58 and 59: peers that stall, vanish, or lose what is sent at the wrong time.
#include "wire/script.h"

namespace millrace::testing {
namespace {

/// When each of the following segments is sent, in seconds from `start`.
std::vector<double> times(Script& s, Instant start, size_t count) {
    std::vector<double> at;
    while (at.size() < count) {
        s.advance_to_next_segment(200_s);
        s.next();
        at.push_back((s.now() - start).seconds());
    }
    return at;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& wanted) {
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 0.01) << i;
}

BOTH_FAMILIES(GivingUp);

TEST_P(GivingUp, case_58_backoff_to_r2) {
    Script s(options());
    s.establish();
    s.send(100);
    s.expect(PA(1, 1).data(100));
    // From the RTO's floor of 0.2 s, doubled up to its ceiling of 120 s: tcp_retries2 times.
    expect_near(times(s, s.now(), 15), {0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4, 51.0, 102.2, 204.6,
                                        324.6, 444.6, 564.6, 684.6, 804.6});
    EXPECT_FALSE(s.end().closed);
    s.advance(119_s);
    EXPECT_FALSE(s.end().closed);
    s.advance(2_s);
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
    s.expect_silence();
}

TEST_P(GivingUp, case_58_a_syn_is_given_up) {
    Script s(options());
    s.connect();
    s.next();
    expect_near(times(s, s.now(), 10), {1, 2, 3, 4, 5, 7, 11, 19, 35, 67});
    s.advance(63_s);
    EXPECT_FALSE(s.end().closed);
    s.advance(2_s);
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
    s.expect_silence();
}

TEST_P(GivingUp, case_58_a_user_timeout_while_a_closed_window_is_probed) {
    Script s(options());
    s.establish();
    EXPECT_TRUE(tcp::set_user_timeout(s.stack().env(), s.tcb(), 5_s));
    s.inject(A(1, 1).window(0));
    s.send(100);
    const Instant start = s.now();
    while (!s.end().closed && s.now() - start < 100_s) {
        if (s.anything_sent()) {
            s.expect(A(0, 1));
            s.inject(A(1, 1).window(0));  // somebody answers, but never opens
        }
        s.advance(1_ms);
    }
    EXPECT_NEAR((s.now() - start).seconds(), 5.2, 0.01);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

/// Nobody waits for him any more, and there are many orphans: who never reads is the first to go.
TEST_P(GivingUp, case_50_a_closed_window_is_evicted_where_orphans_are_too_many) {
    Config config;
    config.tcp.tcp_max_orphans = 1;
    Script s(options(config));
    s.establish();
    s.inject(A(1, 1).window(0));
    s.send(100);
    s.close();
    s.expect_silence();
    const Instant start = s.now();
    while (s.stack().population().connections > 0 && s.now() - start < 1000_s) {
        s.advance_to_next_segment(200_s);
        if (s.next().rst()) break;
        s.inject(A(1, 1).window(0));
    }
    // Silent for two of the longest timeouts counts as two orphans, as in Linux.
    EXPECT_GE((s.now() - start).seconds(), 240);
    EXPECT_LE((s.now() - start).seconds(), 325);
    EXPECT_EQ(s.counters().tcp_abort_on_memory, 1U);
    EXPECT_EQ(s.counters().tcp_out_rsts, 1U);
    EXPECT_EQ(s.stack().population().connections, 0U);
}

/// Slow readers: each holds what its window took and no more, and gets the rest when it reads.
class StalledReaders : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Seconds, StalledReaders, ::testing::Values(600, 86'400));

TEST_P(StalledReaders, case_50_a_window_that_was_closed_opens_and_the_stream_continues) {
    constexpr size_t readers = 10;
    constexpr uint64_t bytes = 200'000;
    Pair pair(1);
    pair.server.prototype = {.salt_in = 1, .close_at_end = true, .consume = false};
    pair.server.listen(Address::any(Family::ipv4), 80);
    for (size_t i = 0; i < readers; ++i)
        pair.client.connect({Pair::address(2), 80}, {.salt_out = 1, .to_send = bytes,
                                                     .shutdown_when_sent = true,
                                                     .close_at_end = true});
    pair.network.run_for(Duration::from_s(GetParam()));
    ASSERT_EQ(pair.server.accepted.size(), readers);
    for (const auto& end : pair.client.connecting) {
        ASSERT_NE(end->connection, nullptr);
        EXPECT_EQ(end->connection->snd_wnd, 0U);
        EXPECT_FALSE(end->closed);
    }
    EXPECT_GE(pair.a.stack().counters().tcp_zero_window_probes, readers * 5);
    // The announcement of the open window is lost: a probe finds it.
    pair.network.set_impairments(pair.b, {.loss_ppm = 1'000'000});
    for (const auto& end : pair.server.accepted) {
        EXPECT_LT(end->received, bytes);
        end->consume = true;
        tcp::consumed(end->stack->env(), *end->connection,
                      static_cast<uint32_t>(std::exchange(end->unconsumed, 0U)));
    }
    pair.network.run_for(1_ms);
    pair.network.set_impairments(pair.b, {});
    pair.network.run_for(121_s);
    for (const auto& end : pair.server.accepted) {
        EXPECT_EQ(end->received, bytes);
        EXPECT_TRUE(end->intact);
    }
    EXPECT_EQ(pair.a.stack().counters().tcp_abort_on_timeout, 0U);
    pair.expect_nothing_left();
}

/// The line dies for `outage` at the beginning of each `period` (Kuzmanovic and Knightly's shrew).
struct Shrew {
    Duration period;
    double share;  ///< of the line's rate over 20 s, as measured
};
void PrintTo(const Shrew& shrew, std::ostream* out) { *out << shrew.period.ms() << " ms"; }

class Shrews : public ::testing::TestWithParam<Shrew> {};
// 4 Mbit/s, a round trip of 20 ms, outages of 50 ms.
INSTANTIATE_TEST_SUITE_P(Periods, Shrews,
                         ::testing::Values(Shrew{200_ms, 0.164}, Shrew{600_ms, 0.752},
                                           Shrew{1000_ms, 0.941}));

TEST_P(Shrews, case_59_periodic_loss_at_the_timeout_costs_what_is_written_here) {
    constexpr uint64_t rate = 4'000'000;
    constexpr int seconds = 20;
    Pair pair(1);
    const sim::Impairments line{.delay = 10_ms, .bits_per_second = rate, .queue_max = 50_ms};
    pair.network.set_impairments(line);
    pair.server.prototype = {.salt_in = 1};
    pair.server.listen(Address::any(Family::ipv4), 80);
    Endpoint& sender = pair.client.connect({Pair::address(2), 80},
                                           {.salt_out = 1, .to_send = UINT64_MAX});
    const Instant start = pair.network.now();
    pair.network.set_filter([&](const sim::Node& from, std::span<const uint8_t>) {
        const int64_t into = (pair.network.now() - start).ns() % GetParam().period.ns();
        return &from != &pair.a || into > Duration::from_ms(50).ns() ||
               pair.network.now() - start < 500_ms;
    });
    pair.network.run_for(Duration::from_s(seconds));
    ASSERT_EQ(pair.server.accepted.size(), 1U);
    const Endpoint& receiver = *pair.server.accepted[0];
    const double share = static_cast<double>(receiver.received) * 8 / seconds / rate;
    RecordProperty("share", std::to_string(share));
    RecordProperty("timeouts", std::to_string(pair.a.stack().counters().tcp_timeouts));
    EXPECT_NEAR(share, GetParam().share, 0.02);
    EXPECT_TRUE(receiver.intact);
    sender.abort();
    pair.network.run_for(1_s);
}

}  // namespace
}  // namespace millrace::testing
