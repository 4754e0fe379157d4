// UDP: which socket a datagram is for, and its way out, in fragments where it must be.
#include <bit>
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
// Ports that are tried until replies come to this core by themselves.
constexpr int port_tries_max = 64;

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

/// From where to where one datagram goes, and by what.
struct Stack::Way {
    SocketAddress from, to;
    ip::NextHop hop;
    bool group = false;
    uint8_t ttl = 0;
    uint8_t tos = 0;
    PathMtuDiscovery how = PathMtuDiscovery::want;
    bool dont_fragment = false;
    ip::NeighbourRef* cached = nullptr;

    size_t ip_size() const { return wire::Ip::size_for(to.address.family()); }
};

// --- in

void Stack::deliver_udp(Classified& in) {
    if (in.to_group) return deliver_to_group(in);
    udp::Endpoint* e = udp_table_.find(in.key, in.hash);
    if (e == nullptr && !in.settled)
        if (const auto core = elsewhere(in.key, in.hash))
            return hand_to_owner(*core, in, in.key, in.hash);
    if (e == nullptr) e = udp_table_.find(in.ip.destination, in.key.local_port, in.hash);
    if (e == nullptr) {
        const auto core = in.settled ? std::nullopt : listening_core(in);
        if (core) return hand_over(*core, in, true);
        ++counters_.udp_no_ports;
        counters_.drop(Drop::udp_no_socket);
        return reply_port_unreachable(in);
    }
    in.frame.trim_front(in.payload_at);
    deliver_datagram(*e, in, std::move(in.frame));
}

/// `payload`: the frame without its headers.
void Stack::deliver_datagram(udp::Endpoint& e, const Classified& in, buf::Frame payload) {
    if (!payload) return counters_.drop(Drop::no_buffer);
    const uint32_t buffers = payload.size() > 0 ? payload.buffers() : 0;
    counters_.payload_received += payload.size();
    udp::deliver(udp_env_, e,
                 {.source = {in.ip.source, in.key.remote_port},
                  .destination = in.ip.destination,
                  .interface = in.interface + InterfaceIndex{1},
                  .ttl = in.ip.ttl,
                  .tos = in.ip.tos,
                  .data = std::move(payload).into_chain()},
                 buffers);
}

/// Each socket that it is for gets the same bytes, on all cores.
void Stack::deliver_to_group(Classified& in) {
    const Address& group = in.ip.destination;
    const uint64_t others = in.settled ? 0 : cores_with(in);
    for (uint64_t left = others; left != 0; left &= left - 1) {
        buf::Frame copy = pools_.share(in.frame);
        ++counters_.frames_handed_over;
        if (!copy)
            counters_.drop(Drop::no_buffer);
        else if (!host_.hand_over(static_cast<uint16_t>(std::countr_zero(left)), in.interface,
                                  std::move(copy), true))
            counters_.drop(Drop::handover_full);
    }
    const bool looped = interfaces_[in.interface].loopback;
    const auto takes = [&](const udp::Endpoint& e) {
        if (!e.serves(group) || !e.hears({in.ip.source, in.key.remote_port})) return false;
        if (!group.is_multicast() || e.settings.of(group).multicast_all) return true;
        return std::ranges::any_of(e.groups, [&](const udp::Membership& joined) {
            return joined.group == group && (looped || joined.interface == in.interface);
        });
    };
    in.frame.trim_front(in.payload_at);
    udp::Endpoint* last = nullptr;
    udp_table_.for_each_of(in.key.local_port, [&](udp::Endpoint& e) {
        if (!takes(e)) return;
        if (last != nullptr) deliver_datagram(*last, in, pools_.share(in.frame));
        last = &e;
    });
    if (last != nullptr) return deliver_datagram(*last, in, std::move(in.frame));
    if (others != 0) return;
    ++counters_.udp_no_ports;
    counters_.drop(Drop::udp_no_socket);
}

/// Other cores on which a socket may want what came to a group.
uint64_t Stack::cores_with(const Classified& in) const {
    if (steering_.cores() == 1) return 0;
    const Address& group = in.ip.destination;
    const uint16_t port = in.key.local_port;
    uint64_t cores = 0;
    for (const Listening& what :
         {Listening{group, port, false, udp::protocol},
          Listening{Address::any(group.family()), port, false, udp::protocol},
          Listening{Address(), port, false, udp::protocol},
          Listening{Address(), port, true, udp::protocol}}) {
        if (what.v6_only && group.is_v4()) continue;
        if (const auto found = directory_.find(what); found != directory_.end())
            cores |= found->second;
    }
    return cores;
}

/// RFC 1122 section 4.1.3.1, RFC 4443 section 3.1: never to what came by a group.
void Stack::reply_port_unreachable(Classified& in) {
    if (in.link_group) return;
    if (!unreachables_.take(config_.ip.icmp_msgs_per_sec, env_.now)) {
        ++counters_.icmp_out_rate_limited;
        return;
    }
    buf::Frame frame = pools_.frame();
    if (!frame) return counters_.drop(Drop::no_buffer);
    const bool v4 = in.ip.source.is_v4();
    const wire::Icmp header =
        v4 ? wire::Icmp{wire::icmp4::destination_unreachable, wire::icmp4::code_port_unreachable, 0}
           : wire::Icmp{wire::icmp6::destination_unreachable, wire::icmp6::code_port_unreachable,
                        0};
    header.emit(frame.put(wire::Icmp::size));
    // As much of what came as every path carries.
    const size_t limit = (v4 ? size_t{576} : size_t{1280}) -
                         wire::Ip::size_for(in.ip.source.family()) - wire::Icmp::size;
    buf::Frame quoted = std::move(in.frame);
    quoted.trim_front(in.ip_at);
    quoted.trim_to(std::min(quoted.size(), limit));
    frame.append(std::move(quoted));
    ++counters_.icmp_out_dest_unreachs;
    send_icmp(std::move(frame), in.ip.destination, in.ip.source);
}

/// What a datagram of ours met on its way (RFC 8085 section 5.2). As in Linux, who is not connected
/// is told nothing.
void Stack::apply_icmp_error(const tcp::FlowKey& key, const wire::Ip& quoted, Classified& in,
                             const wire::Icmp& icmp) {
    const uint32_t hash = hash_(key);
    udp::Endpoint* e = udp_table_.find(key, hash);
    if (e == nullptr && !in.settled)
        if (const auto core = elsewhere(key, hash)) return hand_to_owner(*core, in, key, hash);
    if (e == nullptr) e = udp_table_.find(quoted.source, key.local_port, hash);
    if (e == nullptr) return counters_.drop(Drop::icmp_unhandled);
    const bool v4 = in.ip.protocol == Protocol::icmp;
    const bool too_big = v4 ? icmp.type == wire::icmp4::destination_unreachable &&
                                  icmp.code == wire::icmp4::code_fragmentation_needed
                            : icmp.type == wire::icmp6::packet_too_big;
    const PathMtuDiscovery how = e->settings.of(quoted.destination).path_mtu_discovery;
    if (too_big) {
        const uint32_t sent = quoted.header_size + quoted.payload_size;
        uint32_t mtu = v4 ? icmp.rest & 0xffff : icmp.rest;
        if (mtu == 0) mtu = ip::plateau_below(sent);
        mtu = std::max<uint32_t>(mtu, ip::path_mtu_min(quoted.destination.family()));
        if (mtu >= sent || !heeds_path_mtu(how)) return counters_.drop(Drop::icmp_unhandled);
        datagram_path_mtus_.learn(quoted.destination, static_cast<uint16_t>(mtu), env_.now);
        if (e->connected && how != PathMtuDiscovery::dont) udp::report(udp_env_, *e, EMSGSIZE);
        return;
    }
    const int error = v4 ? wire::icmp4::error_of(icmp.type, icmp.code)
                         : wire::icmp6::error_of(icmp.type, icmp.code);
    const bool hard = v4 ? wire::icmp4::is_hard(icmp.type, icmp.code)
                         : wire::icmp6::is_hard(icmp.type, icmp.code);
    if (error == 0 || !hard || !e->connected) return counters_.drop(Drop::icmp_unhandled);
    udp::report(udp_env_, *e, error);
}

// --- sockets

Result<udp::Endpoint*> Stack::open_datagrams(Family family, void* owner) {
    udp::Endpoint* e = endpoints_.take(family, owner);
    if (e == nullptr) return error(ENOBUFS);
    e->local.address = Address::any(family);
    e->settings.receive_buffer = config_.ip.rmem_default;
    e->settings.send_buffer = config_.ip.wmem_default;
    return e;
}

void Stack::set_reuse(udp::Endpoint& e, const BindOptions& options) {
    e.reuse_address = options.reuse_address;
    e.reuse_port = options.reuse_port;
    e.v6_only = options.v6_only;
    if (e.binding != nullptr) e.binding->options = options;
}

Result<void> Stack::bind(udp::Endpoint& e, const SocketAddress& local) {
    if (e.binding != nullptr) return error(EINVAL);
    if (!may_bind(local.address) && !addresses_.is_group(local.address))
        return error(EADDRNOTAVAIL);
    const auto binding = bind_in(udp_bindings_, local,
                                 {.reuse_address = e.reuse_address,
                                  .reuse_port = e.reuse_port,
                                  .v6_only = e.v6_only});
    if (!binding) return std::unexpected(binding.error());
    e.binding = *binding;
    e.local = (*binding)->local;
    e.own_address = e.has_address();
    e.own_port = local.port != 0;
    enter_table(e);
    return {};
}

/// A port of its own, so that what answers comes to this core by itself, if one is to be found.
Result<void> Stack::bind_for(udp::Endpoint& e, tcp::FlowKey key) {
    for (int tries = 1;; ++tries) {
        if (const auto bound = bind(e, {e.local.address, 0}); !bound) return bound;
        key.local_port = e.local.port;
        if (steering_.cores() == 1 || tries == port_tries_max || owner_of(key) == core_) return {};
        unbind(e);
    }
}

void Stack::unbind(udp::Endpoint& e) {
    leave_table(e);
    if (e.binding != nullptr) udp_bindings_.release(*std::exchange(e.binding, nullptr));
    e.local.port = 0;
}

void Stack::enter_table(udp::Endpoint& e) {
    udp_table_.insert(e);
    if (e.has_tuple())
        claim(e.key, true);
    else
        tell_bound(e, true);
}

void Stack::leave_table(udp::Endpoint& e) {
    if (!e.in_table) return;
    udp_table_.erase(e);
    if (!e.has_tuple())
        tell_bound(e, false);
    else if (udp_table_.find(e.key, e.hash) == nullptr)
        claim(e.key, false);
}

/// The other cores send on what arrives for it there.
void Stack::tell_bound(const udp::Endpoint& e, bool bound) {
    if (steering_.cores() == 1) return;
    bool others = false;
    udp_table_.for_each_of(e.local.port, [&](const udp::Endpoint& other) {
        others |= &other != &e && other.local == e.local && other.v6_only == e.v6_only;
    });
    if (others) return;
    const bool v6_only = e.v6_only && !e.has_address();
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_)
            host_.tell(core, ListenerNews{e.local.address, e.local.port, v6_only, core_, bound,
                                          udp::protocol});
}

Result<void> Stack::connect(udp::Endpoint& e, const SocketAddress& remote) {
    if (remote.port == 0) return error(EINVAL);
    OutgoingDatagram first;
    first.destination = remote;
    const bool keeps = e.own_address || e.local.address.family() == remote.address.family();
    const Address before = e.local.address;
    if (!keeps) e.local.address = Address::any(e.family);
    const auto way = way_of(e, first);
    if (!way) {
        e.local.address = before;
        return std::unexpected(way.error());
    }
    const auto local = addresses_.find(way->from.address);
    if (!local) return error(EADDRNOTAVAIL);
    const tcp::FlowKey key{remote.address, remote.port, 0, *local, udp::protocol};
    if (e.binding == nullptr)
        if (const auto bound = bind_for(e, key); !bound) return bound;
    leave_table(e);
    e.connected = true;
    e.remote = remote;
    e.next_hop = {};
    if (!e.has_address()) e.local.address = e.binding->local.address = way->from.address;
    e.key = {};
    if (const auto own = addresses_.find(e.local.address)) {
        e.key = key;
        e.key.local = *own;
        e.key.local_port = e.local.port;
    }
    enter_table(e);
    return {};
}

void Stack::disconnect(udp::Endpoint& e) {
    leave_table(e);
    e.connected = false;
    e.remote = {};
    e.key = {};
    e.next_hop = {};
    if (!e.own_address) e.local.address = Address::any(e.family);
    if (e.binding == nullptr) return;
    e.binding->local.address = e.local.address;
    if (e.own_port)
        enter_table(e);
    else
        unbind(e);
}

void Stack::close(udp::Endpoint& e) {
    for (const udp::Membership& joined : e.groups) leave_group(joined);
    e.groups.clear();
    unbind(e);
    udp::clear(udp_env_, e);
    e.udp::ReadyHook::unlink();
    e.udp::WaitHook::unlink();
    e.closed = true;
    closed_endpoints_.push_back(e);
}

void Stack::run_datagram_events(Application& application) {
    // What becomes ready in here waits for the next turn.
    udp::ReadyList ready;
    ready.swap(udp_env_.ready);
    while (!ready.empty()) {
        udp::Endpoint& e = ready.front();
        ready.pop_front();
        application.on_datagrams(e, std::exchange(e.events, uint8_t{0}));
    }
}

// --- out

std::optional<Address> Stack::address_on(uint16_t interface, Family family) const {
    for (const Prefix& prefix : interfaces_[interface].addresses)
        if (prefix.address.family() == family) return prefix.address;
    return std::nullopt;
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
        if (address_on(static_cast<uint16_t>(i), Family::ipv6)) return static_cast<uint16_t>(i);
    return std::nullopt;
}

Result<Stack::Way> Stack::way_of(udp::Endpoint& e, const OutgoingDatagram& out) {
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
        if (!source) source = address_on(*interface, to.family());
    } else {
        const auto hop = routes_.find(to);
        if (!hop) return error(ENETUNREACH);
        way.hop = *hop;
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
    if (!out.destination && !way.group) way.cached = &e.next_hop;
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
    if ((v4 && size > 65535) || (!cut && size > mtu_of(*way))) return error(EMSGSIZE);
    if (!may_send(e)) {
        ++counters_.udp_sndbuf_errors;
        return error(EAGAIN);
    }
    const BufferChain data = std::move(out.data);
    e.sent += static_cast<uint32_t>(data.size()) + udp::overhead;
    // Multicast with a TTL of 0 stays on this host (RFC 1112 section 6.1).
    const bool stays = way->to.address.is_multicast() && way->ttl == 0;
    const auto sent = stays ? Result<void>() : send_on(*way, data);
    if (sent) {
        ++counters_.udp_out_datagrams;
        counters_.payload_sent += data.size();
    }
    const bool heard = way->group && !interfaces_[way->hop.interface].loopback &&
                       (!way->to.address.is_multicast() ||
                        (e.settings.of(way->to.address).multicast_loop &&
                         groups_.has(way->hop.interface, way->to.address)));
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
        neighbour = next_hop(way.to.address, way.cached, hop);
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
