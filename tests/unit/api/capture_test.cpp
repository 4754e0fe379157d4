// Captures as another process asks for them, of runtimes in this one.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include <millrace/millrace.h>

#include "unit/api/looked_into.h"

namespace millrace {
namespace {

using namespace literals;

/// Accepts, and drops what it reads.
struct Sink : ConnectionHandler, ListenHandler {
    std::vector<Connection> accepted;
    size_t received = 0;
    void on_acceptable(Listener listener) override {
        while (auto c = listener.accept(*this)) accepted.push_back(*c);
    }
    void on_readable(Connection c) override {
        const size_t size = c.receive().size();
        received += size;
        c.consumed(size);
    }
};

/// What a capture has said: how many frames of each direction, of these sizes on the wire.
struct Said {
    std::vector<uint8_t> bytes;
    Started<CaptureCounts> counts = failure("not over");
    size_t in = 0, out = 0, statistics = 0;

    void add(std::span<const std::byte> more) {
        const auto* at = reinterpret_cast<const uint8_t*>(more.data());
        bytes.insert(bytes.end(), at, at + more.size());
    }
    uint32_t word(size_t at) const {
        uint32_t value = 0;
        std::memcpy(&value, &bytes.at(at), 4);
        return value;
    }
    /// Looks through the blocks.
    void count() {
        constexpr uint32_t packet = 6, interface_statistics = 5;
        for (size_t at = 0; at < bytes.size();) {
            const uint32_t length = word(at + 4);
            ASSERT_LE(at + length, bytes.size());
            ASSERT_EQ(word(at + length - 4), length);
            if (word(at) == interface_statistics) ++statistics;
            if (word(at) == packet) {
                const size_t flags = at + 28 + (word(at + 20) + 3) / 4 * 4 + 4;
                ++((word(flags) & 3) == 1 ? in : out);
            }
            at += length;
        }
    }
};

class CaptureSession : public LookedInto {
protected:
    void SetUp() override {
        LookedInto::SetUp();
        ASSERT_TRUE(server_->core(0).listen({Address(), 80}, sink_, 32));
    }
    Connection open() {
        const size_t before = sink_.accepted.size();
        Connection c = *client_->core(0).connect({server_address_, 80}, nobody_);
        EXPECT_TRUE(turn_until([&] { return sink_.accepted.size() == before + 1; }));
        return c;
    }
    void send(Connection c, size_t bytes) {
        const size_t wanted = sink_.received + bytes;
        const std::string data(bytes, 'x');
        ASSERT_TRUE(c.send(data));
        ASSERT_TRUE(turn_until([&] { return sink_.received == wanted; }));
    }
    /// Captures on a thread of its own until it is told to stop, and turns until it has begun.
    std::thread capturing(const CaptureOptions& options, Said& said, std::atomic<bool>& begun,
                          const std::atomic<bool>& stop) {
        std::thread thread([&, options] {
            auto there = inspection();
            ASSERT_TRUE(there);
            said.counts = there->capture(options, [&](std::span<const std::byte> bytes) {
                said.add(bytes);
                begun = true;
                return !stop;
            });
            begun = true;
        });
        EXPECT_TRUE(turn_until([&] { return begun.load(); }));
        return thread;
    }
    /// Ends it, while the loops turn.
    void end(std::thread& thread, std::atomic<bool>& stop) {
        stop = true;
        meanwhile([&] { thread.join(); });
    }
    /// What a capture says that is refused.
    std::string refusal(const CaptureOptions& options) {
        Said said;
        std::atomic<bool> begun{false}, stop{true};
        std::thread thread = capturing(options, said, begun, stop);
        end(thread, stop);
        return said.counts ? "" : said.counts.error().what;
    }

    Sink sink_;
    ConnectionHandler nobody_;
};

TEST_F(CaptureSession, both_directions_of_a_connection_are_seen_once) {
    Said said;
    std::atomic<bool> begun{false}, stop{false};
    std::thread thread = capturing({}, said, begun, stop);
    Connection c = open();
    send(c, 10000);
    end(thread, stop);
    ASSERT_TRUE(said.counts) << said.counts.error().what;
    said.count();
    EXPECT_EQ(said.counts->captured, said.in + said.out);
    EXPECT_EQ(said.counts->seen, said.counts->captured);
    EXPECT_EQ(said.counts->dropped, 0U);
    EXPECT_EQ(said.statistics, 1U);
    // ARP, SYN, ACK and seven segments at least; ARP's answer, SYN-ACK and an ACK.
    EXPECT_GE(said.in, 10U);
    EXPECT_GE(said.out, 3U);
    const auto& counters = server_->port_frames();
    EXPECT_EQ(said.in, counters.at(0).received);
    EXPECT_EQ(said.out, counters.at(0).transmitted);
}

TEST_F(CaptureSession, filters_directions_and_counts_choose) {
    Connection first = open(), second = open();
    CaptureOptions options;
    options.filter.remote_port = second.local().port;
    options.sent = false;
    options.count = 2;
    options.port = "0";
    Said said;
    std::atomic<bool> begun{false}, stop{false};
    std::thread thread = capturing(options, said, begun, stop);
    send(first, 100);
    for (int i = 0; i < 5; ++i) send(second, 100);
    end(thread, stop);
    ASSERT_TRUE(said.counts) << said.counts.error().what;
    said.count();
    EXPECT_EQ(said.in, 2U);
    EXPECT_EQ(said.out, 0U);
    EXPECT_EQ(said.counts->captured, 2U);
    EXPECT_GE(said.counts->seen, 3U);
}

TEST_F(CaptureSession, a_writer_that_is_too_slow_loses_and_says_how_much) {
    Connection c = open();
    CaptureOptions options;
    options.waiting = 64;
    std::atomic<bool> begun{false}, stop{false}, slow{true};
    Said said;
    std::thread thread([&] {
        auto there = inspection();
        ASSERT_TRUE(there);
        said.counts = there->capture(options, [&](std::span<const std::byte> bytes) {
            said.add(bytes);
            begun = true;
            while (slow && !stop) std::this_thread::yield();
            return !stop;
        });
    });
    ASSERT_TRUE(turn_until([&] { return begun.load(); }));
    // More than the sockets between the two take, and than may wait.
    for (int i = 0; i < 40; ++i) send(c, 100'000);
    slow = false;
    end(thread, stop);
    ASSERT_TRUE(said.counts) << said.counts.error().what;
    said.count();
    EXPECT_GT(said.counts->dropped, 0U);
    EXPECT_GE(said.counts->captured, 63U);  // what may wait, if the writer did not get to run
    EXPECT_EQ(said.counts->seen, said.counts->captured + said.counts->dropped);
    EXPECT_EQ(said.counts->captured, said.in + said.out);
}

TEST_F(CaptureSession, what_cannot_be_is_refused_in_words) {
    CaptureOptions options;
    options.port = "net_tap0";
    EXPECT_TRUE(refusal(options).starts_with("no port is net_tap0; there are: 0 (ring:looked"));
    options.port = std::string(100, 'x');
    EXPECT_TRUE(refusal(options).starts_with("no port is xxx"));
    options = {};
    options.snaplen = 0;
    EXPECT_EQ(refusal(options), "capture: snaplen 0 is not from 1 to 65535");
    options = {};
    options.waiting = 100;
    EXPECT_EQ(refusal(options),
              "capture: 100 waiting copies are not a power of two from 64 to 65536");
    options = {};
    options.sent = options.received = false;
    EXPECT_EQ(refusal(options), "capture: neither what is received nor what is sent is wanted");
}

TEST_F(CaptureSession, four_run_at_a_time_and_a_fifth_is_refused) {
    std::array<Said, 4> said;
    std::array<std::atomic<bool>, 4> begun{}, stop{};
    std::vector<std::thread> threads;
    CaptureOptions options;
    options.waiting = 64;
    for (size_t i = 0; i < 4; ++i)
        threads.push_back(capturing(options, said[i], begun[i], stop[i]));
    EXPECT_EQ(refusal(options), "4 captures run already: end one of them");
    Connection c = open();
    end(threads[0], stop[0]);
    EXPECT_EQ(refusal(options), "") << "there is room again";
    send(c, 1000);
    for (size_t i = 1; i < 4; ++i) end(threads[i], stop[i]);
    for (Said& one : said) {
        ASSERT_TRUE(one.counts) << one.counts.error().what;
        one.count();
        EXPECT_EQ(one.counts->captured, one.in + one.out);
        EXPECT_GE(one.in, 3U);
    }
    EXPECT_GT(said[3].in, said[0].in);
}

TEST_F(CaptureSession, it_ends_with_the_program) {
    Said said;
    std::atomic<bool> begun{false}, stop{false};
    std::thread thread = capturing({}, said, begun, stop);
    open();
    server_.reset();
    thread.join();
    ASSERT_TRUE(said.counts) << said.counts.error().what;
    said.count();
    EXPECT_GE(said.counts->captured, 5U);
    EXPECT_EQ(said.counts->captured, said.in + said.out);
    EXPECT_EQ(said.statistics, 1U);
}

TEST_F(CaptureSession, whoever_asks_and_goes_leaves_nothing) {
    for (int i = 0; i < 10; ++i) {
        Said said;
        std::atomic<bool> begun{false}, stop{true};
        std::thread thread = capturing({}, said, begun, stop);
        end(thread, stop);
        EXPECT_TRUE(said.counts) << said.counts.error().what;
    }
    Connection c = open();
    send(c, 100);
}

TEST_F(CaptureSession, a_core_that_does_not_turn_is_said_to) {
    auto there = inspection();
    ASSERT_TRUE(there);
    const auto counts = there->capture({}, [](std::span<const std::byte>) { return true; });
    ASSERT_FALSE(counts);
    EXPECT_EQ(counts.error().what, "core 0 does not turn");
}

}  // namespace
}  // namespace millrace
