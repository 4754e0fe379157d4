// Congestion control over a bottleneck: each algorithm fills it, byte for byte, and none of them
// more than it should. MAY-18: algorithms other than Reno.
#include <algorithm>
#include <numeric>

#include "harness.h"
#include "tcp/ecn.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

constexpr uint64_t mib = 1 << 20;
constexpr uint64_t rate = 20'000'000;      // bits per second
constexpr Duration one_way = 20_ms;        // a round trip of 40 ms holds 100 kB
constexpr Duration queue_max = 50_ms;

/// The way from `a` to `b`: a line of `rate` with a queue in front of it, which marks ECN-capable
/// segments where it is told to, and loses some by chance.
class Bottleneck {
public:
    struct Options {
        Duration mark_above = Duration::max();  ///< of the time that a frame waits
        uint32_t loss_ppm = 0;
    };
    Bottleneck(Pair& pair, Options options) : pair_(pair), options_(options) {
        pair.network.set_impairments({.delay = one_way});
        pair.network.set_filter([this](const sim::Node& from, std::span<const uint8_t> frame) {
            if (&from != &pair_.a || frame.size() < 54) return true;
            forward(frame);
            return false;
        });
    }

    uint64_t dropped = 0;
    uint64_t marked = 0;
    std::vector<Duration> waited;   ///< of each frame that was forwarded
    std::vector<Instant> sent_at;   ///< of each frame larger than a pure ACK

private:
    void forward(std::span<const uint8_t> frame) {
        const Instant now = pair_.network.now();
        if (frame.size() > 200) sent_at.push_back(now);
        const Instant leaves = std::max(free_, now);
        if (leaves - now > queue_max || random_.chance(options_.loss_ppm, 1'000'000)) {
            ++dropped;
            return;
        }
        waited.push_back(leaves - now);
        std::vector<uint8_t> bytes(frame.begin(), frame.end());
        if (leaves - now > options_.mark_above && (bytes[15] & 3) == tcp::ecn::ect0) {
            bytes[15] |= tcp::ecn::ce;
            Script::repair_checksums(bytes);
            ++marked;
        }
        const auto bits = static_cast<int64_t>(frame.size() * 8);
        free_ = leaves + Duration::from_ns(bits * 1'000'000'000 / static_cast<int64_t>(rate));
        pair_.network.set_impairments({.delay = free_ - now + one_way});
        pair_.network.put_on_wire(pair_.b, std::move(bytes));
        pair_.network.set_impairments({.delay = one_way});
    }

    Pair& pair_;
    Options options_;
    Random random_{1};
    Instant free_;
};

sim::NodeOptions node(CongestionControl algorithm, uint32_t tcp_pacing = 0) {
    sim::NodeOptions options;
    options.config.tcp.tcp_congestion_control = algorithm;
    options.config.tcp.tcp_pacing = tcp_pacing;
    options.config.tcp.tcp_ecn = 2;
    options.config.tcp.tcp_rmem = 4 * mib;
    return options;
}

struct Outcome {
    double share = 0;         ///< of the line's rate, payload only
    double queue_ms = 0;      ///< mean wait, the first second left out
    uint64_t marked = 0;
    uint64_t dropped = 0;
    observe::Counters sender;
};

/// `bytes` from `a` to `b`.
Outcome transfer(CongestionControl algorithm, uint64_t bytes, Bottleneck::Options options = {},
                 uint32_t tcp_pacing = 0) {
    Pair pair(1, node(algorithm, tcp_pacing), node(algorithm));
    Bottleneck line(pair, options);
    pair.server.prototype = {.salt_in = 1, .shutdown_when_sent = true, .close_at_end = true};
    pair.server.listen(Pair::address(2), 80);
    const Instant start = pair.network.now();
    Endpoint& client =
        pair.client.connect({Pair::address(2), 80}, {.salt_out = 1, .to_send = bytes,
                                                     .shutdown_when_sent = true,
                                                     .close_at_end = true});
    Outcome outcome;
    EXPECT_TRUE(pair.network.run_while(300_s, [&] {
        return !pair.server.accepted.empty() && pair.server.accepted[0]->received == bytes;
    }));
    const double seconds = (pair.network.now() - start).seconds();
    outcome.share = static_cast<double>(bytes) * 8 / seconds / static_cast<double>(rate);
    EXPECT_TRUE(pair.server.accepted[0]->intact);
    EXPECT_EQ(client.sent, bytes);
    const auto skipped = static_cast<std::ptrdiff_t>(std::min<size_t>(
        line.waited.size() / 2, rate / 8 / 1514));
    const auto sum = std::accumulate(line.waited.begin() + skipped, line.waited.end(), Duration());
    outcome.queue_ms = sum.seconds() * 1000 /
                       static_cast<double>(line.waited.end() - line.waited.begin() - skipped);
    outcome.marked = line.marked;
    outcome.dropped = line.dropped;
    outcome.sender = pair.a.stack().counters();
    pair.network.run_for(10_s);
    pair.expect_nothing_left();
    ::testing::Test::RecordProperty("share_percent", static_cast<int>(outcome.share * 100));
    ::testing::Test::RecordProperty("queue_us", static_cast<int>(outcome.queue_ms * 1000));
    return outcome;
}

TEST(Bottleneck, reno_fills_it) {
    const Outcome reno = transfer(CongestionControl::reno, 8 * mib);
    EXPECT_GE(reno.share, 0.8);
    EXPECT_EQ(reno.sender.tcp_timeouts, 0U);
}

TEST(MAY_18, cubic_fills_the_bottleneck) {
    const Outcome cubic = transfer(CongestionControl::cubic, 8 * mib);
    EXPECT_GE(cubic.share, 0.8);
    EXPECT_EQ(cubic.sender.tcp_timeouts, 0U);
}

/// Paced at 120 % of its window a round trip, CUBIC loses no rate.
TEST(MAY_18, paced_cubic_fills_the_bottleneck) {
    const Outcome cubic = transfer(CongestionControl::cubic, 8 * mib, {}, 1);
    EXPECT_GE(cubic.share, 0.8);
    EXPECT_EQ(cubic.sender.tcp_timeouts, 0U);
}

/// RFC 8257: marked above 6 ms, the queue stays about there; nothing is lost.
TEST(MAY_18, dctcp_fills_the_bottleneck_and_keeps_the_queue_at_the_mark) {
    const Outcome dctcp = transfer(CongestionControl::dctcp, 16 * mib, {.mark_above = 6_ms});
    EXPECT_GE(dctcp.share, 0.75);
    EXPECT_GT(dctcp.marked, 0U);
    EXPECT_LT(dctcp.queue_ms, 12);
    EXPECT_EQ(dctcp.sender.tcp_retrans_segs, 0U);
    EXPECT_GT(dctcp.sender.tcp_delivered_ce, 0U);
}

/// BBR holds the rate without holding a queue.
TEST(MAY_18, bbr_fills_the_bottleneck_and_keeps_the_queue_short) {
    const Outcome bbr = transfer(CongestionControl::bbr, 8 * mib);
    EXPECT_GE(bbr.share, 0.8);
    EXPECT_LT(bbr.queue_ms, 10);
    EXPECT_EQ(bbr.sender.tcp_timeouts, 0U);
    const Outcome cubic = transfer(CongestionControl::cubic, 8 * mib);
    EXPECT_LT(bbr.queue_ms * 2, cubic.queue_ms);
}

/// Random loss says nothing of the path: BBR stays near its rate, Reno does not.
TEST(MAY_18, bbr_survives_random_loss_that_stops_reno) {
    const Outcome bbr = transfer(CongestionControl::bbr, 4 * mib, {.loss_ppm = 10'000});
    const Outcome reno = transfer(CongestionControl::reno, 4 * mib, {.loss_ppm = 10'000});
    EXPECT_GE(bbr.share, 0.6);
    EXPECT_GE(bbr.share, 2.5 * reno.share);
}

/// A paced sender's frames are spread: no more than a quantum and its credit at one instant, where
/// an unpaced one answers each ACK at once.
TEST(Pacing, frames_are_spread_in_time) {
    Pair pair(1, node(CongestionControl::bbr), node(CongestionControl::bbr));
    Bottleneck line(pair, {});
    pair.server.prototype = {.salt_in = 1};
    pair.server.listen(Pair::address(2), 80);
    pair.client.connect({Pair::address(2), 80}, {.salt_out = 1, .to_send = 64 * mib});
    pair.network.run_for(2_s);
    line.sent_at.clear();
    pair.network.run_for(1_s);
    ASSERT_GT(line.sent_at.size(), 1000U);
    size_t burst = 1;
    size_t longest = 1;
    for (size_t i = 1; i < line.sent_at.size(); ++i) {
        burst = line.sent_at[i] == line.sent_at[i - 1] ? burst + 1 : 1;
        longest = std::max(longest, burst);
    }
    // A millisecond's worth is 2500 bytes: two segments, and with the credit once more.
    EXPECT_LE(longest, 4U);
}

}  // namespace
}  // namespace millrace::testing
