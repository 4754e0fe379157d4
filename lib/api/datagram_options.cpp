// Options of datagram sockets. What is not here answers ENOPROTOOPT.
#include <netinet/in.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>

#include "api/datagram_socket.h"
#include "api/option_value.h"

namespace millrace::api {

namespace {

Address address_of(const in_addr& in) { return Address::v4(&in); }

/// One of two values, where Linux takes no other.
Result<bool> flag_of(int number) {
    if (number != 0 && number != 1) return error(EINVAL);
    return number != 0;
}

/// `ip_mreqn`, of which Linux takes the shorter forms, too.
ip_mreqn request_of(std::span<const std::byte> value) {
    ip_mreqn request{};
    if (value.size() >= sizeof(ip_mreq))
        std::memcpy(&request, value.data(), std::min(value.size(), sizeof(request)));
    else
        std::memcpy(&request.imr_address, value.data(), sizeof(in_addr));
    return request;
}

}  // namespace

Result<void> DatagramSocket::set_option(int level, int name, std::span<const std::byte> value) {
    switch (level) {
        case SOL_SOCKET: return set_socket_option(name, value);
        case IPPROTO_IP: return set_ip_option(name, value);
        case IPPROTO_IPV6:
            return family_ == AF_INET6 ? set_ipv6_option(name, value) : error(ENOPROTOOPT);
        case IPPROTO_UDP: {
            const auto number = read_option<int>(value);
            if (!number) return std::unexpected(number.error());
            if (name != UDP_CORK) return error(ENOPROTOOPT);
            options_.cork = *number != 0;
            // What becomes of the datagram, setsockopt does not tell.
            if (!options_.cork && corked_) static_cast<void>(send_corked());
            return {};
        }
        default: return error(ENOPROTOOPT);
    }
}

Result<void> DatagramSocket::get_option(int level, int name, std::span<std::byte> value,
                                        socklen_t& size) {
    switch (level) {
        case SOL_SOCKET: return get_socket_option(name, value, size);
        case IPPROTO_IP: return get_ip_option(name, value, size);
        case IPPROTO_UDP:
            if (name != UDP_CORK) return error(ENOPROTOOPT);
            return write_option<int>(options_.cork, value, size);
        case IPPROTO_IPV6:
            if (family_ == AF_INET6) return get_ipv6_option(name, value, size);
            [[fallthrough]];
        default: return error(family_ == AF_INET6 ? ENOPROTOOPT : EOPNOTSUPP);  // as Linux
    }
}

Result<void> DatagramSocket::set_socket_option(int name, std::span<const std::byte> value) {
    if (name == SO_RCVTIMEO || name == SO_SNDTIMEO) {
        const auto time = timeout_of(value);
        if (!time) return std::unexpected(time.error());
        (name == SO_RCVTIMEO ? options_.receive_timeout : options_.send_timeout) = *time;
        return {};
    }
    const auto number = read_option<int>(value);
    if (!number) return std::unexpected(number.error());
    const IpTunables& tunables = stack().ip_tunables();
    udp::Settings& settings = endpoint_.settings;
    switch (name) {
        case SO_REUSEADDR: options_.bind.reuse_address = *number != 0; break;
        case SO_REUSEPORT: options_.bind.reuse_port = *number != 0; break;
        case SO_BROADCAST: settings.broadcast = *number != 0; return {};
        case SO_RCVBUF:
            settings.receive_buffer = std::max(1U, buffer_of(*number, tunables.rmem_max));
            options_.receive_buffer_set = true;
            return {};
        case SO_SNDBUF:
            settings.send_buffer = std::max(1U, buffer_of(*number, tunables.wmem_max));
            options_.send_buffer_set = true;
            return {};
        default: return error(ENOPROTOOPT);
    }
    stack().set_reuse(endpoint_, options_.bind);
    return {};
}

Result<void> DatagramSocket::get_socket_option(int name, std::span<std::byte> value,
                                               socklen_t& size) {
    const auto number = [&](int is) { return write_option(is, value, size); };
    const auto buffer = [&](uint32_t bytes, bool set, int least) {
        return number(set ? told_buffer(bytes, least) : static_cast<int>(bytes));
    };
    const udp::Settings& settings = endpoint_.settings;
    switch (name) {
        case SO_REUSEADDR: return number(options_.bind.reuse_address);
        case SO_REUSEPORT: return number(options_.bind.reuse_port);
        case SO_BROADCAST: return number(settings.broadcast);
        case SO_RCVTIMEO: return write_option(timeval_of(options_.receive_timeout), value, size);
        case SO_SNDTIMEO: return write_option(timeval_of(options_.send_timeout), value, size);
        case SO_RCVBUF:
            return buffer(settings.receive_buffer, options_.receive_buffer_set,
                          receive_buffer_least);
        case SO_SNDBUF:
            return buffer(settings.send_buffer, options_.send_buffer_set, send_buffer_least);
        case SO_ERROR: return number(std::exchange(endpoint_.error, 0));
        case SO_TYPE: return number(SOCK_DGRAM);
        case SO_DOMAIN: return number(family_);
        case SO_PROTOCOL: return number(IPPROTO_UDP);
        case SO_ACCEPTCONN: return number(0);
        case SO_INCOMING_CPU: return number(context_.facade().core());
        default: return error(ENOPROTOOPT);
    }
}

uint8_t DatagramSocket::ttl_of(uint8_t set) const {
    return set != 0 ? set : static_cast<uint8_t>(stack().ip_tunables().ip_default_ttl);
}

/// IP_MTU and IPV6_MTU.
Result<void> DatagramSocket::get_path_mtu(std::span<std::byte> value, socklen_t& size) const {
    if (!endpoint_.connected) return error(ENOTCONN);
    return write_number(static_cast<int>(stack().path_mtu(endpoint_)), value, size);
}

Result<void> DatagramSocket::change_group(bool join, const Address& group,
                                          InterfaceIndex interface) {
    return join ? stack().join(endpoint_, group, interface)
                : stack().leave(endpoint_, group, interface);
}

Result<void> DatagramSocket::set_membership(int name, std::span<const std::byte> value) {
    if (value.size() < sizeof(ip_mreq)) return error(EINVAL);
    const ip_mreqn request = request_of(value);
    const Address group = address_of(request.imr_multiaddr);
    if (!group.is_multicast()) return error(EINVAL);
    auto interface = static_cast<InterfaceIndex>(request.imr_ifindex);
    const Address on = address_of(request.imr_address);
    if (interface == 0 && !on.is_unspecified()) {
        interface = stack().interface_of(on);
        if (interface == 0) return error(ENODEV);
    }
    return change_group(name == IP_ADD_MEMBERSHIP, group, interface);
}

Result<void> DatagramSocket::set_membership_v6(int name, std::span<const std::byte> value) {
    const auto request = read_option<ipv6_mreq>(value);
    if (!request) return std::unexpected(request.error());
    const Address group = Address::v6(&request->ipv6mr_multiaddr);
    if (!group.is_multicast() || group.is_v4()) return error(EINVAL);
    return change_group(name == IPV6_ADD_MEMBERSHIP, group, request->ipv6mr_interface);
}

/// The form that both families share (RFC 3678).
Result<void> DatagramSocket::set_group_membership(int name, int family,
                                                  std::span<const std::byte> value) {
    const auto request = read_option<group_req>(value);
    if (!request) return std::unexpected(request.error());
    const sockaddr_storage& to = request->gr_group;
    if (to.ss_family != family) return error(family == AF_INET ? EINVAL : EADDRNOTAVAIL);
    const Address group = family == AF_INET
                              ? address_of(reinterpret_cast<const sockaddr_in&>(to).sin_addr)
                              : Address::v6(&reinterpret_cast<const sockaddr_in6&>(to).sin6_addr);
    if (!group.is_multicast() || group.is_v4() != (family == AF_INET)) return error(EINVAL);
    return change_group(name == MCAST_JOIN_GROUP, group, request->gr_interface);
}

/// By the address of an interface, or by its index.
Result<void> DatagramSocket::set_multicast_interface(std::span<const std::byte> value) {
    if (value.size() < sizeof(in_addr)) return error(EINVAL);
    const ip_mreqn request = request_of(value);
    auto interface = static_cast<InterfaceIndex>(request.imr_ifindex);
    const Address by = address_of(request.imr_address);
    if (interface == 0 && !by.is_unspecified()) {
        interface = stack().interface_of(by);
        if (interface == 0) return error(EADDRNOTAVAIL);
    }
    if (interface > stack().interfaces().size()) return error(EADDRNOTAVAIL);
    v4().multicast_interface = interface;
    v4().multicast_source = by.is_unspecified() ? std::nullopt : std::optional(by);
    return {};
}

/// Who no longer asks has nothing that waits.
void DatagramSocket::receive_errors(udp::FamilySettings& settings, bool on) {
    settings.receive_errors = on;
    if (!on) stack().clear_errors(endpoint_);
}

Result<void> DatagramSocket::set_ip_option(int name, std::span<const std::byte> value) {
    switch (name) {
        case IP_ADD_MEMBERSHIP:
        case IP_DROP_MEMBERSHIP: return set_membership(name, value);
        case MCAST_JOIN_GROUP:
        case MCAST_LEAVE_GROUP: return set_group_membership(name, AF_INET, value);
        case IP_MULTICAST_IF: return set_multicast_interface(value);
        default: break;
    }
    const auto read = read_number(value);
    if (!read) return std::unexpected(read.error());
    const int number = *read;
    switch (name) {
        case IP_TOS: v4().tos = static_cast<uint8_t>(number); return {};
        case IP_TTL:
            if (number != -1 && (number < 1 || number > 255)) return error(EINVAL);
            v4().ttl = static_cast<uint8_t>(std::max(number, 0));
            return {};
        case IP_MTU_DISCOVER:
            if (number < IP_PMTUDISC_DONT || number > IP_PMTUDISC_OMIT) return error(EINVAL);
            v4().path_mtu_discovery = static_cast<PathMtuDiscovery>(number);
            return {};
        case IP_RECVERR: receive_errors(v4(), number != 0); return {};
        case IP_PKTINFO: options_.packet_info = number != 0; return {};
        case IP_RECVTTL: options_.receive_ttl = number != 0; return {};
        case IP_RECVTOS: options_.receive_tos = number != 0; return {};
        case IP_MULTICAST_TTL:
            if (value.empty() || number < -1 || number > 255) return error(EINVAL);
            v4().multicast_ttl = static_cast<uint8_t>(number == -1 ? 1 : number);
            return {};
        case IP_MULTICAST_LOOP:
            if (value.empty()) return error(EINVAL);
            v4().multicast_loop = number != 0;
            return {};
        case IP_MULTICAST_ALL: {
            const auto all = value.empty() ? error(EINVAL) : flag_of(number);
            if (!all) return std::unexpected(all.error());
            v4().multicast_all = *all;
            return {};
        }
        default: return error(ENOPROTOOPT);
    }
}

Result<void> DatagramSocket::get_ip_option(int name, std::span<std::byte> value, socklen_t& size) {
    const auto number = [&](int is) { return write_number(is, value, size); };
    switch (name) {
        case IP_TOS: return number(v4().tos);
        case IP_TTL: return number(ttl_of(v4().ttl));
        case IP_MTU_DISCOVER: return number(static_cast<int>(v4().path_mtu_discovery));
        case IP_MTU: return get_path_mtu(value, size);
        case IP_RECVERR: return number(v4().receive_errors);
        case IP_PKTINFO: return number(options_.packet_info);
        case IP_RECVTTL: return number(options_.receive_ttl);
        case IP_RECVTOS: return number(options_.receive_tos);
        case IP_MULTICAST_TTL: return number(v4().multicast_ttl);
        case IP_MULTICAST_LOOP: return number(v4().multicast_loop);
        case IP_MULTICAST_ALL: return number(v4().multicast_all);
        case IP_MULTICAST_IF: {
            in_addr is{};
            if (v4().multicast_source) std::memcpy(&is, v4().multicast_source->wire(), sizeof(is));
            return write_option(is, value, size);
        }
        default: return error(ENOPROTOOPT);
    }
}

Result<void> DatagramSocket::set_ipv6_option(int name, std::span<const std::byte> value) {
    switch (name) {
        case IPV6_ADD_MEMBERSHIP:
        case IPV6_DROP_MEMBERSHIP: return set_membership_v6(name, value);
        case MCAST_JOIN_GROUP:
        case MCAST_LEAVE_GROUP: return set_group_membership(name, AF_INET6, value);
        default: break;
    }
    const auto read = read_option<int>(value);
    if (!read) return std::unexpected(read.error());
    const int number = *read;
    const bool is_byte = number >= -1 && number <= 255;
    switch (name) {
        case IPV6_V6ONLY:
            if (endpoint_.binding != nullptr) return error(EINVAL);
            options_.bind.v6_only = number != 0;
            stack().set_reuse(endpoint_, options_.bind);
            return {};
        case IPV6_TCLASS:
            if (!is_byte) return error(EINVAL);
            v6().tos = static_cast<uint8_t>(std::max(number, 0));
            return {};
        case IPV6_UNICAST_HOPS:
            // Linux sends with a hop limit of 0, too: nothing that it could be good for.
            if (!is_byte || number == 0) return error(EINVAL);
            v6().ttl = static_cast<uint8_t>(std::max(number, 0));
            return {};
        case IPV6_MTU_DISCOVER:
            if (number < IP_PMTUDISC_DONT || number > IP_PMTUDISC_OMIT) return error(EINVAL);
            v6().path_mtu_discovery = static_cast<PathMtuDiscovery>(number);
            return {};
        case IPV6_RECVERR: receive_errors(v6(), number != 0); return {};
        case IPV6_DONTFRAG: v6().dont_fragment = number != 0; return {};
        case IPV6_RECVPKTINFO: options_.packet_info_v6 = number != 0; return {};
        case IPV6_RECVHOPLIMIT: options_.receive_hops = number != 0; return {};
        case IPV6_RECVTCLASS: options_.receive_class = number != 0; return {};
        case IPV6_MULTICAST_HOPS:
            if (!is_byte) return error(EINVAL);
            v6().multicast_ttl = static_cast<uint8_t>(number == -1 ? 1 : number);
            return {};
        case IPV6_MULTICAST_LOOP: {
            const auto loop = flag_of(number);
            if (!loop) return std::unexpected(loop.error());
            v6().multicast_loop = *loop;
            return {};
        }
        case IPV6_MULTICAST_ALL: v6().multicast_all = number != 0; return {};
        case IPV6_MULTICAST_IF:
            if (number < 0 || static_cast<size_t>(number) > stack().interfaces().size())
                return error(ENODEV);
            v6().multicast_interface = static_cast<InterfaceIndex>(number);
            return {};
        default: return error(ENOPROTOOPT);
    }
}

Result<void> DatagramSocket::get_ipv6_option(int name, std::span<std::byte> value,
                                             socklen_t& size) {
    const auto number = [&](int is) { return write_option(is, value, size); };
    switch (name) {
        case IPV6_V6ONLY: return number(options_.bind.v6_only);
        case IPV6_TCLASS: return number(v6().tos);
        case IPV6_UNICAST_HOPS: return number(ttl_of(v6().ttl));
        case IPV6_MTU_DISCOVER: return number(static_cast<int>(v6().path_mtu_discovery));
        case IPV6_MTU: return get_path_mtu(value, size);
        case IPV6_RECVERR: return number(v6().receive_errors);
        case IPV6_DONTFRAG: return number(v6().dont_fragment);
        case IPV6_RECVPKTINFO: return number(options_.packet_info_v6);
        case IPV6_RECVHOPLIMIT: return number(options_.receive_hops);
        case IPV6_RECVTCLASS: return number(options_.receive_class);
        case IPV6_MULTICAST_HOPS: return number(v6().multicast_ttl);
        case IPV6_MULTICAST_LOOP: return number(v6().multicast_loop);
        case IPV6_MULTICAST_ALL: return number(v6().multicast_all);
        case IPV6_MULTICAST_IF: return number(static_cast<int>(v6().multicast_interface));
        default: return error(ENOPROTOOPT);
    }
}

}  // namespace millrace::api
