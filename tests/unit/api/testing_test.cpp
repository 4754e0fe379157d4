// millrace/testing.h: a virtual clock and wire for users' own tests, in C++ and C.
#include <millrace/testing.h>

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "unit/api/network_fixture.h"
#include "wire/checksum.h"

namespace millrace {
namespace {

using namespace literals;
using testing::Network;

#define EXPECT_ERRNO(call, code) \
    errno = 0;                   \
    EXPECT_EQ(call, -1);         \
    EXPECT_EQ(errno, code)

Config host(const std::string& address) {
    Config config;
    config.ports.push_back({.device = "wire", .addresses = {*Prefix::parse(address)}});
    config.pools = {.receive = 2048, .header = 1024, .attach = 1024, .payload = 1024};
    config.tcp.max_connections = 256;
    return config;
}

struct Events final : ConnectionHandler, ListenHandler {
    void on_acceptable(Listener listener) override {
        while (auto c = listener.accept(*this)) accepted = *c;
    }
    void on_connected(Connection) override { connected = true; }
    void on_readable(Connection c) override {
        const BufferChain data = c.receive();
        received += data.size();
        static_cast<void>(c.consumed(data.size()));
    }
    void on_closed(Connection, CloseReason why) override { closed = why; }

    Connection accepted;
    bool connected = false;
    size_t received = 0;
    std::optional<CloseReason> closed;
};

/// What a run of two hosts over a bad line has sent, and when.
std::vector<std::pair<int64_t, size_t>> played(uint64_t seed) {
    Network network(seed);
    Stack& a = **network.add(host("10.0.0.1/24"));
    Stack& b = **network.add(host("10.0.0.2/24"));
    network.impair(a, {.loss_ppm = 100'000, .reorder_ppm = 50'000, .reorder_by = 1_ms});
    Events client, server;
    EXPECT_TRUE(b.listen({Address(), 7}, server));
    Connection c = *a.connect({Address::v4(10, 0, 0, 2), 7}, client);
    network.advance(20_s);
    EXPECT_TRUE(c.send(std::string(100'000, 'x')));
    network.advance(60_s);
    EXPECT_EQ(server.received, 100'000);
    std::vector<std::pair<int64_t, size_t>> packets;
    while (const auto packet = network.take(a))
        packets.emplace_back(packet->at.ns(), packet->bytes.size());
    return packets;
}

TEST(Testing, a_seed_replays_itself) {
    const auto once = played(7);
    EXPECT_GT(once.size(), 75);
    EXPECT_EQ(played(7), once);
    EXPECT_NE(played(8), once);
}

TEST(Testing, nothing_happens_but_in_the_calls_that_move_the_time) {
    Network network(1);
    Stack& a = **network.add(host("10.0.0.1/24"));
    EXPECT_EQ(network.next_event(), Instant::never());
    EXPECT_FALSE(network.advance_to_next_event());
    const Instant start = network.now();
    Events client;
    EXPECT_TRUE(a.connect({Address::v4(10, 0, 0, 9), 7}, client));
    EXPECT_FALSE(network.take(a));
    EXPECT_TRUE(network.advance_to_next_event());
    EXPECT_EQ(network.now(), start);
    ASSERT_TRUE(network.take(a));
    network.advance(999_ms);
    EXPECT_FALSE(network.take(a));
    network.advance(2_ms);
    const auto again = network.take(a);
    ASSERT_TRUE(again);
    EXPECT_EQ((again->at - start).ms(), 1000);
    network.advance(600_s);
    EXPECT_EQ(client.closed, CloseReason::timed_out);
}

/// The packet with its ends exchanged, a reset that acknowledges it.
std::vector<std::byte> reset_to(std::span<const std::byte> packet) {
    std::vector<std::byte> answer(packet.begin(), packet.begin() + 40);
    auto& ip = reinterpret_cast<iphdr&>(answer[0]);
    auto& tcp = reinterpret_cast<tcphdr&>(answer[20]);
    std::swap(ip.saddr, ip.daddr);
    std::swap(tcp.source, tcp.dest);
    ip.tot_len = htons(40);
    ip.check = 0;
    ip.check = wire::Checksum().add(&ip, 20).finish();
    tcp.ack_seq = htonl(ntohl(tcp.seq) + 1);
    tcp.seq = 0;
    tcp.syn = 0;
    tcp.rst = tcp.ack = 1;
    tcp.doff = 5;
    tcp.check = 0;
    wire::Checksum sum;
    sum.add_pseudo_header(Address::v4(&ip.saddr), Address::v4(&ip.daddr), IPPROTO_TCP, 20);
    tcp.check = sum.add(&tcp, 20).finish();
    return answer;
}

/// Sends a byte in each turn, up to so many.
struct Ticker final : TurnHandler {
    bool on_turn(Stack& stack, Instant now) override {
        EXPECT_EQ(now, stack.now());
        if (left == 0 || !connection.send("x")) return false;
        --left;
        return true;
    }
    Connection connection;
    int left = 0;
};

TEST(Testing, a_turn_handler_is_asked_in_each_turn_and_sends_in_it) {
    Network network(1);
    Stack& a = **network.add(host("10.0.0.1/24"));
    Stack& b = **network.add(host("10.0.0.2/24"));
    Events client, server;
    ASSERT_TRUE(b.listen({Address(), 7}, server));
    Ticker ticker;
    ticker.connection = *a.connect({Address::v4(10, 0, 0, 2), 7}, client);
    ASSERT_TRUE(a.set_turn_handler(&ticker));
    network.advance(1_s);
    ASSERT_TRUE(client.connected);
    EXPECT_EQ(server.received, 0U);
    ticker.left = 1;
    ASSERT_TRUE(server.accepted.send("go"));  // its arrival is a turn of the other host
    network.advance(1_s);
    EXPECT_EQ(ticker.left, 0);
    EXPECT_EQ(server.received, 1U);
    ASSERT_TRUE(a.set_turn_handler(nullptr));
    ticker.left = 1;
    ASSERT_TRUE(server.accepted.send("go"));
    network.advance(1_s);
    EXPECT_EQ(ticker.left, 1);
    a.poll_once();  // from now on it is this thread's
    int status = 0;
    std::thread([&] { status = a.set_turn_handler(&ticker).error().value; }).join();
    EXPECT_EQ(status, EPERM);
}

uint64_t counter(const Stack& stack, std::string_view wanted) {
    uint64_t found = 0;
    stack.counters([&](std::string_view name, uint64_t value) {
        if (name == wanted) found = value;
    });
    return found;
}

TEST(Testing, retransmissions_of_syns_and_fins_count_by_kind) {
    Network network(1);
    Stack& a = **network.add(host("10.0.0.1/24"));
    Stack& b = **network.add(host("10.0.0.2/24"));
    Events client, server;
    ASSERT_TRUE(b.listen({Address(), 7}, server));
    // The first of each kind is lost: SYN, SYN-ACK, data, FIN.
    std::array<bool, 256> seen{};
    bool data_seen = false;
    network.set_filter([&](const Stack&, std::span<const std::byte> packet) {
        const auto flags = static_cast<uint8_t>(packet[33]);
        if ((flags & 3) != 0) return std::exchange(seen[flags & 0x13], true);
        return packet.size() <= 60 || std::exchange(data_seen, true);
    });
    Connection c = *a.connect({Address::v4(10, 0, 0, 2), 7}, client);
    network.advance(10_s);
    ASSERT_TRUE(client.connected);
    EXPECT_GE(counter(a, "TcpExtTCPSynRetrans"), 1U);
    EXPECT_GE(counter(b, "TcpExtTCPSynRetrans"), 1U);
    EXPECT_EQ(counter(a, "TcpExtTCPSynRetrans"), counter(a, "TcpRetransSegs"));
    EXPECT_EQ(counter(b, "TcpExtTCPSynRetrans"), counter(b, "TcpRetransSegs"));
    const uint64_t before = counter(a, "TcpRetransSegs");
    ASSERT_TRUE(c.send(std::string(100, 'x')));
    network.advance(10_s);
    EXPECT_EQ(server.received, 100U);
    EXPECT_EQ(counter(a, "TcpRetransSegs"), before + 1);
    EXPECT_EQ(counter(a, "FinRetrans"), 0U);
    ASSERT_TRUE(c.close());
    network.advance(10_s);
    EXPECT_EQ(counter(a, "TcpRetransSegs"), before + 2);
    EXPECT_EQ(counter(a, "FinRetrans"), 1U);
}

TEST(Testing, packets_are_taken_out_and_pushed_in) {
    Network network(1);
    Stack& a = **network.add(host("10.0.0.1/24"));
    Events client;
    EXPECT_TRUE(a.connect({Address::v4(10, 0, 0, 9), 7}, client));
    network.advance(1_ms);
    const auto syn = network.take(a);
    ASSERT_TRUE(syn);
    EXPECT_TRUE(network.push(a, reset_to(syn->bytes)));
    EXPECT_FALSE(client.closed);
    network.advance({});
    EXPECT_EQ(client.closed, CloseReason::refused);
    EXPECT_EQ(network.push(a, {}).error(), EINVAL);
    const std::byte neither{0x70};
    EXPECT_EQ(network.push(a, {&neither, 1}).error(), EINVAL);
}

TEST(Testing, both_families_reach_hosts_and_their_routes) {
    Network network(1);
    Config config = host("10.0.0.1/24");
    config.ports[0].addresses.push_back(*Prefix::parse("2001:db8::1/64"));
    config.ports[0].routes.push_back({*Prefix::parse("::/0"), *Address::parse("2001:db8::ff")});
    Stack& a = **network.add(config);
    Stack& b = **network.add(host("2001:db8::2/64"));
    Events client, server, far;
    EXPECT_TRUE(b.listen({Address(), 7}, server));
    EXPECT_TRUE(a.connect({*Address::parse("2001:db8::2"), 7}, client));
    EXPECT_TRUE(a.connect({*Address::parse("2001:db8:1::1"), 7}, far));
    network.advance(1_ms);
    EXPECT_TRUE(client.connected);
    EXPECT_FALSE(far.connected);
    size_t packets = 0;
    while (network.take(a)) ++packets;
    EXPECT_EQ(packets, 3);  // two SYNs, one ACK, and no neighbour discovery
}

TEST(Testing, a_host_that_is_removed_answers_no_more) {
    Network network(1);
    Stack& a = **network.add(host("10.0.0.1/24"));
    Stack& b = **network.add(host("10.0.0.2/24"));
    Events client, server;
    EXPECT_TRUE(b.listen({Address(), 7}, server));
    EXPECT_TRUE(a.connect({Address::v4(10, 0, 0, 2), 7}, client));
    network.advance_to_next_event();
    EXPECT_TRUE(network.remove(b));
    network.advance(600_s);
    EXPECT_EQ(client.closed, CloseReason::timed_out);
    Stack& again = **network.add(host("10.0.0.2/24"));
    EXPECT_TRUE(again.listen({Address(), 7}, server));
    EXPECT_TRUE(a.connect({Address::v4(10, 0, 0, 2), 7}, client));
    network.advance(20_s);  // as anywhere, the old link address is doubted after five seconds
    EXPECT_TRUE(client.connected);
}

TEST(Testing, a_filter_may_set_another_and_changes_no_hosts) {
    Network network(1);
    Stack& a = **network.add(host("10.0.0.1/24"));
    Stack& b = **network.add(host("10.0.0.2/24"));
    Events client, server;
    EXPECT_TRUE(b.listen({Address(), 7}, server));
    int asked = 0;
    network.set_filter([&](const Stack&, std::span<const std::byte>) {
        ++asked;
        EXPECT_EQ(network.remove(b).error(), EDEADLK);
        EXPECT_FALSE(network.add(host("10.0.0.3/24")));
        EXPECT_FALSE(network.advance_to_next_event());
        network.set_filter({});
        return false;
    });
    EXPECT_TRUE(a.connect({Address::v4(10, 0, 0, 2), 7}, client));
    network.advance_to(Instant::never());
    EXPECT_TRUE(client.connected);
    EXPECT_EQ(asked, 1);
    EXPECT_EQ(network.next_event(), Instant::never());
    EXPECT_EQ(a.now(), network.now());
}

TEST(Testing, a_configuration_that_no_wire_can_be_is_refused) {
    Network network(1);
    Config config = host("10.0.0.1/24");
    config.ports[0].vlan = 3;
    EXPECT_FALSE(network.add(config));
    config = host("10.0.0.1/24");
    config.cores.resize(2);
    EXPECT_FALSE(network.add(config));
    config = host("10.0.0.1/24");
    config.ports.clear();
    EXPECT_FALSE(network.add(config));
    config = host("10.0.0.1/24");
    config.tcp.tcp_ecn = 9;
    EXPECT_FALSE(network.add(config));
}

TEST_F(TestingC, calls_of_the_driver_that_wait_move_the_time) {
    mr_context_enter(a_);
    const int s = mr_socket(AF_INET, SOCK_STREAM, 0);
    const int64_t start = now_ms();
    EXPECT_ERRNO(connect(s, "10.0.0.2"), ECONNREFUSED);
    EXPECT_EQ(now_ms(), start);
    EXPECT_ERRNO(connect(s, "10.0.0.9"), ETIMEDOUT);
    // SYNs at 0, 1, 2, 3, 4, 5, 7 s and so on: tcp_syn_linear_timeouts of 4, six retries.
    EXPECT_GT(now_ms() - start, 10'000);
    const int silent = listener();
    EXPECT_ERRNO(mr_accept(silent, nullptr, nullptr), EDEADLK);
}

TEST_F(TestingC, calls_of_another_thread_wait_for_the_driver) {
    int64_t accepted_at = 0, read_at = 0, gave_up_at = 0;
    std::string heard;
    std::thread server([&] {
        mr_context_enter(b_);
        const int accepted = mr_accept(listener(), nullptr, nullptr);
        accepted_at = now_ms();
        char bytes[16];
        const ssize_t size = mr_recv(accepted, bytes, sizeof(bytes), 0);
        read_at = now_ms();
        heard.assign(bytes, static_cast<size_t>(std::max<ssize_t>(size, 0)));
        const timeval time{.tv_sec = 2, .tv_usec = 0};
        mr_setsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
        EXPECT_ERRNO(mr_recv(accepted, bytes, sizeof(bytes), 0), EAGAIN);
        gave_up_at = now_ms();
        mr_context_destroy(b_);
    });
    EXPECT_EQ(mr_test_await_caller(b_), 0);
    mr_context_enter(b_);
    EXPECT_ERRNO(mr_socket(AF_INET, SOCK_STREAM, 0), EPERM);
    const int64_t start = now_ms();
    advance_ms(500);
    EXPECT_EQ(accepted_at, 0);
    mr_context_enter(a_);
    const int s = mr_socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(s, "10.0.0.2"), 0);
    EXPECT_EQ(accepted_at, 0);  // the last ACK is under way
    advance_ms(10);
    EXPECT_EQ(accepted_at, start + 500);
    EXPECT_EQ(mr_send(s, "hello", 5, 0), 5);
    advance_ms(1);
    EXPECT_EQ(heard, "hello");
    EXPECT_EQ(read_at, start + 510);
    advance_ms(10'000);
    server.join();
    EXPECT_EQ(gave_up_at, start + 2510);
    b_ = nullptr;
}

TEST_F(TestingC, a_filter_and_impairments_lose_packets) {
    struct Seen {
        const mr_context* from;
        int count;
    } seen{a_, 0};
    const auto lose = [](void* argument, const mr_context* from, const void*, size_t size) {
        auto& is = *static_cast<Seen*>(argument);
        EXPECT_EQ(from, is.from);
        EXPECT_GE(size, 40);
        ++is.count;
        return false;
    };
    EXPECT_EQ(mr_test_set_filter(network_, lose, &seen), 0);
    mr_context_enter(a_);
    const int s = mr_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    EXPECT_ERRNO(connect(s, "10.0.0.2"), EINPROGRESS);
    advance_ms(2500);
    EXPECT_EQ(seen.count, 3);
    EXPECT_EQ(mr_test_set_filter(network_, nullptr, nullptr), 0);
    const mr_test_impairments all{.loss_ppm = 1'000'000};
    EXPECT_EQ(mr_test_impair(a_, &all), 0);
    advance_ms(1000);
    EXPECT_ERRNO(connect(s, "10.0.0.2"), EALREADY);
    const mr_test_impairments late{.delay_ns = 30'000'000};
    EXPECT_EQ(mr_test_impair(a_, &late), 0);
    advance_ms(520);
    EXPECT_ERRNO(connect(s, "10.0.0.2"), EALREADY);
    advance_ms(20);
    EXPECT_ERRNO(connect(s, "10.0.0.2"), ECONNREFUSED);
}

TEST_F(TestingC, bad_calls_are_told_what_is_wrong) {
    EXPECT_ERRNO(mr_test_advance_to(network_, mr_test_now(network_) - 1), EINVAL);
    EXPECT_ERRNO(mr_test_network_destroy(network_), EBUSY);
    EXPECT_ERRNO(mr_test_push(a_, "", 0), EINVAL);
    const mr_test_impairments surely{.loss_ppm = 1'000'001}, back{.delay_ns = -1};
    EXPECT_ERRNO(mr_test_impair(a_, &surely), EINVAL);
    EXPECT_ERRNO(mr_test_impair(a_, &back), EINVAL);
    EXPECT_EQ(mr_test_advance_to(network_, INT64_MAX), 0);
    EXPECT_EQ(mr_test_take(a_, nullptr, 0, nullptr), 0);
    std::thread([&] {
        EXPECT_ERRNO(mr_test_advance_to(network_, INT64_MAX), EPERM);
        EXPECT_ERRNO(mr_test_take(a_, nullptr, 0, nullptr), EPERM);
        EXPECT_ERRNO(mr_test_network_destroy(network_), EPERM);
    }).join();
    char why[256] = "";
    EXPECT_EQ(mr_test_context_create(network_, "[[port]]\n", why, sizeof(why)), nullptr);
    EXPECT_NE(std::string(why).find("device"), std::string::npos) << why;
    EXPECT_EQ(mr_test_next_event(network_), -1);
    EXPECT_EQ(mr_test_advance_to_next_event(network_), 0);
}

}  // namespace
}  // namespace millrace
