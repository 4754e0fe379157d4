#include "runtime/mailbox.h"

#include <poll.h>

#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "buf/pools.h"

namespace millrace::runtime {
namespace {

std::string unique_name() {
    static int n = 0;
    return "mailbox" + std::to_string(n++);
}

std::unique_ptr<Mailbox> make() {
    auto box = Mailbox::create(unique_name());
    EXPECT_TRUE(box) << box.error().what;
    return std::move(*box);
}

buf::Pools make_pools() {
    return std::move(*buf::Pools::create(
        unique_name(), {.receive = 512, .header = 8192, .attach = 512, .payload = 512}));
}

buf::Frame tagged(buf::Pools& pools, uint16_t tag) {
    buf::Frame frame = pools.frame();
    frame.set_tag(tag);
    return frame;
}

/// A letter that notes a number where it is opened.
Letter noting(std::vector<int>& notes, int number) {
    return std::function<void()>([&notes, number] { notes.push_back(number); });
}

void open(Letter& letter) { std::get<std::function<void()>>(letter)(); }

bool readable(const Mailbox& box) {
    pollfd fd{box.wakeup_fd(), POLLIN, 0};
    return poll(&fd, 1, 0) == 1;
}

TEST(Mailbox, letters_come_in_order_and_at_most_as_many_as_asked_for) {
    const auto box = make();
    EXPECT_TRUE(box->empty());
    std::vector<int> notes;
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(box->post(noting(notes, i)));
    EXPECT_FALSE(box->empty());
    EXPECT_EQ(box->read(3, open), 3U);
    EXPECT_EQ(notes, (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(box->read(100, open), 2U);
    EXPECT_EQ(notes, (std::vector<int>{0, 1, 2, 3, 4}));
    EXPECT_TRUE(box->empty());
    EXPECT_EQ(box->read(100, open), 0U);
}

TEST(Mailbox, what_a_letter_posts_is_read_the_next_time) {
    const auto box = make();
    std::vector<int> notes;
    EXPECT_TRUE(box->post(Letter(std::function<void()>(
        [&] { EXPECT_TRUE(box->post(noting(notes, 1))); }))));
    EXPECT_EQ(box->read(100, open), 1U);
    EXPECT_TRUE(notes.empty());
    EXPECT_EQ(box->read(100, open), 1U);
    EXPECT_EQ(notes, std::vector<int>{1});
}

TEST(Mailbox, a_message_arrives_as_it_was_posted) {
    const auto box = make();
    const stack::ListenerNews news{Address::v4(10, 0, 0, 1), 80, false, 3, true};
    EXPECT_TRUE(box->post(Letter(stack::Message(news))));
    const size_t count = box->read(1, [&](Letter& letter) {
        const auto& got = std::get<stack::ListenerNews>(std::get<stack::Message>(letter));
        EXPECT_EQ(got.address, news.address);
        EXPECT_EQ(got.port, 80);
        EXPECT_EQ(got.core, 3);
        EXPECT_TRUE(got.listening);
    });
    EXPECT_EQ(count, 1U);
}

TEST(Mailbox, frames_come_in_order_by_the_batch) {
    buf::Pools pools = make_pools();
    const auto box = make();
    for (uint16_t i = 0; i < 100; ++i) EXPECT_TRUE(box->post(tagged(pools, i)));
    uint16_t expected = 0;
    for (const size_t size : {64, 36, 0}) {
        buf::FrameBatch batch;
        box->take(batch);
        ASSERT_EQ(batch.size(), size);
        for (size_t i = 0; i < size; ++i) EXPECT_EQ(batch.take(i).tag(), expected++);
    }
    EXPECT_TRUE(box->empty());
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Mailbox, a_full_one_refuses_letters_and_destroys_them) {
    const auto box = make();
    const auto token = std::make_shared<int>();
    const auto letter = [&] { return Letter(std::function<void()>([token] { ++*token; })); };
    // A DPDK ring of a power of two keeps one place free.
    for (unsigned i = 0; i < Mailbox::letters_max - 1; ++i) ASSERT_TRUE(box->post(letter()));
    EXPECT_FALSE(box->post(letter()));
    EXPECT_EQ(token.use_count(), long{Mailbox::letters_max});  // those within, and ours
    EXPECT_EQ(box->read(1, open), 1U);
    EXPECT_TRUE(box->post(letter())) << "one was taken out";
    EXPECT_FALSE(box->post(letter()));
    EXPECT_EQ(box->read(Mailbox::letters_max, open), Mailbox::letters_max - 1);
    EXPECT_EQ(*token, int{Mailbox::letters_max});
    EXPECT_EQ(token.use_count(), 1);
}

TEST(Mailbox, a_full_one_refuses_frames_and_frees_them) {
    buf::Pools pools = make_pools();
    const auto box = make();
    for (unsigned i = 0; i < Mailbox::frames_max - 1; ++i)
        ASSERT_TRUE(box->post(tagged(pools, 1)));
    const size_t before = pools.available();
    EXPECT_FALSE(box->post(tagged(pools, 2)));
    EXPECT_EQ(pools.available(), before);
    std::vector<int> notes;
    EXPECT_TRUE(box->post(noting(notes, 1))) << "letters have a ring of their own";
    buf::FrameBatch batch;
    box->take(batch);
    EXPECT_EQ(batch.size(), 64U);
    EXPECT_TRUE(box->post(tagged(pools, 3)));
}

TEST(Mailbox, gives_back_what_nobody_took) {
    buf::Pools pools = make_pools();
    const auto token = std::make_shared<int>();
    {
        const auto box = make();
        for (int i = 0; i < 200; ++i) {
            EXPECT_TRUE(box->post(tagged(pools, 1)));
            EXPECT_TRUE(box->post(Letter(std::function<void()>([token] {}))));
        }
        EXPECT_EQ(token.use_count(), 201);
    }
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Mailbox, letters_from_many_threads_all_arrive_each_threads_in_order) {
    const auto box = make();
    constexpr int threads = 4;
    constexpr int each = 10000;  // more than fit: posters meet a full ring and try again
    std::vector<std::vector<int>> notes(threads);
    std::vector<std::thread> posters;
    for (int t = 0; t < threads; ++t)
        posters.emplace_back([&, t] {
            for (int i = 0; i < each; ++i)
                while (!box->post(noting(notes[static_cast<size_t>(t)], i)))
                    std::this_thread::yield();
        });
    for (size_t read = 0; read < size_t{threads} * each;) {
        const size_t n = box->read(256, open);
        if (n == 0) std::this_thread::yield();
        read += n;
    }
    for (std::thread& poster : posters) poster.join();
    EXPECT_TRUE(box->empty());
    for (const auto& of_thread : notes) {
        ASSERT_EQ(of_thread.size(), size_t{each});
        for (int i = 0; i < each; ++i) ASSERT_EQ(of_thread[static_cast<size_t>(i)], i);
    }
}

TEST(Mailbox, frames_from_another_thread_arrive_once_each_and_in_order) {
    buf::Pools pools = make_pools();
    const auto box = make();
    constexpr uint16_t count = 4000;
    std::vector<buf::Frame> frames;  // of this thread's pools: the poster only passes them on
    for (uint16_t i = 0; i < count; ++i) frames.push_back(tagged(pools, i));
    std::thread poster([&] {
        for (buf::Frame& frame : frames) EXPECT_TRUE(box->post(std::move(frame)));
    });
    uint16_t expected = 0;
    while (expected < count) {
        buf::FrameBatch batch;
        box->take(batch);
        if (batch.empty()) std::this_thread::yield();
        for (size_t i = 0; i < batch.size(); ++i) ASSERT_EQ(batch.take(i).tag(), expected++);
    }
    poster.join();
    EXPECT_TRUE(box->empty());
    EXPECT_EQ(pools.available(), pools.capacity());
}

TEST(Mailbox, wakes_a_sleeper_and_nobody_else) {
    const auto box = make();
    std::vector<int> notes;
    EXPECT_TRUE(box->post(noting(notes, 1)));
    EXPECT_FALSE(readable(*box)) << "who is awake looks by itself";
    EXPECT_FALSE(box->prepare_sleep()) << "something waits";
    box->read(1, open);
    EXPECT_TRUE(box->prepare_sleep());
    EXPECT_FALSE(readable(*box));
    EXPECT_TRUE(box->post(noting(notes, 2)));
    EXPECT_TRUE(readable(*box));
    box->awake();
    EXPECT_FALSE(readable(*box)) << "the next sleep is one";
    EXPECT_TRUE(box->post(noting(notes, 3)));
    EXPECT_FALSE(readable(*box));
    EXPECT_EQ(box->read(9, open), 2U);
}

TEST(Mailbox, a_frame_wakes_a_sleeper_in_another_thread) {
    buf::Pools pools = make_pools();
    const auto box = make();
    ASSERT_TRUE(box->prepare_sleep());
    std::thread poster([&] { EXPECT_TRUE(box->post(tagged(pools, 1))); });
    pollfd fd{box->wakeup_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&fd, 1, 10000), 1);
    poster.join();
    box->awake();
    buf::FrameBatch batch;
    box->take(batch);
    EXPECT_EQ(batch.size(), 1U);
}

TEST(Mailbox, says_why_it_cannot_be_made) {
    const std::string name = unique_name();
    const auto first = Mailbox::create(name);
    ASSERT_TRUE(first);
    const auto second = Mailbox::create(name);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().what, "cannot make the mailbox " + name + ": File exists");
    EXPECT_EQ(second.error().code, ENOMEM);
    std::vector<int> notes;
    EXPECT_TRUE((*first)->post(noting(notes, 1))) << "the first is none the worse for it";
    EXPECT_EQ((*first)->read(1, open), 1U);
}

}  // namespace
}  // namespace millrace::runtime
