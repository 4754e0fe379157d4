// Copies of frames for a capture: which frames, how many wait, and how they are written.
#include <algorithm>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>
#include <rte_cycles.h>

#include "runtime/pcapng.h"
#include "runtime/world.h"
#include "wire/arp.h"
#include "wire/tcp.h"
#include "wire/udp.h"

namespace millrace::runtime {
namespace {

const Address here = Address::v4(10, 6, 0, 1);
const Address there = Address::v4(10, 6, 0, 2);
constexpr uint16_t our_port = 80;
constexpr uint16_t their_port = 40000;
constexpr SocketKind udp_kind = SocketKind::udp;

struct Shape {
    Address source = there, destination = here;
    uint16_t source_port = their_port, destination_port = our_port;
    wire::Protocol protocol = wire::Protocol::tcp;
    uint16_t vlan = 0;
    uint32_t fragment_offset = 0;
    size_t payload = 0;
};

/// A frame whose checksums nobody looks at.
std::vector<uint8_t> frame_of(const Shape& shape) {
    const bool v4 = shape.source.is_v4();
    const size_t link = wire::Ethernet::size_for(shape.vlan);
    wire::Ip ip;
    ip.source = shape.source;
    ip.destination = shape.destination;
    ip.protocol = shape.protocol;
    ip.payload_size = static_cast<uint32_t>(20 + shape.payload);
    ip.fragment_offset = shape.fragment_offset;
    ip.dont_fragment = shape.fragment_offset == 0;
    const size_t header = wire::Ip::size_for(shape.source.family());
    std::vector<uint8_t> frame(link + header + 20 + shape.payload);
    wire::Ethernet{.type = v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6, .vlan = shape.vlan}
        .emit(frame.data());
    ip.emit(&frame[link], true);
    wire::store16(&frame[link + header], shape.source_port);
    wire::store16(&frame[link + header + 2], shape.destination_port);
    for (size_t i = 0; i < shape.payload; ++i)
        frame[link + header + 20 + i] = static_cast<uint8_t>(i);
    return frame;
}

std::vector<uint8_t> arp_of(const Address& sender, const Address& target) {
    std::vector<uint8_t> frame(14 + wire::Arp::size);
    wire::Ethernet{.type = wire::EtherType::arp}.emit(frame.data());
    wire::Arp{.sender = sender, .target = target}.emit(&frame[14]);
    return frame;
}

bool admits(const SocketFilter& filter, const std::vector<uint8_t>& frame,
            Direction direction = Direction::received) {
    return FrameFilter(filter).admits(direction, frame, frame.size());
}

SocketFilter only(SocketKind kind) {
    SocketFilter filter;
    filter.kinds = 1U << static_cast<unsigned>(kind);
    return filter;
}

TEST(CaptureFilter, an_empty_one_admits_whatever_there_is) {
    EXPECT_TRUE(admits({}, frame_of({})));
    EXPECT_TRUE(admits({}, arp_of(there, here)));
    EXPECT_TRUE(admits({}, {}));
    EXPECT_TRUE(admits({}, {1, 2, 3}));
    EXPECT_TRUE(admits({}, std::vector<uint8_t>(14, 0xff)));
}

TEST(CaptureFilter, ports_are_ours_and_theirs_by_direction) {
    SocketFilter ours;
    ours.local_port = our_port;
    EXPECT_TRUE(admits(ours, frame_of({})));
    EXPECT_FALSE(admits(ours, frame_of({}), Direction::sent));
    EXPECT_TRUE(admits(ours, frame_of({.source = here, .destination = there,
                                       .source_port = our_port, .destination_port = their_port}),
                       Direction::sent));
    SocketFilter theirs;
    theirs.remote_port = their_port;
    EXPECT_TRUE(admits(theirs, frame_of({})));
    EXPECT_FALSE(admits(theirs, frame_of({}), Direction::sent));
    theirs.local_port = our_port + 1;
    EXPECT_FALSE(admits(theirs, frame_of({}))) << "all parts must agree";
}

TEST(CaptureFilter, tags_and_both_families_are_looked_through) {
    SocketFilter filter;
    filter.local_port = our_port;
    EXPECT_TRUE(admits(filter, frame_of({.vlan = 7})));
    const Address six = *Address::parse("fd06::2"), seven = *Address::parse("fd06::1");
    const auto frame = frame_of({.source = six, .destination = seven});
    EXPECT_TRUE(admits(filter, frame));
    filter.remote = *Prefix::parse("fd06::/64");
    EXPECT_TRUE(admits(filter, frame));
    EXPECT_FALSE(admits(filter, frame_of({})));
}

TEST(CaptureFilter, addresses_admit_ip_and_arp_of_any_protocol) {
    SocketFilter filter;
    filter.remote = *Prefix::parse("10.6.0.2/32");
    EXPECT_TRUE(admits(filter, frame_of({.protocol = wire::Protocol::icmp})));
    EXPECT_TRUE(admits(filter, arp_of(there, here)));
    EXPECT_TRUE(admits(filter, arp_of(here, there), Direction::sent));
    EXPECT_FALSE(admits(filter, arp_of(Address::v4(10, 6, 0, 3), here)));
    filter.local = *Prefix::parse("0.0.0.0/0");
    EXPECT_TRUE(admits(filter, frame_of({}))) << "every IPv4 address";
    filter.local = *Prefix::parse("10.7.0.0/16");
    EXPECT_FALSE(admits(filter, frame_of({})));
}

TEST(CaptureFilter, kinds_choose_the_protocol) {
    EXPECT_TRUE(admits(only(udp_kind), frame_of({.protocol = wire::Protocol::udp})));
    EXPECT_FALSE(admits(only(udp_kind), frame_of({})));
    EXPECT_TRUE(admits(only(SocketKind::connection), frame_of({})));
    EXPECT_FALSE(admits(only(SocketKind::connection), frame_of({.protocol = wire::Protocol::udp})));
    EXPECT_FALSE(admits(only(udp_kind), arp_of(there, here)));
}

TEST(CaptureFilter, what_has_no_ports_has_none) {
    SocketFilter filter;
    filter.local_port = our_port;
    EXPECT_FALSE(admits(filter, frame_of({.protocol = wire::Protocol::icmp})));
    EXPECT_FALSE(admits(filter, frame_of({.fragment_offset = 1480})));
    EXPECT_FALSE(admits(filter, arp_of(there, here)));
    EXPECT_FALSE(admits(filter, {1, 2, 3}));
}

TEST(CaptureFilter, no_cut_of_a_frame_is_read_beyond_its_end) {
    SocketFilter filter;
    filter.local_port = our_port;
    for (const auto& whole : {frame_of({}), frame_of({.vlan = 7}),
                              frame_of({.source = *Address::parse("fd06::2"),
                                        .destination = *Address::parse("fd06::1")})}) {
        for (size_t size = 0; size <= whole.size(); ++size) {
            // On the heap, exactly so large: ASan sees a byte too many.
            const std::vector<uint8_t> cut(whole.begin(),
                                           whole.begin() + static_cast<ptrdiff_t>(size));
            (void)admits(filter, cut);
        }
        EXPECT_TRUE(admits(filter, whole));
    }
}

/// A world whose pools make frames; its port is never polled.
class CaptureTap : public ::testing::Test {
protected:
    void SetUp() override {
        static int next = 0;
        Config config;
        PortConfig port;
        port.device = "ring:capture_test" + std::to_string(next++) + ":0";
        port.addresses = {{here, 24}};
        config.ports.push_back(port);
        config.pools = {.receive = 2048, .header = 512, .attach = 512, .payload = 512};
        config.tcp.max_connections = 1024;
        config.eal.huge_pages = false;
        auto world = World::create(config);
        ASSERT_TRUE(world) << world.error().what;
        world_ = std::move(*world);
    }
    buf::Frame made(const Shape& shape) {
        return world_->core(0).pools().received(frame_of(shape));
    }
    static void give(Tap& tap, const buf::Frame& frame, uint64_t tsc = 1,
                     Direction direction = Direction::received, uint16_t port = 0) {
        rte_mbuf* const one = frame.get();
        tap.take(port, 3, direction, {&one, 1}, tsc);
    }
    using Copies = std::array<const CapturedFrame*, Tap::burst_max>;

    std::unique_ptr<World> world_;
};

TEST_F(CaptureTap, a_copy_has_the_bytes_and_what_is_known_of_them) {
    const auto tap = *Tap::create({});
    const buf::Frame frame = made({.payload = 100});
    give(*tap, frame, 77, Direction::sent, 2);
    Copies copies;
    ASSERT_EQ(tap->read(copies), 1U);
    const CapturedFrame& copy = *copies[0];
    const auto bytes = frame_of({.payload = 100});
    EXPECT_EQ(copy.tsc, 77U);
    EXPECT_EQ(copy.port, 2U);
    EXPECT_EQ(copy.queue, 3U);
    EXPECT_EQ(copy.direction, Direction::sent);
    ASSERT_EQ(copy.size, bytes.size());
    EXPECT_EQ(copy.original, bytes.size());
    EXPECT_EQ(std::memcmp(copy.bytes(), bytes.data(), bytes.size()), 0);
    tap->done(std::span(copies).first(1));
    EXPECT_EQ(tap->read(copies), 0U);
}

TEST_F(CaptureTap, snaplen_cuts_the_copy_and_the_frames_size_is_kept) {
    const auto tap = *Tap::create({.snaplen = 60});
    give(*tap, made({.payload = 1000}));
    give(*tap, made({.payload = 2}));
    Copies copies;
    ASSERT_EQ(tap->read(copies), 2U);
    EXPECT_EQ(copies[0]->size, 60U);
    EXPECT_EQ(copies[0]->original, 1054U);
    EXPECT_EQ(copies[1]->size, 56U);
    EXPECT_EQ(copies[1]->original, 56U);
    tap->done(std::span(copies).first(2));
}

TEST_F(CaptureTap, a_frame_in_pieces_is_put_together) {
    const auto tap = *Tap::create({.snaplen = 2100});
    buf::Frame frame = made({.payload = 1000});
    frame.append(made({.payload = 1000}));
    give(*tap, frame);
    Copies copies;
    ASSERT_EQ(tap->read(copies), 1U);
    ASSERT_EQ(copies[0]->size, 2100U);
    EXPECT_EQ(copies[0]->original, 2108U);
    auto bytes = frame_of({.payload = 1000});
    bytes.insert(bytes.end(), bytes.begin(), bytes.begin() + 1046);
    EXPECT_EQ(std::memcmp(copies[0]->bytes(), bytes.data(), bytes.size()), 0);
    tap->done(std::span(copies).first(1));
}

TEST_F(CaptureTap, what_the_ring_has_no_room_for_is_counted) {
    const auto tap = *Tap::create({.waiting = 64});
    const buf::Frame frame = made({});
    for (int i = 0; i < 100; ++i) give(*tap, frame, static_cast<uint64_t>(i));
    EXPECT_EQ(tap->counts(0).seen, 100U);
    EXPECT_EQ(tap->counts(0).dropped, 37U) << "63 wait";
    Copies copies;
    ASSERT_EQ(tap->read(copies), 63U);
    EXPECT_EQ(copies[0]->tsc, 0U);
    EXPECT_EQ(copies[62]->tsc, 62U) << "the oldest are kept";
    // Some of them are given back: for so many there is room again, behind the others.
    tap->done(std::span(copies).first(10));
    for (int i = 0; i < 20; ++i) give(*tap, frame, 1000);
    EXPECT_EQ(tap->counts(0).dropped, 47U);
    ASSERT_EQ(tap->read(copies), 63U);
    EXPECT_EQ(copies[0]->tsc, 10U);
    EXPECT_EQ(copies[53]->tsc, 1000U);
    tap->done(std::span(copies).first(63));
}

TEST_F(CaptureTap, a_burst_goes_in_as_far_as_there_is_room) {
    const auto tap = *Tap::create({.waiting = 64});
    const buf::Frame frame = made({});
    const std::vector<rte_mbuf*> burst(40, frame.get());
    tap->take(0, 0, Direction::received, burst, 1);
    tap->take(0, 0, Direction::received, burst, 2);
    EXPECT_EQ(tap->counts(0).seen, 80U);
    EXPECT_EQ(tap->counts(0).dropped, 17U);
}

TEST_F(CaptureTap, other_ports_directions_and_filters_leave_nothing) {
    SocketFilter udp = only(udp_kind);
    const auto tap = *Tap::create({.filter = FrameFilter(udp), .ports = 2, .sent = false});
    const buf::Frame tcp = made({}), datagram = made({.protocol = wire::Protocol::udp});
    give(*tap, datagram, 1, Direction::received, 0);
    give(*tap, datagram, 2, Direction::sent, 1);
    EXPECT_EQ(tap->counts(0).seen + tap->counts(1).seen, 0U);
    give(*tap, tcp, 3, Direction::received, 1);
    give(*tap, datagram, 4, Direction::received, 1);
    EXPECT_EQ(tap->counts(1).seen, 2U);
    Copies copies;
    ASSERT_EQ(tap->read(copies), 1U);
    EXPECT_EQ(copies[0]->tsc, 4U);
    tap->done(std::span(copies).first(1));
    tap->close();
    give(*tap, datagram, 5, Direction::received, 1);
    EXPECT_EQ(tap->read(copies), 0U);
}

TEST_F(CaptureTap, a_core_has_four_and_forgets_those_that_were_closed) {
    Core& core = world_->core(0);
    std::vector<std::shared_ptr<Tap>> taps, gone;
    for (size_t i = 0; i < Core::taps_max; ++i) {
        taps.push_back(*Tap::create({.waiting = 64}));
        EXPECT_TRUE(core.attach(taps.back(), gone));
    }
    const auto fifth = *Tap::create({.waiting = 64});
    EXPECT_FALSE(core.attach(fifth, gone));
    EXPECT_TRUE(gone.empty());
    taps[1]->close();
    EXPECT_TRUE(core.attach(fifth, gone));
    ASSERT_EQ(gone.size(), 1U);
    EXPECT_EQ(gone[0], taps[1]);
    core.detach(*fifth, gone);
    EXPECT_EQ(gone.size(), 2U);
    EXPECT_EQ(fifth.use_count(), 2) << "the core has none any more";
}

/// The writer on another thread than the core, which goes faster.
TEST_F(CaptureTap, nothing_is_lost_but_what_is_counted) {
    const auto tap = *Tap::create({.snaplen = 64, .waiting = 64});
    constexpr uint64_t frames = 20000;
    uint64_t read = 0, wrong = 0, next = 0;
    std::atomic<bool> over{false};
    std::thread writer([&] {
        Copies copies;
        for (;;) {
            const bool last = over.load();
            const size_t n = tap->read(copies);
            for (size_t i = 0; i < n; ++i) {
                if (copies[i]->tsc < next || copies[i]->size != 54) ++wrong;
                next = copies[i]->tsc + 1;
            }
            if (n > 0) tap->done(std::span(copies).first(n));
            read += n;
            if (n == 0 && last) return;
        }
    });
    const buf::Frame frame = made({});
    for (uint64_t i = 0; i < frames; ++i) give(*tap, frame, i);
    over = true;
    writer.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(read + tap->counts(0).dropped, frames);
    EXPECT_GT(read, 0U);
}

/// The blocks of a pcapng file, as its specification has them (draft-ietf-opsawg-pcapng).
struct Block {
    uint32_t type = 0;
    std::vector<uint8_t> body;

    uint32_t word(size_t i) const {
        uint32_t value = 0;
        std::memcpy(&value, &body.at(4 * i), 4);
        return value;
    }
};

std::vector<Block> blocks_of(std::span<const std::byte> bytes) {
    std::vector<Block> blocks;
    while (bytes.size() >= 12) {
        Block block;
        uint32_t length = 0, again = 0;
        std::memcpy(&block.type, bytes.data(), 4);
        std::memcpy(&length, bytes.data() + 4, 4);
        if (length < 12 || length % 4 != 0 || length > bytes.size()) break;
        std::memcpy(&again, bytes.data() + length - 4, 4);
        if (again != length) break;
        const auto* body = reinterpret_cast<const uint8_t*>(bytes.data());
        block.body.assign(body + 8, body + length - 4);
        blocks.push_back(std::move(block));
        bytes = bytes.subspan(length);
    }
    EXPECT_EQ(bytes.size(), 0U) << "whole blocks alone";
    return blocks;
}

constexpr uint32_t section_header = 0x0a0d0d0a;
constexpr uint32_t interface_description = 1;
constexpr uint32_t interface_statistics = 5;
constexpr uint32_t enhanced_packet = 6;

class CapturePcapng : public CaptureTap {
protected:
    void SetUp() override {
        CaptureTap::SetUp();
        auto file = Pcapng::create(2048, clock_);
        ASSERT_TRUE(file) << file.error().what;
        file_ = std::move(*file);
        tap_ = *Tap::create({.snaplen = 200});
    }
    /// One frame, as it comes out of a tap.
    bool add(const Shape& shape, uint64_t tsc, Direction direction) {
        give(*tap_, made(shape), tsc, direction);
        Copies copies;
        EXPECT_EQ(tap_->read(copies), 1U);
        const bool added = file_->add(*copies[0], world_->port(0).id());
        tap_->done(std::span(copies).first(1));
        return added;
    }
    // A thousand cycles a second, which began at the TSC's 5000.
    const WallClock clock_{.tsc = 5000, .ns = 1'700'000'000'123'456'789, .tsc_hz = 1000};
    std::unique_ptr<Pcapng> file_;
    std::shared_ptr<Tap> tap_;
};

TEST_F(CapturePcapng, it_begins_with_a_section_and_the_ports) {
    const auto blocks = blocks_of(file_->take());
    ASSERT_GE(blocks.size(), 2U);
    EXPECT_EQ(blocks[0].type, section_header);
    EXPECT_EQ(blocks[0].word(0), 0x1a2b3c4dU);
    for (size_t i = 1; i < blocks.size(); ++i) {
        EXPECT_EQ(blocks[i].type, interface_description);
        EXPECT_EQ(blocks[i].word(0) & 0xffff, 1U) << "Ethernet";
        EXPECT_EQ(blocks[i].word(2), 9U | 1U << 16) << "if_tsresol";
        EXPECT_EQ(blocks[i].body.at(12), 9U) << "nanoseconds";
    }
    EXPECT_TRUE(file_->take().empty());
}

TEST_F(CapturePcapng, a_packet_has_its_time_its_sizes_its_bytes_and_its_direction) {
    file_->take();
    ASSERT_TRUE(add({.payload = 1}, 7000, Direction::received));
    ASSERT_TRUE(add({.payload = 1000}, 4999, Direction::sent));
    EXPECT_TRUE(file_->take().empty()) << "not written yet";
    ASSERT_TRUE(file_->write());
    const auto blocks = blocks_of(file_->take());
    ASSERT_EQ(blocks.size(), 2U);
    const auto time = [](const Block& block) {
        return static_cast<int64_t>(uint64_t{block.word(1)} << 32 | block.word(2));
    };
    EXPECT_EQ(blocks[0].type, enhanced_packet);
    EXPECT_EQ(time(blocks[0]), clock_.ns + 2'000'000'000);
    EXPECT_EQ(time(blocks[1]), clock_.ns - 1'000'000) << "before the clock was looked at";
    EXPECT_EQ(blocks[0].word(3), 55U);
    EXPECT_EQ(blocks[0].word(4), 55U);
    EXPECT_EQ(blocks[1].word(3), 200U) << "what the tap has left of it";
    EXPECT_EQ(blocks[1].word(4), 1054U);
    const auto bytes = frame_of({.payload = 1});
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), blocks[0].body.begin() + 20));
    // Behind 56 bytes: epb_flags, of four bytes.
    EXPECT_EQ(blocks[0].word(5 + 14), 2U | 4U << 16);
    EXPECT_EQ(blocks[0].word(5 + 15) & 3, 1U) << "inbound";
    EXPECT_EQ(blocks[1].word(5 + 50 + 1) & 3, 2U) << "outbound";
}

TEST_F(CapturePcapng, statistics_close_it) {
    file_->take();
    ASSERT_TRUE(file_->statistics(world_->port(0).id(), 1234, 56, 8000));
    const auto blocks = blocks_of(file_->take());
    ASSERT_EQ(blocks.size(), 1U);
    const Block& block = blocks[0];
    EXPECT_EQ(block.type, interface_statistics);
    EXPECT_EQ(static_cast<int64_t>(uint64_t{block.word(1)} << 32 | block.word(2)),
              clock_.ns + 3'000'000'000);
    EXPECT_EQ(block.word(3), 4U | 8U << 16) << "isb_ifrecv";
    EXPECT_EQ(block.word(4), 1234U);
    EXPECT_EQ(block.word(6), 5U | 8U << 16) << "isb_ifdrop";
    EXPECT_EQ(block.word(7), 56U);
}

TEST_F(CapturePcapng, no_more_wait_to_be_written_than_there_is_room_for) {
    for (size_t i = 0; i < Pcapng::waiting_max; ++i)
        ASSERT_TRUE(add({}, i, Direction::received));
    EXPECT_FALSE(add({}, 1000, Direction::received));
    ASSERT_TRUE(file_->write());
    EXPECT_TRUE(add({}, 1000, Direction::received));
    const auto blocks = blocks_of(file_->take());
    EXPECT_EQ(std::ranges::count(blocks, enhanced_packet, &Block::type),
              static_cast<ptrdiff_t>(Pcapng::waiting_max));
}

}  // namespace
}  // namespace millrace::runtime
