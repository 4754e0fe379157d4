// The first pass over a burst: lengths, addresses, checksums and the tuple of 64 frames.
#include <cstdlib>
#include <vector>

#include <fmt/core.h>

#include "buf/pools.h"
#include "measured.h"
#include "stack/classify.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

constexpr size_t burst = 64;
constexpr wire::MacAddress our_mac{{2, 0, 0, 0, 0, 1}}, peer_mac{{2, 0, 0, 0, 0, 2}};

buf::Pools& pools() {
    static auto made = buf::Pools::create(
        "classify",
        {.receive = 1024, .header = 256, .attach = 256, .payload = 256, .region = 256});
    if (!made) {
        fmt::print(stderr, "{}\n", made.error().what);
        std::abort();
    }
    return *made;
}

/// A segment with timestamps and so many bytes of payload, over IPv4.
std::vector<uint8_t> frame(uint16_t port, size_t payload) {
    wire::Segment header;
    header.source_port = port;
    header.destination_port = 80;
    header.flags = wire::TcpFlags::ack;
    header.options.has_timestamps = true;
    constexpr size_t ip_at = wire::Ethernet::untagged_size;
    constexpr size_t tcp_at = ip_at + wire::Ip::v4_size;
    std::vector<uint8_t> bytes(tcp_at + header.emitted_size() + payload, 'x');
    header.emit(&bytes[tcp_at]);
    wire::Ip ip;
    ip.source = Address::v4(10, 0, 0, 2);
    ip.destination = Address::v4(10, 0, 0, 1);
    ip.protocol = wire::Protocol::tcp;
    ip.payload_size = static_cast<uint32_t>(bytes.size() - tcp_at);
    ip.emit(&bytes[ip_at], true);
    wire::Checksum sum;
    sum.add_pseudo_header(ip.source, ip.destination, 6, ip.payload_size);
    const uint16_t checksum = sum.add(&bytes[tcp_at], ip.payload_size).finish();
    std::memcpy(&bytes[tcp_at + wire::tcp_checksum_offset], &checksum, sizeof(checksum));
    wire::Ethernet ethernet;
    ethernet.destination = our_mac;
    ethernet.source = peer_mac;
    ethernet.type = wire::EtherType::ipv4;
    ethernet.emit(bytes.data());
    return bytes;
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
    std::vector<stack::Classified> frames(burst);
    for (size_t i = 0; i < burst; ++i)
        frames[i].frame = pools().received(
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
