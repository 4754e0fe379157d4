// Options of IPPROTO_IP and IPPROTO_IPV6.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "api/option_value.h"
#include "api/stream_socket.h"
#include "tcp/calls.h"
#include "tcp/path_mtu.h"

namespace millrace::api {

namespace {

constexpr uint8_t without_ecn = 0xfc;  // its two bits are TCP's (RFC 3168 section 6)

}  // namespace

/// The family of the packets decides, not that of the socket.
void StreamSocket::apply_ip_options() {
    if (listener_ != nullptr) apply_to_listener();
    if (!connection_) return;
    const bool v4 = tcb()->key.remote.is_v4();
    static_cast<void>(tcp::set_min_ttl(stack().env(), *tcb(),
                                       v4 ? options_.min_ttl : options_.min_hops));
    static_cast<void>(
        connection_.set_dscp((v4 ? options_.tos : options_.traffic_class) >> 2));
    static_cast<void>(connection_.set_ttl(ttl_of(v4 ? options_.ttl : options_.hops)));
}

/// What an option that may stand for the tunable stands for.
uint8_t StreamSocket::ttl_of(uint8_t set) const {
    return set != 0 ? set : static_cast<uint8_t>(stack().ip_tunables().ip_default_ttl);
}

/// IP_MTU and IPV6_MTU.
Result<void> StreamSocket::get_path_mtu(std::span<std::byte> value, socklen_t& size) const {
    const tcp::Connection* c = tcb();
    if (c == nullptr || c->state == tcp::State::closed) return error(ENOTCONN);
    return write_number(static_cast<int>(tcp::effective_mtu(*c)), value, size);
}

/// One for both families, whose values are the same.
Result<void> StreamSocket::set_mtu_discover(int how) {
    if (how < IP_PMTUDISC_DONT || how > IP_PMTUDISC_OMIT) return error(EINVAL);
    // Segments are never fragmented here: the rest has nothing to stand on.
    if (how != IP_PMTUDISC_WANT && how != IP_PMTUDISC_DO) return error(ENOPROTOOPT);
    options_.mtu_discover = how;
    return {};
}

Result<void> StreamSocket::set_ip_option(int name, std::span<const std::byte> value) {
    const auto number = read_number(value);
    if (!number) return std::unexpected(number.error());
    switch (name) {
        case IP_TOS: options_.tos = static_cast<uint8_t>(*number) & without_ecn; break;
        case IP_TTL:
            if (*number != -1 && (*number < 1 || *number > 255)) return error(EINVAL);
            options_.ttl = static_cast<uint8_t>(std::max(*number, 0));
            break;
        case IP_MTU_DISCOVER: return set_mtu_discover(*number);
        case IP_BIND_ADDRESS_NO_PORT: options_.bind_without_port = *number != 0; return {};
        case IP_MINTTL:
            if (value.empty() || *number < 0 || *number > 255) return error(EINVAL);
            options_.min_ttl = static_cast<uint8_t>(*number);
            break;
        default: return error(ENOPROTOOPT);
    }
    apply_ip_options();
    return {};
}

Result<void> StreamSocket::get_ip_option(int name, std::span<std::byte> value, socklen_t& size) {
    switch (name) {
        case IP_TOS: return write_number(options_.tos, value, size);
        case IP_TTL: return write_number(ttl_of(options_.ttl), value, size);
        case IP_MTU_DISCOVER: return write_number(options_.mtu_discover, value, size);
        case IP_MTU: return get_path_mtu(value, size);
        case IP_BIND_ADDRESS_NO_PORT: return write_number(options_.bind_without_port, value, size);
        case IP_MINTTL: return write_number(options_.min_ttl, value, size);
        default: return error(ENOPROTOOPT);
    }
}

Result<void> StreamSocket::set_ipv6_option(int name, std::span<const std::byte> value) {
    const auto number = read_option<int>(value);
    if (!number) return std::unexpected(number.error());
    switch (name) {
        case IPV6_V6ONLY:
            if (binding_ != nullptr || connection_) return error(EINVAL);
            options_.bind.v6_only = *number != 0;
            return {};
        case IPV6_TCLASS:
            if (*number < -1 || *number > 255) return error(EINVAL);
            options_.traffic_class = static_cast<uint8_t>(std::max(*number, 0)) & without_ecn;
            break;
        case IPV6_UNICAST_HOPS:
            // Linux sends with a hop limit of 0, too: nothing that it could be good for.
            if (*number < -1 || *number == 0 || *number > 255) return error(EINVAL);
            options_.hops = static_cast<uint8_t>(std::max(*number, 0));
            break;
        case IPV6_MTU_DISCOVER: return set_mtu_discover(*number);
        case IPV6_MINHOPCOUNT:
            if (*number < 0 || *number > 255) return error(EINVAL);
            options_.min_hops = static_cast<uint8_t>(*number);
            break;
        default: return error(ENOPROTOOPT);
    }
    apply_ip_options();
    return {};
}

Result<void> StreamSocket::get_ipv6_option(int name, std::span<std::byte> value, socklen_t& size) {
    switch (name) {
        case IPV6_V6ONLY: return write_option<int>(options_.bind.v6_only, value, size);
        case IPV6_TCLASS: return write_option<int>(options_.traffic_class, value, size);
        case IPV6_UNICAST_HOPS: return write_option<int>(ttl_of(options_.hops), value, size);
        case IPV6_MTU_DISCOVER: return write_option(options_.mtu_discover, value, size);
        case IPV6_MTU: return get_path_mtu(value, size);
        case IPV6_MINHOPCOUNT: return write_option<int>(options_.min_hops, value, size);
        default: return error(ENOPROTOOPT);
    }
}

}  // namespace millrace::api
