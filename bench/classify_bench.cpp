// The first pass over a burst: lengths, addresses, checksums and the tuple of 64 frames.
#include <string>
#include <vector>

#include "frames.h"
#include "measured.h"
#include "stack/classify.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

constexpr size_t burst = 64;
constexpr wire::MacAddress our_mac{{2, 0, 0, 0, 0, 1}}, peer_mac{{2, 0, 0, 0, 0, 2}};

/// A segment with timestamps and so many bytes of payload.
std::vector<uint8_t> frame(uint16_t port, size_t payload) {
    wire::Segment header;
    header.source_port = port;
    header.destination_port = 80;
    header.flags = wire::TcpFlags::ack;
    header.options.has_timestamps = true;
    return bench::frame_of(
        {peer_mac, our_mac, Address::v4(10, 0, 0, 2), Address::v4(10, 0, 0, 1)}, header,
        std::string(payload, 'x'));
}

/// Counted by frame; its payload as given.
void classify_burst_of_64(benchmark::State& state) {
    ip::Interface interface;
    interface.mac = our_mac;
    interface.addresses = {{Address::v4(10, 0, 0, 1), 24}};
    const std::vector<ip::Interface> interfaces{interface};
    const ip::LocalAddresses addresses(interfaces, 1);
    const ip::Groups groups(0, 0, 1);
    observe::Counters counters;
    const stack::Classifier classifier(interfaces, addresses, groups, TableHash(1), counters);
    static buf::Pools pools = bench::make_pools(
        "classify",
        {.receive = 1024, .header = 256, .attach = 256, .payload = 256, .region = 256});
    std::vector<stack::Classified> frames(burst);
    for (size_t i = 0; i < burst; ++i)
        frames[i].frame = pools.received(
            frame(static_cast<uint16_t>(1024 + i), static_cast<size_t>(state.range(0))));
    in_batches(state, with_argument("classify_burst_of_64", state), [&] {
        for (size_t done = 0; done < batch; done += burst)
            for (stack::Classified& each : frames)
                classifier.classify(0, std::move(each.frame), each);
    });
    for (const stack::Classified& each : frames)
        if (each.kind != stack::Kind::tcp) state.SkipWithError("a frame was refused");
}
BENCHMARK(classify_burst_of_64)->Arg(0)->Arg(140)->Arg(1448);

}  // namespace
}  // namespace millrace
