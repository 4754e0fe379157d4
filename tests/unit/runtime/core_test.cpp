// A core's turn, as far as no port is needed for it: what other cores have sent comes first.
#include <gtest/gtest.h>

#include "runtime/world.h"
#include "wire/checksum.h"
#include "wire/tcp.h"

namespace millrace::runtime {
namespace {

using observe::Drop;

struct Nobody final : stack::Application {
    void on_events(tcp::Connection&, uint8_t) override {}
    void on_acceptable(tcp::Listener&) override {}
    bool on_turn() override { return busy; }
    bool busy = false;
};

/// A SYN from 10.6.0.2 to 10.6.0.1 port 80, as it comes from the wire.
std::vector<uint8_t> syn(const wire::MacAddress& to) {
    wire::Ip ip;
    ip.source = Address::v4(10, 6, 0, 2);
    ip.destination = Address::v4(10, 6, 0, 1);
    ip.protocol = wire::Protocol::tcp;
    ip.payload_size = 20;
    wire::Segment segment;
    segment.source_port = 40000;
    segment.destination_port = 80;
    segment.flags = wire::TcpFlags::syn;
    std::vector<uint8_t> frame(14 + 20 + 20);
    wire::Ethernet{.destination = to, .source = {{2, 0, 0, 0, 0, 9}}, .type = wire::EtherType::ipv4}
        .emit(frame.data());
    ip.emit(&frame[14], true);
    segment.emit(&frame[34]);
    const uint16_t checksum = wire::Checksum()
                                  .add_pseudo_header(ip.source, ip.destination, 6, 20)
                                  .add(&frame[34], 20)
                                  .finish();
    std::memcpy(&frame[34 + wire::tcp_checksum_offset], &checksum, 2);
    return frame;
}

uint64_t of_phases(const observe::Counters& counters) {
    return counters.receive_cycles + counters.ingress_cycles + counters.timer_cycles +
           counters.application_cycles + counters.egress_cycles + counters.transmit_cycles;
}

Started<std::unique_ptr<World>> make_world() {
    Config config;
    PortConfig port;
    port.device = "ring:core_test:0";
    port.addresses = {*Prefix::parse("10.6.0.1/24")};
    config.ports.push_back(port);
    config.pools = {.receive = 2048, .header = 512, .attach = 512, .payload = 512};
    config.tcp.max_connections = 1024;
    config.ip.arp_notify = 0;  // a core that has nothing to do of its own accord
    return World::create(config);
}

/// News of who owns a tuple must not be read after the tuple's frames.
TEST(Core, reads_letters_before_frames_whichever_were_posted_first) {
    auto world = make_world();
    ASSERT_TRUE(world) << world.error().what;
    Core& core = (*world)->core(0);
    Nobody nobody;
    buf::Frame frame = core.pools().received(syn((*world)->port(0).mac()));
    frame.set_tag(0);  // of the first interface, steered here
    ASSERT_TRUE(core.mailbox().post(std::move(frame)));
    uint64_t dropped_before_the_letter = UINT64_MAX;
    ASSERT_TRUE(core.mailbox().post(std::function<void()>(
        [&] { dropped_before_the_letter = core.stack().counters().drops_total(); })));
    EXPECT_TRUE(core.turn(nobody));
    EXPECT_EQ(dropped_before_the_letter, 0U);
    EXPECT_EQ(core.stack().counters().drops(Drop::tcp_no_listener), 1U) << "the frame came too";
    EXPECT_TRUE(core.mailbox().empty());
}

TEST(Core, has_something_to_do_while_its_mailbox_has_something) {
    auto world = make_world();
    ASSERT_TRUE(world) << world.error().what;
    Core& core = (*world)->core(0);
    Nobody nobody;
    EXPECT_FALSE(core.turn(nobody));
    EXPECT_GT(core.next_deadline(), core.now());
    ASSERT_TRUE(core.mailbox().post(std::function<void()>([] {})));
    const Instant deadline = core.next_deadline();
    EXPECT_LE(deadline, core.now());
    EXPECT_TRUE(core.turn(nobody));
    EXPECT_FALSE(core.turn(nobody));
}

TEST(Core, cycles_count_as_busy_where_there_was_something_to_do_and_as_empty_else) {
    auto world = make_world();
    ASSERT_TRUE(world) << world.error().what;
    Core& core = (*world)->core(0);
    const observe::Counters& counters = core.stack().counters();
    Nobody nobody;
    EXPECT_FALSE(core.turn(nobody));
    EXPECT_EQ(counters.turns, 1U);
    EXPECT_EQ(counters.busy_cycles, 0U);
    const uint64_t empty = counters.empty_cycles;
    EXPECT_GT(empty, 0U);
    nobody.busy = true;
    EXPECT_TRUE(core.turn(nobody)) << "the application had work of its own";
    EXPECT_EQ(counters.turns, 2U);
    EXPECT_GT(counters.busy_cycles, 0U);
    EXPECT_EQ(counters.empty_cycles, empty);
    EXPECT_GT(counters.application_cycles, 0U);
    EXPECT_EQ(of_phases(counters), counters.busy_cycles);
}

TEST(Core, the_phases_of_busy_turns_are_all_that_they_cost) {
    auto world = make_world();
    ASSERT_TRUE(world) << world.error().what;
    Core& core = (*world)->core(0);
    const observe::Counters& counters = core.stack().counters();
    Nobody nobody;
    // Frames of another core, more than a batch: ingress answers, and fills batches on their way.
    for (int i = 0; i < 200; ++i) {
        buf::Frame frame = core.pools().received(syn((*world)->port(0).mac()));
        ASSERT_TRUE(frame);
        frame.set_tag(0);
        ASSERT_TRUE(core.mailbox().post(std::move(frame)));
        if (i % 70 == 0) {
            EXPECT_TRUE(core.turn(nobody));
        }
    }
    EXPECT_TRUE(core.turn(nobody));
    EXPECT_GT(counters.ingress_cycles, 0U);
    EXPECT_GT(counters.transmit_cycles, 0U);
    EXPECT_EQ(of_phases(counters), counters.busy_cycles);
    // A timer of the application, and nothing else.
    const uint64_t timers = counters.timer_cycles;
    time::WheelEntry entry{tcp::timer_application};
    core.stack().env().wheel.arm(entry, core.now());
    while (counters.timer_cycles == timers) core.turn(nobody);
    EXPECT_EQ(of_phases(counters), counters.busy_cycles);
    // What is sent between turns is the application's own time.
    const uint64_t transmit = counters.transmit_cycles;
    buf::FrameBatch batch;
    batch.push(core.pools().frame());
    static_cast<stack::Host&>(core).transmit(0, batch);
    EXPECT_EQ(counters.transmit_cycles, transmit);
    while (core.turn(nobody)) continue;
    EXPECT_EQ(of_phases(counters), counters.busy_cycles);
}

TEST(Core, frames_for_a_core_whose_mailbox_is_full_are_dropped_and_counted) {
    Config config;
    PortConfig port;
    port.device = "ring:core_mail:0,queues=2";
    port.addresses = {*Prefix::parse("10.6.0.1/24")};
    config.ports.push_back(port);
    config.cores.resize(2);
    config.ip.arp_notify = 0;
    config.pools = {.receive = 2 * Mailbox::frames_max, .header = 512, .attach = 512,
                    .payload = 512};
    config.tcp.tcp_rst_ratelimit = 1;  // answers would wait for the port in frames that are received
    config.tcp.max_connections = 16;
    config.eal.huge_pages = false;
    auto world = World::create(config);
    ASSERT_TRUE(world) << world.error().what;
    Core& core = (*world)->core(0);
    Nobody nobody;
    // The other core does not turn; every second tuple or so is its.
    const auto frame = syn((*world)->port(0).mac());
    const observe::Counters& counters = core.stack().counters();
    const size_t most = 2 * size_t{Mailbox::frames_max};
    for (size_t i = 0; i < 4 * most && counters.drops(Drop::handover_full) < 5; ++i) {
        auto bytes = frame;
        wire::store16(&bytes[34], static_cast<uint16_t>(1024 + i % 60000));
        std::memset(&bytes[34 + wire::tcp_checksum_offset], 0, 2);
        const uint16_t checksum = wire::Checksum()
                                      .add_pseudo_header(Address::v4(10, 6, 0, 2),
                                                         Address::v4(10, 6, 0, 1), 6, 20)
                                      .add(&bytes[34], 20)
                                      .finish();
        std::memcpy(&bytes[34 + wire::tcp_checksum_offset], &checksum, 2);
        buf::Frame received = core.pools().received(bytes);
        ASSERT_TRUE(received);
        received.set_tag(0);
        ASSERT_TRUE(core.mailbox().post(std::move(received)));
        core.turn(nobody);
    }
    EXPECT_EQ(counters.drops(Drop::handover_full), 5U);
    EXPECT_GE(counters.frames_handed_over, Mailbox::frames_max - 1U);
}

TEST(Core, a_frame_for_which_the_port_has_no_room_is_dropped_and_counted) {
    Config config;
    PortConfig port;
    port.device = "ring:core_full:0";
    port.addresses = {*Prefix::parse("10.9.0.1/24")};
    config.ports.push_back(port);
    config.ip.arp_notify = 0;
    config.pools = {.receive = 2048, .header = 8192, .attach = 512, .payload = 512};
    config.tcp.max_connections = 16;
    config.eal.huge_pages = false;
    auto world = World::create(config);
    ASSERT_TRUE(world) << world.error().what;
    Core& core = (*world)->core(0);
    // Nobody is at the other end: the ring fills, then what waits behind it.
    const uint64_t sent = 1024 + Core::waiting_max + 256;
    for (uint64_t i = 0; i < sent; ++i) {
        buf::FrameBatch batch;
        batch.push(core.pools().frame());
        ASSERT_TRUE(batch.raw()[0] != nullptr);
        static_cast<stack::Host&>(core).transmit(0, batch);
    }
    const uint64_t dropped = core.transmit_dropped();
    EXPECT_GE(dropped, 256U);
    EXPECT_LE(dropped, 256U + 2);
    EXPECT_EQ(core.stack().counters().drops(observe::Drop::transmit_full), dropped);
    EXPECT_TRUE(static_cast<stack::Host&>(core).congested());
}

}  // namespace
}  // namespace millrace::runtime
