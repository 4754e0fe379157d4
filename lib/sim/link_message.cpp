#include "sim/link_message.h"

#include <cstring>

#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ip.h"

namespace millrace::sim {

namespace {

constexpr size_t link_size = wire::Ethernet::untagged_size;
constexpr size_t icmp_at = link_size + wire::Ip::v6_size;

std::vector<uint8_t> arp_message(const Station& from, const Station& to, bool answer) {
    std::vector<uint8_t> frame(link_size + wire::Arp::size);
    wire::Ethernet ethernet;
    ethernet.source = from.mac;
    ethernet.destination = wire::MacAddress::broadcast();
    ethernet.type = wire::EtherType::arp;
    ethernet.emit(frame.data());
    using Operation = wire::Arp::Operation;
    const wire::Arp arp{answer ? Operation::reply : Operation::request, from.mac, from.address,
                        to.mac, to.address};
    arp.emit(&frame[link_size]);
    return frame;
}

}  // namespace

std::vector<uint8_t> link_message(const Station& from, const Station& to, bool answer) {
    if (from.address.is_v4()) return arp_message(from, to, answer);
    std::vector<uint8_t> frame(icmp_at + wire::Ndp::size_with_option);
    const Address group = answer ? to.address : wire::solicited_node(to.address);
    wire::Ethernet ethernet;
    ethernet.source = from.mac;
    ethernet.destination = answer ? to.mac : wire::multicast_mac(group);
    ethernet.type = wire::EtherType::ipv6;
    ethernet.emit(frame.data());
    wire::Ip ip;
    ip.source = from.address;
    ip.destination = group;
    ip.protocol = wire::Protocol::icmpv6;
    ip.ttl = wire::Ndp::hop_limit;
    ip.payload_size = wire::Ndp::size_with_option;
    ip.emit(&frame[link_size], true);
    wire::Ndp ndp;
    ndp.target = answer ? from.address : to.address;
    ndp.is_advertisement = answer;
    ndp.flags = answer ? wire::Ndp::flag_solicited : 0;
    ndp.link_address = from.mac;
    ndp.emit(&frame[icmp_at]);
    wire::Checksum sum;
    sum.add_pseudo_header(ip.source, ip.destination, static_cast<uint8_t>(ip.protocol),
                          ip.payload_size)
        .add(&frame[icmp_at], ip.payload_size);
    const uint16_t checksum = sum.finish();
    std::memcpy(&frame[icmp_at + 2], &checksum, sizeof(checksum));
    return frame;
}

std::optional<LinkMessage> parse_link_message(std::span<const uint8_t> frame) {
    const auto ethernet = wire::Ethernet::parse(frame);
    if (!ethernet) return std::nullopt;
    const auto packet = frame.subspan(ethernet->size);
    if (ethernet->type == wire::EtherType::arp) {
        const auto arp = wire::Arp::parse(packet);
        if (!arp) return std::nullopt;
        const bool question = arp->operation == wire::Arp::Operation::request;
        return LinkMessage{question, arp->sender, question ? arp->target : arp->sender};
    }
    if (ethernet->type != wire::EtherType::ipv6) return std::nullopt;
    const auto ip = wire::Ip::parse(packet, packet.size(), false);
    if (!ip || ip->protocol != wire::Protocol::icmpv6 || ip->is_fragment()) return std::nullopt;
    const auto message = packet.subspan(ip->header_size);
    if (message.empty() || (message[0] != wire::icmp6::neighbour_solicitation &&
                            message[0] != wire::icmp6::neighbour_advertisement))
        return std::nullopt;
    const auto ndp = wire::Ndp::parse(message);
    if (!ndp) return std::nullopt;
    return LinkMessage{!ndp->is_advertisement, ip->source, ndp->target};
}

}  // namespace millrace::sim
