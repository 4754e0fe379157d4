// Multicast groups: sockets join and leave, routers ask, this host answers.
#include <algorithm>
#include <cerrno>

#include "stack/stack.h"
#include "wire/membership.h"

namespace millrace::stack {

using observe::Drop;
using wire::Protocol;

InterfaceIndex Stack::interface_of(const Address& address) const {
    const auto own = addresses_.find(address);
    return own ? addresses_[*own].interface + InterfaceIndex{1} : 0;
}

Result<void> Stack::join(udp::Endpoint& e, const Address& group, InterfaceIndex interface) {
    if (!group.is_multicast()) return error(EINVAL);
    const auto on = group_interface(group, Address::any(group.family()), interface);
    if (!on) return error(ENODEV);
    const udp::Membership wanted{*on, group};
    if (std::ranges::find(e.groups, wanted) != e.groups.end()) return error(EADDRINUSE);
    if (e.groups.size() >= config_.ip.igmp_max_memberships) return error(ENOBUFS);
    bool first = false;
    if (!groups_.join(*on, group, env_.now, first)) return error(ENOBUFS);
    e.groups.push_back(wanted);
    if (first) tell_group(wanted, true);
    return {};
}

Result<void> Stack::leave(udp::Endpoint& e, const Address& group, InterfaceIndex interface) {
    const auto joined = std::ranges::find_if(e.groups, [&](const udp::Membership& membership) {
        return membership.group == group &&
               (interface == 0 || membership.interface + InterfaceIndex{1} == interface);
    });
    if (joined == e.groups.end()) return error(EADDRNOTAVAIL);
    const udp::Membership left = *joined;
    e.groups.erase(joined);
    leave_group(left);
    return {};
}

void Stack::leave_group(const udp::Membership& membership) {
    bool last = false;
    groups_.leave(membership.interface, membership.group, env_.now, last);
    if (last) tell_group(membership, false);
}

/// Frames of a group come to any core, and routers ask any.
void Stack::tell_group(const udp::Membership& membership, bool member) {
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_)
            host_.tell(core, GroupNews{membership.interface, membership.group, core_, member});
}

void Stack::on_igmp(Classified& in) {
    std::array<uint8_t, 12> bytes{};
    const size_t size = std::min<size_t>(in.ip.payload_size, bytes.size());
    in.frame.copy_out(in.upper_at, {bytes.data(), size});
    // Other hosts' reports are no business of a host that takes all sources.
    const auto query = wire::MembershipQuery::parse(Family::ipv4, {bytes.data(), size});
    if (!query) return counters_.drop(Drop::icmp_unhandled);
    if (in.ip.ttl != 1) return counters_.drop(Drop::igmp_malformed);
    on_query(in, *query);
}

/// RFC 3810 section 6.2: from a link-local address, one hop away.
void Stack::on_mld_query(Classified& in) {
    std::array<uint8_t, 28> bytes{};
    const size_t size = std::min<size_t>(in.ip.payload_size, bytes.size());
    in.frame.copy_out(in.upper_at, {bytes.data(), size});
    const auto query = wire::MembershipQuery::parse(Family::ipv6, {bytes.data(), size});
    if (!query || in.ip.ttl != 1 || !in.ip.source.is_link_local())
        return counters_.drop(Drop::igmp_malformed);
    on_query(in, *query);
}

/// The other cores may have to speak to an old router, too.
void Stack::on_query(const Classified& in, const wire::MembershipQuery& query) {
    const Family family = in.ip.source.family();
    groups_.on_query(in.interface, family, query, env_.now);
    if (!query.old) return;
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_) host_.tell(core, QuerierNews{in.interface, family});
}

void Stack::send_report(uint16_t interface, const wire::MembershipReport& report) {
    constexpr uint8_t internetwork_control = 0xc0;
    const Family family = report.group.family();
    const bool v4 = family == Family::ipv4;
    buf::Frame frame = pools_.control_frame();
    if (!frame) return counters_.drop(Drop::no_buffer);
    wire::Ip ip;
    ip.source = Address::any(family);
    for (const Prefix& prefix : interfaces_[interface].addresses)
        if (prefix.address.family() == family && (v4 || prefix.address.is_link_local()))
            ip.source = prefix.address;
    ip.destination = report.destination();
    ip.protocol = v4 ? Protocol::igmp : Protocol::icmpv6;
    ip.ttl = 1;
    ip.tos = v4 ? internetwork_control : 0;
    std::array<uint8_t, wire::MembershipReport::size_max> message;
    ip.payload_size = static_cast<uint32_t>(report.emit(message.data()));
    std::memcpy(frame.put(ip.payload_size), message.data(), ip.payload_size);
    put_transport_checksum(frame, ip, wire::MembershipReport::checksum_offset, false);
    const size_t option = wire::RouterAlert::size_for(family);
    wire::RouterAlert::emit(family, frame.push(option));
    if (v4) {
        ip.emit_v4_with_options(frame.push(wire::Ip::v4_size), option);
    } else {
        ip.protocol = Protocol::hop_by_hop;
        ip.payload_size += static_cast<uint32_t>(option);
        ip.emit(frame.push(wire::Ip::v6_size), true);
    }
    put_ethernet(frame, interfaces_[interface],
                 v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6, group_mac(ip.destination));
    output(interface, std::move(frame));
}

}  // namespace millrace::stack
