// The C functions of `millrace/socket.h`: addresses, errno and descriptors on their way in and out.
#include <fcntl.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <fmt/format.h>

#include <millrace/runtime.h>
#include <millrace/socket.h>

#include "api/sockets.h"

using millrace::Address;
using millrace::Duration;
using millrace::error;
using millrace::Result;
using millrace::SocketAddress;
using millrace::api::Socket;
using millrace::api::Sockets;

struct mr_context {
    explicit mr_context(std::unique_ptr<millrace::Runtime> r)
        : runtime(std::move(r)), sockets(runtime->core(0)) {}
    std::unique_ptr<millrace::Runtime> runtime;
    Sockets sockets;
};

namespace {

thread_local mr_context* current = nullptr;

int fail(int why) {
    errno = why;
    return -1;
}

template <typename T>
T answer(const Result<T>& result) {
    if (result) return *result;
    errno = result.error().value;
    return static_cast<T>(-1);
}
int answer(const Result<void>& result) { return result ? 0 : fail(result.error().value); }
ssize_t answer(const Result<size_t>& result) {
    return result ? static_cast<ssize_t>(*result) : fail(result.error().value);
}

/// Calls `with(Sockets&)` or `with(Socket&, Sockets&)`, and answers errno for what is not there.
template <typename Call>
auto on_context(Call&& with) -> decltype(answer(with(current->sockets))) {
    if (current == nullptr) return fail(ENXIO);
    if (!current->sockets.own()) return fail(EPERM);
    current->sockets.look_at_clock();
    return answer(with(current->sockets));
}
template <typename Call>
auto on_socket(int descriptor, Call&& with) {
    return on_context([&](Sockets& sockets) -> decltype(with(std::declval<Socket&>(), sockets)) {
        const auto socket = sockets.find(descriptor);
        if (!socket) return std::unexpected(socket.error());
        return with(**socket, sockets);
    });
}

/// Linux's checks, in its order: size, then family.
Result<SocketAddress> read_address(const Socket& socket, const sockaddr* from, socklen_t size) {
    if (from == nullptr) return error(EFAULT);
    if (socket.family() == AF_INET) {
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

/// As much as there is room for; `size` says how long it is.
void write_address(int family, const SocketAddress& is, sockaddr* to, socklen_t* size) {
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
        length = sizeof(in6);
    }
    std::memcpy(to, &storage, std::min(*size, length));
    *size = length;
}

Result<void> give_address(const Socket& socket, const Result<SocketAddress>& is, sockaddr* to,
                          socklen_t* size) {
    if (!is) return std::unexpected(is.error());
    if (to == nullptr || size == nullptr) return error(EFAULT);
    if (static_cast<int>(*size) < 0) return error(EINVAL);
    write_address(socket.family(), *is, to, size);
    return {};
}

bool is_unspecified(const sockaddr* address, socklen_t size) {
    return address != nullptr && size >= sizeof(sa_family_t) && address->sa_family == AF_UNSPEC;
}

}  // namespace

extern "C" {

mr_context* mr_context_create(const char* toml, char* why, size_t why_size) {
    const auto say = [&](std::string_view what) {
        if (why_size > 0) *fmt::format_to_n(why, why_size - 1, "{}", what).out = '\0';
        return static_cast<mr_context*>(nullptr);
    };
    const auto config = millrace::parse_config(toml, "mr_context_create");
    if (!config) return say(config.error().what);
    if (config->cores.size() != 1) return say("a context has one core: one [[core]], no more");
    auto runtime = millrace::Runtime::create(*config);
    if (!runtime) return say(runtime.error().what);
    current = new mr_context(std::move(*runtime));
    return current;
}

void mr_context_destroy(mr_context* context) {
    if (context == nullptr || !context->sockets.own()) return;
    delete context;
    if (context == current) current = nullptr;
}

void mr_context_enter(mr_context* context) { current = context; }

int mr_turn(void) {
    return on_context([](Sockets& sockets) -> Result<int> {
        const auto busy = sockets.turn();
        if (!busy) return std::unexpected(busy.error());
        return *busy ? 1 : 0;
    });
}

int mr_socket(int domain, int type, int protocol) {
    return on_context([&](Sockets& sockets) -> Result<int> {
        const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (domain != AF_INET && domain != AF_INET6) return error(EAFNOSUPPORT);
        if (kind < 0 || kind > SOCK_PACKET) return error(EINVAL);
        if (kind != SOCK_STREAM) return error(ESOCKTNOSUPPORT);
        if (protocol != 0 && protocol != IPPROTO_TCP) return error(EPROTONOSUPPORT);
        return sockets.open(domain, (type & SOCK_NONBLOCK) != 0);
    });
}

int mr_bind(int socket, const sockaddr* address, socklen_t size) {
    return on_socket(socket, [&](Socket& s, Sockets&) -> Result<void> {
        const auto local = read_address(s, address, size);
        if (!local) return std::unexpected(local.error());
        return s.bind(*local);
    });
}

int mr_listen(int socket, int backlog) {
    return on_socket(socket, [&](Socket& s, Sockets&) { return s.listen(backlog); });
}

int mr_accept(int socket, sockaddr* address, socklen_t* size) {
    return mr_accept4(socket, address, size, 0);
}

int mr_accept4(int socket, sockaddr* address, socklen_t* size, int flags) {
    return on_context([&](Sockets& sockets) -> Result<int> {
        if ((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0) return error(EINVAL);
        if (address != nullptr && size == nullptr) return error(EFAULT);
        if (address != nullptr && static_cast<int>(*size) < 0) return error(EINVAL);
        const auto accepted = sockets.accept(socket, (flags & SOCK_NONBLOCK) != 0);
        if (!accepted || address == nullptr) return accepted;
        const Socket& peer = **sockets.find(*accepted);
        // One that has ended meanwhile has no peer any more; its address is told all the same.
        write_address(peer.family(), peer.last_peer(), address, size);
        return accepted;
    });
}

int mr_connect(int socket, const sockaddr* address, socklen_t size) {
    return on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<void> {
        if (size < sizeof(sa_family_t)) return error(EINVAL);
        if (is_unspecified(address, size)) return s.disconnect();
        if (s.is_taken()) return sockets.connect(s, {});
        const auto remote = read_address(s, address, size);
        if (!remote) return std::unexpected(remote.error());
        return sockets.connect(s, *remote);
    });
}

int mr_shutdown(int socket, int how) {
    return on_socket(socket, [&](Socket& s, Sockets&) { return s.shutdown(how); });
}

int mr_close(int socket) {
    return on_context([&](Sockets& sockets) { return sockets.close(socket); });
}

int mr_getsockname(int socket, sockaddr* address, socklen_t* size) {
    return on_socket(socket, [&](Socket& s, Sockets&) {
        return give_address(s, s.local(), address, size);
    });
}

int mr_getpeername(int socket, sockaddr* address, socklen_t* size) {
    return on_socket(socket, [&](Socket& s, Sockets&) {
        return give_address(s, s.peer(), address, size);
    });
}

int mr_setsockopt(int socket, int level, int name, const void* value, socklen_t size) {
    return on_socket(socket, [&](Socket& s, Sockets&) -> Result<void> {
        if (value == nullptr && size != 0) return error(EFAULT);
        return s.set_option(level, name, {static_cast<const std::byte*>(value), size});
    });
}

int mr_getsockopt(int socket, int level, int name, void* value, socklen_t* size) {
    return on_socket(socket, [&](Socket& s, Sockets&) -> Result<void> {
        if (size == nullptr || (value == nullptr && *size != 0)) return error(EFAULT);
        if (static_cast<int>(*size) < 0) return error(EINVAL);
        return s.get_option(level, name, {static_cast<std::byte*>(value), *size}, *size);
    });
}

ssize_t mr_send(int socket, const void* data, size_t size, int flags) {
    return on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<size_t> {
        if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) != 0) return error(EOPNOTSUPP);
        if (data == nullptr && size != 0) return error(EFAULT);
        return sockets.send(s, {static_cast<const std::byte*>(data), size},
                            (flags & MSG_DONTWAIT) == 0);
    });
}

ssize_t mr_write(int socket, const void* data, size_t size) {
    return mr_send(socket, data, size, 0);
}

ssize_t mr_recv(int socket, void* data, size_t size, int flags) {
    return on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<size_t> {
        if ((flags & ~(MSG_DONTWAIT | MSG_PEEK | MSG_WAITALL | MSG_NOSIGNAL)) != 0)
            return error(EOPNOTSUPP);
        if (data == nullptr && size != 0) return error(EFAULT);
        return sockets.receive(s, {static_cast<std::byte*>(data), size},
                               (flags & MSG_DONTWAIT) == 0, (flags & MSG_PEEK) != 0,
                               (flags & MSG_WAITALL) != 0);
    });
}

ssize_t mr_read(int socket, void* data, size_t size) { return mr_recv(socket, data, size, 0); }

int mr_fcntl(int socket, int command, int argument) {
    return on_socket(socket, [&](Socket& s, Sockets&) -> Result<int> {
        if (command == F_GETFL) return O_RDWR | (s.non_blocking ? O_NONBLOCK : 0);
        if (command != F_SETFL) return error(EINVAL);
        s.non_blocking = (argument & O_NONBLOCK) != 0;
        return 0;
    });
}

int mr_poll(pollfd* sockets, nfds_t count, int timeout) {
    return on_context([&](Sockets& table) -> Result<int> {
        int ready = 0;
        const auto look = [&] {
            ready = 0;
            for (nfds_t i = 0; i < count; ++i) {
                pollfd& entry = sockets[i];
                entry.revents = 0;
                if (entry.fd < 0) continue;
                const auto socket = table.find(entry.fd);
                const int always = POLLERR | POLLHUP | POLLNVAL;
                const int events = socket ? (*socket)->poll_events() : POLLNVAL;
                entry.revents = static_cast<short>(events & (entry.events | always));
                if (entry.revents != 0) ++ready;
            }
            return ready > 0;
        };
        // A program that always finds something ready must not starve the stack.
        if (const auto turned = table.turn(); !turned) return std::unexpected(turned.error());
        if (look() || timeout == 0) return ready;
        const auto over = table.wait(Duration::from_ms(std::max(timeout, 0)), look);
        if (!over) return std::unexpected(over.error());
        return ready;
    });
}

}  // extern "C"
