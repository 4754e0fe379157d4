// Headers in front of payload, and the way out of the stack.
#include <cerrno>
#include <cstring>

#include "stack/stack.h"
#include "wire/checksum.h"

namespace millrace::stack {

using observe::Drop;

namespace {

/// The link address to which an answer may go though its next hop's is not known yet: a program
/// that has just been started owes a thousand peers a reset, and few frames may wait for ARP.
const wire::MacAddress* link_back(const Classified* answered, const ip::NextHop& hop,
                                  const ip::Neighbour* neighbour) {
    if (answered == nullptr || neighbour == nullptr || neighbour->usable()) return nullptr;
    return hop.interface == answered->interface ? &answered->source_mac : nullptr;
}

}  // namespace

/// One segment: `frame` holds its payload (or nothing). `cached` remembers the next hop from one
/// segment of a connection to the next. False where it could not be sent for want of a buffer.
bool Stack::emit(const Outgoing& way, const wire::Segment& header, buf::Frame frame,
                 ip::NeighbourRef* cached) {
    if (!frame) {
        counters_.drop(Drop::no_buffer);
        return false;
    }
    ip::NextHop hop;
    ip::Neighbour* neighbour = next_hop(way.destination, cached, hop);
    const ip::Interface& out = interfaces_[hop.interface];
    if (neighbour == nullptr && !out.loopback) {
        counters_.drop(Drop::no_route);
        return true;  // as if it had been lost: there is nothing to wait for
    }
    const size_t header_size = header.emitted_size();
    wire::Checksum sum;
    header.emit(frame.push(header_size), sum);
    wire::Ip ip;
    ip.source = way.source;
    ip.destination = way.destination;
    ip.protocol = wire::Protocol::tcp;
    ip.ttl = way.ttl != 0 ? way.ttl : static_cast<uint8_t>(config_.ip.ip_default_ttl);
    ip.tos = way.tos;
    ip.flow_label = flow_label(way, header);
    ip.payload_size = static_cast<uint32_t>(frame.size());
    put_transport_checksum(frame, ip, wire::tcp_checksum_offset, out.offloads.tcp_checksum,
                           header_size, sum);
    ++counters_.tcp_out_segs;
    emit_datagram(ip, std::move(frame), hop, neighbour, link_back(way.answered, hop, neighbour));
    return true;
}

Result<void> Stack::send_raw(const Address& source, const Address& destination,
                             const wire::Segment& header) {
    if (host_.congested()) return error(EAGAIN);
    if (!routes_.find(destination)) return error(ENETUNREACH);
    if (!emit({source, destination}, header, pools_.frame(), nullptr)) return error(ENOBUFS);
    return {};
}

/// One label for all segments of a tuple, those included that no connection sends.
uint32_t Stack::flow_label(const Outgoing& way, const wire::Segment& header) const {
    if (way.source.is_v4()) return 0;
    if (way.flow_label) return *way.flow_label;
    const tcp::FlowKey key{way.destination, header.destination_port, header.source_port, 0, 0};
    return env_.isn.flow_label(key, way.source);
}

/// `frame` starts at the upper layer's header, its checksum field (at `field`) zero; the first
/// `summed` bytes, an even number, are in `sum` already.
void Stack::put_transport_checksum(buf::Frame& frame, const wire::Ip& ip, size_t field,
                                   bool offload, size_t summed, wire::Checksum sum) {
    wire::Checksum pseudo;
    if (ip.protocol != wire::Protocol::icmp && ip.protocol != wire::Protocol::igmp)
        pseudo.add_pseudo_header(ip.source, ip.destination, static_cast<uint8_t>(ip.protocol),
                                 ip.payload_size);
    if (offload) {  // the port goes on from the pseudo-header's sum
        const uint16_t start = pseudo.folded();
        std::memcpy(frame.head().data() + field, &start, sizeof(start));
        return;
    }
    sum.add(pseudo);
    frame.for_each_piece(summed, frame.size() - summed,
                         [&](size_t at, const uint8_t* data, size_t size) {
                             sum.add_at(at, data, size);
                         });
    uint16_t checksum = sum.finish();
    // RFC 768: a sum of 0 goes as its other form, since 0 says that there is none.
    if (checksum == 0 && ip.protocol == wire::Protocol::udp) checksum = 0xffff;
    std::memcpy(frame.head().data() + field, &checksum, sizeof(checksum));
}

/// Null for our own addresses (`hop` names the loopback then) and where there is no way.
ip::Neighbour* Stack::next_hop(const Address& destination, ip::NeighbourRef* cached,
                               ip::NextHop& hop) {
    if (cached != nullptr) {
        if (ip::Neighbour* known = neighbours_.resolve(*cached)) {
            hop.interface = known->interface;
            known->wanted = true;
            return known;
        }
    }
    const auto route = routes_.find(destination);
    if (!route) return nullptr;
    hop = *route;
    if (interfaces_[hop.interface].loopback) return nullptr;
    ip::Neighbour* neighbour = neighbours_.get(hop.interface, hop.address, env_.now);
    if (neighbour != nullptr && cached != nullptr) {
        *cached = neighbours_.reference(*neighbour);
        neighbour->wanted = true;
    }
    return neighbour;
}

wire::MacAddress Stack::group_mac(const Address& group) {
    return group.is_multicast() ? wire::multicast_mac(group) : wire::MacAddress::broadcast();
}

/// `frame` starts at the upper layer's header; of an IPv6 fragment, at its fragment header. No
/// `neighbour`: it goes to a group, or to ourselves. `direct`: the link address, where it is not
/// the neighbour's.
void Stack::emit_datagram(const wire::Ip& ip, buf::Frame frame, const ip::NextHop& hop,
                          ip::Neighbour* neighbour, const wire::MacAddress* direct) {
    const ip::Interface& out = interfaces_[hop.interface];
    const bool v4 = ip.source.is_v4();
    const size_t ip_size = wire::Ip::size_for(ip.source.family());
    ip.emit(frame.push(ip_size), !out.offloads.ipv4_checksum);
    put_ethernet(frame, out, v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6,
                 neighbour == nullptr && !out.loopback ? group_mac(ip.destination)
                                                       : wire::MacAddress());
    if (out.loopback) {
        frame.mark_checksums_good();
        loopback_.push_back(std::move(frame));
        return;
    }
    const bool tcp = ip.protocol == wire::Protocol::tcp && out.offloads.tcp_checksum;
    const bool udp = ip.protocol == wire::Protocol::udp && out.offloads.udp_checksum &&
                     !ip.is_fragment();
    if (tcp || udp || (v4 && out.offloads.ipv4_checksum))
        frame.offload_checksums({.link_size = static_cast<uint16_t>(
                                     wire::Ethernet::size_for(out.vlan)),
                                 .network_size = static_cast<uint16_t>(ip_size),
                                 .ipv4_header = v4 && out.offloads.ipv4_checksum,
                                 .ipv6 = !v4,
                                 .tcp = tcp,
                                 .udp = udp});
    if (neighbour == nullptr) return output(hop.interface, std::move(frame));
    if (direct != nullptr) {
        std::memcpy(frame.head().data(), direct->bytes.data(), direct->bytes.size());
        return output(hop.interface, std::move(frame));
    }
    neighbours_.send(*neighbour, std::move(frame), env_.now);
}

void Stack::put_ethernet(buf::Frame& frame, const ip::Interface& out, wire::EtherType type,
                         const wire::MacAddress& to) {
    wire::Ethernet header;
    header.destination = to;
    header.source = out.mac;
    header.type = type;
    header.vlan = out.vlan;
    header.emit(frame.push(wire::Ethernet::size_for(out.vlan)));
}

void Stack::output(uint16_t interface, buf::Frame frame) {
    buf::FrameBatch& batch = *outputs_[interface];
    ++counters_.frames_out;
    to_be_flushed_ = true;
    batch.push(std::move(frame));
    if (batch.full()) host_.transmit(interface, batch);
}

void Stack::flush() {
    to_be_flushed_ = false;
    for (uint16_t i = 0; i < outputs_.size(); ++i)
        if (!outputs_[i]->empty()) host_.transmit(i, *outputs_[i]);
}

}  // namespace millrace::stack
