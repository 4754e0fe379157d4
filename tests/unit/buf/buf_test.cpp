#include <atomic>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include "buf/pools.h"

namespace millrace::buf {
namespace {

Pools make(const char* name, PoolSizes sizes = {.receive = 512, .header = 512, .attach = 512,
                                                .payload = 512}) {
    auto pools = Pools::create(name, sizes);
    EXPECT_TRUE(pools) << pools.error().what;
    return std::move(*pools);
}

std::vector<uint8_t> numbers(size_t size) {
    std::vector<uint8_t> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 256);
    return bytes;
}
std::vector<uint8_t> contents(const BufferChain& chain) {
    std::vector<uint8_t> bytes(chain.size());
    chain.copy_to(std::as_writable_bytes(std::span(bytes)));
    return bytes;
}
std::vector<uint8_t> contents(const Frame& frame) {
    std::vector<uint8_t> bytes(frame.size());
    frame.copy_out(0, bytes);
    return bytes;
}
BufferChain chain_of(Pools& pools, const std::vector<uint8_t>& bytes, size_t piece) {
    BufferChain chain;
    for (size_t at = 0; at < bytes.size(); at += piece) {
        const size_t n = std::min(piece, bytes.size() - at);
        chain.append(pools.received(std::span(bytes).subspan(at, n)).into_chain());
    }
    return chain;
}

TEST(Frame, large_frames_come_in_pieces_and_trim_across_them) {
    Pools pools = make("frame_trim");
    const auto bytes = numbers(5000);
    for (const size_t front : {0, 1, 2000, 2047, 2048, 2049, 4500}) {
        Frame frame = pools.received(bytes);
        ASSERT_TRUE(frame);
        EXPECT_GT(frame.buffers(), 1U);
        frame.trim_front(front);
        frame.trim_to(400);
        EXPECT_EQ(frame.size(), 400U);
        EXPECT_EQ(contents(frame),
                  std::vector<uint8_t>(bytes.begin() + static_cast<ptrdiff_t>(front),
                                       bytes.begin() + static_cast<ptrdiff_t>(front) + 400));
    }
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Frame, becomes_a_chain_without_empty_buffers) {
    Pools pools = make("frame_chain");
    Frame frame = pools.frame();
    frame.put(40);
    frame.append(pools.received(numbers(100)));
    frame.trim_front(40);
    const BufferChain chain = std::move(frame).into_chain();
    EXPECT_EQ(chain.size(), 100U);
    EXPECT_EQ(contents(chain), numbers(100));
}

TEST(Chain, trims_and_moves_by_copy_at_every_byte) {
    Pools pools = make("chain_split");
    const auto bytes = numbers(300);
    for (size_t at = 0; at <= bytes.size(); ++at) {
        BufferChain chain = chain_of(pools, bytes, 70);
        BufferChain front;
        EXPECT_EQ(pools.move_by_copy(front, chain, at), at);
        EXPECT_EQ(contents(front), std::vector<uint8_t>(
                                       bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(at)));
        EXPECT_EQ(contents(chain), std::vector<uint8_t>(
                                       bytes.begin() + static_cast<ptrdiff_t>(at), bytes.end()));
        BufferChain other = chain_of(pools, bytes, 64);
        other.trim_back(at);
        EXPECT_EQ(contents(other), std::vector<uint8_t>(
                                       bytes.begin(), bytes.end() - static_cast<ptrdiff_t>(at)));
    }
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Chain, pop_front_gives_buffers_in_order) {
    Pools pools = make("chain_pop");
    const auto bytes = numbers(200);
    BufferChain chain = chain_of(pools, bytes, 64);
    std::vector<uint8_t> seen;
    for (Buffer buffer = chain.pop_front(); !buffer.empty(); buffer = chain.pop_front())
        for (const std::byte byte : buffer.bytes()) seen.push_back(static_cast<uint8_t>(byte));
    EXPECT_EQ(seen, bytes);
    EXPECT_TRUE(chain.empty());
    EXPECT_EQ(chain.size(), 0U);
}

TEST(Pools, payload_goes_by_copy_when_small_and_by_reference_when_large) {
    Pools pools = make("payload_ref");
    BufferChain kept;
    const auto bytes = numbers(5000);
    EXPECT_EQ(pools.append_copy(kept, std::as_bytes(std::span(bytes))), 5000U);
    for (const auto& [offset, size] :
         {std::pair<size_t, size_t>{0, 100}, {10, 256}, {0, 1460}, {2100, 200}, {2000, 300},
          {1000, 4000}, {4999, 1}}) {
        Frame frame = pools.frame();
        Cursor cursor{BufferAccess::head(kept), 0};
        advance(cursor, offset);
        ASSERT_TRUE(pools.append_payload(frame, cursor, size));
        EXPECT_EQ(frame.buffers() == 1, size <= Pools::copy_max);
        EXPECT_EQ(contents(frame),
                  std::vector<uint8_t>(bytes.begin() + static_cast<ptrdiff_t>(offset),
                                       bytes.begin() + static_cast<ptrdiff_t>(offset + size)));
    }
    // A frame outlives what it refers to.
    Frame frame = pools.frame();
    Cursor cursor{BufferAccess::head(kept), 0};
    ASSERT_TRUE(pools.append_payload(frame, cursor, 3000));
    kept.clear();
    EXPECT_EQ(contents(frame), std::vector<uint8_t>(bytes.begin(), bytes.begin() + 3000));
    frame = {};
    EXPECT_EQ(pools.available(), pools.capacity());
}

/// A jumbo frame's payload: too many pieces to refer to, one of them larger than a buffer.
TEST(Pools, many_pieces_are_copied_whatever_their_size) {
    Pools pools = make("many_pieces");
    const auto bytes = numbers(8948);
    const Region region(std::as_bytes(std::span(bytes)), {});
    for (const size_t large : {size_t{1}, size_t{2048}, size_t{2049}, size_t{5000}}) {
        BufferChain chain;
        for (size_t at = 0; at < bytes.size();) {
            const size_t piece = at == 600 ? large : std::min<size_t>(300, bytes.size() - at);
            auto buffer = pools.region_buffer(region, at, piece);
            ASSERT_TRUE(buffer);
            chain.append(std::move(*buffer));
            at += piece;
        }
        Frame frame = pools.frame();
        Cursor cursor{BufferAccess::head(chain), 0};
        ASSERT_TRUE(pools.append_payload(frame, cursor, bytes.size()));
        EXPECT_LE(frame.buffers(), Pools::pieces_max);
        EXPECT_EQ(contents(frame), bytes);
    }
    EXPECT_EQ(pools.available(), pools.capacity());
}

/// Little payload in many pieces, none of which may be copied for being little.
TEST(Pools, a_frame_has_few_pieces_however_little_they_hold) {
    Pools pools = make("little_pieces");
    const auto bytes = numbers(200);
    const Region region(std::as_bytes(std::span(bytes)), {});
    for (const size_t pieces : {size_t{8}, size_t{100}}) {
        BufferChain chain;
        for (size_t i = 0; i < pieces; ++i) chain.append(*pools.region_buffer(region, 2 * i, 2));
        Frame frame = pools.frame();
        Cursor cursor{BufferAccess::head(chain), 0};
        EXPECT_EQ(pools.append_payload(frame, cursor, 2 * pieces), pieces > 8 ? 2 * pieces : 0);
        EXPECT_LE(frame.buffers(), Pools::pieces_max + 1);
        EXPECT_EQ(contents(frame),
                  std::vector<uint8_t>(bytes.begin(),
                                       bytes.begin() + static_cast<ptrdiff_t>(2 * pieces)));
    }
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Pools, what_somebody_else_holds_is_not_written) {
    Pools pools = make("shared_tail");
    BufferChain kept;
    const auto bytes = numbers(300);
    pools.append_copy(kept, std::as_bytes(std::span(bytes)));
    Frame frame = pools.frame();
    Cursor cursor{BufferAccess::head(kept), 0};
    ASSERT_TRUE(pools.append_payload(frame, cursor, 300));
    const size_t before = pools.available();
    pools.append_copy(kept, std::as_bytes(std::span(bytes)));
    EXPECT_EQ(pools.available(), before - 1) << "a buffer of its own, not the shared one's room";
    EXPECT_EQ(contents(frame), bytes);
}

TEST(Pools, running_dry_is_answered_by_null) {
    Pools pools = make("dry");
    std::vector<Frame> frames;
    for (Frame frame = pools.frame(); frame; frame = pools.frame())
        frames.push_back(std::move(frame));
    EXPECT_EQ(frames.size(), 512U - Pools::reserve_max);
    EXPECT_FALSE(pools.frame());
    frames.clear();
    EXPECT_TRUE(pools.frame());
}

TEST(Pools, what_carries_no_payload_has_a_reserve_of_which_strangers_get_half) {
    Pools pools = make("reserve");
    uint64_t header = 0, used = 0, control = 0;
    pools.count_dry_in({.header = &header, .reserve_used = &used, .control = &control});
    const size_t capacity = pools.available();
    EXPECT_EQ(capacity, pools.capacity());
    std::vector<Frame> frames;
    const auto take_all = [&](auto&& take) {
        const size_t before = frames.size();
        for (Frame frame = take(); frame; frame = take()) frames.push_back(std::move(frame));
        return frames.size() - before;
    };
    EXPECT_EQ(take_all([&] { return pools.frame(); }), 512U - Pools::reserve_max);
    EXPECT_EQ(header, 1U);
    EXPECT_EQ(take_all([&] { return pools.reply_frame(); }), Pools::reserve_max / 2);
    EXPECT_EQ(take_all([&] { return pools.control_frame(); }), Pools::reserve_max / 2);
    EXPECT_EQ(used, Pools::reserve_max);
    EXPECT_EQ(control, 2U);
    EXPECT_EQ(pools.reserve(), 0U);
    pools.refill_reserve();  // of nothing
    EXPECT_EQ(pools.reserve(), 0U);
    frames.resize(frames.size() - 10);
    pools.refill_reserve();
    EXPECT_EQ(pools.reserve(), 10U);
    EXPECT_FALSE(pools.frame()) << "the reserve comes first";
    frames.clear();
    pools.refill_reserve();
    EXPECT_EQ(pools.reserve(), Pools::reserve_max);
    EXPECT_EQ(pools.available(), capacity);
}

TEST(Pools, without_references_payload_is_copied_as_far_as_there_is_room) {
    Pools pools = make("copied");
    const auto bytes = numbers(5000);
    const Region region(std::as_bytes(std::span(bytes)), [] {});
    BufferChain kept;
    kept.append(std::move(*pools.region_buffer(region, 0, 2000)));
    kept.append(std::move(*pools.region_buffer(region, 2000, 3000)));
    Cursor cursor = begin_of(kept);
    Frame whole = pools.frame();
    EXPECT_EQ(pools.append_copied(whole, cursor, 4000), 4000U);
    EXPECT_EQ(contents(whole), std::vector(bytes.begin(), bytes.begin() + 4000));
    BufferChain all;  // of the payload pool
    while (pools.append_copy(all, std::as_bytes(std::span(bytes))) > 0) {
    }
    Frame part = pools.frame();
    EXPECT_EQ(pools.append_copied(part, cursor, 1000), Pools::copy_max);
    EXPECT_EQ(contents(part), std::vector(bytes.begin() + 4000,
                                          bytes.begin() + 4000 + Pools::copy_max));
    EXPECT_EQ(cursor.offset, 2000U + Pools::copy_max);
    Frame none;
    EXPECT_EQ(pools.append_copied(none, cursor, 100), 0U);
}

TEST(Pools, memory_of_those_that_are_gone_is_there_for_the_next) {
    // Each takes more than a third of what there is.
    for (const char* name : {"a", "b", "c", "d", "e", "f"})
        make(name, {.receive = 512, .header = 512, .attach = 512, .payload = 150'000});
    EXPECT_FALSE(Pools::create("more", {.payload = 1'000'000}));
}

TEST(Frame, is_recycled_only_when_nobody_else_holds_it) {
    Pools pools = make("recycle");
    Frame frame = pools.received(numbers(3000));
    EXPECT_TRUE(frame.recycle());
    EXPECT_EQ(frame.size(), 0U);
    EXPECT_EQ(frame.buffers(), 1U);
    BufferChain kept;
    pools.append_copy(kept, std::as_bytes(std::span<const uint8_t>(numbers(1000))));
    Frame holder = pools.frame();
    Cursor cursor{BufferAccess::head(kept), 0};
    pools.append_payload(holder, cursor, 1000);
    holder.trim_front(0);
    Frame shared(BufferAccess::unwrap(kept.pop_front()));
    EXPECT_FALSE(shared.recycle());
}

TEST(Region, is_released_once_when_the_last_reference_is_gone) {
    Pools pools = make("region");
    const auto bytes = numbers(40'000);
    int released = 0;
    Frame frame = pools.frame();
    {
        Region region(std::as_bytes(std::span(bytes)), [&] { ++released; });
        EXPECT_EQ(pools.region_buffer(region, 0, 0).error(), EINVAL);
        EXPECT_EQ(pools.region_buffer(region, 39'999, 2).error(), EINVAL);
        EXPECT_EQ(pools.region_buffer(region, SIZE_MAX, 2).error(), EINVAL);
        EXPECT_EQ(pools.region_buffer(region, 0, Buffer::max_size + 1).error(), EINVAL);
        BufferChain chain;
        for (size_t at = 0; at < bytes.size(); at += 10'000)
            chain.append(std::move(*pools.region_buffer(region, at, 10'000)));
        EXPECT_EQ(contents(chain), bytes);
        Cursor cursor{BufferAccess::head(chain), 0};
        advance(cursor, 9'500);
        ASSERT_TRUE(pools.append_payload(frame, cursor, 1'000));
    }
    EXPECT_EQ(released, 0) << "a frame still refers to it";
    EXPECT_EQ(contents(frame), std::vector<uint8_t>(bytes.begin() + 9'500, bytes.begin() + 10'500));
    frame = {};
    EXPECT_EQ(released, 1);
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Buffer, may_be_dropped_on_any_thread_and_after_its_pools_are_gone) {
    std::vector<Buffer> buffers;
    {
        Pools pools = make("gone");
        BufferChain chain;
        pools.append_copy(chain, std::as_bytes(std::span<const uint8_t>(numbers(20'000))));
        while (!chain.empty()) buffers.push_back(chain.pop_front());
    }
    EXPECT_EQ(static_cast<uint8_t>(buffers.front().bytes()[1]), 7);
    std::thread([&] { buffers.clear(); }).join();
    // The memory is given back when the next pools are made; under the same names, if wanted.
    Pools again = make("gone2");
    EXPECT_EQ(again.available(), again.capacity());
}

TEST(Frame, batch_gives_up_what_was_not_sent) {
    Pools pools = make("batch");
    FrameBatch batch;
    for (int i = 0; i < 5; ++i) batch.push(pools.frame());
    for (int i = 0; i < 2; ++i) batch.take(static_cast<size_t>(i));
    batch.sent(2);
    EXPECT_EQ(batch.size(), 3U);
    batch.clear();
    EXPECT_EQ(pools.available(), pools.capacity());
}

#ifdef MILLRACE_ASAN
// Must show 6: whoever uses memory that has gone back to its pool is caught.
TEST(UseAfterFreeDeathTest, of_a_slice_is_caught) {
    Pools pools = make("uaf_slice");
    BufferChain chain;
    pools.append_copy(chain, std::as_bytes(std::span<const uint8_t>(numbers(100))));
    Buffer buffer = chain.pop_front();
    const std::byte* data = buffer.data();
    buffer = {};
    EXPECT_DEATH(std::printf("%d\n", static_cast<int>(*data)), "use-after-poison");
}

TEST(UseAfterFreeDeathTest, of_an_mbuf_is_caught) {
    Pools pools = make("uaf_mbuf");
    Frame frame = pools.frame();
    rte_mbuf* mbuf = frame.get();
    frame = {};
    EXPECT_DEATH(mbuf->data_len = 1, "use-after-poison");
}
#endif

}  // namespace
}  // namespace millrace::buf
