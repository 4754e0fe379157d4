// Every pool dry in turn: established connections go on, the tools answer, a counter tells, all
// recovers, nothing leaks. README.md has the table of budgets that these tests hold.
#include <algorithm>
#include <cerrno>
#include <iterator>

#include "sim/leftovers.h"
#include "tcp/calls.h"
#include "wire/script.h"
#include "wire/udp.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using wire::TcpFlags;

/// One connection to port 80, and whatever the test makes scarce.
class Overload : public ::testing::Test {
protected:
    explicit Overload(uint32_t next_hops = IpTunables().neighbour_max)
        : s(with(&memory_, next_hops)) {}
    static Script::Options with(buf::Pools* pools, uint32_t next_hops) {
        Script::Options options;
        options.pools = pools;
        Config& config = options.config;
        config.tcp.tcp_syncookies = 0;
        config.tcp.max_connections = 4;
        config.tcp.max_half_open = 3;
        config.tcp.tcp_max_tw_buckets = 1;
        config.tcp.tcp_timewait_len = 1;
        config.ip.max_udp_sockets = 2;
        config.ip.ipfrag_max = 2;
        config.ip.neighbour_max = next_hops;
        config.pools.receive = 8;  // so many pieces may wait behind holes
        return options;
    }
    void begin() { s.establish(S(0).window(65535).mss(1460).sack_permitted()); }
    /// The peer has something to say, and is acknowledged.
    void expect_receives() {
        const uint64_t before = s.end().received;
        s.inject(PA(in, out).data(100));
        in += 100;
        s.advance(300_ms);
        EXPECT_EQ(s.end().received, before + 100);
        EXPECT_TRUE(s.end().intact);
        bool acknowledged = false;
        while (s.anything_sent())
            acknowledged |= s.next().ack == Seq(peer_isn + in);
        EXPECT_TRUE(acknowledged);
    }
    /// So have we.
    void expect_sends(uint32_t bytes = 100) {
        s.send(bytes);
        expect_arrives(bytes);
    }
    /// What has been sent comes, in however many segments, and is acknowledged.
    void expect_arrives(uint32_t bytes) {
        uint32_t came = 0;
        while (came < bytes && s.anything_sent()) {
            const wire::Segment segment = s.next();
            if (segment.payload_size == 0) continue;
            EXPECT_EQ(segment.seq, Seq(s.isn() + out));
            out += segment.payload_size;
            came += segment.payload_size;
            s.inject(A(in, out));
        }
        EXPECT_EQ(came, bytes);
        s.forget_sent();
    }
    /// Who asks sees the connection, and that it lives.
    void expect_tools_answer() {
        std::vector<SocketRecord> records;
        for (SocketCursor cursor; !cursor.at_end();)
            s.stack().list(cursor, {}, 64, records);
        EXPECT_TRUE(std::ranges::any_of(records, [](const SocketRecord& record) {
            return record.state == SocketState::established && record.local.port == 80 &&
                   record.remote.port == 40000;
        }));
    }
    void expect_goes_on() {
        expect_receives();
        expect_sends();
        expect_tools_answer();
    }
    /// Both sides close; then nothing is left of anything.
    void expect_nothing_left() {
        s.inject(FA(in, out));
        s.close();
        s.inject(A(in + 1, out + 1));
        s.stack().close_listener(*s.listener());
        s.advance(60_s);
        for_each_leftover(s.node(), [](uint16_t, std::string_view what, size_t count) {
            ADD_FAILURE() << count << " " << what;
        });
    }
    tcp::Env& env() { return s.stack().env(); }
    buf::Pools& pools() { return s.stack().pools(); }
    /// All objects that a pool has left, until they are given back.
    template <typename T>
    static std::vector<T*> take_all(Pool<T>& pool) {
        std::vector<T*> taken;
        while (T* object = pool.take()) taken.push_back(object);
        return taken;
    }
    template <typename T>
    static void give_back(Pool<T>& pool, const std::vector<T*>& taken) {
        for (T* object : taken) pool.give_back(object);
    }
    std::vector<buf::Frame> hold_headers() {
        std::vector<buf::Frame> held;
        while (buf::Frame frame = pools().frame()) held.push_back(std::move(frame));
        return held;
    }
    BufferChain hold_payload() {
        BufferChain held;
        const std::vector<std::byte> bytes(1 << 20);
        while (pools().append_copy(held, bytes) > 0) {
        }
        return held;
    }
    BufferChain cut(uint32_t bytes) {
        BufferChain chain;
        chain.append(std::move(*pools().region_buffer(region_, 0, bytes)));
        return chain;
    }
    /// Every reference to kept payload is in use.
    std::vector<buf::Frame> hold_references() {
        std::vector<buf::Frame> held;
        const BufferChain kept = cut(1000);
        while (true) {
            buf::Frame frame = pools().frame();
            buf::Cursor cursor = buf::begin_of(kept);
            if (!pools().append_payload(frame, cursor, 1000)) return held;
            held.push_back(std::move(frame));
        }
    }
    /// A handshake of another client up to its third ACK.
    void knock(uint16_t client) {
        s.inject(S(0).window(65535).mss(1460).client(client));
    }
    void enter(uint16_t client) {
        knock(client);
        s.expect(SA(0, 1).client(client));
        s.inject(A(1, 1).client(client));
    }

    static constexpr uint32_t peer_isn = 1000;
    const buf::PoolSizes sizes_{.receive = 1024, .header = 1024, .attach = 128, .payload = 512,
                                .region = 64};
    buf::Pools memory_ = std::move(*buf::Pools::create(unique(), sizes_));
    std::vector<std::byte> bytes_ = std::vector<std::byte>(10'000, std::byte{7});
    const Region region_{bytes_, [] {}};
    Script s;
    uint32_t in = 1, out = 1;

private:
    static std::string unique() {
        static int count = 0;
        return "overload" + std::to_string(count++);
    }
};

// --- packet buffers

TEST_F(Overload, header_pool) {
    begin();
    auto held = hold_headers();
    expect_receives();
    expect_tools_answer();
    EXPECT_GT(s.counters().pool_dry_header, 0U);
    EXPECT_GT(s.counters().control_reserve_used, 0U);
    s.send(100);  // payload waits: what is left is for those who make room
    s.expect_silence();
    EXPECT_GT(s.drops(Drop::no_buffer), 0U);
    // A stranger's segment, an answer to ARP, a reset of ours.
    s.inject(A(500, 500).client(40001));
    EXPECT_EQ(s.next().flags, TcpFlags::rst);
    held.clear();
    s.advance(5_ms);
    expect_arrives(100);
    expect_goes_on();
    EXPECT_EQ(pools().reserve(), buf::Pools::reserve_max);
    expect_nothing_left();
}

TEST_F(Overload, header_pool_lets_an_end_through) {
    begin();
    auto held = hold_headers();
    s.shutdown();
    s.expect(FA(1, 1));
    s.inject(A(1, 2));
    s.abort();
    EXPECT_TRUE((s.next().flags & TcpFlags::rst) != 0);
    held.clear();
    s.stack().close_listener(*s.listener());
    s.advance(60_s);
    for_each_leftover(s.node(), [](uint16_t, std::string_view what, size_t count) {
        ADD_FAILURE() << count << " " << what;
    });
}

TEST_F(Overload, control_reserve) {
    begin();
    auto held = hold_headers();
    while (buf::Frame frame = pools().control_frame()) held.push_back(std::move(frame));
    const uint64_t before = s.counters().pool_dry_control;
    s.inject(PA(in, out).data(100));
    in += 100;
    s.advance(300_ms);
    s.expect_silence();
    EXPECT_EQ(s.end().received, 100U);
    EXPECT_GT(s.counters().pool_dry_control, before);
    expect_tools_answer();
    held.clear();
    s.advance(5_ms);
    s.expect(A(1, 101));  // what was owed is not forgotten
    expect_goes_on();
    expect_nothing_left();
}

/// A SYN flood, or pings, get at most half of it.
TEST_F(Overload, control_reserve_against_strangers) {
    begin();
    auto held = hold_headers();
    while (buf::Frame frame = pools().reply_frame()) held.push_back(std::move(frame));
    knock(40001);
    s.expect_silence();
    expect_receives();
    held.clear();
    s.advance(3_s);
    s.expect(SA(0, 1).client(40001));
    s.inject(R(1).client(40001));
    s.forget_sent();
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, attach_pool) {
    begin();
    auto held = hold_references();
    const uint64_t copied = s.counters().payload_copied;
    BufferChain data = cut(5000);
    EXPECT_TRUE(tcp::send(env(), s.tcb(), data));
    s.advance({});
    expect_arrives(5000);
    EXPECT_GT(s.counters().pool_dry_attach, 0U);
    EXPECT_EQ(s.counters().payload_copied, copied + 5000);
    expect_receives();
    expect_tools_answer();
    held.clear();
    data = cut(1000);
    EXPECT_TRUE(tcp::send(env(), s.tcb(), data));
    s.advance({});
    expect_arrives(1000);
    EXPECT_EQ(s.counters().payload_copied, copied + 5000);
    expect_nothing_left();
}

TEST_F(Overload, payload_pool) {
    begin();
    BufferChain held = hold_payload();
    s.send(100);
    s.expect_silence();
    EXPECT_EQ(s.end().sent, 0U);
    EXPECT_GT(s.counters().pool_dry_payload, 0U);
    expect_receives();
    BufferChain data = cut(100);  // what needs no copy goes on
    EXPECT_TRUE(tcp::send(env(), s.tcb(), data));
    s.advance({});
    expect_arrives(100);
    expect_tools_answer();
    held.clear();
    s.advance(5_ms);  // the application is told, and tries again
    expect_arrives(100);
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, attach_and_payload_pool) {
    begin();
    auto references = hold_references();
    BufferChain held = hold_payload();
    BufferChain data = cut(1000);
    EXPECT_TRUE(tcp::send(env(), s.tcb(), data));
    for (int i = 0; i < 20; ++i) {
        s.advance(5_ms);
        while (s.anything_sent()) {
            const wire::Segment segment = s.next();
            EXPECT_LE(segment.payload_size, buf::Pools::copy_max);
            out = std::max(out, distance(Seq(s.isn()), segment.end()));
            s.inject(A(in, out));
        }
    }
    EXPECT_EQ(out, 1001U);
    references.clear();
    held.clear();
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, region_pool) {
    begin();
    std::vector<Buffer> held;
    auto buffer = pools().region_buffer(region_, 0, 100);
    for (; buffer; buffer = pools().region_buffer(region_, 0, 100))
        held.push_back(std::move(*buffer));
    EXPECT_EQ(buffer.error(), ENOBUFS);
    EXPECT_EQ(s.counters().pool_dry_region, 1U);
    expect_goes_on();
    held.clear();
    EXPECT_TRUE(pools().region_buffer(region_, 0, 100));
    expect_nothing_left();
}

TEST_F(Overload, receive_pool_is_low) {
    begin();
    std::vector<buf::Frame> held;
    const std::array<uint8_t, 60> bytes{};
    for (size_t i = 0; i < sizes_.receive * 4 / 5; ++i) held.push_back(pools().received(bytes));
    s.advance(2_ms);
    expect_goes_on();
    EXPECT_GT(s.counters().pool_low_receive, 0U);
    s.end().consume = false;
    // What nobody reads moves out of the receive buffers.
    s.inject(PA(in, out).data(1000));
    in += 1000;
    s.forget_sent();
    held.clear();
    s.advance(300_ms);
    s.forget_sent();
    tcp::consumed(env(), s.tcb(), static_cast<uint32_t>(std::exchange(s.end().unconsumed, 0)));
    s.end().consume = true;
    expect_goes_on();
    expect_nothing_left();
}

/// Nothing is heard then; what was lost comes again.
TEST_F(Overload, receive_pool) {
    begin();
    std::vector<buf::Frame> held;
    const std::array<uint8_t, 60> bytes{};
    while (buf::Frame frame = pools().received(bytes)) held.push_back(std::move(frame));
    s.inject(PA(in, out).data(100));
    EXPECT_EQ(s.end().received, 0U);
    s.send(100);
    s.expect(PA(1, 1).data(100));
    expect_tools_answer();
    held.clear();
    s.inject(A(in, out += 100));
    s.forget_sent();
    expect_goes_on();
    expect_nothing_left();
}

// --- connections on their way from SYN to TIME-WAIT

TEST_F(Overload, half_open_entries) {
    begin();
    for (uint16_t client = 40001; client < 40004; ++client) {
        knock(client);
        s.expect(SA(0, 1).client(client));
    }
    knock(40004);
    s.expect_silence();
    EXPECT_EQ(s.counters().pool_dry_half_open, 1U);
    EXPECT_EQ(s.drops(Drop::tcp_backlog_full), 1U);
    expect_goes_on();
    s.inject(R(1).client(40001));
    knock(40004);
    s.expect(SA(0, 1).client(40004));
    for (uint16_t client = 40002; client < 40005; ++client) s.inject(R(1).client(client));
    expect_nothing_left();
}

TEST_F(Overload, connections) {
    begin();
    for (uint16_t client = 40001; client < 40004; ++client) enter(client);
    EXPECT_EQ(s.stack().population().connections, 4U);
    enter(40004);  // its ACK is as if it had been lost
    EXPECT_EQ(s.counters().pool_dry_connections, 1U);
    EXPECT_EQ(s.drops(Drop::no_connection), 1U);
    EXPECT_EQ(s.stack().connect({s.peer(), 99}, {}, nullptr).error(), ENOBUFS);
    expect_goes_on();
    s.inject(R(1).client(40001));
    tcp::close(env(), *s.stack().accept(*s.listener()));
    s.advance({});
    EXPECT_EQ(s.stack().population().connections, 3U);
    s.inject(PA(1, 1).data(10).client(40004));  // the client tries again
    EXPECT_EQ(s.stack().population().connections, 4U);
    EXPECT_EQ(s.stack().population().half_open, 0U);
    for (uint16_t client = 40002; client < 40004; ++client) s.inject(R(1).client(client));
    s.inject(R(11).client(40004));
    s.forget_sent();
    expect_nothing_left();
}

TEST_F(Overload, accept_queue) {
    begin();
    s.stack().set_backlog(*s.listener(), 1);
    enter(40001);
    enter(40002);  // as in Linux, one more than the backlog
    knock(40003);
    s.expect_silence();
    EXPECT_EQ(s.drops(Drop::tcp_accept_queue_full), 1U);
    EXPECT_EQ(s.counters().tcp_listen_overflows, 1U);
    expect_goes_on();
    s.inject(R(1).client(40001));
    s.inject(R(1).client(40002));
    for (int i = 0; i < 2; ++i) tcp::close(env(), *s.stack().accept(*s.listener()));
    enter(40003);
    s.inject(R(1).client(40003));
    s.forget_sent();
    tcp::close(env(), *s.stack().accept(*s.listener()));
    expect_nothing_left();
}

TEST_F(Overload, time_wait_entries) {
    begin();
    for (uint16_t client = 40001; client < 40003; ++client) {
        enter(client);
        tcp::close(env(), *s.stack().accept(*s.listener()));
        s.advance({});
        s.expect(FA(1, 1).client(client));
        s.inject(FA(1, 2).client(client));
        s.expect(A(2, 2).client(client));
    }
    EXPECT_EQ(s.counters().tcp_time_wait_overflow, 1U);
    EXPECT_EQ(s.stack().population().time_wait, 1U);
    expect_goes_on();
    s.advance(3_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
    expect_nothing_left();
}

TEST_F(Overload, listeners) {
    begin();
    std::vector<tcp::Listener*> all;
    const Address any = Address::any(Family::ipv4);
    Errno refused{};
    for (uint32_t port = 1; port < 65536 && refused == 0; ++port)
        if (port != 80) all.push_back(*s.stack().listen({any, static_cast<uint16_t>(port)}, 1,
                                                        &s.stack()));
    for (uint16_t port = 1; port < 4; ++port)
        if (auto more = s.stack().listen({*Address::parse("fd00::1"), port}, 1, &s.stack()))
            all.push_back(*more);
        else
            refused = more.error();
    EXPECT_EQ(refused, ENOBUFS);
    EXPECT_GT(s.counters().pool_dry_sockets, 0U);
    expect_goes_on();
    for (tcp::Listener* listener : all) s.stack().close_listener(*listener);
    tcp::Listener* again = *s.stack().listen({any, 81}, 1, &s.stack());
    s.stack().close_listener(*again);
    expect_nothing_left();
}

// --- what is borrowed while data is under way

TEST_F(Overload, reassembly_ranges) {
    begin();
    for (uint32_t i = 0; i < 8; ++i) s.inject(A(in + 100 + 200 * i, 1).data(100));
    EXPECT_EQ(s.counters().pool_dry_reassembly, 0U);
    s.inject(A(in + 1700, 1).data(100));
    EXPECT_EQ(s.counters().pool_dry_reassembly, 1U);
    EXPECT_EQ(s.drops(Drop::tcp_reassembly_full), 1U);
    s.forget_sent();
    expect_tools_answer();
    expect_sends();
    for (uint32_t i = 0; i < 8; ++i) s.inject(A(in + 200 * i, out).data(100));
    s.inject(A(in + 1600, out).data(200));
    in += 1800;
    EXPECT_EQ(s.end().received, 1800U);
    s.advance(300_ms);
    s.forget_sent();
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, sent_ranges) {
    begin();
    tcp::set_no_delay(env(), s.tcb(), true);
    s.send(100);
    s.expect(PA(1, 1).data(100));
    std::vector<tcp::SentRange*> held = take_all(env().sent_ranges);
    s.advance(1_ms);
    s.send(100);  // told of together with what is under way
    s.expect(PA(101, 1).data(100));
    EXPECT_EQ(s.counters().pool_dry_sent_ranges, 1U);
    s.inject(A(in, out += 200));
    std::ranges::copy(take_all(env().sent_ranges), std::back_inserter(held));
    expect_receives();
    expect_tools_answer();
    s.send(100);  // with nothing under way, it waits
    s.expect_silence();
    EXPECT_EQ(s.counters().pool_dry_sent_ranges, 2U);
    give_back(env().sent_ranges, held);
    s.advance(5_ms);
    expect_arrives(100);
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, ack_snapshots) {
    begin();
    std::vector<tcp::AckSnapshot*> held = take_all(env().snapshots);
    s.inject(A(in + 100, 1).data(100));
    s.expect(A(1, 1).sack({{101, 201}}));  // one for the turn, instead of one for each segment
    EXPECT_EQ(s.counters().pool_dry_snapshots, 1U);
    s.inject(A(in, 1).data(100));
    in += 200;
    s.advance(300_ms);
    s.forget_sent();
    expect_goes_on();
    give_back(env().snapshots, held);
    expect_nothing_left();
}

// --- sockets, datagrams, links

TEST_F(Overload, datagram_sockets) {
    begin();
    udp::Endpoint* const one = *s.stack().open_datagrams(Family::ipv4, nullptr);
    udp::Endpoint* const two = *s.stack().open_datagrams(Family::ipv4, nullptr);
    EXPECT_EQ(s.stack().open_datagrams(Family::ipv4, nullptr).error(), ENOBUFS);
    EXPECT_EQ(s.counters().pool_dry_sockets, 1U);
    expect_goes_on();
    s.stack().close(*two);
    s.advance({});
    udp::Endpoint* const again = *s.stack().open_datagrams(Family::ipv4, nullptr);
    s.stack().close(*one);
    s.stack().close(*again);
    expect_nothing_left();
}

std::vector<uint8_t> datagram(const Script& s, uint16_t port) {
    std::vector<uint8_t> bytes = s.frame(PA(0, 0).data(100));
    bytes[14 + 9] = 17;
    wire::Udp{5000, port, static_cast<uint16_t>(bytes.size() - 34)}.emit(&bytes[34]);
    Script::repair_checksums(bytes);
    return bytes;
}

/// Their memory is not that of connections.
TEST_F(Overload, datagrams) {
    begin();
    udp::Endpoint* e[2];
    for (uint16_t i = 0; i < 2; ++i) {
        e[i] = *s.stack().open_datagrams(Family::ipv4, nullptr);
        e[i]->settings.receive_buffer = 1 << 30;
        ASSERT_TRUE(s.stack().bind(*e[i], {Address::any(Family::ipv4),
                                           static_cast<uint16_t>(7000 + i)}));
    }
    for (uint16_t i = 0; i < 1000; ++i)
        s.inject_raw(datagram(s, static_cast<uint16_t>(7000 + i % 2)));
    EXPECT_GT(s.drops(Drop::udp_receive_full), 0U);
    EXPECT_LE(s.stack().population().datagrams, sizes_.receive / 2);
    expect_goes_on();
    for (udp::Endpoint* endpoint : e)
        while (!endpoint->queue.empty()) s.stack().receive(*endpoint);
    s.inject_raw(datagram(s, 7000));
    EXPECT_EQ(s.stack().population().datagrams, 1U);
    for (udp::Endpoint* endpoint : e) s.stack().close(*endpoint);
    expect_nothing_left();
}

TEST_F(Overload, fragments) {
    begin();
    for (uint16_t id = 1; id <= 3; ++id) {
        std::vector<uint8_t> piece = datagram(s, 7000);
        wire::store16(&piece[14 + 4], id);
        piece[14 + 6] = 0x20;  // the rest never comes
        Script::repair_checksums(piece);
        piece.resize(14 + 20 + 104);
        wire::store16(&piece[14 + 2], 124);
        Script::repair_checksums(piece);
        s.inject_raw(piece);
    }
    EXPECT_EQ(s.stack().population().fragments, 2U);
    EXPECT_EQ(s.drops(Drop::fragment_no_room), 1U);
    expect_goes_on();
    s.advance(40_s);
    EXPECT_EQ(s.stack().population().fragments, 0U);
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, frames_that_wait_for_link_addresses) {
    begin();
    for (int i = 0; i < 700; ++i) {
        const Address silent = Address::v4(10, 0, 0, static_cast<uint8_t>(3 + i % 250));
        EXPECT_TRUE(s.stack().send_raw(s.local(), silent, wire::Segment()));
    }
    EXPECT_GT(s.drops(Drop::neighbour_queue_full), 0U);
    s.advance({});
    s.forget_sent();
    expect_goes_on();
    expect_tools_answer();
    s.advance(10_s);
    EXPECT_GT(s.drops(Drop::neighbour_unresolved), 0U);
    s.forget_sent();
    expect_goes_on();
    expect_nothing_left();
}

class OverloadOfNextHops : public Overload {
protected:
    OverloadOfNextHops() : Overload(16) {}
    void speak_to(uint8_t host) {
        EXPECT_TRUE(s.stack().send_raw(s.local(), Address::v4(10, 0, 0, host), wire::Segment()));
    }
};

/// Those that nobody waits for make room; where somebody waits for each, the next is refused.
TEST_F(OverloadOfNextHops, next_hops) {
    begin();
    for (uint8_t host = 100; host < 115; ++host) speak_to(host);
    EXPECT_EQ(s.stack().population().neighbours, 16U);
    EXPECT_EQ(s.counters().pool_dry_neighbours, 0U);
    speak_to(115);  // in the place of the one that answers, which can be asked again
    speak_to(116);
    EXPECT_EQ(s.counters().pool_dry_neighbours, 1U);
    s.forget_sent();
    s.advance(10_s);
    s.forget_sent();
    EXPECT_EQ(s.drops(Drop::neighbour_unresolved), 16U);
    expect_goes_on();
    speak_to(117);
    EXPECT_EQ(s.counters().pool_dry_neighbours, 1U);
    s.advance(10_s);
    s.forget_sent();
    expect_goes_on();
    expect_nothing_left();
}

TEST_F(Overload, transmit_ring) {
    begin();
    s.node().set_ring_full(true);
    s.send(100);
    s.advance(10_ms);
    s.expect_silence();
    expect_tools_answer();
    s.node().set_ring_full(false);
    s.advance(5_ms);
    expect_arrives(100);
    expect_goes_on();
    expect_nothing_left();
}

}  // namespace
}  // namespace millrace::testing
