// The calls that hand payload on where it lies: that they do, and what they answer.
#include <millrace/socket.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "api/c_calls.h"
#include "base/random.h"
#include "unit/api/sockets_fixture.h"

namespace millrace {
namespace {

constexpr size_t mebi = 1 << 20;
#if defined(MILLRACE_ASAN) || defined(MILLRACE_TSAN)
constexpr size_t whole = 64 * mebi;  // a tenth of the speed
#else
constexpr size_t whole = 1024 * mebi;
#endif

/// What is sent, again and again: odd, so that it meets slices and segments everywhere.
const std::vector<std::byte>& pattern() {
    static const std::vector<std::byte> bytes = [] {
        std::vector<std::byte> made(3 * mebi + 7);
        Random random(4);
        for (std::byte& byte : made) byte = static_cast<std::byte>(random.next());
        return made;
    }();
    return bytes;
}

/// Compares a stream with the pattern, piece by piece.
class Checker {
public:
    void take(const void* data, size_t size) {
        const auto* bytes = static_cast<const std::byte*>(data);
        while (size > 0) {
            const size_t at = seen_ % pattern().size();
            const size_t piece = std::min(size, pattern().size() - at);
            if (std::memcmp(bytes, &pattern()[at], piece) != 0) good_ = false;
            bytes += piece;
            size -= piece;
            seen_ += piece;
        }
    }
    size_t seen() const { return seen_; }
    bool good() const { return good_; }

private:
    size_t seen_ = 0;
    bool good_ = true;
};

/// Cuts slices of the pattern, up to so many bytes in all.
class Source {
public:
    explicit Source(size_t bytes)
        : left_(bytes),
          region_(mr_region_create(pattern().data(), pattern().size(), nullptr, nullptr)) {}
    ~Source() { mr_region_destroy(region_); }
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    bool empty() const { return left_ == 0; }
    mr_slice next() {
        const size_t size = std::min({left_, pattern().size() - at_, Buffer::max_size});
        mr_slice slice{};
        EXPECT_EQ(mr_region_slice(region_, at_, size, &slice), 0);
        at_ = (at_ + size) % pattern().size();
        left_ -= size;
        return slice;
    }

private:
    size_t left_;
    mr_region* const region_;
    size_t at_ = 0;
};

/// Two contexts, a thread each, at the ends of a ring link.
class ZeroCopy : public ::testing::Test {
protected:
    using Part = std::function<void(int socket)>;

    /// A connection between a server that answers and a client that asks; both do their part with
    /// it, and then nothing has been copied and no buffer is missing.
    static void play(const Part& serve, const Part& ask) {
        static int next = 0;
        const std::string link = "ring:zero_copy" + std::to_string(next++) + ":";
        int64_t copied[2] = {-1, -1};
        size_t missing[2] = {1, 1};
        std::atomic<bool> listening{false}, over[2] = {false, false};
        const auto run = [&](int side, const Part& part) {
            mr_context* const context = make(link, side);
            const size_t before = context->stack.buffers_available();
            const int socket = side == 0 ? accepted(listening) : connected(listening);
            part(socket);
            EXPECT_EQ(mr_close(socket), 0);
            copied[side] = mr_counter("PayloadBytesCopied");
            over[side] = true;
            // The peer's last ACKs are still to be answered; then nothing is queued any more.
            for (int i = 0; i < 50'000'000 &&
                            (!over[1 - side] || context->stack.buffers_available() < before);
                 ++i)
                mr_turn();
            missing[side] = before - context->stack.buffers_available();
            mr_context_destroy(context);
        };
        std::thread server([&] { run(0, serve); });
        run(1, ask);
        server.join();
        EXPECT_EQ(copied[0], 0);
        EXPECT_EQ(copied[1], 0);
        EXPECT_EQ(missing[0], 0);
        EXPECT_EQ(missing[1], 0);
    }

    static mr_context* make(const std::string& link, int side) {
        const std::string toml = "[[port]]\ndevice = '" + link + std::to_string(side) +
                                 "'\naddresses = ['10.6.1." + std::to_string(side + 1) +
                                 "/24']\n[tcp]\nmax_connections = 64\ntcp_wmem = 1048576\n"
                                 "tcp_rmem_max = 2097152\n"
                                 "[pools]\nreceive = 16384\nheader = 8192\nattach = 8192\n"
                                 "payload = 512\n[eal]\nhuge_pages = false\n";
        char why[256];
        mr_context* const context = mr_context_create(toml.c_str(), why, sizeof(why));
        EXPECT_NE(context, nullptr) << why;
        return context;
    }
    static sockaddr_in server() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(9);
        inet_pton(AF_INET, "10.6.1.1", &address.sin_addr);
        return address;
    }
    static int accepted(std::atomic<bool>& listening) {
        const sockaddr_in address = server();
        const int listener = mr_socket(AF_INET, SOCK_STREAM, 0);
        EXPECT_EQ(mr_bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        EXPECT_EQ(mr_listen(listener, 1), 0);
        listening = true;
        const int socket = mr_accept(listener, nullptr, nullptr);
        EXPECT_EQ(mr_close(listener), 0);
        return socket;
    }
    static int connected(const std::atomic<bool>& listening) {
        while (!listening) std::this_thread::yield();
        const sockaddr_in address = server();
        const int socket = mr_socket(AF_INET, SOCK_STREAM, 0);
        EXPECT_EQ(mr_connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
                  0);
        return socket;
    }

    static void send_all(int socket, Source& source) {
        while (!source.empty()) {
            mr_slice slice = source.next();
            const auto size = static_cast<ssize_t>(slice.size);
            EXPECT_EQ(mr_send_slices(socket, &slice, 1, 0), size);
        }
    }
    /// To the end of the stream.
    static void receive_all(int socket, Checker& into) {
        mr_slice slices[16];
        size_t count = 16;
        while (mr_recv_slices(socket, slices, &count, 0) > 0) {
            size_t size = 0;
            for (size_t i = 0; i < count; ++i) {
                into.take(slices[i].data, slices[i].size);
                size += slices[i].size;
                mr_slice_release(&slices[i]);
            }
            EXPECT_EQ(mr_consumed(socket, size), 0);
            count = 16;
        }
    }
};

TEST_F(ZeroCopy, slices_go_there_and_what_was_received_comes_back) {
    Checker back;
    play(
        [](int socket) {
            mr_slice slices[16];
            size_t count = 16;
            ssize_t size = 0;
            while ((size = mr_recv_slices(socket, slices, &count, 0)) > 0) {
                EXPECT_EQ(mr_send_slices(socket, slices, count, 0), size);
                EXPECT_EQ(mr_consumed(socket, static_cast<size_t>(size)), 0);
                count = 16;
            }
            EXPECT_EQ(size, 0);
        },
        [&](int socket) {
            Source source(whole);
            mr_slice waiting{}, slices[16];
            while (back.seen() < whole) {
                if (waiting.owner == nullptr && !source.empty()) waiting = source.next();
                if (waiting.owner != nullptr) mr_send_slices(socket, &waiting, 1, MSG_DONTWAIT);
                size_t count = 16;
                const ssize_t size = mr_recv_slices(socket, slices, &count, MSG_DONTWAIT);
                if (size <= 0) {
                    ASSERT_EQ(size, -1);
                    ASSERT_EQ(errno, EAGAIN);
                    continue;
                }
                for (size_t i = 0; i < count; ++i) {
                    back.take(slices[i].data, slices[i].size);
                    mr_slice_release(&slices[i]);
                }
                EXPECT_EQ(mr_consumed(socket, static_cast<size_t>(size)), 0);
            }
            EXPECT_EQ(mr_shutdown(socket, SHUT_WR), 0);
        });
    EXPECT_EQ(back.seen(), whole);
    EXPECT_TRUE(back.good());
}

/// A file with the pattern in it.
int pattern_file() {
    const int file = memfd_create("pattern", 0);
    EXPECT_EQ(write(file, pattern().data(), pattern().size()),
              static_cast<ssize_t>(pattern().size()));
    return file;
}

struct Reader final : ConnectionHandler {
    void on_readable(Connection c) override {
        BufferChain data = c.receive();
        const size_t size = data.size();
        while (!data.empty()) {
            const Buffer slice = data.pop_front();
            checker.take(slice.data(), slice.size());
        }
        EXPECT_TRUE(c.consumed(size));
        if (c.at_end()) {
            EXPECT_TRUE(c.close());
        }
    }
    Checker checker;
};

struct Writer final : ConnectionHandler {
    void on_connected(Connection c) override { on_writable(c); }
    void on_writable(Connection c) override {
        while (left > 0) {
            const size_t size = std::min({left, pattern().size() - at, Buffer::max_size});
            auto slice = stack->buffer_from(region, at, size);
            if (!slice || !c.send(std::move(*slice))) return;
            at = (at + size) % pattern().size();
            left -= size;
        }
        EXPECT_TRUE(c.close());
    }
    Stack* stack = nullptr;
    Region region{pattern(), {}};
    size_t left = whole;
    size_t at = 0;
};

TEST_F(ZeroCopy, a_file_there_and_the_native_api_back) {
    Checker file_seen;
    Reader reader;
    play(
        [&](int socket) {
            receive_all(socket, file_seen);
            // Back over a connection of the native API.
            Writer writer;
            writer.stack = &api::current_context->stack;
            const auto made = writer.stack->connect({Address::v4(10, 6, 1, 2), 10}, writer);
            EXPECT_TRUE(made);
            while (writer.left > 0) mr_turn();
        },
        [&](int socket) {
            struct Door final : ListenHandler {
                void on_acceptable(Listener l) override { l.accept(reader); }
                explicit Door(Reader& r) : reader(r) {}
                Reader& reader;
            } door(reader);
            auto listener = api::current_context->stack.listen({Address(), 10}, door);
            EXPECT_TRUE(listener);
            const int file = pattern_file();
            size_t sent = 0;
            while (sent < whole) {
                off_t at = 0;
                const size_t wanted = std::min(whole - sent, pattern().size());
                EXPECT_EQ(mr_sendfile(socket, file, &at, wanted), static_cast<ssize_t>(wanted));
                EXPECT_EQ(at, static_cast<off_t>(wanted));
                sent += wanted;
            }
            close(file);
            EXPECT_EQ(mr_shutdown(socket, SHUT_WR), 0);
            while (reader.checker.seen() < whole) mr_turn();
            EXPECT_TRUE(listener->close());
        });
    EXPECT_EQ(file_seen.seen(), whole);
    EXPECT_TRUE(file_seen.good());
    EXPECT_EQ(reader.checker.seen(), whole);
    EXPECT_TRUE(reader.checker.good());
}

TEST_F(ZeroCopy, a_slow_reader_with_a_window_of_4_kib) {
    constexpr size_t amount = 4 * mebi;
    Checker seen;
    play(
        [&](int socket) {
            const int little = 4096;
            EXPECT_EQ(mr_setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
            mr_slice slice;
            size_t count = 1;
            while (mr_recv_slices(socket, &slice, &count, 0) > 0) {
                seen.take(slice.data, slice.size);
                const size_t size = slice.size;
                mr_slice_release(&slice);  // which opens no window
                for (int i = 0; i < 3; ++i) mr_turn();
                EXPECT_EQ(mr_consumed(socket, size), 0);
                count = 1;
            }
        },
        [](int socket) {
            Source source(amount);
            send_all(socket, source);
            EXPECT_EQ(mr_shutdown(socket, SHUT_WR), 0);
            char end;
            EXPECT_EQ(mr_recv(socket, &end, 1, 0), 0);
        });
    EXPECT_EQ(seen.seen(), amount);
    EXPECT_TRUE(seen.good());
}

TEST_F(Sockets, slices_are_taken_whole_or_stay_as_they_are) {
    const auto [a, b] = connected(80);
    const int small = 4096;
    EXPECT_EQ(set(a, SOL_SOCKET, SO_SNDBUF, small), 0);
    Source source(40 * Buffer::max_size);
    std::vector<mr_slice> slices(40);
    for (mr_slice& slice : slices) slice = source.next();
    mr_slice* const all = slices.data();
    const ssize_t sent = mr_send_slices(a, all, 40, MSG_DONTWAIT);
    ASSERT_GT(sent, 0);
    EXPECT_EQ(sent % static_cast<ssize_t>(Buffer::max_size), 0);
    const auto taken = static_cast<size_t>(sent) / Buffer::max_size;
    ASSERT_LT(taken, 40);
    for (size_t i = 0; i < 40; ++i) {
        EXPECT_EQ(slices[i].owner == nullptr, i < taken);
        EXPECT_EQ(slices[i].size, i < taken ? 0 : Buffer::max_size);
    }
    EXPECT_ERRNO(mr_send_slices(a, all + taken, 40 - taken, MSG_DONTWAIT), EAGAIN);
    for (mr_slice& slice : slices) mr_slice_release(&slice);
    mr_close(a);
    mr_close(b);
}

TEST_F(Sockets, a_slice_may_be_trimmed_and_never_widened) {
    const auto [a, b] = connected(80);
    Source source(1000);
    mr_slice slice = source.next();
    slice.size += 1;
    EXPECT_ERRNO(mr_send_slices(a, &slice, 1, 0), EINVAL);
    slice.size -= 1;
    slice.data = static_cast<const std::byte*>(slice.data) + 10;
    EXPECT_ERRNO(mr_send_slices(a, &slice, 1, 0), EINVAL);
    slice.size = 980;
    EXPECT_EQ(mr_send_slices(a, &slice, 1, 0), 980);
    char bytes[1000];
    EXPECT_EQ(mr_recv(b, bytes, sizeof(bytes), 0), 980);
    EXPECT_EQ(std::memcmp(bytes, &pattern()[10], 980), 0);
    // Nor one that was received: what lies beside it in the packet's buffer is nobody's to send.
    EXPECT_EQ(mr_send(a, "hello", 5, 0), 5);
    size_t count = 1;
    EXPECT_EQ(mr_recv_slices(b, &slice, &count, 0), 5);
    slice.data = static_cast<const std::byte*>(slice.data) - 1;
    EXPECT_ERRNO(mr_send_slices(b, &slice, 1, 0), EINVAL);
    slice.data = static_cast<const std::byte*>(slice.data) + 1;
    slice.size = 6;
    EXPECT_ERRNO(mr_send_slices(b, &slice, 1, 0), EINVAL);
    slice.size = 4;
    EXPECT_EQ(mr_send_slices(b, &slice, 1, 0), 4);
    EXPECT_EQ(mr_recv(a, bytes, sizeof(bytes), 0), 4);
    EXPECT_EQ(std::memcmp(bytes, "hell", 4), 0);
    mr_close(a);
    mr_close(b);
}

TEST_F(Sockets, consumed_counts_what_was_handed_over) {
    const auto [a, b] = connected(80);
    EXPECT_EQ(mr_send(a, "hello", 5, 0), 5);
    EXPECT_ERRNO(mr_consumed(b, 1), EINVAL);
    mr_slice slices[2];
    size_t count = 2;
    EXPECT_EQ(mr_recv_slices(b, slices, &count, 0), 5);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(mr_consumed(b, 3), 0);
    EXPECT_ERRNO(mr_consumed(b, 3), EINVAL);
    EXPECT_EQ(mr_consumed(b, 2), 0);
    mr_close(a);
    turn();
    count = 2;
    EXPECT_EQ(mr_recv_slices(b, slices + 1, &count, 0), 0);
    EXPECT_EQ(count, 0);
    mr_close(b);
    // It outlives its connection, and may go on any thread.
    EXPECT_EQ(std::memcmp(slices[0].data, "hello", 5), 0);
    std::thread([&] { mr_slice_release(&slices[0]); }).join();
    EXPECT_EQ(slices[0].owner, nullptr);
    mr_slice_release(&slices[0]);
}

TEST_F(Sockets, slices_end_at_the_urgent_mark) {
    const auto [a, b] = connected(80);
    EXPECT_EQ(mr_send(a, "before!", 7, MSG_OOB), 7);
    EXPECT_EQ(mr_send(a, "after", 5, 0), 5);
    turn();
    mr_slice slices[4];
    size_t count = 4;
    EXPECT_EQ(mr_recv_slices(b, slices, &count, 0), 6);
    EXPECT_EQ(std::memcmp(slices[0].data, "before", 6), 0);
    mr_slice_release(&slices[0]);
    char urgent = 0;
    EXPECT_EQ(mr_recv(b, &urgent, 1, MSG_OOB), 1);
    EXPECT_EQ(urgent, '!');
    count = 4;
    EXPECT_EQ(mr_recv_slices(b, slices, &count, 0), 5);
    EXPECT_EQ(std::memcmp(slices[0].data, "after", 5), 0);
    mr_slice_release(&slices[0]);
    EXPECT_EQ(mr_consumed(b, 11), 0);
    mr_close(a);
    mr_close(b);
}

TEST_F(Sockets, a_region_is_released_when_its_last_byte_is_acknowledged) {
    const auto [a, b] = connected(80);
    int released = 0;
    mr_region* const region = mr_region_create(
        pattern().data(), 1000, [](void* count) { ++*static_cast<int*>(count); }, &released);
    mr_slice slice{};
    EXPECT_ERRNO(mr_region_slice(region, 0, 1001, &slice), EINVAL);
    EXPECT_ERRNO(mr_region_slice(region, 1, SIZE_MAX, &slice), EINVAL);
    EXPECT_EQ(mr_region_slice(region, 500, 500, &slice), 0);
    mr_region_destroy(region);
    EXPECT_EQ(released, 0);
    EXPECT_EQ(mr_send_slices(a, &slice, 1, 0), 500);
    EXPECT_EQ(released, 0);
    char bytes[500];
    EXPECT_EQ(mr_recv(b, bytes, sizeof(bytes), MSG_WAITALL), 500);
    EXPECT_EQ(std::memcmp(bytes, &pattern()[500], 500), 0);
    turn();
    EXPECT_EQ(released, 1);
    mr_close(a);
    mr_close(b);
}

TEST_F(Sockets, counters_are_told_by_name) {
    const int64_t before = mr_counter("TcpActiveOpens");
    EXPECT_GE(before, 0);
    const auto [a, b] = connected(80);
    EXPECT_EQ(mr_counter("TcpActiveOpens"), before + 1);
    EXPECT_ERRNO(mr_counter("TcpPassiveAggression"), ENOENT);
    mr_close(a);
    mr_close(b);
}

}  // namespace
}  // namespace millrace
