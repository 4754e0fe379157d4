// UDP: which socket a datagram is for, and how sockets begin and end.
#include <bit>
#include <cerrno>

#include "stack/stack.h"
#include "wire/udp.h"

namespace millrace::stack {

using observe::Drop;
using wire::Protocol;

namespace {

constexpr uint16_t any_port = 9;  // of the same way as all others

}  // namespace

// --- in

void Stack::deliver_udp(Classified& in) {
    if (in.to_group) return deliver_to_group(in);
    udp::Endpoint* e = udp_table_.find(in.key, in.hash);
    if (e == nullptr && !in.settled)
        if (const auto core = elsewhere(in.key, in.hash))
            return hand_to_owner(*core, in, in.key, in.hash);
    if (e == nullptr)
        e = udp_table_.find(in.ip.destination, in.key.local_port,
                            {in.ip.source, in.key.remote_port}, in.hash);
    if (e == nullptr) {
        const auto core = in.settled ? std::nullopt
                                     : listening_core(in.ip.destination, in.key, in.hash);
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
    buf::Frame frame = pools_.reply_frame();
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
/// is told nothing, unless he has asked for it.
void Stack::apply_icmp_error(const tcp::FlowKey& key, const wire::Ip& quoted, Classified& in,
                             const wire::Icmp& icmp) {
    const uint32_t hash = hash_(key);
    udp::Endpoint* e = udp_table_.find(key, hash);
    if (e == nullptr && !in.settled)
        if (const auto core = elsewhere(key, hash)) return hand_to_owner(*core, in, key, hash);
    const SocketAddress peer{key.remote, key.remote_port};
    if (e == nullptr) e = udp_table_.find(quoted.source, key.local_port, peer, hash);
    if (e == nullptr) {
        const auto core = in.settled ? std::nullopt : listening_core(quoted.source, key, hash);
        return core ? hand_over(*core, in, true) : counters_.drop(Drop::icmp_unhandled);
    }
    const bool v4 = in.ip.protocol == Protocol::icmp;
    const bool too_big = v4 ? icmp.type == wire::icmp4::destination_unreachable &&
                                  icmp.code == wire::icmp4::code_fragmentation_needed
                            : icmp.type == wire::icmp6::packet_too_big;
    const udp::FamilySettings& settings = e->settings.of(quoted.destination);
    DatagramError told{.origin = v4 ? DatagramError::Origin::icmp : DatagramError::Origin::icmp6,
                       .type = icmp.type,
                       .code = icmp.code,
                       .offender = in.ip.source,
                       .destination = peer};
    bool hard = false;
    if (too_big) {
        const auto mtu = learn_path_mtu(quoted, v4 ? icmp.rest & 0xffff : icmp.rest,
                                        settings.path_mtu_discovery);
        if (!mtu) return counters_.drop(Drop::icmp_unhandled);
        told.error = EMSGSIZE;
        told.info = *mtu;
        hard = settings.path_mtu_discovery != PathMtuDiscovery::dont;
    } else {
        told.error = v4 ? wire::icmp4::error_of(icmp.type, icmp.code)
                        : wire::icmp6::error_of(icmp.type, icmp.code);
        hard = v4 ? wire::icmp4::is_hard(icmp.type, icmp.code)
                  : wire::icmp6::is_hard(icmp.type, icmp.code);
    }
    const bool wanted = settings.receive_errors ? !too_big || hard : hard && e->connected;
    if (told.error == 0 || !wanted) return counters_.drop(Drop::icmp_unhandled);
    if (!settings.receive_errors) return udp::report(udp_env_, *e, told.error);
    // What the message quotes behind the datagram's header.
    in.frame.trim_front(in.upper_at + wire::Icmp::size + quoted.header_size + wire::Udp::size);
    const uint32_t buffers = in.frame.size() > 0 ? in.frame.buffers() : 0;
    told.data = std::move(in.frame).into_chain();
    udp::report(udp_env_, *e, std::move(told), buffers);
}

/// What a path carries that carries no `quoted`; nothing where that is not news.
std::optional<uint32_t> Stack::learn_path_mtu(const wire::Ip& quoted, uint32_t told,
                                              PathMtuDiscovery how) {
    const uint32_t sent = quoted.header_size + quoted.payload_size;
    // A router older than RFC 1191 does not say.
    const uint32_t said = told != 0 ? told : ip::plateau_below(sent);
    const uint32_t mtu =
        std::max<uint32_t>(said, ip::path_mtu_min(quoted.destination.family()));
    if (mtu >= sent) return std::nullopt;
    if (how == PathMtuDiscovery::interface || how == PathMtuDiscovery::omit) return mtu;
    const auto field = static_cast<uint16_t>(mtu);
    datagram_path_mtus_.learn(quoted.destination, field, env_.now);
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_) host_.tell(core, PathMtuNews{quoted.destination, field, true});
    return mtu;
}

// --- sockets

Result<udp::Endpoint*> Stack::open_datagrams(Family family, void* owner) {
    udp::Endpoint* e = endpoints_.take(family, owner);
    if (e == nullptr) {
        ++counters_.pool_dry_sockets;
        return error(ENOBUFS);
    }
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
    return bind_to(e, local,
                   [this](uint16_t port) { return is_own(port, udp::protocol); });
}

Result<void> Stack::bind_to(udp::Endpoint& e, const SocketAddress& local,
                            const std::function<bool(uint16_t)>& suits) {
    if (e.binding != nullptr) return error(EINVAL);
    if (!may_bind(local.address) && !addresses_.is_group(local.address))
        return error(EADDRNOTAVAIL);
    const auto binding = bind_in(udp_bindings_, local,
                                 {.reuse_address = e.reuse_address,
                                  .reuse_port = e.reuse_port,
                                  .v6_only = e.v6_only},
                                 suits);
    if (!binding) return std::unexpected(binding.error());
    e.binding = *binding;
    e.local = (*binding)->local;
    e.own_address = e.has_address();
    e.own_port = local.port != 0;
    enter_table(e);
    return {};
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
        others |= &other != &e && other.local == e.local &&
                  (e.has_address() || other.v6_only == e.v6_only);
    });
    if (others) return;
    const bool v6_only = e.v6_only && !e.has_address();
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_)
            host_.tell(core, ListenerNews{e.local.address, e.local.port, v6_only, core_, bound,
                                          udp::protocol});
}

Result<void> Stack::connect(udp::Endpoint& e, const SocketAddress& remote) {
    OutgoingDatagram first;
    first.destination = remote;
    // Linux connects to no port, too: who does asks from which address he would speak.
    if (remote.port == 0) first.destination->port = any_port;
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
    tcp::FlowKey key{remote.address, remote.port, 0, *local, udp::protocol};
    // Best a port whose answers come to this core by themselves.
    const auto suits = [&](uint16_t port) {
        if (!is_own(port, udp::protocol)) return false;
        key.local_port = port;
        return steering_.cores() == 1 || owner_of(key) == core_;
    };
    if (e.binding == nullptr && !bind_to(e, {e.local.address, 0}, suits))
        if (const auto bound = autobind(e); !bound) return bound;
    key.local_port = e.local.port;
    if (is_claimed(key, hash_(key))) return error(EADDRNOTAVAIL);
    leave_table(e);
    e.connected = true;
    e.remote = remote;
    e.next_hop = {};
    if (!e.has_address()) e.local.address = e.binding->local.address = way->from.address;
    e.key = {};
    if (const auto own = addresses_.find(e.local.address); own && remote.port != 0) {
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

}  // namespace millrace::stack
