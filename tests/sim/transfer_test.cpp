// Two stacks over a virtual wire: whole conversations, both families, with and without loss.
#include "harness.h"

namespace millrace::testing {
namespace {

class Transfer : public ::testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(BothFamilies, Transfer,
                         ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

constexpr uint64_t mib = 1 << 20;

/// `bytes` each way at once, then both close.
void exchange(Pair& pair, Family family, uint64_t bytes, Duration limit) {
    pair.server.prototype = {.salt_out = 2, .salt_in = 1, .to_send = bytes,
                             .shutdown_when_sent = true, .close_at_end = true};
    pair.server.listen(Pair::address(2, family), 80);
    Endpoint& client = pair.client.connect(
        {Pair::address(2, family), 80},
        {.salt_out = 1, .salt_in = 2, .to_send = bytes, .shutdown_when_sent = true,
         .close_at_end = true});
    ASSERT_TRUE(pair.network.run_while(limit, [&] {
        return client.connection == nullptr && !pair.server.accepted.empty() &&
               pair.server.accepted[0]->connection == nullptr;
    }));
    EXPECT_TRUE(client.connected);
    EXPECT_EQ(client.error, 0);
    EXPECT_EQ(client.received, bytes);
    EXPECT_TRUE(client.intact);
    EXPECT_EQ(pair.server.accepted[0]->received, bytes);
    EXPECT_TRUE(pair.server.accepted[0]->intact);
}

TEST_P(Transfer, ten_mebibytes_each_way_at_once) {
    Pair pair(1);
    exchange(pair, GetParam(), 10 * mib, 60_s);
    EXPECT_EQ(pair.a.stack().counters().tcp_retrans_segs, 0U);
    EXPECT_EQ(pair.a.stack().counters().drops_total(), 0U);
    pair.expect_nothing_left();
}

TEST_P(Transfer, survives_loss_reordering_duplication_and_corruption) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        Pair pair(seed);
        pair.network.set_impairments({.delay = 1_ms, .jitter = 500_us, .loss_ppm = 10'000,
                                      .duplicate_ppm = 5'000, .corrupt_ppm = 5'000});
        exchange(pair, GetParam(), 256 * 1024, 600_s);
        EXPECT_GT(pair.a.stack().counters().tcp_retrans_segs +
                      pair.b.stack().counters().tcp_retrans_segs,
                  0U);
        pair.network.set_impairments({});
        pair.expect_nothing_left();
    }
}

TEST_P(Transfer, same_seed_same_trace) {
    const auto run = [&](uint64_t seed) {
        Pair pair(seed);
        pair.network.keep_trace(true);
        pair.network.set_impairments({.delay = 1_ms, .jitter = 300_us, .loss_ppm = 20'000});
        exchange(pair, GetParam(), 100'000, 600_s);
        return pair.network.trace();
    };
    const auto first = run(7);
    EXPECT_GT(first.size(), 100U);
    EXPECT_EQ(first, run(7));
    EXPECT_NE(first, run(8));
}

}  // namespace
}  // namespace millrace::testing
