// Options of IPPROTO_IP and IPPROTO_IPV6.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "api/option_value.h"
#include "api/socket.h"
#include "tcp/path_mtu.h"

namespace millrace::api {

namespace {

constexpr uint8_t without_ecn = 0xfc;  // its two bits are TCP's (RFC 3168 section 6)

/// Those of IPPROTO_IP may come as one byte.
Result<int> read_number(std::span<const std::byte> value) {
    if (value.size() >= sizeof(int)) return read_option<int>(value);
    return value.empty() ? 0 : std::to_integer<int>(value.front());
}

/// And go as one where there is room for no more.
Result<void> write_number(int is, std::span<std::byte> value, socklen_t& size) {
    const bool byte = !value.empty() && value.size() < sizeof(int) && is >= 0 && is <= 255;
    if (byte) return write_option(static_cast<uint8_t>(is), value, size);
    return write_option(is, value, size);
}

}  // namespace

/// The family of the packets decides, not that of the socket.
void Socket::apply_ip_options() {
    if (!connection_) return;
    const bool v4 = tcb()->key.remote.is_v4();
    const uint8_t ttl = v4 ? options_.ttl : options_.hops;
    static_cast<void>(
        connection_.set_dscp((v4 ? options_.tos : options_.traffic_class) >> 2));
    const auto usual = static_cast<uint8_t>(stack().ip_tunables().ip_default_ttl);
    static_cast<void>(connection_.set_ttl(ttl != 0 ? ttl : usual));
}

Result<int> Socket::path_mtu() const {
    const tcp::Connection* c = tcb();
    if (c == nullptr || c->state == tcp::State::closed) return error(ENOTCONN);
    return static_cast<int>(tcp::effective_mtu(*c));
}

/// One for both families, whose values are the same.
Result<void> Socket::set_mtu_discover(int how) {
    if (how < IP_PMTUDISC_DONT || how > IP_PMTUDISC_OMIT) return error(EINVAL);
    // Segments are never fragmented here: the rest has nothing to stand on.
    if (how != IP_PMTUDISC_WANT && how != IP_PMTUDISC_DO) return error(ENOPROTOOPT);
    options_.mtu_discover = how;
    return {};
}

Result<void> Socket::set_ip_option(int name, std::span<const std::byte> value) {
    const auto number = read_number(value);
    if (!number) return std::unexpected(number.error());
    switch (name) {
        case IP_TOS: options_.tos = static_cast<uint8_t>(*number) & without_ecn; break;
        case IP_TTL:
            if (*number != -1 && (*number < 1 || *number > 255)) return error(EINVAL);
            options_.ttl = static_cast<uint8_t>(std::max(*number, 0));
            break;
        case IP_MTU_DISCOVER: return set_mtu_discover(*number);
        default: return error(ENOPROTOOPT);
    }
    apply_ip_options();
    if (listener_ != nullptr) apply_to_listener();
    return {};
}

Result<void> Socket::get_ip_option(int name, std::span<std::byte> value, socklen_t& size) {
    switch (name) {
        case IP_TOS: return write_number(options_.tos, value, size);
        case IP_TTL: {
            const auto usual = static_cast<int>(stack().ip_tunables().ip_default_ttl);
            return write_number(options_.ttl != 0 ? options_.ttl : usual, value, size);
        }
        case IP_MTU_DISCOVER: return write_number(options_.mtu_discover, value, size);
        case IP_MTU: {
            const auto mtu = path_mtu();
            if (!mtu) return std::unexpected(mtu.error());
            return write_number(*mtu, value, size);
        }
        default: return error(ENOPROTOOPT);
    }
}

Result<void> Socket::set_ipv6_option(int name, std::span<const std::byte> value) {
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
        default: return error(ENOPROTOOPT);
    }
    apply_ip_options();
    if (listener_ != nullptr) apply_to_listener();
    return {};
}

Result<void> Socket::get_ipv6_option(int name, std::span<std::byte> value, socklen_t& size) {
    switch (name) {
        case IPV6_V6ONLY: return write_option<int>(options_.bind.v6_only, value, size);
        case IPV6_TCLASS: return write_option<int>(options_.traffic_class, value, size);
        case IPV6_UNICAST_HOPS: {
            const auto usual = static_cast<int>(stack().ip_tunables().ip_default_ttl);
            return write_option<int>(options_.hops != 0 ? options_.hops : usual, value, size);
        }
        case IPV6_MTU_DISCOVER: return write_option(options_.mtu_discover, value, size);
        case IPV6_MTU: {
            const auto mtu = path_mtu();
            if (!mtu) return std::unexpected(mtu.error());
            return write_option(*mtu, value, size);
        }
        default: return error(ENOPROTOOPT);
    }
}

}  // namespace millrace::api
