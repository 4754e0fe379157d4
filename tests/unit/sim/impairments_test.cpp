// What a line does to frames: each impairment by itself, from a seed.
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "sim/impairments.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::sim {
namespace {

using namespace millrace::literals;

/// A TCP frame whose sequence number tells which it is.
std::vector<uint8_t> tcp_frame(uint32_t number, uint32_t payload, Family family = Family::ipv4,
                               uint8_t tos = 0) {
    const size_t ip_size = wire::Ip::size_for(family);
    std::vector<uint8_t> bytes(14 + ip_size + 20 + payload, 0x5a);
    const bool v4 = family == Family::ipv4;
    wire::Ethernet ethernet;
    ethernet.type = v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6;
    ethernet.emit(bytes.data());
    wire::Ip ip;
    ip.source = v4 ? Address::v4(10, 0, 0, 1) : *Address::parse("fd00::1");
    ip.destination = v4 ? Address::v4(10, 0, 0, 2) : *Address::parse("fd00::2");
    ip.protocol = wire::Protocol::tcp;
    ip.tos = tos;
    ip.payload_size = 20 + payload;
    ip.emit(&bytes[14], true);
    wire::Segment segment;
    segment.seq = Seq(number);
    segment.flags = wire::TcpFlags::ack;
    segment.emit(&bytes[14 + ip_size]);
    return bytes;
}

uint32_t number_of(const std::vector<uint8_t>& frame) { return wire::load32(&frame[14 + 20 + 4]); }

struct Arrival {
    Instant at;
    std::vector<uint8_t> frame;
    bool operator==(const Arrival&) const = default;
};

/// Everything that is under way, each at its time.
std::vector<Arrival> arrivals(Line& line) {
    std::vector<Arrival> all;
    while (line.next_arrival() != Instant::never()) {
        const Instant at = line.next_arrival();
        if (auto frame = line.receive(at)) all.push_back({at, std::move(*frame)});
    }
    return all;
}

/// `count` frames, one each `gap`; answers what arrived.
std::vector<Arrival> run(Line& line, uint32_t count, uint32_t payload = 100,
                         Duration gap = Duration::from_ns(1000)) {
    Instant now = Instant::from_ns(1);
    for (uint32_t i = 0; i < count; ++i, now = now + gap) line.send(now, tcp_frame(i, payload));
    return arrivals(line);
}

constexpr uint32_t many = 100'000;

/// `share` of `many` within five standard deviations of a fair coin's.
void expect_share(uint64_t count, double share) {
    const double expected = share * many;
    EXPECT_NEAR(static_cast<double>(count), expected, 5 * std::sqrt(expected * (1 - share)));
}

TEST(Line, a_perfect_line_delivers_all_in_order_after_its_delay) {
    Line line(1, {.delay = 3_ms});
    const auto all = run(line, 1000);
    ASSERT_EQ(all.size(), 1000U);
    for (uint32_t i = 0; i < 1000; ++i) {
        EXPECT_EQ(all[i].at, Instant::from_ns(1 + int64_t{i} * 1000) + 3_ms);
        EXPECT_EQ(all[i].frame, tcp_frame(i, 100));
    }
}

TEST(Line, same_seed_same_fate) {
    const Impairments bad{.delay = 1_ms, .jitter = 2_ms, .loss_ppm = 50'000,
                          .burst_enter_ppm = 10'000, .tail_loss_ppm = 100'000,
                          .reorder_ppm = 10'000, .reorder_by = 5_ms, .duplicate_ppm = 10'000,
                          .corrupt_ppm = 10'000, .truncate_ppm = 10'000,
                          .bits_per_second = 1'000'000'000, .queue_max = 1_ms,
                          .pause_every = 10_ms, .pause_for = 2_ms};
    Line one(7, bad), same(7, bad), other(8, bad);
    const auto first = run(one, 10'000);
    EXPECT_EQ(first, run(same, 10'000));
    EXPECT_NE(first, run(other, 10'000));
}

TEST(Line, random_loss_keeps_its_share) {
    Line line(2, {.loss_ppm = 30'000});
    const auto all = run(line, many);
    EXPECT_EQ(all.size(), many - line.count(Fate::lost));
    expect_share(line.count(Fate::lost), 0.03);
}

TEST(Line, bursts_have_their_share_and_their_length) {
    // In a burst for 10 frames of 1010: leave 0.1, enter 0.001.
    Line line(3, {.burst_enter_ppm = 1'000, .burst_leave_ppm = 100'000});
    const auto all = run(line, 10 * many);
    const auto lost = static_cast<double>(line.count(Fate::lost));
    EXPECT_NEAR(lost / (10 * many), 0.0099, 0.001);
    uint32_t bursts = 0;
    for (size_t i = 1; i < all.size(); ++i)
        if (number_of(all[i].frame) != number_of(all[i - 1].frame) + 1) ++bursts;
    EXPECT_NEAR(lost / bursts, 10, 1);
}

TEST(Line, every_nth_is_lost) {
    Line line(4, {.lose_every = 7});
    const auto all = run(line, 700);
    ASSERT_EQ(all.size(), 600U);
    for (const Arrival& arrival : all) EXPECT_NE(number_of(arrival.frame) % 7, 6U);
}

TEST(Line, loss_of_acks_spares_payload_and_what_is_not_tcp) {
    Line line(5, {.ack_loss_ppm = 500'000});
    EXPECT_EQ(run(line, 1000, 1).size(), 1000U);
    const std::vector<uint8_t> arp(60, 0x08);
    for (int i = 0; i < 1000; ++i) line.send(Instant::from_ns(1), arp);
    EXPECT_EQ(arrivals(line).size(), 1000U);
    run(line, many, 0);
    expect_share(line.count(Fate::lost), 0.5);
}

TEST(Line, the_last_frames_of_a_flight_are_lost_and_no_others) {
    Line line(6, {.delay = 1_ms, .tail_loss_ppm = 1'000'000, .tail_frames = 3,
                  .tail_quiet = 500_us});
    Instant now = Instant::from_ns(1);
    for (uint32_t i = 0; i < 10; ++i, now = now + 100_us) line.send(now, tcp_frame(i, 100));
    line.send(now + 100_us, tcp_frame(10, 0));  // an ACK is not of the flight
    now = now + 10_ms;
    line.send(now, tcp_frame(11, 100));         // a flight of its own
    std::vector<uint32_t> numbers;
    for (const Arrival& arrival : arrivals(line)) numbers.push_back(number_of(arrival.frame));
    EXPECT_EQ(numbers, (std::vector<uint32_t>{0, 1, 2, 3, 4, 5, 6, 10}));
    EXPECT_EQ(line.count(Fate::tail_lost), 4U);
}

TEST(Line, tails_are_lost_by_their_share_of_flights) {
    Line line(7, {.delay = 1_ms, .tail_loss_ppm = 200'000, .tail_quiet = 500_us});
    Instant now = Instant::from_ns(1);
    for (uint32_t i = 0; i < many; ++i, now = now + 2_ms) line.send(now, tcp_frame(i, 1));
    arrivals(line);
    expect_share(line.count(Fate::tail_lost), 0.2);
}

TEST(Line, reordering_delays_a_share_and_loses_none) {
    Line line(8, {.delay = 1_ms, .reorder_ppm = 20'000, .reorder_by = 10_us});
    const auto all = run(line, many);
    ASSERT_EQ(all.size(), many);
    expect_share(line.count(Fate::reordered), 0.02);
    uint64_t late = 0;
    for (const Arrival& arrival : all) {
        const Instant sent = Instant::from_ns(1 + int64_t{number_of(arrival.frame)} * 1000);
        const Duration took = arrival.at - sent;
        if (took == 1_ms + 10_us)
            ++late;
        else
            EXPECT_EQ(took, 1_ms);
    }
    EXPECT_EQ(late, line.count(Fate::reordered));
}

TEST(Line, duplicates_are_the_same_frame_twice) {
    Line line(9, {.duplicate_ppm = 100'000});
    const auto all = run(line, many);
    EXPECT_EQ(all.size(), many + line.count(Fate::duplicated));
    expect_share(line.count(Fate::duplicated), 0.1);
}

TEST(Line, corruption_flips_exactly_one_bit) {
    Line line(10, {.corrupt_ppm = 100'000});
    uint64_t flipped = 0;
    for (const Arrival& arrival : run(line, many)) {
        const auto sent = static_cast<uint64_t>(arrival.at.ns() - 1 - 50'000) / 1000;
        const auto original = tcp_frame(static_cast<uint32_t>(sent), 100);
        int bits = 0;
        for (size_t i = 0; i < original.size(); ++i)
            bits += std::popcount(static_cast<unsigned>(original[i] ^ arrival.frame[i]));
        ASSERT_LE(bits, 1);
        flipped += static_cast<uint64_t>(bits);
    }
    EXPECT_EQ(flipped, line.count(Fate::corrupted));
    expect_share(flipped, 0.1);
}

TEST(Line, truncation_leaves_a_front) {
    Line line(11, {.truncate_ppm = 1'000'000});
    for (const Arrival& arrival : run(line, 1000)) {
        ASSERT_GE(arrival.frame.size(), 1U);
        ASSERT_LT(arrival.frame.size(), tcp_frame(0, 100).size());
    }
    EXPECT_EQ(line.count(Fate::truncated), 1000U);
}

TEST(Line, the_rate_is_exact_over_any_time) {
    // 154 bytes at 7 Mbit/s take 176 microseconds exactly; at 3 Mbit/s 410.666...: over three
    // frames the thirds add up.
    for (const uint64_t rate : {7'000'000U, 3'000'000U}) {
        Line line(12, {.delay = {}, .bits_per_second = rate, .queue_max = 1000_s});
        for (uint32_t i = 0; i < 9000; ++i) line.send(Instant::from_ns(1), tcp_frame(i, 100));
        const auto all = arrivals(line);
        ASSERT_EQ(all.size(), 9000U);
        const auto bits = static_cast<int64_t>(9000 * tcp_frame(0, 100).size() * 8);
        EXPECT_EQ(all.back().at.ns() - 1, bits * 1'000'000'000 / static_cast<int64_t>(rate));
        for (size_t i = 1; i < all.size(); ++i) EXPECT_GT(all[i].at, all[i - 1].at);
    }
}

TEST(Line, the_queue_is_drop_tail_in_bytes_and_in_time) {
    const auto size = static_cast<uint32_t>(tcp_frame(0, 100).size());
    Line by_bytes(13, {.bits_per_second = 1'000'000, .queue_max = 1000_s,
                       .queue_bytes = 5 * size});
    for (uint32_t i = 0; i < 20; ++i) by_bytes.send(Instant::from_ns(1), tcp_frame(i, 100));
    EXPECT_EQ(by_bytes.count(Fate::overflowed), 15U);
    EXPECT_EQ(number_of(arrivals(by_bytes).back().frame), 4U);
    // A frame takes 1.232 ms: the sixth begins after 6.16 ms, the seventh after 7.392.
    Line by_time(14, {.bits_per_second = 1'000'000, .queue_max = 7_ms});
    for (uint32_t i = 0; i < 20; ++i) by_time.send(Instant::from_ns(1), tcp_frame(i, 100));
    EXPECT_EQ(by_time.count(Fate::overflowed), 14U);
    // What has left makes room.
    by_time.send(Instant::from_ns(1) + 100_ms, tcp_frame(20, 100));
    EXPECT_EQ(by_time.count(Fate::overflowed), 14U);
}

TEST(Line, congestion_is_marked_where_the_frame_allows_and_the_checksum_stays_right) {
    for (const Family family : {Family::ipv4, Family::ipv6})
        for (const int ecn : {0, 1, 2, 3}) {
            const auto tos = static_cast<uint8_t>(0xb8 | ecn);  // DSCP must survive
            Line line(15, {.bits_per_second = 1'000'000, .queue_max = 1000_s, .mark_bytes = 1000});
            for (uint32_t i = 0; i < 50; ++i)
                line.send(Instant::from_ns(1), tcp_frame(i, 100, family, tos));
            uint32_t marked = 0;
            uint32_t number = 0;
            for (const Arrival& arrival : arrivals(line)) {
                const std::span<const uint8_t> rest = std::span(arrival.frame).subspan(14);
                const auto ip = wire::Ip::parse(rest, rest.size(), true);
                ASSERT_TRUE(ip.has_value());  // with IPv4's checksum verified
                EXPECT_EQ(ip->tos >> 2, 0xb8 >> 2);
                const bool full = number++ * tcp_frame(0, 100, family).size() > 1000;
                EXPECT_EQ(ip->tos & 3, full && ecn != 0 ? 3 : ecn);
                if (full && ecn != 0) ++marked;
            }
            EXPECT_EQ(line.count(Fate::marked), marked);
            EXPECT_EQ(marked > 0, ecn != 0);
        }
}

TEST(Line, what_exceeds_the_mtu_vanishes) {
    Line line(16, {.mtu = 1280});
    line.send(Instant::from_ns(1), tcp_frame(0, 1240));
    line.send(Instant::from_ns(1), tcp_frame(1, 1241));
    EXPECT_EQ(arrivals(line).size(), 1U);
    EXPECT_EQ(line.count(Fate::too_big), 1U);
    line.set({});
    line.send(Instant::from_ns(1), tcp_frame(2, 1241));
    EXPECT_EQ(arrivals(line).size(), 1U);
}

TEST(Line, a_pause_holds_frames_and_keeps_their_order) {
    Line line(17, {.delay = 1_ms, .queue_max = 1000_s, .pause_every = 20_ms, .pause_for = 5_ms});
    const auto all = run(line, 10'000, 100, 100_us);
    ASSERT_EQ(all.size(), 10'000U);
    Duration longest;
    uint32_t held = 0;
    for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(number_of(all[i].frame), i);
        const Instant sent = Instant::from_ns(1) + 100_us * static_cast<int64_t>(i);
        const Duration waited = all[i].at - sent - 1_ms;
        longest = std::max(longest, waited);
        if (waited > Duration()) ++held;
    }
    EXPECT_GT(longest, 4_ms);
    EXPECT_LE(longest, 5_ms);
    EXPECT_NEAR(held, 2000, 500);  // 5 ms of each 25
}

TEST(Line, settings_change_for_what_is_sent_from_then_on) {
    Line line(18, {.delay = 10_ms});
    line.send(Instant::from_ns(1), tcp_frame(0, 1));
    line.set({.delay = 1_ms});
    line.send(Instant::from_ns(1), tcp_frame(1, 1));
    const auto all = arrivals(line);
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(number_of(all[0].frame), 1U);
    EXPECT_EQ(all[1].at, Instant::from_ns(1) + 10_ms);
}

}  // namespace
}  // namespace millrace::sim
