// Paths that are narrower than their first link: with routers that say so, and with ones that
// swallow what is too large.
#include "sim/harness.h"

#include "wire/checksum.h"
#include "wire/icmp.h"

namespace millrace::testing {
namespace {

class NarrowPath : public ::testing::TestWithParam<Family> {
protected:
    static constexpr uint64_t bytes = 2'000'000;

    static sim::NodeOptions probing(uint32_t mode, uint16_t cores = 1) {
        sim::NodeOptions options;
        options.config.tcp.tcp_mtu_probing = mode;
        options.cores = cores;
        return options;
    }
    /// One transfer from a to b. True if all of it arrived within `limit`.
    static bool transfer(Pair& pair, Duration limit, uint16_t core = 0) {
        pair.server.prototype = {.salt_in = 1, .close_at_end = true};
        if (pair.server.accepted.empty()) pair.server.listen(Address(), 80);
        const size_t number = pair.server.accepted.size();
        pair.client.connect({Pair::address(2, GetParam()), 80},
                            {.salt_out = 1, .to_send = bytes, .shutdown_when_sent = true,
                             .close_at_end = true},
                            {}, core);
        const bool done = pair.network.run_while(limit, [&] {
            return pair.server.accepted.size() > number &&
                   pair.server.accepted[number]->connection == nullptr;
        });
        if (!done) return false;
        EXPECT_EQ(pair.server.accepted[number]->received, bytes);
        EXPECT_TRUE(pair.server.accepted[number]->intact);
        return true;
    }
    static constexpr size_t narrow = 1400;

    /// Larger IP packets vanish; the largest that got through is kept.
    void swallow(Pair& pair) {
        pair.network.set_filter([this](const sim::Node&, std::span<const uint8_t> frame) {
            const bool passes = frame.size() <= 14 + narrow;
            if (passes) largest_ = std::max(largest_, frame.size() - 14);
            return passes;
        });
    }
    size_t largest_ = 0;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, NarrowPath, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(NarrowPath, case_67_a_black_hole_at_1400_bytes_is_crossed) {
    for (const uint32_t mode : {1U, 2U}) {
        Pair pair(41, probing(mode));
        pair.network.set_impairments({.delay = 5_ms});
        swallow(pair);
        EXPECT_TRUE(transfer(pair, 30_s)) << mode;
        // The search goes on until it is within tcp_probe_threshold of what passes.
        EXPECT_GT(largest_, narrow - 16) << mode;
        EXPECT_GE(pair.a.stack().counters().tcp_mtup_success, 2U);
        EXPECT_GE(pair.a.stack().counters().tcp_mtup_fail, 1U);
        pair.expect_nothing_left();
        EXPECT_EQ(pair.a.stack().population().mtu_probings, 0U);
    }
}

/// A path that changes under a connection which has found its MTU.
TEST_P(NarrowPath, a_path_that_becomes_a_black_hole_is_crossed) {
    Pair pair(42, probing(1));
    pair.network.set_impairments({.delay = 5_ms});
    size_t frames = 0;
    pair.network.set_filter([&](const sim::Node&, std::span<const uint8_t> frame) {
        return ++frames < 200 || frame.size() <= 14 + narrow;
    });
    EXPECT_TRUE(transfer(pair, 30_s));
    pair.expect_nothing_left();
}

TEST_P(NarrowPath, with_loss_besides_is_crossed_all_the_same) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        Pair pair(seed, probing(2));
        pair.network.set_impairments({.delay = 2_ms, .jitter = 500_us, .loss_ppm = 5'000});
        swallow(pair);
        EXPECT_TRUE(transfer(pair, 300_s)) << seed;
        pair.network.set_impairments({});
        pair.expect_nothing_left();
    }
}

TEST_P(NarrowPath, a_black_hole_is_not_crossed_without_probing) {
    Pair pair(43, probing(0));
    swallow(pair);
    EXPECT_FALSE(transfer(pair, 100_s));
}

/// A wide path: probing climbs to the link's MTU, and costs no congestion.
TEST_P(NarrowPath, probing_finds_a_wide_path_without_a_retransmission) {
    Pair pair(44, probing(2));
    pair.network.set_impairments({.delay = 5_ms});
    pair.network.set_filter([this](const sim::Node&, std::span<const uint8_t> frame) {
        largest_ = std::max(largest_, frame.size() - 14);
        return true;
    });
    EXPECT_TRUE(transfer(pair, 30_s));
    EXPECT_GT(largest_, 1500U - 16);
    EXPECT_EQ(pair.a.stack().counters().tcp_retrans_segs, 0U);
    pair.expect_nothing_left();
}

/// The router's answer to a frame that its next link does not take.
std::vector<uint8_t> too_big(std::span<const uint8_t> frame, uint16_t mtu) {
    const auto ip = wire::Ip::parse(frame.subspan(14), frame.size() - 14, false);
    const bool v4 = ip->source.is_v4();
    const size_t ip_size = wire::Ip::size_for(ip->source.family());
    const size_t quote = ip_size + 8;
    std::vector<uint8_t> bytes(14 + ip_size + wire::Icmp::size + quote);
    wire::Ethernet ethernet;
    ethernet.destination = wire::Ethernet::parse(frame)->source;
    ethernet.source = {{2, 0, 0, 0, 0, 0x77}};
    ethernet.type = v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6;
    ethernet.emit(bytes.data());
    wire::Ip answer;
    answer.source = v4 ? Address::v4(10, 0, 0, 254) : *Address::parse("fd00::fe");
    answer.destination = ip->source;
    answer.protocol = v4 ? wire::Protocol::icmp : wire::Protocol::icmpv6;
    answer.payload_size = static_cast<uint32_t>(wire::Icmp::size + quote);
    answer.emit(&bytes[14], true);
    uint8_t* at = &bytes[14 + ip_size];
    if (v4)
        wire::Icmp{wire::icmp4::destination_unreachable, wire::icmp4::code_fragmentation_needed,
                   mtu}.emit(at);
    else
        wire::Icmp{wire::icmp6::packet_too_big, 0, mtu}.emit(at);
    std::memcpy(at + wire::Icmp::size, frame.data() + 14, quote);
    wire::Checksum sum;
    if (!v4) sum.add_pseudo_header(answer.source, answer.destination, 58, answer.payload_size);
    const uint16_t checksum = sum.add(at, answer.payload_size).finish();
    std::memcpy(at + wire::Icmp::checksum_offset, &checksum, 2);
    return bytes;
}

/// The first connection is told; the next ones, on every core, begin with what it learned.
TEST_P(NarrowPath, a_router_that_says_so_costs_one_round_trip_and_tells_all_cores) {
    Pair pair(45, probing(0, 4));
    pair.network.set_impairments({.delay = 5_ms});
    uint64_t refused = 0;
    pair.network.set_filter([&](const sim::Node& from, std::span<const uint8_t> frame) {
        if (frame.size() <= 14 + narrow) return true;
        ++refused;
        pair.network.put_on_wire(const_cast<sim::Node&>(from), too_big(frame, narrow));
        return false;
    });
    EXPECT_TRUE(transfer(pair, 10_s));
    EXPECT_GE(refused, 1U);
    uint64_t timeouts = 0;
    for (uint16_t core = 0; core < 4; ++core) {
        EXPECT_EQ(pair.a.stack(core).population().path_mtus, 1U) << core;
        timeouts += pair.a.stack(core).counters().tcp_timeouts;
    }
    EXPECT_EQ(timeouts, 0U);
    const uint64_t first = refused;
    for (uint16_t core = 0; core < 4; ++core) EXPECT_TRUE(transfer(pair, 10_s, core));
    EXPECT_EQ(refused, first) << "nothing too large was sent any more";
    pair.expect_nothing_left();
}

}  // namespace
}  // namespace millrace::testing
