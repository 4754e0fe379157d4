// The flight recorder: what its ring keeps, what it keeps beyond that, whose stories are told.
#include "observe/recorder.h"

#include <gtest/gtest.h>

namespace millrace::observe {
namespace {

constexpr uint32_t size = 1024;

/// Things that events can be about: what lies at a place, and its two ends.
class RecorderTest : public ::testing::Test {
protected:
    SocketAddress peer(uint16_t port) const { return {Address::v4(10, 0, 0, 2), port}; }
    void begin(const void* connection, uint16_t port) {
        recorder_.begin(connection, now_, local_, peer(port));
    }
    void note(const void* connection, uint32_t number) {
        recorder_.record(TraceKind::call, static_cast<uint8_t>(TraceCall::send), 0, connection,
                         now_, {0, 0, 0, number});
        now_ = now_ + Duration::from_us(1);
    }
    std::vector<Story> stories(const SocketFilter& filter = {},
                               const std::vector<SocketRecord>& live = {}) const {
        std::vector<TraceEvent> events;
        recorder_.copy(events);
        return stories_in(events, filter, live);
    }
    static std::vector<uint32_t> numbers(const Story& story) {
        std::vector<uint32_t> numbers;
        for (const TraceEvent& event : story.events) numbers.push_back(event.length());
        return numbers;
    }
    Story kept(size_t index, const SocketFilter& filter = {}) const {
        Story story;
        EXPECT_TRUE(recorder_.copy_kept(index, filter, story));
        return story;
    }

    const SocketAddress local_{Address::v4(10, 0, 0, 1), 80};
    Recorder recorder_{size, 2};
    Instant now_ = Instant::from_ns(1'000'000'000);
    alignas(32) std::array<std::array<std::byte, 32>, 300> places_{};
    const void* const a_ = &places_[0];
    const void* const b_ = &places_[1];
};

TEST_F(RecorderTest, each_connection_has_its_story_in_order_of_time) {
    begin(a_, 1);
    note(a_, 10);
    begin(b_, 2);
    note(b_, 20);
    note(a_, 11);
    const auto all = stories();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].remote, peer(1));
    EXPECT_EQ(all[0].local, local_);
    EXPECT_TRUE(all[0].whole);
    EXPECT_EQ(numbers(all[0]), (std::vector<uint32_t>{10, 11}));
    EXPECT_EQ(numbers(all[1]), (std::vector<uint32_t>{20}));
    SocketFilter filter;
    filter.remote_port = 2;
    ASSERT_EQ(stories(filter).size(), 1U);
    EXPECT_EQ(stories(filter)[0].remote, peer(2));
}

TEST_F(RecorderTest, the_next_at_the_same_place_has_a_story_of_its_own) {
    begin(a_, 1);
    note(a_, 10);
    begin(a_, 2);
    note(a_, 20);
    const auto all = stories();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(numbers(all[0]), (std::vector<uint32_t>{10}));
    EXPECT_EQ(numbers(all[1]), (std::vector<uint32_t>{20}));
}

TEST_F(RecorderTest, the_oldest_are_overwritten_and_the_order_stays) {
    begin(a_, 1);
    for (uint32_t i = 0; i < size + 100; ++i) note(a_, i);
    std::vector<TraceEvent> events;
    recorder_.copy(events);
    ASSERT_EQ(events.size(), size);
    for (uint32_t i = 0; i < size; ++i) EXPECT_EQ(events[i].length(), i + 100);
}

TEST_F(RecorderTest, without_its_beginning_a_story_is_told_of_who_is_there_now) {
    begin(a_, 1);
    for (uint32_t i = 0; i < size; ++i) note(a_, i);
    EXPECT_TRUE(stories().empty());
    SocketRecord record;
    record.id = reinterpret_cast<uintptr_t>(a_);
    record.local = local_;
    record.remote = peer(1);
    const auto all = stories({}, {record});
    ASSERT_EQ(all.size(), 1U);
    EXPECT_FALSE(all[0].whole);
    EXPECT_EQ(all[0].events.size(), size);
    // What lay at its place before it is not its own.
    begin(a_, 1);
    note(a_, 7);
    const auto now = stories({}, {record});
    ASSERT_EQ(now.size(), 1U);
    EXPECT_EQ(numbers(now[0]), (std::vector<uint32_t>{7}));
}

TEST_F(RecorderTest, a_bad_end_is_kept_beyond_the_ring) {
    begin(a_, 1);
    note(a_, 10);
    begin(b_, 2);
    note(a_, 11);
    recorder_.keep_end(a_, now_, local_, peer(1));
    for (uint32_t i = 0; i < 2 * size; ++i) note(b_, i);
    const Story story = kept(0);
    EXPECT_EQ(story.kind, StoryKind::ended);
    EXPECT_EQ(story.remote, peer(1));
    EXPECT_TRUE(story.whole);
    EXPECT_EQ(numbers(story), (std::vector<uint32_t>{10, 11}));
    EXPECT_TRUE(kept(1).events.empty());
    Story none;
    EXPECT_FALSE(recorder_.copy_kept(2, {}, none));
    SocketFilter other;
    other.remote_port = 2;
    EXPECT_TRUE(kept(0, other).events.empty());
}

TEST_F(RecorderTest, of_a_long_story_the_end_is_kept) {
    begin(a_, 1);
    for (uint32_t i = 0; i < 500; ++i) note(a_, i);
    recorder_.keep_end(a_, now_, local_, peer(1));
    const Story story = kept(0);
    EXPECT_FALSE(story.whole);
    ASSERT_EQ(story.events.size(), 128U);
    EXPECT_EQ(story.events.front().length(), 372U);
    EXPECT_EQ(story.events.back().length(), 499U);
}

TEST_F(RecorderTest, of_the_bad_ends_of_one_turn_four_are_kept) {
    for (uint16_t port = 1; port <= 10; ++port) {
        begin(a_, port);
        recorder_.record(TraceKind::ended, 104, 0, a_, now_);
        recorder_.keep_end(a_, now_, local_, peer(port));
    }
    EXPECT_EQ(kept(0).remote, peer(3));
    EXPECT_EQ(kept(1).remote, peer(4));
}

TEST_F(RecorderTest, a_beginning_of_which_the_ring_has_half_is_nobodys) {
    begin(a_, 1);
    note(a_, 10);
    for (uint32_t i = 0; i < size - 2; ++i) note(b_, i);  // only the peer's address is gone
    std::vector<TraceEvent> events;
    recorder_.copy(events);
    ASSERT_EQ(events.front().kind, TraceKind::local);
    EXPECT_TRUE(stories().empty());
}

TEST_F(RecorderTest, what_goes_on_in_time_wait_is_a_story_without_its_beginning) {
    begin(a_, 1);
    note(a_, 10);
    for (uint32_t i = 0; i < 2; ++i) {
        recorder_.begin(b_, now_, local_, peer(1), true);
        note(b_, 20 + i);
    }
    const auto all = stories();
    ASSERT_EQ(all.size(), 2U);
    EXPECT_TRUE(all[0].whole);
    EXPECT_FALSE(all[1].whole);
    EXPECT_EQ(numbers(all[1]), (std::vector<uint32_t>{20, 21}));
    // A connection that begins at its place is another.
    begin(b_, 1);
    note(b_, 30);
    ASSERT_EQ(stories().size(), 3U);
    EXPECT_TRUE(stories()[2].whole);
}

TEST_F(RecorderTest, a_followed_story_goes_on_in_time_wait) {
    auto followed = std::make_unique<Followed>(SocketFilter{}, 1, 4);
    recorder_.follow(followed);
    begin(a_, 1);
    note(a_, 10);
    recorder_.begin(b_, now_, local_, peer(1), true);
    note(b_, 20);
    recorder_.begin(b_, now_, local_, peer(9), true);  // of nobody who is followed
    note(b_, 30);
    recorder_.end_turn();
    EXPECT_EQ(numbers(kept(2)), (std::vector<uint32_t>{10, 20}));
    EXPECT_TRUE(kept(2).whole);
    EXPECT_TRUE(kept(3).events.empty());
}

TEST_F(RecorderTest, a_turn_of_more_events_than_the_ring_has_leaves_a_gap_that_is_told) {
    auto followed = std::make_unique<Followed>(SocketFilter{}, 1, 4);
    recorder_.follow(followed);
    begin(a_, 1);
    note(a_, 10);
    recorder_.end_turn();
    for (uint32_t i = 0; i < size + 10; ++i) note(a_, i);
    recorder_.end_turn();
    const Story story = kept(2);
    EXPECT_FALSE(story.whole);
    EXPECT_EQ(story.left_out, 1U);
    ASSERT_EQ(story.events.size(), 1 + size);
    EXPECT_EQ(story.events[1].length(), 10U);
    EXPECT_EQ(story.events.back().length(), size + 9);
}

TEST_F(RecorderTest, the_last_bad_ends_are_kept_and_not_more_than_a_hundred_a_second) {
    for (uint16_t port = 1; port <= 150; ++port) {
        begin(a_, port);
        recorder_.record(TraceKind::ended, 104, 0, a_, now_);
        recorder_.keep_end(a_, now_, local_, peer(port));
        now_ = now_ + Duration::from_ms(1);
    }
    EXPECT_EQ(kept(0).remote, peer(99));
    EXPECT_EQ(kept(1).remote, peer(100));
    now_ = now_ + Duration::from_s(1);
    begin(a_, 151);
    recorder_.record(TraceKind::ended, 104, 0, a_, now_);
    recorder_.keep_end(a_, now_, local_, peer(151));
    EXPECT_EQ(kept(0).remote, peer(151));
}

TEST_F(RecorderTest, who_is_followed_is_kept_whole) {
    SocketFilter filter;
    filter.local_port = 80;
    auto followed = std::make_unique<Followed>(filter, 2, 4);
    begin(a_, 1);  // before
    recorder_.follow(followed);
    EXPECT_EQ(followed, nullptr);
    note(a_, 1);
    for (uint16_t port = 10; port < 16; ++port) begin(&places_[port], port);
    for (uint32_t round = 0; round < 3 * size; ++round) {
        for (uint16_t port = 10; port < 16; ++port) note(&places_[port], round);
        recorder_.end_turn();
    }
    std::vector<uint16_t> ports;
    for (size_t i = 2; i < 6; ++i) {
        const Story story = kept(i);
        if (story.events.empty()) continue;
        ports.push_back(story.remote.port);
        EXPECT_EQ(story.kind, StoryKind::followed);
        EXPECT_TRUE(story.whole);
        ASSERT_EQ(story.events.size(), Followed::events_max);
        for (uint32_t n = 0; n < Followed::events_max; ++n)
            ASSERT_EQ(story.events[n].length(), n);
        EXPECT_EQ(story.left_out, 3 * size - Followed::events_max);
    }
    EXPECT_EQ(ports, (std::vector<uint16_t>{11, 13, 15}));
    followed = nullptr;
    recorder_.follow(followed);
    EXPECT_NE(followed, nullptr);
    Story none;
    EXPECT_FALSE(recorder_.copy_kept(2, {}, none));
}

TEST_F(RecorderTest, the_oldest_of_those_followed_makes_room) {
    auto followed = std::make_unique<Followed>(SocketFilter{}, 1, 2);
    recorder_.follow(followed);
    for (uint16_t port = 1; port <= 5; ++port) {
        begin(&places_[port], port);
        note(&places_[port], port);
    }
    for (uint16_t port = 1; port <= 5; ++port) note(&places_[port], port + 100U);
    recorder_.end_turn();
    EXPECT_EQ(kept(2).remote, peer(5));
    EXPECT_EQ(numbers(kept(2)), (std::vector<uint32_t>{5, 105}));
    EXPECT_EQ(kept(3).remote, peer(4));
    EXPECT_EQ(numbers(kept(3)), (std::vector<uint32_t>{4, 104}));
}

TEST_F(RecorderTest, of_what_was_kept_and_what_the_ring_has_the_longer_is_told) {
    begin(a_, 1);
    note(a_, 10);
    recorder_.keep_end(a_, now_, local_, peer(1));
    note(a_, 11);
    auto all = stories();
    add_kept(all, kept(0));
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].kind, StoryKind::recorded);
    for (uint32_t i = 0; i < size; ++i) note(b_, i);
    all = stories();
    add_kept(all, kept(0));
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].kind, StoryKind::ended);
}

}  // namespace
}  // namespace millrace::observe
