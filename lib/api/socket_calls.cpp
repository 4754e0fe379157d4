// C functions of `millrace/socket.h`, but for those that move data or wait for several: addresses
// and options on their way in and out.
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>

#include <millrace/runtime.h>

#include "api/c_calls.h"
#include "api/socket_address.h"

using namespace millrace;
using namespace millrace::api;

namespace {

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

mr_context* start(const Started<Config>& config, char* why, size_t why_size) {
    using Hosted = std::pair<std::shared_ptr<void>, Stack&>;
    Turnstile::leave();
    return make_context(config, why, why_size, [](const Config& valid) -> Started<Hosted> {
        auto runtime = Runtime::create(valid);
        if (!runtime) return std::unexpected(runtime.error());
        const std::shared_ptr<Runtime> host = std::move(*runtime);
        return Hosted(host, host->core(0));
    });
}

}  // namespace

extern "C" {

mr_context* mr_context_create(const char* toml, char* why, size_t why_size) {
    return start(parse_config(toml, "mr_context_create"), why, why_size);
}

mr_context* mr_context_load(const char* path, char* why, size_t why_size) {
    return start(load_config(path), why, why_size);
}

void mr_context_destroy(mr_context* context) {
    if (context == nullptr) return;
    {
        const Turnstile::Visit visit(context->sockets.loop().turnstile());
        if (!context->sockets.own() || context->sockets.loop().is_turning()) return;
        delete context;
    }
    if (context == current_context) mr_context_enter(nullptr);
}

void mr_context_enter(mr_context* context) {
    current_context = context;
    Turnstile::leave();
}

int mr_turn(void) {
    return on_context([](Sockets& sockets) -> Result<int> {
        const auto busy = sockets.turn();
        if (!busy) return std::unexpected(busy.error());
        return *busy ? 1 : 0;
    });
}

int64_t mr_counter(const char* name) {
    return on_context([&](Sockets& sockets) -> Result<size_t> {
        if (name == nullptr) return error(EFAULT);
        std::optional<size_t> found;
        sockets.stack().counters([&](std::string_view known, uint64_t value) {
            if (known == name) found = value;
        });
        return found ? Result<size_t>(*found) : error(ENOENT);
    });
}

int mr_socket(int domain, int type, int protocol) {
    return on_context([&](Sockets& sockets) -> Result<int> {
        const int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (domain != AF_INET && domain != AF_INET6) return error(EAFNOSUPPORT);
        if (kind < 0 || kind > SOCK_PACKET) return error(EINVAL);
        if (kind != SOCK_STREAM && kind != SOCK_DGRAM) return error(ESOCKTNOSUPPORT);
        const int usual = kind == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
        if (protocol != 0 && protocol != usual) return error(EPROTONOSUPPORT);
        return sockets.open(domain, kind, (type & SOCK_NONBLOCK) != 0);
    });
}

int mr_bind(int socket, const sockaddr* address, socklen_t size) {
    return on_socket(socket, [&](Socket& s, Sockets&) -> Result<void> {
        const auto local = read_address(s.family(), address, size);
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
        const StreamSocket& peer = *(*sockets.find(*accepted))->stream();
        // One that has ended meanwhile has no peer any more; its address is told all the same.
        write_address(peer.family(), peer.last_peer(), address, size);
        return accepted;
    });
}

int mr_connect(int socket, const sockaddr* address, socklen_t size) {
    return on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<void> {
        if (size < sizeof(sa_family_t)) return error(EINVAL);
        if (is_unspecified(address, size)) return s.disconnect();
        if (s.is_taken()) return sockets.connect(s, {}, 0);
        const auto remote = read_address(s.family(), address, size);
        if (!remote) return std::unexpected(remote.error());
        return sockets.connect(s, *remote, scope_of(address, size));
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

int mr_fcntl(int socket, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    const bool sets = command == F_SETFL || command == F_SETFD;
    const int argument = sets ? va_arg(arguments, int) : 0;
    va_end(arguments);
    return on_context([&](Sockets& sockets) -> Result<int> {
        const auto entry = sockets.find_any(socket);
        if (!entry) return std::unexpected(entry.error());
        Socket* const s = (*entry)->socket;
        switch (command) {
            case F_GETFL: return O_RDWR | (s != nullptr && s->non_blocking ? O_NONBLOCK : 0);
            case F_SETFL:  // like Linux, it does not look at how a file was opened
                if ((argument & (O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME)) != 0)
                    return error(EINVAL);
                if (s == nullptr) return error(EINVAL);  // a set is told how long to wait
                s->non_blocking = (argument & O_NONBLOCK) != 0;
                return 0;
            case F_GETFD: return FD_CLOEXEC;
            case F_SETFD: return argument == FD_CLOEXEC ? Result<int>(0) : error(EINVAL);
            default: return error(EINVAL);
        }
    });
}

int mr_ioctl(int socket, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    int* const value = va_arg(arguments, int*);
    va_end(arguments);
    return on_socket(socket, [&](Socket& s, Sockets&) -> Result<void> {
        if (value == nullptr) return error(EFAULT);
        Result<int> is;
        switch (request) {
            case FIONBIO: s.non_blocking = *value != 0; return {};
            case SIOCINQ: is = s.unread_bytes(); break;  // FIONREAD
            case SIOCOUTQ: is = s.unacknowledged_bytes(); break;
            case SIOCOUTQNSD: is = s.unsent_bytes(); break;
            case SIOCATMARK: is = s.at_mark(); break;
            default: return error(ENOTTY);
        }
        if (!is) return std::unexpected(is.error());
        *value = *is;
        return {};
    });
}

}  // extern "C"
