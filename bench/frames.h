// What the micro-benchmarks that need frames share: pools, and segments as a peer sends them.
#pragma once

#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "buf/pools.h"
#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::bench {

/// A benchmark without its pools is none.
inline buf::Pools make_pools(const std::string& name, const buf::PoolSizes& sizes) {
    auto made = buf::Pools::create(name, sizes);
    if (!made) {
        fmt::print(stderr, "{}\n", made.error().what);
        std::abort();
    }
    return std::move(*made);
}

/// Who sends a frame over IPv4, and to whom.
struct Way {
    wire::MacAddress from_mac, to_mac;
    Address from, to;
};

/// A segment's frame, checksums included.
inline std::vector<uint8_t> frame_of(const Way& way, const wire::Segment& header,
                                     std::string_view payload) {
    constexpr size_t ip_at = wire::Ethernet::untagged_size;
    constexpr size_t tcp_at = ip_at + wire::Ip::v4_size;
    const size_t payload_at = tcp_at + header.emitted_size();
    std::vector<uint8_t> bytes(payload_at + payload.size());
    wire::Checksum sum;
    header.emit(&bytes[tcp_at], sum);
    std::memcpy(bytes.data() + payload_at, payload.data(), payload.size());
    sum.add(bytes.data() + payload_at, payload.size());
    wire::Ip ip;
    ip.source = way.from;
    ip.destination = way.to;
    ip.protocol = wire::Protocol::tcp;
    ip.payload_size = static_cast<uint32_t>(bytes.size() - tcp_at);
    ip.emit(&bytes[ip_at], true);
    sum.add_pseudo_header(ip.source, ip.destination, 6, ip.payload_size);
    const uint16_t checksum = sum.finish();
    std::memcpy(&bytes[tcp_at + wire::tcp_checksum_offset], &checksum, sizeof(checksum));
    wire::Ethernet ethernet;
    ethernet.destination = way.to_mac;
    ethernet.source = way.from_mac;
    ethernet.type = wire::EtherType::ipv4;
    ethernet.emit(bytes.data());
    return bytes;
}

}  // namespace millrace::bench
