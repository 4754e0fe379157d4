#include "api/socket_address.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace millrace::api {

Result<SocketAddress> read_address(int family, const sockaddr* from, socklen_t size) {
    if (from == nullptr) return error(EFAULT);
    if (family == AF_INET) {
        if (size < sizeof(sockaddr_in)) return error(EINVAL);
        sockaddr_in in;
        std::memcpy(&in, from, sizeof(in));
        if (in.sin_family != AF_INET) return error(EAFNOSUPPORT);
        return SocketAddress{Address::v4(&in.sin_addr), ntohs(in.sin_port)};
    }
    sockaddr_in6 in6;
    if (size < offsetof(sockaddr_in6, sin6_scope_id)) return error(EINVAL);  // RFC 2133's length
    std::memcpy(&in6, from, std::min<size_t>(size, sizeof(in6)));
    if (in6.sin6_family != AF_INET6) return error(EAFNOSUPPORT);
    return SocketAddress{Address::v6(&in6.sin6_addr), ntohs(in6.sin6_port)};
}

void write_address(int family, const SocketAddress& is, sockaddr* to, socklen_t* size,
                   InterfaceIndex interface) {
    sockaddr_storage storage{};
    socklen_t length = 0;
    if (family == AF_INET) {
        auto& in = reinterpret_cast<sockaddr_in&>(storage);
        in.sin_family = AF_INET;
        in.sin_port = htons(is.port);
        std::memcpy(&in.sin_addr, is.address.wire(), 4);
        length = sizeof(in);
    } else {
        auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(is.port);
        std::memcpy(&in6.sin6_addr, is.address.bytes().data(), 16);
        if (is.address.is_link_local() || is.address.is_multicast()) in6.sin6_scope_id = interface;
        length = sizeof(in6);
    }
    std::memcpy(to, &storage, std::min(*size, length));
    *size = length;
}

InterfaceIndex scope_of(const sockaddr* address, socklen_t size) {
    if (size < sizeof(sockaddr_in6) || address->sa_family != AF_INET6) return 0;
    sockaddr_in6 in6;
    std::memcpy(&in6, address, sizeof(in6));
    return in6.sin6_scope_id;
}

}  // namespace millrace::api
