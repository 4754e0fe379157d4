// What a datagram costs one core, from the frame to the application and back.
#include <cstdlib>
#include <vector>

#include "frames.h"
#include "measured.h"
#include "stack/stack.h"
#include "wire/udp.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

/// Takes whatever leaves.
struct Sink final : stack::Host {
    void transmit(uint16_t, buf::FrameBatch& frames) override {
        sent += frames.size();
        frames.clear();
    }
    bool congested() const override { return false; }
    bool hand_over(uint16_t, uint16_t, buf::Frame, bool) override { return false; }
    void tell(uint16_t, const stack::Message&) override {}
    uint64_t sent = 0;
};

struct Nobody final : stack::Application {
    void on_events(tcp::Connection&, uint8_t) override {}
    void on_acceptable(tcp::Listener&) override {}
};

/// One core with one interface and one socket, and a peer whose link address it knows.
struct World {
    static constexpr uint16_t port = 7;
    static constexpr wire::MacAddress peer_mac{{2, 0, 0, 0, 0, 2}};
    const Address own = Address::v4(10, 0, 0, 1), peer = Address::v4(10, 0, 0, 2);
    Config config;
    buf::Pools buffers = bench::make_pools(
        "datagrams",
        {.receive = 4096, .header = 4096, .attach = 4096, .payload = 4096, .region = 256});
    Sink sink;
    Nobody nobody;
    ip::Interface interface = [this] {
        ip::Interface is;
        is.name = "bench";
        is.mac = {{2, 0, 0, 0, 0, 1}};
        is.addresses = {{own, 24}};
        is.offloads = {true, true, true};
        return is;
    }();
    stack::Stack stack{{.config = config,
                        .interfaces = stack::with_loopback({interface}),
                        .secrets = tcp::Secrets::from_system(),
                        .now = Instant::from_ns(1'000'000'000)},
                       buffers, sink};
    udp::Endpoint* socket = nullptr;
    std::vector<uint8_t> datagram;

    World() {
        socket = *stack.open_datagrams(Family::ipv4, nullptr);
        if (!stack.bind(*socket, {own, port})) std::abort();
        socket->settings.send_buffer = UINT32_MAX;
        stack.receive_message(
            stack::NeighbourNews{0, peer, peer_mac, true, true, true});
        constexpr size_t payload = 100;
        wire::Ip ip;
        ip.source = peer;
        ip.destination = own;
        ip.protocol = wire::Protocol::udp;
        ip.payload_size = wire::Udp::size + payload;
        wire::Ethernet ethernet;
        ethernet.destination = interface.mac;
        ethernet.source = peer_mac;
        ethernet.type = wire::EtherType::ipv4;
        datagram.resize(wire::Ethernet::size_for(0) + wire::Ip::v4_size + ip.payload_size);
        ethernet.emit(datagram.data());
        ip.emit(&datagram[wire::Ethernet::size_for(0)], true);
        wire::Udp{1000, port, static_cast<uint16_t>(ip.payload_size)}.emit(
            &datagram[wire::Ethernet::size_for(0) + wire::Ip::v4_size]);
    }
    void turn() {
        stack.run_timers();
        stack.run_application(nobody);
        stack.egress();
        stack.end_turn();
    }
};

/// Made once, and left to the end of the process with the pools' memory.
World& world() {
    static World& made = *new World;
    return made;
}

/// Bursts of 32 arrive, are read, and go back by reference; where `answers` is 0, are dropped.
void datagram_in(benchmark::State& state) {
    World& w = world();
    const bool answers = state.range(0) != 0;
    constexpr size_t burst = 32;
    static_assert(batch % burst == 0);
    uint64_t read = 0, expected = 0;
    const uint64_t sent = w.sink.sent;
    in_batches(state, with_argument("datagram_in", state), [&] {
        for (size_t done = 0; done < batch; done += burst) {
            buf::FrameBatch arriving;
            for (size_t i = 0; i < burst; ++i) {
                buf::Frame frame = w.buffers.received(w.datagram);
                frame.mark_checksums_good();
                arriving.push(std::move(frame));
            }
            w.stack.receive(0, arriving);
            while (!w.socket->queue.empty()) {
                Datagram got = w.stack.receive(*w.socket);
                ++read;
                if (!answers) continue;
                OutgoingDatagram back;
                back.destination = got.source;
                back.data = std::move(got.data);
                if (!w.stack.send(*w.socket, back)) std::abort();
            }
            w.turn();
        }
        expected += batch;
    });
    if (read != expected || w.sink.sent - sent != (answers ? expected : 0))
        state.SkipWithError("datagrams are lost");
}
BENCHMARK(datagram_in)->ArgName("answers")->Arg(0)->Arg(1);

}  // namespace
}  // namespace millrace
