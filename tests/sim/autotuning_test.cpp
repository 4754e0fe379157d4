// Receive autotuning over a long, fat path: 100 ms, 100 Mbit/s, 1.25 MB in flight.
#include "harness.h"
#include "tcp/receive_window.h"

namespace millrace::testing {
namespace {

/// A sender with buffers for the path and a receiver whose pool would hold 32 MiB.
sim::NodeOptions node(uint32_t moderate = 1, uint32_t timestamps = 1) {
    sim::NodeOptions options;
    options.pools = {.receive = 16384, .header = 16384, .attach = 16384, .payload = 8192};
    options.config.tcp.tcp_moderate_rcvbuf = moderate;
    options.config.tcp.tcp_timestamps = timestamps;
    return options;
}

struct LongPath {
    explicit LongPath(const sim::NodeOptions& receiver = node()) : pair(1, node(), receiver) {
        pair.network.set_impairments({.delay = 50_ms, .bits_per_second = 100'000'000});
        pair.server.prototype = {.salt_in = 1};
        pair.server.listen(Address::any(Family::ipv4), 80);
        pair.client.connect({Pair::address(2), 80},
                            {.salt_out = 1, .to_send = uint64_t{1} << 40});
        pair.network.run_for(1_s);
    }
    Endpoint& receiver() { return *pair.server.accepted.at(0); }
    uint32_t buffer() { return receiver().connection->rcv_buf; }
    /// Payload in Mbit/s over `time` from now.
    double rate(Duration time) {
        const uint64_t before = receiver().received;
        pair.network.run_for(time);
        return static_cast<double>(receiver().received - before) * 8 / time.seconds() / 1e6;
    }
    Pair pair;
};

TEST(Autotuning, fills_a_long_fat_path) {
    LongPath path;
    path.pair.network.run_for(5_s);
    EXPECT_GT(path.rate(2_s), 90);
    EXPECT_GT(path.buffer(), 1'250'000U);
    EXPECT_LE(path.buffer(), 4U << 20);  // an eighth of the pool's 32 MiB
    EXPECT_TRUE(path.receiver().intact);
}

TEST(Autotuning, does_so_without_timestamps) {
    LongPath path(node(1, 0));
    path.pair.network.run_for(5_s);
    EXPECT_GT(path.rate(2_s), 90);
}

TEST(Autotuning, off_leaves_the_start_value_and_a_tenth_of_the_rate) {
    LongPath path(node(0));
    EXPECT_LT(path.rate(3_s), 12);
    EXPECT_EQ(path.buffer(), 131072U);
}

TEST(Autotuning, ends_where_the_application_sets_the_buffer) {
    LongPath path;
    const uint32_t set = tcp::set_receive_buffer(
        path.receiver().stack->env(), *path.receiver().connection, 262144);
    EXPECT_EQ(set, 262144U);
    path.pair.network.run_for(1_s);
    EXPECT_LT(path.rate(2_s), 24);
    EXPECT_EQ(path.buffer(), 262144U);
}

/// A connection's buffer is bounded by its share of the core's pool.
TEST(Autotuning, leaves_the_pool_to_others) {
    sim::NodeOptions small = node();
    small.pools.receive = 4096;
    LongPath path(small);
    path.pair.network.run_for(5_s);
    EXPECT_EQ(path.buffer(), 1U << 20);
}

/// An application that does not read is given no larger buffer.
TEST(Autotuning, needs_an_application_that_reads) {
    LongPath path;
    const uint32_t before = path.buffer();
    path.receiver().consume = false;
    path.pair.network.run_for(3_s);
    EXPECT_EQ(path.buffer(), before);
}

}  // namespace
}  // namespace millrace::testing
