#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "tcp/sent.h"

namespace millrace::tcp {
namespace {

using namespace literals;

constexpr uint32_t wrap = 0xffffff00;  // sequence numbers pass 2^32 on the way
constexpr size_t unbounded = 1000;

/// Offsets from the first octet; `at` milliseconds.
class Scoreboard : public ::testing::Test {
protected:
    static Seq seq(uint32_t offset) { return Seq(wrap + offset); }
    static Instant at(int64_t ms) { return Instant() + Duration::from_ms(ms + 1); }
    void send(uint32_t begin, uint32_t end, int64_t ms) {
        sent_.append(seq(begin), seq(end), at(ms), {}, {});
    }
    /// What is new in a SACK, bytes.
    uint32_t sack(uint32_t begin, uint32_t end, size_t bound = unbounded) {
        uint32_t fresh = 0;
        sent_.sack(seq(begin), seq(end), bound,
                   [&](const SentRange&, uint32_t bytes) { fresh += bytes; });
        return fresh;
    }
    SentRange& range(uint32_t offset) { return *sent_.find(seq(offset)); }
    /// Where what is in flight begins, in order of sending.
    std::vector<uint32_t> in_flight() {
        std::vector<uint32_t> begins;
        for (const SentRange& r : sent_.by_time()) begins.push_back(r.begin.value() - wrap);
        return begins;
    }
    /// Takes what is left of the pool.
    void drain_pool() {
        while (pool_.take() != nullptr) continue;
    }
    Pool<SentRange> pool_{8};
    SentRanges sent_{pool_};
};

TEST_F(Scoreboard, what_leaves_at_one_instant_is_one_range) {
    send(0, 100, 0);
    send(100, 200, 0);
    send(200, 300, 1);
    EXPECT_EQ(sent_.size(), 2U);
    EXPECT_EQ(range(150).size(), 200U);
    EXPECT_EQ(sent_.find(seq(300)), nullptr);
    range(250).retransmitted = true;
    send(300, 400, 1);  // what was sent twice has another history
    EXPECT_EQ(sent_.size(), 3U);
}

TEST_F(Scoreboard, an_ack_takes_whole_ranges_and_parts) {
    send(0, 100, 0);
    send(100, 300, 1);
    sent_.mark_lost(range(100));
    std::vector<uint32_t> parts;
    sent_.acknowledge(seq(150), [&](const SentRange&, uint32_t bytes) { parts.push_back(bytes); });
    EXPECT_EQ(parts, (std::vector<uint32_t>{100, 50}));
    EXPECT_EQ(sent_.lost(), 150U);
    EXPECT_EQ(sent_.first_lost()->begin, seq(150));
    sack(200, 300);
    EXPECT_EQ(sent_.lost(), 50U);
    sent_.acknowledge(seq(250), [](const SentRange&, uint32_t) {});
    EXPECT_EQ(sent_.sacked(), 50U);
    sent_.acknowledge(seq(300), [](const SentRange&, uint32_t) {});
    EXPECT_TRUE(sent_.empty());
    EXPECT_EQ(sent_.sacked() + sent_.lost(), 0U);
    EXPECT_EQ(pool_.in_use(), 0U);
}

TEST_F(Scoreboard, blocks_that_touch_become_one) {
    for (uint32_t i = 0; i < 5; ++i) send(i * 100, i * 100 + 100, i);
    EXPECT_EQ(sack(100, 200), 100U);
    EXPECT_EQ(sack(300, 400), 100U);
    EXPECT_EQ(sack(100, 200), 0U);
    EXPECT_EQ(sent_.size(), 5U);
    EXPECT_EQ(sack(150, 350), 100U);  // joins both sides
    EXPECT_EQ(sent_.size(), 3U);
    EXPECT_EQ(sent_.sacked(), 300U);
    EXPECT_EQ(in_flight(), (std::vector<uint32_t>{0, 400}));
}

/// Where one is cut somebody has to walk to: not far.
TEST_F(Scoreboard, a_range_ends_at_64_kib) {
    for (uint32_t i = 0; i < 10; ++i) send(i * 20000, (i + 1) * 20000, 0);
    EXPECT_EQ(range(0).size(), 60000U);
    EXPECT_EQ(sent_.size(), 4U);
}

/// Many that want many leave some to the others.
TEST(ScoreboardPool, nobody_takes_what_others_need) {
    Pool<SentRange> pool(1024);
    std::vector<std::unique_ptr<SentRanges>> greedy;
    for (int i = 0; i < 20; ++i) {
        SentRanges& ranges = *greedy.emplace_back(std::make_unique<SentRanges>(pool));
        for (uint32_t k = 0; k < 1000; ++k)
            ranges.append(Seq(k), Seq(k + 1), Instant::from_ns(k + 1), {}, {});
        EXPECT_EQ(ranges.back().end, Seq(1000));
    }
    EXPECT_LE(greedy.front()->size(), 1024U / 8);
    EXPECT_LT(pool.in_use(), pool.limit());
    SentRanges honest(pool);
    honest.append(Seq(0), Seq(100), Instant::from_ns(1), {}, {});
    EXPECT_NE(honest.split(honest.front(), Seq(50), SentRanges::Purpose::transmission), nullptr);
}

/// CVE-2019-11478: beyond the bound a block counts only where it covers whole ranges.
TEST_F(Scoreboard, beyond_its_bound_no_range_is_cut) {
    send(0, 100, 0);
    send(100, 200, 1);
    EXPECT_EQ(sack(10, 20, 2), 0U);    // would need two more
    EXPECT_EQ(sack(110, 200, 2), 0U);  // and one
    EXPECT_EQ(sack(10, 200, 2), 100U);
    EXPECT_EQ(sent_.size(), 2U);
    EXPECT_EQ(sack(10, 20, 3), 0U);  // the part behind it may be cut off, the one before it not
    EXPECT_EQ(sent_.size(), 3U);
    EXPECT_EQ(sent_.sacked(), 100U);
}

TEST_F(Scoreboard, a_dry_pool_cuts_nothing_and_loses_nothing) {
    send(0, 300, 0);
    drain_pool();
    EXPECT_EQ(sent_.split(range(0), seq(100), SentRanges::Purpose::transmission), nullptr);
    EXPECT_EQ(sack(100, 200), 0U);
    EXPECT_EQ(sack(100, 300), 0U);
    EXPECT_EQ(sent_.size(), 1U);
    sent_.mark_lost(range(0));
    sent_.sent_again(range(0), 100, at(5), {});  // the whole counts as sent
    EXPECT_EQ(sent_.lost(), 0U);
    EXPECT_TRUE(range(0).retransmitted);
    EXPECT_EQ(sack(0, 300), 300U);
    EXPECT_FALSE(sent_.can_append());
}

TEST_F(Scoreboard, a_dry_pool_makes_old_and_new_one_range) {
    EXPECT_TRUE(sent_.can_append());
    send(0, 100, 0);
    send(100, 200, 1);
    sent_.sent_again(range(0), 100, at(2), {});
    EXPECT_EQ(in_flight(), (std::vector<uint32_t>{100, 0}));
    drain_pool();
    EXPECT_TRUE(sent_.can_append());
    send(200, 300, 3);
    EXPECT_EQ(sent_.size(), 2U);
    EXPECT_EQ(range(150).end, seq(300));
    EXPECT_EQ(range(150).sent_at, at(3));  // too young is safe: nothing is taken for lost too soon
    EXPECT_EQ(in_flight(), (std::vector<uint32_t>{0, 100}));
    sent_.mark_lost(range(100));
    EXPECT_FALSE(sent_.can_append());
}

TEST_F(Scoreboard, an_empty_one_with_a_dry_pool_takes_nothing) {
    drain_pool();
    EXPECT_FALSE(sent_.can_append());
}

TEST_F(Scoreboard, what_is_lost_is_kept_in_order_of_sequence) {
    for (uint32_t i = 0; i < 3; ++i) send(i * 100, i * 100 + 100, i);
    sent_.mark_lost(range(100));
    sent_.mark_lost(range(200));
    sent_.mark_lost(range(0));
    EXPECT_EQ(sent_.first_lost(), &range(0));
    EXPECT_EQ(sent_.lost(), 300U);
    sent_.sent_again(range(0), 40, at(9), {});
    EXPECT_EQ(sent_.first_lost()->begin, seq(40));
    EXPECT_EQ(sent_.lost(), 260U);
    EXPECT_EQ(sack(50, 60), 10U);  // out of the middle of what is lost
    EXPECT_EQ(sent_.lost(), 250U);
    sent_.unmark_lost();
    EXPECT_EQ(sent_.lost(), 0U);
    EXPECT_EQ(sent_.first_lost(), nullptr);
    EXPECT_EQ(in_flight(), (std::vector<uint32_t>{40, 60, 100, 200, 0}));
}

TEST_F(Scoreboard, after_a_timeout_what_is_too_young_stays_in_flight) {
    for (uint32_t i = 0; i < 4; ++i) send(i * 100, i * 100 + 100, i);
    sack(100, 200);
    sent_.mark_all_lost(at(2));
    EXPECT_EQ(sent_.lost(), 200U);
    EXPECT_EQ(in_flight(), (std::vector<uint32_t>{300}));
    sent_.mark_all_lost(at(0));  // what was lost stays so
    EXPECT_EQ(sent_.lost(), 200U);
    sent_.forget_sacked();
    EXPECT_EQ(sent_.sacked(), 0U);
    EXPECT_EQ(in_flight(), (std::vector<uint32_t>{100, 300}));
    // However young it is, the first goes again.
    sent_.clear();
    send(0, 100, 10);
    sent_.mark_all_lost(at(2));
    EXPECT_EQ(sent_.lost(), 100U);
}

}  // namespace
}  // namespace millrace::tcp
