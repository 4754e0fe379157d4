#include <map>
#include <set>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tcp/limits.h"
#include "tcp/reassembly.h"
#include "tcp/rtt.h"
#include "tcp/secrets.h"
#include "tcp/send_queue.h"
#include "tcp/state.h"
#include "tcp/time_wait.h"

namespace millrace::tcp {
namespace {

using namespace literals;

TEST(State, only_the_moves_of_figure_5_are_legal) {
    using enum State;
    const std::set<std::pair<State, State>> legal{
        {closed, syn_sent},        {closed, syn_received},     {closed, established},
        {syn_sent, established},   {syn_sent, syn_received},   {syn_received, established},
        {established, fin_wait_1},
        {established, close_wait}, {fin_wait_1, fin_wait_2},   {fin_wait_1, closing},
        {fin_wait_1, time_wait},   {fin_wait_2, time_wait},    {close_wait, last_ack},
        {closing, time_wait}};
    for (size_t from = 0; from < state_count; ++from)
        for (size_t to = 0; to < state_count; ++to) {
            const auto a = static_cast<State>(from);
            const auto b = static_cast<State>(to);
            const bool ends = b == closed && a != closed;
            EXPECT_EQ(is_legal(a, b), ends || legal.contains({a, b})) << name(a) << name(b);
        }
}

TEST(Rtt, first_sample_then_smoothing_as_rfc_6298) {
    RttEstimator rtt;
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 0), 1_s);
    rtt.sample(100_ms);
    EXPECT_EQ(rtt.srtt(), 100_ms);
    EXPECT_EQ(rtt.rttvar(), 50_ms);
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 0), 300_ms);
    rtt.sample(180_ms);
    EXPECT_EQ(rtt.srtt(), 110_ms);
    EXPECT_EQ(rtt.rttvar(), Duration::from_us(57'500));
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 0), 340_ms);
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 3), 340_ms * 8);
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 30), 120_s);
    for (int i = 0; i < 200; ++i) rtt.sample(10_us);
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 0).ms(), 200);
    for (int i = 0; i < 200; ++i) rtt.sample(i % 2 == 0 ? 10_us : 3600_s);
    EXPECT_EQ(rtt.rto(200_ms, 120_s, 20), 120_s);
}

TEST(Limits, mss_is_the_smaller_of_both_less_options) {  // MUST-15, MUST-16
    const TcpTunables t;
    EXPECT_EQ(effective_mss(t, 1460, 1460, Family::ipv4, true), 1448);
    EXPECT_EQ(effective_mss(t, 1460, 9000, Family::ipv4, false), 1460);
    EXPECT_EQ(effective_mss(t, 1460, 0, Family::ipv4, false), 536);
    EXPECT_EQ(effective_mss(t, 1440, 0, Family::ipv6, false), 1220);
    EXPECT_EQ(effective_mss(t, 1460, 1, Family::ipv4, false), 48);
    EXPECT_EQ(effective_mss(t, 1460, 1, Family::ipv4, true), 36);
}

TEST(Limits, window_shift_fits_the_receive_buffer) {
    TcpTunables t;
    for (const auto& [bytes, shift] :
         std::map<uint32_t, int>{{65535, 0}, {65536, 1}, {131072, 2}, {6U << 20, 7}, {32U << 20, 10},
                                 {1U << 30, 14}}) {
        t.tcp_rmem_max = bytes;  // what the buffer may grow to counts
        t.tcp_rmem = 4096;
        EXPECT_EQ(window_shift(t), shift) << bytes;
    }
}

TEST(Limits, retries2_is_at_least_924_seconds) {
    EXPECT_NEAR(retries_duration(TcpTunables(), 15).seconds(), 924.6, 0.01);
}

TEST(Isn, rises_with_the_clock_and_differs_by_tuple) {  // MUST-8, MUST-9, attack case 34
    const IsnGenerator isn(Secrets::from_seed(1));
    const IsnGenerator other(Secrets::from_seed(2));
    const Address local = Address::v4(10, 0, 0, 1);
    FlowKey key{Address::v4(10, 0, 0, 2), 1000, 80, 0, 0};
    const Instant start = Instant() + 5_s;
    const Seq first = isn.isn(key, local, start);
    EXPECT_EQ(isn.isn(key, local, start + 4_us) - first, 1);
    EXPECT_EQ(isn.isn(key, local, start + 1_s) - first, 250'000);
    EXPECT_NE(other.isn(key, local, start), first);
    std::set<uint32_t> seen;
    for (uint16_t port = 1; port < 1000; ++port) {
        key.remote_port = port;
        seen.insert(isn.isn(key, local, start).value() >> 12);
    }
    EXPECT_GT(seen.size(), 990U);
    EXPECT_NE(isn.timestamp_offset(key, local), isn.isn(key, local, start).value());
}

class Buffers : public ::testing::Test {
protected:
    Buffers() : pools_(std::move(*buf::Pools::create(name(), {.receive = 2048, .header = 512,
                                                              .attach = 2048, .payload = 512}))) {}
    ~Buffers() override { EXPECT_EQ(pools_.available(), pools_.capacity()); }
    static std::string name() {
        static int n = 0;
        return "tcp_test" + std::to_string(n++);
    }
    BufferChain chain(const std::vector<uint8_t>& bytes) {
        return pools_.received(bytes).into_chain();
    }
    static std::vector<uint8_t> contents(const BufferChain& c) {
        std::vector<uint8_t> bytes(c.size());
        c.copy_to(std::as_writable_bytes(std::span(bytes)));
        return bytes;
    }
    buf::Pools pools_;
};

using SendQueueTest = Buffers;

TEST_F(SendQueueTest, seeks_and_acknowledges_at_random) {
    Random random(4);
    SendQueue queue;
    std::vector<uint8_t> expected;
    uint8_t next = 0;
    for (int step = 0; step < 4000; ++step) {
        if (expected.size() < 20'000 && random.chance(1, 2)) {
            std::vector<uint8_t> bytes(1 + random.below(400));
            for (auto& byte : bytes) byte = next++;
            if (random.chance(1, 2))
                queue.append(chain(bytes));
            else
                queue.append_copy(pools_, std::as_bytes(std::span(bytes)));
            expected.insert(expected.end(), bytes.begin(), bytes.end());
        }
        if (!expected.empty() && random.chance(1, 2)) {
            const auto offset = static_cast<uint32_t>(random.below(expected.size()));
            buf::Cursor cursor = queue.seek(offset);
            const auto size = static_cast<uint32_t>(
                std::min<uint64_t>(1 + random.below(1500), expected.size() - offset));
            buf::Frame frame = pools_.frame();
            ASSERT_TRUE(pools_.append_payload(frame, cursor, size));
            std::vector<uint8_t> got(size);
            frame.copy_out(0, got);
            ASSERT_TRUE(std::equal(got.begin(), got.end(), expected.begin() + offset));
            if (random.chance(1, 2)) queue.remember(cursor, offset + size);
        }
        if (!expected.empty() && random.chance(1, 3)) {
            const auto bytes = static_cast<uint32_t>(random.below(
                std::min<uint64_t>(expected.size(), 900) + 1));
            queue.acknowledge(bytes);
            expected.erase(expected.begin(), expected.begin() + bytes);
        }
        ASSERT_EQ(queue.size(), expected.size());
    }
}

using ReassemblyTest = Buffers;

/// Attack case 44: every overlap shape with bytes that differ; the first arrival wins, always.
TEST_F(ReassemblyTest, first_arrival_wins_in_every_order_and_overlap) {
    for (uint64_t seed = 0; seed < 400; ++seed) {
        Random random(seed);
        Pool<ReassemblyRange> ranges(64);
        Connection owner{FlowKey()};
        Reassembly reassembly(ranges, owner);
        Reassembly::Copies copies{pools_};
        const Seq start(static_cast<uint32_t>(0xffffff80 + random.below(64)));  // case 45: wraps
        std::map<uint32_t, uint8_t> model;  // offset from start: first byte that arrived
        for (int i = 0; i < 20; ++i) {
            const auto offset = static_cast<uint32_t>(1 + random.below(200));
            std::vector<uint8_t> bytes(1 + random.below(60), static_cast<uint8_t>(i + 1));
            const auto outcome =
                reassembly.insert(start + offset, chain(bytes), 1 << 20, copies);
            EXPECT_NE(outcome, Reassembly::Outcome::dropped);
            bool fresh = false;
            for (uint32_t at = 0; at < bytes.size(); ++at)
                fresh |= model.emplace(offset + at, bytes[at]).second;
            EXPECT_EQ(outcome == Reassembly::Outcome::kept, fresh);
        }
        // The in-order piece meets what is held; held bytes stand.
        std::vector<uint8_t> head(1 + random.below(120), 99);
        BufferChain out;
        const auto [next, pinned] = reassembly.merge(start, chain(head), out, copies);
        EXPECT_EQ(pinned, buf::pinned_bytes(out));
        for (uint32_t at = 0; at < head.size(); ++at) model.emplace(at, uint8_t{99});
        std::vector<uint8_t> expected;
        for (uint32_t at = 0; model.contains(at); ++at) expected.push_back(model[at]);
        EXPECT_EQ(contents(out), expected) << "seed " << seed;
        EXPECT_EQ(distance(start, next), expected.size());
    }
}

TEST_F(ReassemblyTest, is_bounded_by_what_it_pins_not_by_payload) {  // attack case 41
    Pool<ReassemblyRange> ranges(100'000);
    Connection owner{FlowKey()};
    Reassembly reassembly(ranges, owner);
    Reassembly::Copies copies{pools_};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < 1000; ++i)
        if (reassembly.insert(Seq(2 + 2 * i), chain({7}), 100'000, copies) ==
            Reassembly::Outcome::kept)
            ++kept;
    EXPECT_LT(kept, 60U);
    EXPECT_GT(kept, 30U);
    EXPECT_LE(reassembly.pinned(), 100'000U);
    EXPECT_EQ(reassembly.ranges(), kept);
}

/// A segment over a hundred islands: they come together in one buffer, and none is referred to.
TEST_F(ReassemblyTest, what_is_cut_by_islands_is_copied_and_takes_them_along) {
    Pool<ReassemblyRange> ranges(1000);
    Connection owner{FlowKey()};
    Reassembly reassembly(ranges, owner);
    Reassembly::Copies copies{pools_};
    for (uint32_t i = 0; i < 100; ++i)
        reassembly.insert(Seq(1010 + 10 * i), chain({1}), 1 << 20, copies);
    const size_t islands = reassembly.pinned();
    EXPECT_EQ(copies.bytes, 0U);
    const std::vector<uint8_t> bytes(1400, 2);
    const size_t in_pools = pools_.available();
    EXPECT_EQ(reassembly.insert(Seq(1001), chain(bytes), 1 << 20, copies),
              Reassembly::Outcome::kept);
    EXPECT_EQ(reassembly.ranges(), 1U);
    EXPECT_EQ(reassembly.bytes(), 1400U);
    EXPECT_LT(reassembly.pinned(), islands / 20);
    EXPECT_GT(pools_.available(), in_pools + 90);
    EXPECT_EQ(copies.bytes, 1000U);  // up to the last island; what lies behind it is kept as it is
    reassembly.insert(Seq(3000), chain({1}), 1 << 20, copies);
    copies.allowed = false;
    EXPECT_EQ(reassembly.insert(Seq(2900), chain(std::vector<uint8_t>(200, 2)), 1 << 20, copies),
              Reassembly::Outcome::dropped);
    copies.allowed = true;
    const size_t limit = reassembly.pinned() + 3000;
    EXPECT_EQ(reassembly.insert(Seq(2900), chain(std::vector<uint8_t>(200, 2)), limit, copies),
              Reassembly::Outcome::kept);
    EXPECT_LE(reassembly.pinned(), limit);
    BufferChain out;
    EXPECT_EQ(reassembly.merge(Seq(1), chain(std::vector<uint8_t>(1000, 3)), out, copies).next,
              Seq(2401));
}

TEST_F(ReassemblyTest, a_dry_range_pool_drops_and_leaks_nothing) {
    Pool<ReassemblyRange> ranges(2);
    Connection owner{FlowKey()};
    Reassembly reassembly(ranges, owner);
    Reassembly::Copies copies{pools_};
    EXPECT_EQ(reassembly.insert(Seq(10), chain({1}), 1 << 20, copies), Reassembly::Outcome::kept);
    EXPECT_EQ(reassembly.insert(Seq(20), chain({1}), 1 << 20, copies), Reassembly::Outcome::kept);
    EXPECT_EQ(reassembly.insert(Seq(30), chain({1}), 1 << 20, copies),
              Reassembly::Outcome::dropped);
    EXPECT_EQ(reassembly.insert(Seq(11), chain({1}), 1 << 20, copies), Reassembly::Outcome::kept);
    reassembly.clear();
    EXPECT_EQ(ranges.in_use(), 0U);
}

TEST(TimeWaitQueue, entries_end_after_their_time_and_restart_lazily) {
    TimeWaitQueue queue;
    TimeWait a(FlowKey{});
    TimeWait b(FlowKey{});
    const Instant start = Instant() + 1000_s;
    queue.add(a, start, 60_s);
    queue.add(b, start, 60_s);
    std::vector<TimeWait*> ended;
    const auto advance = [&](Instant now) {
        queue.advance(now, 100, [&](TimeWait& entry) { ended.push_back(&entry); });
    };
    advance(start + 30_s);
    TimeWaitQueue::restart(b, start + 30_s, 60_s);
    advance(start + 59_s);
    EXPECT_TRUE(ended.empty());
    advance(start + 61_s);
    EXPECT_EQ(ended, std::vector<TimeWait*>{&a});
    advance(start + 89_s);
    EXPECT_EQ(ended.size(), 1U);
    advance(start + 91_s);
    EXPECT_EQ(ended.size(), 2U);
}

TEST(TimeWaitQueue, a_sweep_finds_those_that_ended_early_and_loses_no_other) {
    TimeWaitQueue queue;
    const Instant start = Instant() + 1000_s;
    std::vector<TimeWait> entries(300, TimeWait(FlowKey{}));
    for (size_t i = 0; i < entries.size(); ++i)
        queue.add(entries[i], start, Duration::from_s(static_cast<int64_t>(1 + i % 3)));
    size_t gone = 0, swept = 0, ended = 0;
    for (size_t i = 0; i < entries.size(); i += 2, ++gone) entries[i].expires = 0;
    // In the midst of it the first slot comes to its end, half of it put aside.
    const auto sweep = [&](int times) {
        while (times-- > 0) queue.sweep(6, [&](TimeWait& entry) { swept += entry.expires == 0; });
    };
    const auto advance = [&](Instant now) {
        queue.advance(now, 1000, [&](TimeWait& entry) {
            entry.expires == 0 ? ++swept : ++ended;
        });
    };
    sweep(16);
    EXPECT_GT(swept, 40U);
    advance(start + 1500_ms);
    EXPECT_EQ(ended, 50U);
    sweep(60);
    EXPECT_EQ(swept, gone);
    advance(start + 2500_ms);
    EXPECT_EQ(ended, 100U);
    advance(start + 4000_ms);
    EXPECT_EQ(ended, 150U);
    queue.advance(start + 300_s, 1000, [&](TimeWait&) { ADD_FAILURE() << "twice"; });
}

/// An entry keeps half of its tick: what lies on both sides of its wrap is in order all the same.
TEST(TimeWaitQueue, entries_end_in_time_where_their_clock_wraps) {
    for (const int64_t tick : {65530, 65536, 3 * 65536 - 100}) {
        TimeWaitQueue queue;
        TimeWait entry(FlowKey{});
        const Instant start = Instant() + TimeWaitQueue::tick * tick;
        queue.add(entry, start, 60_s);
        EXPECT_LE(TimeWaitQueue::age(entry, start, 60_s), TimeWaitQueue::tick);
        EXPECT_NEAR(TimeWaitQueue::age(entry, start + 20_s, 60_s).seconds(), 20, 0.25);
        size_t ended = 0;
        const auto advance = [&](Instant now) {
            queue.advance(now, 100, [&](TimeWait&) { ++ended; });
        };
        for (int i = 0; i < 4; ++i) {
            advance(start + 50_s * i + 50_s);
            TimeWaitQueue::restart(entry, start + 50_s * i + 50_s, 60_s);
        }
        advance(start + 259_s);
        EXPECT_EQ(ended, 0U) << tick;
        advance(start + 261_s);
        EXPECT_EQ(ended, 1U) << tick;
    }
}

}  // namespace
}  // namespace millrace::tcp
