// UDP: a datagram's way out, in fragments where it must be.
#include <algorithm>
#include <cerrno>

#include "stack/stack.h"
#include "wire/checksum.h"
#include "wire/udp.h"

namespace millrace::stack {

using observe::Drop;
using wire::Protocol;

namespace {

constexpr size_t checksum_at = 6;  // in the UDP header
constexpr size_t payload_max = 65535 - wire::Udp::size;

bool may_be_cut(PathMtuDiscovery how) {
    return how == PathMtuDiscovery::dont || how == PathMtuDiscovery::want ||
           how == PathMtuDiscovery::omit;
}

/// ICMP's word on the path counts.
bool heeds_path_mtu(PathMtuDiscovery how) {
    return how == PathMtuDiscovery::want || how == PathMtuDiscovery::always ||
           how == PathMtuDiscovery::dont;
}

/// It goes with DF where it goes in one piece.
bool forbids_cutting(PathMtuDiscovery how) {
    return how == PathMtuDiscovery::want || how == PathMtuDiscovery::always ||
           how == PathMtuDiscovery::probe;
}

}  // namespace

/// RFC 6724 rule 2, in short: a link-local one for what stays on the link, else another.
std::optional<Address> Stack::address_on(uint16_t interface, const Address& destination) const {
    constexpr uint8_t link_local = 2;
    const bool on_link = destination.is_link_local() ||
                         (!destination.is_v4() && destination.is_multicast() &&
                          (destination.bytes()[1] & 0x0f) <= link_local);
    std::optional<Address> best;
    for (const Prefix& prefix : interfaces_[interface].addresses) {
        if (prefix.address.family() != destination.family()) continue;
        const bool fits = prefix.address.is_link_local() == on_link;
        if (!best || (fits && best->is_link_local() != on_link)) best = prefix.address;
    }
    return best;
}

/// By which interface a group is reached: the one that was named, the one of the broadcast address
/// or of the source, or the one that a route names.
std::optional<uint16_t> Stack::group_interface(const Address& group, const Address& source,
                                               InterfaceIndex index) const {
    if (index > interfaces_.size()) return std::nullopt;
    if (index != 0) return static_cast<uint16_t>(index - 1);
    for (size_t i = 0; i < interfaces_.size(); ++i)
        for (const Prefix& prefix : interfaces_[i].addresses)
            if (!group.is_multicast() && prefix.broadcast() == group)
                return static_cast<uint16_t>(i);
    if (const auto own = addresses_.find(source)) return addresses_[*own].interface;
    if (const auto hop = routes_.find(group)) return hop->interface;
    // Linux has a route for groups of IPv6 on each interface, and none for those of IPv4.
    for (size_t i = 0; i < interfaces_.size() && !group.is_v4(); ++i)
        if (address_on(static_cast<uint16_t>(i), group)) return static_cast<uint16_t>(i);
    return std::nullopt;
}

Result<Way> Stack::way_of(udp::Endpoint& e, const OutgoingDatagram& out) {
    if (!out.destination && !e.connected) return error(EDESTADDRREQ);
    Way way;
    way.to = out.destination.value_or(e.remote);
    const Address& to = way.to.address;
    if (way.to.port == 0) return error(EINVAL);
    const bool speaks = e.family == Family::ipv4 ? to.is_v4() : !(to.is_v4() && e.v6_only);
    if (!speaks || to.is_unspecified()) return error(ENETUNREACH);
    const udp::FamilySettings& settings = e.settings.of(to);
    way.group = addresses_.is_group(to);
    if (way.group && !to.is_multicast() && !e.settings.broadcast) return error(EACCES);

    std::optional<Address> source = out.source;
    if (source && !addresses_.find(*source)) return error(to.is_v4() ? ENETUNREACH : EINVAL);
    if (!source && e.has_address() && addresses_.find(e.local.address)) source = e.local.address;
    if (source && source->family() != to.family()) return error(ENETUNREACH);
    if (way.group) {
        const InterfaceIndex named =
            out.interface != 0 || !to.is_multicast() ? out.interface : settings.multicast_interface;
        const auto interface = group_interface(to, source.value_or(Address::any(to.family())),
                                               named);
        if (!interface) return error(named != 0 ? ENODEV : ENETUNREACH);
        way.hop = {*interface, to};
        const auto& named_source = settings.multicast_source;
        if (!source && to.is_multicast() && named_source && out.interface == 0)
            source = named_source;
        if (!source) source = address_on(*interface, to);
    } else {
        if (out.interface > interfaces_.size()) return error(ENODEV);
        const auto named = static_cast<uint16_t>(out.interface - 1);
        const auto hop = out.interface == 0 ? routes_.find(to) : routes_.find(to, named);
        if (!hop) return error(ENETUNREACH);
        way.hop = *hop;
        if (!source && out.interface != 0 && !interfaces_[hop->interface].loopback)
            source = address_on(hop->interface, to);
        if (!source)
            if (const auto own = routes_.source_for(to)) source = addresses_[*own].address;
    }
    if (!source) return error(EADDRNOTAVAIL);
    way.from = {*source, e.local.port};
    way.how = settings.path_mtu_discovery;
    way.dont_fragment = settings.dont_fragment;
    way.tos = out.tos.value_or(settings.tos);
    const uint8_t ttl = settings.ttl != 0 ? settings.ttl
                                          : static_cast<uint8_t>(config_.ip.ip_default_ttl);
    way.ttl = out.ttl.value_or(to.is_multicast() ? settings.multicast_ttl : ttl);
    way.named = out.interface != 0;
    if (!out.destination && !way.group && !way.named) way.cached = &e.next_hop;
    return way;
}

/// The largest IP packet that goes this way.
uint32_t Stack::mtu_of(const Way& way) {
    uint32_t mtu = interfaces_[way.hop.interface].mtu;
    if (!heeds_path_mtu(way.how)) return mtu;
    for (ip::PathMtus* known : {&path_mtus_, &datagram_path_mtus_})
        if (const ip::PathMtu* path = known->find(way.to.address, env_.now))
            mtu = std::min<uint32_t>(mtu, path->mtu);
    return mtu;
}

uint32_t Stack::path_mtu(const udp::Endpoint& e) {
    Way way;
    way.to = e.remote;
    way.how = PathMtuDiscovery::want;
    way.hop = routes_.find(e.remote.address).value_or(ip::NextHop{});
    return mtu_of(way);
}

/// SO_SNDBUF bounds what one socket puts before the port in a turn.
bool Stack::may_send(udp::Endpoint& e) {
    if (e.sent_turn != turns_) {
        e.sent_turn = turns_;
        e.sent = 0;
    }
    if (e.sent < e.settings.send_buffer && !host_.congested()) return true;
    if (!e.udp::WaitHook::is_linked()) waiting_to_send_.push_back(e);
    return false;
}

void Stack::wake_senders() {
    if (waiting_to_send_.empty() || host_.congested()) return;
    while (!waiting_to_send_.empty()) {
        udp::Endpoint& e = waiting_to_send_.front();
        waiting_to_send_.pop_front();
        udp_env_.notify(e, udp::Event::writable);
    }
}

Result<void> Stack::send(udp::Endpoint& e, OutgoingDatagram& out) {
    if (const auto bound = autobind(e); !bound) return bound;
    if (out.data.size() > payload_max) return error(EMSGSIZE);
    auto way = way_of(e, out);
    if (!way) return std::unexpected(way.error());
    if (e.error != 0) return error(std::exchange(e.error, 0));
    const size_t size = way->ip_size() + wire::Udp::size + out.data.size();
    const bool v4 = way->to.address.is_v4();
    const bool cut = may_be_cut(way->how) && !way->dont_fragment;
    if (v4 && size > 65535) return error(EMSGSIZE);
    if (const uint32_t mtu = mtu_of(*way); !cut && size > mtu) {
        if (e.settings.of(way->to.address).receive_errors)
            udp::report(udp_env_, e,
                        {.error = EMSGSIZE,
                         .origin = DatagramError::Origin::local,
                         .info = mtu,
                         .offender = Address::any(way->to.address.family()),
                         .destination = way->to},
                        0);
        return error(EMSGSIZE);
    }
    if (!may_send(e)) {
        ++counters_.udp_sndbuf_errors;
        return error(EAGAIN);
    }
    const BufferChain data = std::move(out.data);
    e.sent += static_cast<uint32_t>(data.size()) + udp::overhead;
    // Multicast with a TTL of 0 stays on this host (RFC 1112 section 6.1).
    const Address& to = way->to.address;
    const bool stays = to.is_multicast() && (way->ttl == 0 || wire::stays_on_host(to));
    const auto sent = stays ? Result<void>() : send_on(*way, data);
    if (sent) {
        ++counters_.udp_out_datagrams;
        counters_.payload_sent += data.size();
    }
    const bool heard = way->group && !interfaces_[way->hop.interface].loopback &&
                       (!to.is_multicast() || (e.settings.of(to).multicast_loop &&
                                               groups_.has(way->hop.interface, to)));
    if (heard) {
        way->hop.interface = static_cast<uint16_t>(interfaces_.size() - 1);
        static_cast<void>(send_on(*way, data));
    }
    return sent;
}

Result<void> Stack::send_on(const Way& way, const BufferChain& data) {
    ip::NextHop hop = way.hop;
    const ip::Interface& out = interfaces_[hop.interface];
    ip::Neighbour* neighbour = nullptr;
    if (!way.group && !out.loopback) {
        neighbour = way.named ? neighbours_.get(hop.interface, hop.address, env_.now)
                              : next_hop(way.to.address, way.cached, hop);
        if (neighbour == nullptr) {
            counters_.drop(Drop::no_route);
            return error(ENOBUFS);
        }
    }
    wire::Ip ip;
    ip.source = way.from.address;
    ip.destination = way.to.address;
    ip.protocol = Protocol::udp;
    ip.ttl = way.ttl;
    ip.tos = way.tos;
    ip.payload_size = static_cast<uint32_t>(wire::Udp::size + data.size());
    const bool v4 = ip.source.is_v4();
    if (!v4)
        ip.flow_label = env_.isn.flow_label({way.to.address, way.to.port, way.from.port, 0,
                                             udp::protocol},
                                            way.from.address);
    const uint32_t mtu = mtu_of(way);
    const bool whole = way.ip_size() + ip.payload_size <= mtu;
    ip.dont_fragment = whole && forbids_cutting(way.how);
    // Nobody guesses the next one, and no two of a destination are alike for long (RFC 7739).
    if (!whole || (v4 && !ip.dont_fragment))
        ip.identification = env_.isn.port_offset(ip.source, ip.destination, 0) +
                            ++datagram_id_ * steering_.cores() + core_;
    if (!whole) return send_fragments(ip, way, hop, neighbour, data);

    buf::Frame frame = pools_.frame();
    buf::Cursor cursor = buf::begin_of(data);
    const auto copied = frame ? pools_.append_payload(frame, cursor, data.size()) : std::nullopt;
    if (!copied) {
        counters_.drop(Drop::no_buffer);
        return error(ENOBUFS);
    }
    counters_.payload_copied += *copied;
    const wire::Udp header{way.from.port, way.to.port, static_cast<uint16_t>(ip.payload_size)};
    header.emit(frame.push(wire::Udp::size));
    put_transport_checksum(frame, ip, checksum_at, out.offloads.udp_checksum);
    emit_datagram(ip, std::move(frame), hop, neighbour);
    return {};
}

/// DPDK's library cuts frames of its own pools, with references that the receiver of a frame may
/// not be given; here each fragment is a frame like any other. `ip` is the whole datagram's.
Result<void> Stack::send_fragments(wire::Ip ip, const Way& way, const ip::NextHop& hop,
                                   ip::Neighbour* neighbour, const BufferChain& data) {
    std::array<uint8_t, wire::Udp::size> header;
    wire::Udp{way.from.port, way.to.port, static_cast<uint16_t>(ip.payload_size)}.emit(
        header.data());
    wire::Checksum sum;
    sum.add_pseudo_header(ip.source, ip.destination, udp::protocol, ip.payload_size)
        .add(header.data(), header.size());
    size_t summed = header.size();
    for (BufferStorage* at = BufferAccess::head(data); at != nullptr; at = buf::next_of(at)) {
        const auto bytes = buf::bytes_of(at);
        sum.add_at(summed, bytes.data(), bytes.size());
        summed += bytes.size();
    }
    uint16_t checksum = sum.finish();
    if (checksum == 0) checksum = 0xffff;
    std::memcpy(header.data() + checksum_at, &checksum, sizeof(checksum));

    const bool v4 = ip.source.is_v4();
    const size_t fragment_header = v4 ? 0 : wire::Ip::fragment_header_size;
    const size_t most = (mtu_of(way) - way.ip_size() - fragment_header) & ~size_t{7};
    const size_t total = ip.payload_size;
    buf::Cursor cursor = buf::begin_of(data);
    for (size_t offset = 0; offset < total; offset += most) {
        const size_t size = std::min(most, total - offset);
        const size_t head = offset == 0 ? header.size() : 0;
        buf::Frame frame = pools_.frame();
        const auto copied = frame ? pools_.append_payload(frame, cursor, size - head)
                                  : std::nullopt;
        if (!copied) {
            counters_.drop(Drop::no_buffer);
            ++counters_.ip_frag_fails;
            return error(ENOBUFS);
        }
        counters_.payload_copied += *copied;
        if (head != 0) std::memcpy(frame.push(head), header.data(), head);
        ip.fragment_offset = static_cast<uint32_t>(offset);
        ip.more_fragments = offset + size < total;
        if (!v4) ip.emit_fragment_header(frame.push(fragment_header));
        ip.payload_size = static_cast<uint32_t>(frame.size());
        ++counters_.ip_frag_creates;
        emit_datagram(ip, std::move(frame), hop, neighbour);
    }
    ++counters_.ip_frag_oks;
    return {};
}

}  // namespace millrace::stack
