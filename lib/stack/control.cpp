// What is not TCP: ARP, Neighbour Discovery, ICMP, fragments. Cold, out of line.
#include <algorithm>
#include <cerrno>

#include "stack/stack.h"
#include "wire/arp.h"
#include "wire/checksum.h"

namespace millrace::stack {

using observe::Drop;
using wire::Protocol;

namespace {

// A walk over a million flows takes some 0.1 s.
constexpr Duration failure_walk_interval = Duration::from_ms(100);
constexpr size_t failure_walk_buckets = 1024;  // a turn: some 100 us where nothing is cached
// RFC 4861 section 7.2.6 has three at most, as far apart; RFC 5227 section 2.3 two of ARP's.
constexpr Duration announcement_interval = Duration::from_s(1);
// Addresses that are announced in a millisecond: a load generator has thousands.
constexpr size_t announcements_a_step = 32;

Address all_nodes_group() {
    const std::array<uint8_t, 16> bytes{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return Address::v6(bytes.data());
}

}  // namespace

void Stack::on_arp(Classified& in) {
    std::array<uint8_t, wire::Arp::size> bytes{};
    const ip::Interface& interface = interfaces_[in.interface];
    const auto arp = in.frame.size() >= in.ip_at + bytes.size()
                         ? (in.frame.copy_out(in.ip_at, bytes), wire::Arp::parse(bytes))
                         : std::nullopt;
    if (!arp || interface.loopback || arp->sender_mac.is_multicast())
        return counters_.drop(Drop::arp_malformed);
    const auto target = addresses_.find(arp->target);
    const bool for_us = target && addresses_[*target].interface == in.interface;
    const bool is_reply = arp->operation == wire::Arp::Operation::reply;
    // RFC 826: what the sender says of itself renews an entry; it makes one only if it asks for us.
    if (!arp->sender.is_unspecified() && !addresses_.find(arp->sender))
        news(in.interface, arp->sender, arp->sender_mac, is_reply && for_us,
             for_us && !is_reply);
    if (!for_us || is_reply) return;
    send_arp(in.interface,
             {wire::Arp::Operation::reply, interface.mac, arp->target, arp->sender_mac,
              arp->sender},
             arp->sender_mac);
}

void Stack::send_arp(uint16_t interface, const wire::Arp& arp, const wire::MacAddress& to) {
    buf::Frame frame = pools_.control_frame();
    if (!frame) return counters_.drop(Drop::no_buffer);
    arp.emit(frame.put(wire::Arp::size));
    put_ethernet(frame, interfaces_[interface], wire::EtherType::arp, to);
    output(interface, std::move(frame));
}

/// Learns for this core and tells the others.
void Stack::news(uint16_t interface, const Address& address, const wire::MacAddress& mac,
                 bool confirmed, bool create, bool override) {
    const bool learned =
        neighbours_.learn(interface, address, mac, confirmed, create, env_.now, override);
    // An answer to another core's question is no news here, but is there.
    if (!learned && !confirmed) return;
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_)
            host_.tell(core,
                       NeighbourNews{interface, address, mac, confirmed, create, override});
}

void Stack::receive_message(const Message& message) {
    if (const auto* neighbour = std::get_if<NeighbourNews>(&message)) {
        neighbours_.learn(neighbour->interface, neighbour->address, neighbour->mac,
                          neighbour->confirmed, neighbour->create, env_.now,
                          neighbour->override);
    } else if (const auto* listener = std::get_if<ListenerNews>(&message)) {
        const Listening what{listener->address, listener->port, listener->v6_only,
                             listener->protocol};
        uint64_t& cores = directory_[what];
        const uint64_t bit = uint64_t{1} << listener->core;
        cores = listener->listening ? cores | bit : cores & ~bit;
        if (cores == 0) directory_.erase(what);
    } else if (const auto* path = std::get_if<PathMtuNews>(&message)) {
        (path->datagrams ? datagram_path_mtus_ : path_mtus_)
            .learn(path->destination, path->mtu, env_.now);
    } else if (const auto* group = std::get_if<GroupNews>(&message)) {
        groups_.learn(group->interface, group->group, group->core, group->member);
    } else if (const auto* querier = std::get_if<QuerierNews>(&message)) {
        groups_.on_old_querier(querier->interface, querier->family, env_.now);
    } else if (const auto* news_of = std::get_if<ForwardNews>(&message)) {
        on_claim(*news_of);
    } else if (const auto* refused = std::get_if<ClaimRefused>(&message)) {
        on_refusal(*refused);
    }
}

/// A tuple has one owner: who was first, this core among them.
void Stack::on_claim(const ForwardNews& news) {
    const uint32_t hash = hash_(news.key);
    Forward* known = forwards_.find(news.key, hash);
    if (!news.forward) {
        // What was refused is not the claimant's to give up.
        if (known == nullptr || known->core != news.core) return;
        forwards_.erase(*known);
        forward_pool_.give_back(known);
        return;
    }
    if (known != nullptr ? known->core != news.core : owns(news.key, hash))
        return host_.tell(news.core, ClaimRefused{news.key});
    if (known != nullptr) return;
    known = forward_pool_.take();
    if (known == nullptr) {
        ++counters_.pool_dry_connections;
        return counters_.drop(Drop::no_connection);
    }
    known->key = news.key;
    known->core = news.core;
    forwards_.insert(*known, hash);
}

/// Only an attempt can be refused: nothing that has an answer of its peer's is without a claim.
void Stack::on_refusal(const ClaimRefused& refused) {
    if (refused.key.protocol == udp::protocol) {
        // It will hear nothing while another core has the tuple.
        if (udp::Endpoint* e = udp_table_.find(refused.key, hash_(refused.key)))
            udp::report(udp_env_, *e, EADDRNOTAVAIL);
        return;
    }
    tcp::Flow* flow = flows_.find(refused.key, hash_(refused.key));
    if (flow == nullptr || flow->kind != tcp::FlowKind::connection) return;
    auto& c = static_cast<tcp::Connection&>(*flow);
    if (c.state != tcp::State::syn_sent) return;
    ++counters_.tcp_attempt_fails;
    tcp::finish(env_, c, EADDRNOTAVAIL);
}

/// Asks for a next hop's link address (RFC 826; RFC 4861 section 7.2.2).
void Stack::solicit(const ip::Neighbour& neighbour, bool unicast) {
    const ip::Interface& interface = interfaces_[neighbour.interface];
    const auto source = routes_.source_for(neighbour.address);
    if (!source) return;
    const Address& own = addresses_[*source].address;
    if (neighbour.address.is_v4()) {
        const auto to = unicast ? neighbour.mac : wire::MacAddress::broadcast();
        send_arp(neighbour.interface,
                 {wire::Arp::Operation::request, interface.mac, own, {}, neighbour.address}, to);
        return;
    }
    const Address group = wire::solicited_node(neighbour.address);
    wire::Ndp ndp;
    ndp.target = neighbour.address;
    ndp.link_address = interface.mac;
    send_ndp(neighbour.interface, ndp, own, unicast ? neighbour.address : group,
             unicast ? neighbour.mac : wire::multicast_mac(group));
}

void Stack::send_ndp(uint16_t interface, const wire::Ndp& ndp, const Address& source,
                     const Address& destination, const wire::MacAddress& to) {
    buf::Frame frame = pools_.control_frame();
    if (!frame) return counters_.drop(Drop::no_buffer);
    wire::Ip ip;
    ip.source = source;
    ip.destination = destination;
    ip.protocol = Protocol::icmpv6;
    ip.ttl = wire::Ndp::hop_limit;
    ip.payload_size = wire::Ndp::size_with_option;
    ndp.emit(frame.put(wire::Ndp::size_with_option));
    put_transport_checksum(frame, ip, wire::Icmp::checksum_offset, false);
    ip.emit(frame.push(wire::Ip::v6_size), true);
    put_ethernet(frame, interfaces_[interface], wire::EtherType::ipv6, to);
    output(interface, std::move(frame));
}

/// Where our addresses are now. Who still has the link address of the program before this one would
/// send to nobody, and never get the reset that his connection has earned.
void Stack::announce() {
    const size_t end = std::min(announced_ + announcements_a_step, addresses_.size());
    for (; announced_ < end; ++announced_) announce(addresses_[announced_]);
    if (announced_ < addresses_.size()) return;
    announced_ = 0;
    next_announcement_ =
        --announcements_left_ > 0 ? env_.now + announcement_interval : Instant::never();
}

void Stack::announce(const ip::LocalAddresses::Entry& own) {
    const ip::Interface& interface = interfaces_[own.interface];
    if (own.is_group || interface.loopback) return;
    if (own.address.is_v4())
        return send_arp(own.interface,
                        {wire::Arp::Operation::request, interface.mac, own.address, {},
                         own.address},
                        wire::MacAddress::broadcast());
    wire::Ndp ndp;
    ndp.is_advertisement = true;
    ndp.target = own.address;
    ndp.link_address = interface.mac;
    ndp.flags = wire::Ndp::flag_override;
    const Address group = all_nodes_group();
    send_ndp(own.interface, ndp, own.address, group, wire::multicast_mac(group));
}

/// What waited for a next hop goes out.
void Stack::forward(uint16_t interface, buf::Frame frame) { output(interface, std::move(frame)); }

/// A next hop does not answer: attempts through it fail (RFC 1122 section 2.4), connections that
/// are established are told and go on trying (RFC 9293 MUST-56).
void Stack::unreachable(const ip::Neighbour& neighbour) {
    failed_hops_.push_back(neighbours_.reference(neighbour));
}

/// One walk over the flows at a time, however many next hops have failed, and a part of it in each
/// turn: who can make them fail gets no more of this core than that.
void Stack::fail_attempts() {
    if (failure_walk_at_ == 0) {
        if (failed_hops_.empty() || env_.now < next_failure_walk_) return;
        next_failure_walk_ = env_.now + failure_walk_interval;
        failure_walk_hops_ = failed_hops_.size();  // those that fail from now on: the next walk
    }
    const auto tell = [&](tcp::Flow& flow) {
        if (flow.kind != tcp::FlowKind::connection) return;
        auto& c = static_cast<tcp::Connection&>(flow);
        if (c.state == tcp::State::closed || c.state == tcp::State::time_wait) return;
        const ip::Neighbour* hop = neighbours_.resolve(c.next_hop);
        if (hop == nullptr || !hop->untold) return;
        if (c.state != tcp::State::syn_sent) return tcp::report(env_, c, EHOSTUNREACH);
        ++counters_.tcp_attempt_fails;
        tcp::finish(env_, c, EHOSTUNREACH);
    };
    failure_walk_at_ = flows_.for_each_from(failure_walk_at_, failure_walk_buckets, tell);
    if (failure_walk_at_ != 0) return;
    const auto told = failed_hops_.begin() + static_cast<ptrdiff_t>(failure_walk_hops_);
    for (auto at = failed_hops_.begin(); at != told; ++at)
        if (ip::Neighbour* hop = neighbours_.resolve(*at)) hop->untold = false;
    failed_hops_.erase(failed_hops_.begin(), told);
}

void Stack::on_fragment(Classified& in) {
    if (steering_.cores() > 1 && !in.settled) {
        // All pieces of a datagram come together on one core; no ports are known yet.
        const uint16_t owner = steering_.owner(in.ip.source, in.ip.destination);
        if (owner != core_) return hand_over(owner, in, true);
    }
    in.frame.trim_front(in.ip_at);
    buf::Frame whole = fragments_.add(in.ip, std::move(in.frame), env_.now);
    if (!whole) return;
    // Steered again, now by the whole tuple: with an Ethernet header, as any received frame.
    const ip::Interface& interface = interfaces_[in.interface];
    wire::Ethernet ethernet;
    ethernet.destination = in.link_group ? wire::MacAddress::broadcast() : interface.mac;
    ethernet.source = in.source_mac;
    ethernet.vlan = interface.vlan;
    ethernet.type = in.ip.source.is_v4() ? wire::EtherType::ipv4 : wire::EtherType::ipv6;
    uint8_t* at = whole.push(wire::Ethernet::size_for(interface.vlan));
    if (at == nullptr) return counters_.drop(Drop::no_buffer);
    ethernet.emit(at);
    Classified datagram;
    datagram.settled = false;
    classifier_.classify(in.interface, std::move(whole), datagram);
    if (datagram.kind == Kind::tcp) datagram.flow = flows_.find(datagram.key, datagram.hash);
    deliver(datagram);
}

void Stack::on_icmp(Classified& in) {
    std::array<uint8_t, wire::Icmp::size> bytes{};
    in.frame.copy_out(in.upper_at, bytes);
    const auto icmp = wire::Icmp::parse(bytes);
    const bool v4 = in.ip.protocol == Protocol::icmp;
    const uint8_t type = icmp->type;
    if (!v4 && type == wire::icmp6::multicast_listener_query) return on_mld_query(in);
    // To a group that this host is in comes nothing else; but that of Neighbour Discovery.
    if (in.to_group && !addresses_.is_our_solicited_node(in.ip.destination))
        return counters_.drop(Drop::icmp_unhandled);
    if (v4 ? type == wire::icmp4::echo_request : type == wire::icmp6::echo_request)
        return answer_echo(in);
    if (!v4 && (type == wire::icmp6::neighbour_solicitation ||
                type == wire::icmp6::neighbour_advertisement))
        return on_neighbour_message(in);
    const bool is_error = v4 ? type == wire::icmp4::destination_unreachable ||
                                   type == wire::icmp4::time_exceeded ||
                                   type == wire::icmp4::parameter_problem
                             : type < 128;
    if (is_error) return on_icmp_error(in);
    counters_.drop(Drop::icmp_unhandled);  // Source Quench among them (MUST-55)
}

/// The frame itself goes back, turned round, with whatever it carries (RFC 1122 section 3.2.2.6).
void Stack::answer_echo(Classified& in) {
    ++counters_.icmp_in_echos;
    const bool v4 = in.ip.protocol == Protocol::icmp;
    buf::Frame received = std::move(in.frame);
    std::array<uint8_t, wire::Icmp::size> header{};
    received.copy_out(in.upper_at, header);
    received.trim_front(in.upper_at + wire::Icmp::size);
    // Payload by reference behind a header of our own: it is never looked at.
    buf::Frame frame = pools_.reply_frame();
    if (!frame) return counters_.drop(Drop::no_buffer);
    header[0] = v4 ? wire::icmp4::echo_reply : wire::icmp6::echo_reply;
    header[2] = header[3] = 0;
    std::memcpy(frame.put(header.size()), header.data(), header.size());
    if (received.size() > 0) frame.append(std::move(received));
    // To a group the request may have gone, from one the answer must not come.
    const auto own = addresses_.find(in.ip.destination);
    const auto source = own ? own : routes_.source_for(in.ip.source);
    if (!source) return counters_.drop(Drop::no_route);
    send_icmp(std::move(frame), addresses_[*source].address, in.ip.source);
}

/// `frame` starts at the ICMP header, its checksum zero.
void Stack::send_icmp(buf::Frame frame, const Address& source, const Address& destination) {
    wire::Ip ip;
    ip.source = source;
    ip.destination = destination;
    ip.protocol = source.is_v4() ? Protocol::icmp : Protocol::icmpv6;
    ip.ttl = static_cast<uint8_t>(config_.ip.ip_default_ttl);
    ip.payload_size = static_cast<uint32_t>(frame.size());
    ip::NextHop hop;
    ip::Neighbour* neighbour = next_hop(ip.destination, nullptr, hop);
    if (neighbour == nullptr && !interfaces_[hop.interface].loopback)
        return counters_.drop(Drop::no_route);
    if (ip.payload_size + wire::Ip::size_for(ip.source.family()) > interfaces_[hop.interface].mtu)
        return counters_.drop(Drop::icmp_unhandled);  // was reassembled: too large to go back
    put_transport_checksum(frame, ip, wire::Icmp::checksum_offset, false);
    emit_datagram(ip, std::move(frame), hop, neighbour);
}

/// RFC 4861 section 7.2.3 to 7.2.5.
void Stack::on_neighbour_message(Classified& in) {
    std::array<uint8_t, 128> bytes{};
    const size_t size = std::min<size_t>(in.ip.payload_size, bytes.size());
    in.frame.copy_out(in.upper_at, {bytes.data(), size});
    const auto ndp = wire::Ndp::parse({bytes.data(), size});
    if (!ndp || in.ip.ttl != wire::Ndp::hop_limit || bytes[1] != 0 || ndp->target.is_multicast() ||
        (ndp->link_address && ndp->link_address->is_multicast()))
        return counters_.drop(Drop::ndp_malformed);
    if (ndp->is_advertisement) {
        if (!ndp->link_address) return;
        const bool solicited = (ndp->flags & wire::Ndp::flag_solicited) != 0;
        const bool override = (ndp->flags & wire::Ndp::flag_override) != 0;
        news(in.interface, ndp->target, *ndp->link_address, solicited, false, override);
        return;
    }
    const auto target = addresses_.find(ndp->target);
    if (!target || addresses_[*target].interface != in.interface) return;
    const bool anonymous = in.ip.source.is_unspecified();  // duplicate address detection
    if (!anonymous && ndp->link_address)
        news(in.interface, in.ip.source, *ndp->link_address, false, true);
    wire::Ndp answer;
    answer.is_advertisement = true;
    answer.target = ndp->target;
    answer.link_address = interfaces_[in.interface].mac;
    answer.flags = wire::Ndp::flag_override | (anonymous ? 0 : wire::Ndp::flag_solicited);
    const Address to = anonymous ? all_nodes_group() : in.ip.source;
    send_ndp(in.interface, answer, ndp->target, to,
             anonymous ? wire::multicast_mac(to) : in.source_mac);
}

/// Finds the connection that an ICMP error quotes (RFC 9293 section 3.9.2.2, MUST-54).
void Stack::on_icmp_error(Classified& in) {
    ++counters_.icmp_in_errors;
    std::array<uint8_t, wire::Ip::max_header_size> bytes{};
    const size_t quoted_at = in.upper_at + wire::Icmp::size;
    const size_t size = std::min(bytes.size(), in.frame.size() - quoted_at);
    in.frame.copy_out(quoted_at, {bytes.data(), size});
    // The quotation is usually cut short: its own length says nothing about ours.
    const auto quoted = wire::Ip::parse({bytes.data(), size}, 65575, false);
    const bool known = quoted && (quoted->protocol == Protocol::tcp ||
                                  quoted->protocol == Protocol::udp);
    // Only a first fragment quotes ports.
    if (!known || quoted->fragment_offset != 0 || quoted->header_size + 8U > size)
        return counters_.drop(Drop::icmp_malformed);
    const auto local = addresses_.find(quoted->source);
    if (!local) return counters_.drop(Drop::icmp_malformed);
    const uint8_t* header = bytes.data() + quoted->header_size;
    tcp::FlowKey key{quoted->destination, wire::load16(header + 2), wire::load16(header), *local,
                     0};
    std::array<uint8_t, wire::Icmp::size> header_bytes{};
    in.frame.copy_out(in.upper_at, header_bytes);
    const auto icmp = wire::Icmp::parse(header_bytes);
    const bool v4 = in.ip.protocol == Protocol::icmp;
    if (quoted->protocol == Protocol::udp) {
        key.protocol = udp::protocol;
        return apply_icmp_error(key, *quoted, in, *icmp);
    }
    tcp::Flow* flow = flows_.find(key, hash_(key));
    const Seq seq(wire::load32(header + 4));
    if (tcp::HalfOpen* entry = half_open_table_.find(key, hash_(key)))
        return apply_icmp_error(*entry, seq, v4, icmp->type, icmp->code);
    if (flow == nullptr) {
        const auto core = in.settled ? std::nullopt : elsewhere(key, hash_(key));
        if (!core) return counters_.drop(Drop::icmp_unhandled);
        return hand_to_owner(*core, in, key, hash_(key));
    }
    if (flow->kind != tcp::FlowKind::connection) return counters_.drop(Drop::icmp_unhandled);
    auto& c = static_cast<tcp::Connection&>(*flow);
    // Only for what is in flight: an outsider would have to guess that (RFC 5927 section 4.1).
    if (seq < c.snd_una || seq >= c.snd_nxt) return counters_.drop(Drop::icmp_unhandled);
    if (!v4 && icmp->type == wire::icmp6::packet_too_big) return on_packet_too_big(c, icmp->rest);
    if (!v4 || icmp->type != wire::icmp4::destination_unreachable ||
        icmp->code != wire::icmp4::code_fragmentation_needed)
        return apply_icmp_error(c, v4, icmp->type, icmp->code);
    uint32_t mtu = icmp->rest & 0xffff;
    if (mtu == 0) {
        // A router older than RFC 1191: what it names is less than what we sent (section 7.1).
        const uint32_t sent = quoted->header_size + quoted->payload_size;
        mtu = ip::plateau_below(std::min<uint32_t>(sent, tcp::effective_mtu(c)));
    }
    on_packet_too_big(c, mtu);
}

/// The path of a connection is narrower than what it sends; others of the same destination will
/// begin with that, here and on the other cores.
void Stack::on_packet_too_big(tcp::Connection& c, uint32_t mtu) {
    const Instant expires = env_.now + Duration::from_s(config_.ip.mtu_expires);
    const auto field = static_cast<uint16_t>(std::min<uint32_t>(mtu, UINT16_MAX));
    if (!tcp::on_packet_too_big(env_, c, field, expires))
        return counters_.drop(Drop::icmp_unhandled);
    path_mtus_.learn(c.key.remote, c.path_mtu, env_.now);
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_) host_.tell(core, PathMtuNews{c.key.remote, c.path_mtu});
}

namespace {
/// Which errors say that a SYN-ACK cannot arrive differs by family, as in Linux.
bool ends_half_open(bool v4, uint8_t type, uint8_t code) {
    if (v4) {
        if (type == wire::icmp4::destination_unreachable) return code <= 1;  // network, host
        return type == wire::icmp4::time_exceeded || type == wire::icmp4::parameter_problem;
    }
    if (type == wire::icmp6::destination_unreachable) return code != 0 && code != 2 && code != 3;
    return type == wire::icmp6::parameter_problem;
}
}  // namespace

/// A half-open connection whose SYN-ACK cannot arrive goes silently (RFC 5461 section 4.1).
void Stack::apply_icmp_error(tcp::HalfOpen& entry, Seq seq, bool v4, uint8_t type,
                             uint8_t code) {
    if (seq != entry.iss || !ends_half_open(v4, type, code))
        return counters_.drop(Drop::icmp_unhandled);
    ++counters_.tcp_attempt_fails;
    ++counters_.tcp_listen_drops;
    remove_half_open(entry);
}

/// An attempt fails whatever the code, as in Linux: the application may try another address at once
/// (RFC 5461 section 4.1). Once established, every error is soft (MUST-56), those that RFC 1122
/// calls hard, too (RFC 5927 section 5.2): told and kept.
void Stack::apply_icmp_error(tcp::Connection& c, bool v4, uint8_t type, uint8_t code) {
    const int error = v4 ? wire::icmp4::error_of(type, code) : wire::icmp6::error_of(type, code);
    if (error == 0) return counters_.drop(Drop::icmp_unhandled);
    if (c.state == tcp::State::closed) return;
    if (c.state != tcp::State::syn_sent) return tcp::report(env_, c, error);
    ++counters_.tcp_attempt_fails;
    tcp::finish(env_, c, error);
}

}  // namespace millrace::stack
