// ICMP errors for wire scripts: what a router on the way would send.
#pragma once

#include "script.h"

#include "wire/checksum.h"
#include "wire/icmp.h"

namespace millrace::testing {

struct IcmpError {
    uint8_t type = 0;
    uint8_t code = 0;
    uint32_t rest = 0;       ///< the four bytes that the type explains; the next hop's MTU
    int32_t offset = 0;      ///< of the quoted segment from SND.UNA
    uint32_t quoted = 1500;  ///< total length in the quoted IP header
    uint16_t port = 0;       ///< another remote port than the connection's in the quotation
};

/// From 10.0.0.254 (fd00::fe) to the stack, quoting a segment of the script's connection.
inline void inject_icmp(Script& s, const IcmpError& error) {
    const tcp::Connection& c = s.tcb();
    const bool v4 = s.local().is_v4();
    const size_t ip_size = s.ip_header_size();
    const size_t icmp_size = wire::Icmp::size + ip_size + 8;
    // The Ethernet header of any frame from the wire will do.
    std::vector<uint8_t> bytes = s.frame(A(1, 1));
    bytes.resize(14 + ip_size + icmp_size);
    wire::Ip ip;
    ip.source = v4 ? Address::v4(10, 0, 0, 254) : *Address::parse("fd00::fe");
    ip.destination = s.local();
    ip.protocol = v4 ? wire::Protocol::icmp : wire::Protocol::icmpv6;
    ip.payload_size = static_cast<uint32_t>(icmp_size);
    ip.emit(&bytes[14], true);
    uint8_t* at = &bytes[14 + ip_size];
    wire::Icmp{error.type, error.code, error.rest}.emit(at);
    wire::Ip quoted;
    quoted.source = s.local();
    quoted.destination = s.peer();
    quoted.protocol = wire::Protocol::tcp;
    quoted.payload_size = error.quoted - static_cast<uint32_t>(ip_size);
    quoted.emit(at + wire::Icmp::size, true);
    uint8_t* header = at + wire::Icmp::size + ip_size;
    wire::store16(header, c.key.local_port);
    wire::store16(header + 2, error.port != 0 ? error.port : c.key.remote_port);
    wire::store32(header + 4, c.snd_una.value() + static_cast<uint32_t>(error.offset));
    wire::Checksum sum;
    if (!v4) sum.add_pseudo_header(ip.source, ip.destination, 58, ip.payload_size);
    const uint16_t checksum = sum.add(at, icmp_size).finish();
    std::memcpy(at + wire::Icmp::checksum_offset, &checksum, 2);
    s.inject_raw(bytes);
}

/// "Fragmentation needed" or "packet too big", of the oldest segment in flight.
inline IcmpError too_big(Family family, uint32_t mtu) {
    if (family == Family::ipv4)
        return {wire::icmp4::destination_unreachable, wire::icmp4::code_fragmentation_needed, mtu};
    return {wire::icmp6::packet_too_big, 0, mtu};
}

}  // namespace millrace::testing
