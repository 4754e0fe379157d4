#include "stack/classify.h"

#include <array>

#include "wire/checksum.h"
#include "wire/common.h"
#include "wire/udp.h"

namespace millrace::stack {

using buf::HardwareChecksum;
using observe::Drop;

namespace {

// Ethernet, IP with everything that is walked, and TCP: what is looked at before payload.
constexpr size_t headers_max = wire::Ethernet::tagged_size + wire::Ip::max_header_size +
                               wire::Segment::max_header_size;

Drop reason_of(wire::IpError error) {
    switch (error) {
        case wire::IpError::truncated: return Drop::ip_truncated;
        case wire::IpError::bad_version: return Drop::ip_bad_version;
        case wire::IpError::bad_length: return Drop::ip_bad_length;
        case wire::IpError::bad_checksum: return Drop::ip_bad_checksum;
        case wire::IpError::bad_extension: return Drop::ip_bad_extension;
        case wire::IpError::mapped_address: return Drop::ip_bad_source;
    }
    return Drop::ip_bad_length;
}

Drop reason_of(wire::TcpError error) {
    switch (error) {
        case wire::TcpError::truncated: return Drop::tcp_truncated;
        case wire::TcpError::bad_data_offset: return Drop::tcp_bad_data_offset;
        case wire::TcpError::bad_option: return Drop::tcp_bad_option;
    }
    return Drop::tcp_truncated;
}

/// The frame's first bytes, contiguous: its first buffer where that holds the headers, else a copy
/// (a frame may be cut into buffers at any byte).
class Headers {
public:
    explicit Headers(const buf::Frame& frame) {
        bytes_ = frame.head();
        if (frame.buffers() == 1 || bytes_.size() >= headers_max) return;
        const size_t size = std::min(frame.size(), headers_max);
        frame.copy_out(0, {copy_.data(), size});
        bytes_ = {copy_.data(), size};
    }
    std::span<const uint8_t> from(size_t offset) const {
        return bytes_.subspan(std::min(offset, bytes_.size()));
    }

private:
    std::span<const uint8_t> bytes_;
    std::array<uint8_t, headers_max> copy_;  // only filled for frames in pieces
};

/// Control bits that no state accepts (attack case 9).
bool impossible_flags(const wire::Segment& segment) {
    if (segment.syn() && (segment.fin() || segment.rst())) return true;
    return segment.fin() && !segment.has_ack();
}

/// RFC 3168 section 5; Linux's IpExt counters.
void count_ecn(observe::Counters& counters, uint8_t tos) {
    switch (tos & 3) {
        case 0: ++counters.ip_in_no_ect_pkts; return;
        case 1: ++counters.ip_in_ect1_pkts; return;
        case 2: ++counters.ip_in_ect0_pkts; return;
        default: ++counters.ip_in_ce_pkts;
    }
}

}  // namespace

void Classifier::drop(Classified& out, Drop reason) const {
    counters_.drop(reason);
    out.kind = Kind::dropped;
    out.frame = {};
}

/// Elsewhere than here, and nobody's group: where a frame from a link may come from.
bool Classifier::is_possible_peer(const Address& source) const {
    return !addresses_.find(source) && !addresses_.is_group(source) && !source.is_loopback() &&
           !source.is_unspecified();
}

/// What nearly every frame is, straight on: a segment of one peer to one of our addresses. False:
/// `classify` goes the long way, which says the same of such frames, and counts what is wrong.
bool Classifier::classify_common(Classified& out) const {
    const ip::Interface& in = interfaces_[out.interface];
    const auto head = out.frame.head();
    const HardwareChecksum hardware = out.frame.ip_checksum();
    if (in.loopback || in.vlan != 0 || hardware == HardwareChecksum::bad ||
        !wire::parse_common(head, out.frame.size(), hardware == HardwareChecksum::unknown, out.ip,
                            out.segment) ||
        std::memcmp(head.data(), in.mac.bytes.data(), sizeof(in.mac.bytes)) != 0 ||
        (out.segment.fin() && !out.segment.has_ack()) || !is_possible_peer(out.ip.source))
        return false;
    const auto local = addresses_.find(out.ip.destination);
    if (!local || addresses_[*local].is_group) return false;
    out.ip_at = wire::Ethernet::untagged_size;
    out.upper_at = out.ip_at + wire::Ip::v4_size;
    const bool good = transport_checksum_ok(out);

    out.link_group = out.to_group = false;
    std::memcpy(out.source_mac.bytes.data(), head.data() + out.source_mac.bytes.size(),
                out.source_mac.bytes.size());
    out.frame.trim_to(out.upper_at + out.ip.payload_size);
    out.segment.ecn = out.ip.tos & 3;
    out.segment.dscp = out.ip.tos >> 2;
    count_ecn(counters_, out.ip.tos);
    ++counters_.tcp_in_segs;
    if (!good) {
        drop(out, Drop::tcp_bad_checksum);
        return true;
    }
    out.key.local = *local;
    out.payload_at = static_cast<uint16_t>(out.upper_at + out.segment.header_size);
    set_key(out, 0, out.segment.source_port, out.segment.destination_port);
    out.kind = Kind::tcp;
    return true;
}

void Classifier::classify(uint16_t interface, buf::Frame frame, Classified& out) const {
    out.frame = std::move(frame);
    out.interface = interface;
    out.flow = nullptr;
    if (classify_common(out)) return;
    const ip::Interface& in = interfaces_[interface];
    const Headers headers(out.frame);
    const auto ethernet = wire::Ethernet::parse(headers.from(0));
    if (!ethernet) return drop(out, Drop::ethernet_truncated);
    if (ethernet->vlan != in.vlan) return drop(out, Drop::vlan_mismatch);
    if (!in.loopback && ethernet->destination != in.mac && !ethernet->destination.is_multicast())
        return drop(out, Drop::ethernet_other_destination);
    out.link_group = ethernet->destination.is_multicast();
    out.source_mac = ethernet->source;
    out.ip_at = ethernet->size;
    switch (ethernet->type) {
        case wire::EtherType::arp: out.kind = Kind::arp; return;
        case wire::EtherType::ipv4:
        case wire::EtherType::ipv6: break;
        default: return drop(out, Drop::ethernet_unknown_type);
    }
    const auto at_ip = headers.from(out.ip_at);
    const int version = ethernet->type == wire::EtherType::ipv4 ? 4 : 6;
    if (!at_ip.empty() && at_ip[0] >> 4 != version) return drop(out, Drop::ip_bad_version);
    classify_ip(out);
}

void Classifier::classify_ip(Classified& out) const {
    const Headers headers(out.frame);
    const HardwareChecksum hardware = out.frame.ip_checksum();
    if (hardware == HardwareChecksum::bad) return drop(out, Drop::ip_bad_checksum);
    if (const auto wrong = wire::Ip::parse_into(out.ip, headers.from(out.ip_at),
                                                out.frame.size() - out.ip_at,
                                                hardware == HardwareChecksum::unknown))
        return drop(out, reason_of(*wrong));
    const wire::Ip& ip = out.ip;
    count_ecn(counters_, ip.tos);
    out.upper_at = static_cast<uint16_t>(out.ip_at + ip.header_size);
    if (!check_addresses(out)) return;
    // Ethernet pads short frames; what follows the datagram is not part of it.
    out.frame.trim_to(out.upper_at + ip.payload_size);
    if (ip.is_fragment()) {
        out.kind = Kind::fragment;
        return;
    }
    switch (ip.protocol) {
        case wire::Protocol::tcp: return classify_tcp(out, headers.from(out.upper_at));
        case wire::Protocol::udp: return classify_udp(out, headers.from(out.upper_at));
        case wire::Protocol::igmp: return classify_igmp(out);
        case wire::Protocol::icmp:
        case wire::Protocol::icmpv6: return classify_icmp(out);
        default: return drop(out, Drop::ip_unknown_protocol);
    }
}

/// An unspecified source is legal for duplicate address detection, which needs no answer from us
/// beyond what a solicitation for our address gets anyway; for who asks for an address (DHCP); and
/// for a switch that asks for members of groups.
bool Classifier::may_be_anonymous(const Classified& out) {
    switch (out.ip.protocol) {
        case wire::Protocol::icmpv6:
        case wire::Protocol::igmp: return true;
        case wire::Protocol::udp: return out.ip.destination.is_limited_broadcast();
        default: return false;
    }
}

/// Source and destination must be possible; fills in the local half of the key.
bool Classifier::check_addresses(Classified& out) const {
    const Address& source = out.ip.source;
    const bool loopback = interfaces_[out.interface].loopback;
    const bool own_source = addresses_.find(source).has_value();
    if (addresses_.is_group(source) || own_source != loopback ||
        (source.is_loopback() && !loopback) ||
        (source.is_unspecified() && !may_be_anonymous(out))) {
        drop(out, Drop::ip_bad_source);
        return false;
    }
    out.to_group = false;
    if (const auto local = addresses_.find(out.ip.destination)) {
        out.key.local = *local;
        return true;
    }
    out.to_group = true;
    if (addresses_.is_our_solicited_node(out.ip.destination)) return true;
    const bool group = addresses_.is_group(out.ip.destination);
    if (group && takes_group(out)) return true;
    if (group && out.ip.protocol == wire::Protocol::tcp)
        drop(out, Drop::tcp_broadcast);
    else
        drop(out, Drop::ip_not_for_us);
    return false;
}

/// Datagrams to groups that this host is in, and routers' questions about them.
bool Classifier::takes_group(const Classified& out) const {
    static constexpr std::array<uint8_t, 16> all_nodes{0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                       0,    0,    0, 0, 0, 0, 0, 1};
    const Address& group = out.ip.destination;
    switch (out.ip.protocol) {
        case wire::Protocol::udp:
        case wire::Protocol::igmp:
        case wire::Protocol::icmpv6: break;
        default: return false;
    }
    if (!group.is_multicast()) return out.ip.protocol == wire::Protocol::udp;  // broadcast
    if (group == Address::v4(224, 0, 0, 1) || group.bytes() == all_nodes) return true;
    // RFC 4291 section 2.7: what is for one host never comes from a link.
    if (!group.is_v4() && wire::stays_on_host(group) && !interfaces_[out.interface].loopback)
        return false;
    return groups_.has(out.interface, group);
}

bool Classifier::transport_checksum_ok(const Classified& out) const {
    switch (out.frame.transport_checksum()) {
        case HardwareChecksum::good: return true;
        case HardwareChecksum::bad: return false;
        case HardwareChecksum::unknown: break;
    }
    wire::Checksum sum;
    if (out.ip.protocol != wire::Protocol::icmp && out.ip.protocol != wire::Protocol::igmp)
        sum.add_pseudo_header(out.ip.source, out.ip.destination,
                              static_cast<uint8_t>(out.ip.protocol), out.ip.payload_size);
    out.frame.for_each_piece(
        out.upper_at, out.ip.payload_size,
        [&](size_t at, const uint8_t* data, size_t size) { sum.add_at(at, data, size); });
    return sum.is_valid();
}

void Classifier::classify_tcp(Classified& out, std::span<const uint8_t> bytes) const {
    ++counters_.tcp_in_segs;
    // Nor in a frame that went to many: Linux, RFC 1122 section 3.3.6.
    if (addresses_.is_group(out.ip.destination) || out.link_group)
        return drop(out, Drop::tcp_broadcast);
    const auto visible = bytes.first(std::min<size_t>(bytes.size(), out.ip.payload_size));
    if (const auto wrong =
            wire::Segment::parse_into(out.segment, visible, out.ip.payload_size))
        return drop(out, reason_of(*wrong));
    if (!transport_checksum_ok(out)) return drop(out, Drop::tcp_bad_checksum);
    if (impossible_flags(out.segment)) return drop(out, Drop::tcp_bad_flags);
    out.segment.ecn = out.ip.tos & 3;
    out.segment.dscp = out.ip.tos >> 2;
    out.payload_at = static_cast<uint16_t>(out.upper_at + out.segment.header_size);
    set_key(out, 0, out.segment.source_port, out.segment.destination_port);
    out.kind = Kind::tcp;
}

void Classifier::set_key(Classified& out, uint16_t protocol, uint16_t source_port,
                         uint16_t destination_port) const {
    out.key.remote = out.ip.source;
    out.key.remote_port = source_port;
    out.key.local_port = destination_port;
    out.key.protocol = protocol;
    if (out.to_group) out.key.local = UINT16_MAX;  // no index
    out.hash = hash_(out.key);
}

void Classifier::classify_udp(Classified& out, std::span<const uint8_t> bytes) const {
    const auto udp = wire::Udp::parse(bytes, out.ip.payload_size);
    if (!udp) {
        ++counters_.udp_in_errors;
        return drop(out, Drop::udp_malformed);
    }
    // IP may carry more than the datagram, which alone is summed.
    out.ip.payload_size = udp->length;
    out.frame.trim_to(out.upper_at + size_t{udp->length});
    // Without a checksum a datagram is legal in IPv4 only (RFC 8200 section 8.1).
    if (udp->has_checksum ? !transport_checksum_ok(out) : !out.ip.source.is_v4()) {
        ++counters_.udp_in_errors;
        ++counters_.udp_in_csum_errors;
        return drop(out, Drop::udp_bad_checksum);
    }
    out.payload_at = static_cast<uint16_t>(out.upper_at + wire::Udp::size);
    set_key(out, static_cast<uint16_t>(wire::Protocol::udp), udp->source_port,
            udp->destination_port);
    out.kind = Kind::udp;
}

void Classifier::classify_igmp(Classified& out) const {
    if (!out.ip.source.is_v4()) return drop(out, Drop::ip_unknown_protocol);
    if (out.ip.payload_size < 8 || !transport_checksum_ok(out))
        return drop(out, Drop::igmp_malformed);
    out.kind = Kind::igmp;
}

void Classifier::classify_icmp(Classified& out) const {
    const bool v4 = out.ip.protocol == wire::Protocol::icmp;
    if (v4 != out.ip.source.is_v4() || out.ip.payload_size < wire::Icmp::size ||
        !transport_checksum_ok(out))
        return drop(out, Drop::icmp_malformed);
    out.kind = Kind::icmp;
}

}  // namespace millrace::stack
