// What a flood costs: a SYN that is answered by a cookie, an ACK that brings one back or lies.
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/pool.h"
#include "frames.h"
#include "measured.h"
#include "tcp/syn_cookies.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

struct NoNeighbours final : ip::NeighbourActions {
    void solicit(const ip::Neighbour&, bool) override {}
    void forward(uint16_t, buf::Frame) override {}
    void unreachable(const ip::Neighbour&) override {}
};

/// A core's tunables, clock and secrets, and pools with nothing in them: cookies need no more.
struct World {
    Config config;
    observe::Counters counters;
    time::Wheel wheel{Instant()};
    NoNeighbours actions;
    buf::Pools buffers = bench::make_pools(
        "cookies",
        {.receive = 256, .header = 256, .attach = 256, .payload = 256, .region = 256});
    ip::Neighbours neighbours{config.ip, 1, wheel, counters, actions, tcp::timer_neighbour};
    tcp::Reassembly::Ranges ranges{0};
    Pool<tcp::Reassembly> reassemblies{0};
    Pool<tcp::ReceiveTuning> tunings{0};
    Pool<tcp::Sending> sendings{0};
    Pool<tcp::Receiving> receivings{0};
    Pool<tcp::Settings> settings{0};
    tcp::SentRanges::Ranges sent_ranges{0};
    Pool<tcp::AckSnapshot> snapshots{0};
    Pool<congestion::Bbr> bbrs{0};
    Pool<tcp::MtuProbing> mtu_probings{0};
    observe::Recorder recorder{1024, 0};
    tcp::Env env{.now = Instant::from_ns(1'000'000'000'000),
                 .recorder = recorder,
                 .tunables = config.tcp,
                 .counters = counters,
                 .wheel = wheel,
                 .neighbours = neighbours,
                 .buffers = buffers,
                 .ranges = ranges,
                 .reassemblies = reassemblies,
                 .tunings = tunings,
                 .sendings = sendings,
                 .receivings = receivings,
                 .settings = settings,
                 .sent_ranges = sent_ranges,
                 .snapshots = snapshots,
                 .bbrs = bbrs,
                 .mtu_probings = mtu_probings,
                 .isn = tcp::IsnGenerator(tcp::Secrets::from_system()),
                 .reassembling = {},
                 .dirty = {},
                 .ready = {},
                 .starved = {}};
    tcp::Listener listener;
    const uint32_t local_bits = 0x0100000a;
    const Address local = Address::v4(&local_bits);

    tcp::FlowKey key(uint64_t i) const {
        tcp::FlowKey made;
        made.remote = Address::v4(&i);
        made.remote_port = 40000;
        made.local_port = 80;
        return made;
    }
    static wire::Segment syn() {
        wire::Segment segment;
        segment.flags = wire::TcpFlags::syn;
        segment.options.mss = 1460;
        segment.options.has_timestamps = true;
        segment.options.sack_permitted = true;
        return segment;
    }
};

/// Made once, and left to the end of the process with the pools' memory.
World& world() {
    static World& made = *new World;
    return made;
}

void cookie_make(benchmark::State& state) {
    World& w = world();
    uint64_t source = 0;
    in_batches(state, "cookie_make", [&] {
        for (size_t i = 0; i < batch; ++i) {
            tcp::HalfOpen entry(w.key(++source), w.listener);
            benchmark::DoNotOptimize(
                tcp::cookie_syn_ack(w.env, entry, World::syn(), w.local, 1460));
        }
    });
}
BENCHMARK(cookie_make);

void cookie_check(benchmark::State& state) {
    World& w = world();
    std::vector<wire::Segment> acks(batch);
    for (size_t i = 0; i < batch; ++i) {
        tcp::HalfOpen entry(w.key(i), w.listener);
        const auto answer = tcp::cookie_syn_ack(w.env, entry, World::syn(), w.local, 1460);
        acks[i].flags = wire::TcpFlags::ack;
        acks[i].seq = World::syn().seq + 1;
        acks[i].ack = answer->seq + (state.range(0) != 0 ? 1 : 1000);
        acks[i].options.has_timestamps = true;
        acks[i].options.ts_echo = answer->options.ts_value;
    }
    size_t good = 0, checked = 0;
    in_batches(state, with_argument("cookie_check", state), [&] {
        for (size_t i = 0; i < batch; ++i, ++checked) {
            tcp::HalfOpen entry(w.key(i), w.listener);
            good += tcp::restore_from_cookie(w.env, entry, acks[i], w.local);
        }
    });
    if (good != (state.range(0) != 0 ? checked : 0)) state.SkipWithError("cookies are misjudged");
}
BENCHMARK(cookie_check)->ArgName("true")->Arg(1)->Arg(0);

}  // namespace
}  // namespace millrace
