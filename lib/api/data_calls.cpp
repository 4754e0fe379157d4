// C functions of `millrace/socket.h` that move data: each says it as pieces and flags.
#include <algorithm>
#include <climits>
#include <ctime>

#include "api/c_calls.h"
#include "api/control_data.h"
#include "api/socket_address.h"

using namespace millrace;
using namespace millrace::api;

namespace {

constexpr size_t pieces_max = 1024;  // IOV_MAX
constexpr int send_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_OOB;
constexpr int receive_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_PEEK | MSG_WAITALL | MSG_TRUNC |
                              MSG_OOB | MSG_ERRQUEUE | MSG_CMSG_CLOEXEC;

/// As import_iovec: EINVAL for more in all than a length can say.
Result<Pieces> pieces_of(const iovec* all, size_t count) {
    if (all == nullptr && count > 0) return error(EFAULT);
    size_t sum = 0;
    for (size_t i = 0; i < count; ++i) {
        if (all[i].iov_len > SSIZE_MAX - sum) return error(EINVAL);
        sum += all[i].iov_len;
    }
    return Pieces({all, count});
}

Result<size_t> send_datagram(DatagramSocket& socket, Sockets& sockets, const msghdr& message,
                             Pieces pieces, int flags) {
    if ((flags & MSG_OOB) != 0) return error(EOPNOTSUPP);
    OutgoingDatagram out;
    if (message.msg_name != nullptr) {
        const auto* const to = static_cast<const sockaddr*>(message.msg_name);
        // To an IPv6 socket, an IPv4 address is as good as its mapped form.
        const bool v4 = message.msg_namelen >= sizeof(sa_family_t) && to->sa_family == AF_INET;
        const auto address =
            read_address(v4 ? AF_INET : socket.family(), to, message.msg_namelen);
        if (!address) return std::unexpected(address.error());
        out.destination = *address;
        if (address->address.is_multicast() || address->address.is_link_local())
            out.interface = scope_of(to, message.msg_namelen);
    }
    if (const auto read = read_control(message, out); !read) return std::unexpected(read.error());
    return sockets.send(socket, pieces, out, flags);
}

/// All calls that send come here, as one message.
Result<size_t> send_message(Socket& socket, Sockets& sockets, const msghdr& message, int flags) {
    if ((flags & ~send_flags) != 0) return error(EOPNOTSUPP);
    if (message.msg_iovlen > pieces_max) return error(EMSGSIZE);
    const auto pieces = pieces_of(message.msg_iov, message.msg_iovlen);
    if (!pieces) return std::unexpected(pieces.error());
    if (pieces->has_null()) return error(EFAULT);
    if (DatagramSocket* const datagrams = socket.datagrams())
        return send_datagram(*datagrams, sockets, message, *pieces, flags);
    // A stream goes where it is connected to: the address is not looked at.
    if (message.msg_controllen != 0) return error(EOPNOTSUPP);
    return sockets.send(*socket.stream(), *pieces, flags);
}

Result<size_t> receive_datagram(DatagramSocket& socket, Sockets& sockets, msghdr& message,
                                Pieces pieces, int flags) {
    Datagram datagram;
    const size_t room = pieces.size();
    const auto size = sockets.receive(socket, pieces, datagram, flags);
    if (!size) return size;
    message.msg_flags = flags & MSG_CMSG_CLOEXEC;
    if (*size > room) message.msg_flags |= MSG_TRUNC;
    if (message.msg_name != nullptr)
        write_address(socket.family(), datagram.source, static_cast<sockaddr*>(message.msg_name),
                      &message.msg_namelen, datagram.interface);
    write_control(socket, datagram, message);
    return (flags & MSG_TRUNC) != 0 ? *size : std::min(*size, room);
}

/// As ip_recv_error: the datagram that went wrong, with what is known of that.
Result<size_t> receive_error(DatagramSocket& socket, Sockets& sockets, msghdr& message,
                             Pieces pieces, int flags) {
    DatagramError error;
    const size_t room = pieces.size();
    const auto size = sockets.receive_error(socket, pieces, error);
    if (!size) return size;
    message.msg_flags = MSG_ERRQUEUE | (flags & MSG_CMSG_CLOEXEC);
    if (*size > room) message.msg_flags |= MSG_TRUNC;
    if (message.msg_name != nullptr)
        write_address(socket.family(), error.destination, static_cast<sockaddr*>(message.msg_name),
                      &message.msg_namelen);
    write_error(socket.family(), error, message);
    return std::min(*size, room);
}

/// And all that receive.
Result<size_t> receive_message(Socket& socket, Sockets& sockets, msghdr& message, int flags) {
    if ((flags & ~receive_flags) != 0) return error(EOPNOTSUPP);
    DatagramSocket* const datagrams = socket.datagrams();
    // Of streams nothing is ever queued there: their IP_RECVERR is refused.
    if ((flags & MSG_ERRQUEUE) != 0 && datagrams == nullptr) return error(EAGAIN);
    if (message.msg_iovlen > pieces_max) return error(EMSGSIZE);
    const auto pieces = pieces_of(message.msg_iov, message.msg_iovlen);
    if (!pieces) return std::unexpected(pieces.error());
    if ((flags & MSG_ERRQUEUE) != 0)
        return receive_error(*datagrams, sockets, message, *pieces, flags);
    if (datagrams != nullptr)
        return receive_datagram(*datagrams, sockets, message, *pieces, flags);
    const auto received = sockets.receive(*socket.stream(), *pieces, flags);
    if (!received) return received;
    message.msg_namelen = 0;  // a stream tells no sender
    message.msg_controllen = 0;
    message.msg_flags = flags & ((*received > 0 ? MSG_OOB : 0) | MSG_CMSG_CLOEXEC);
    return received;
}

ssize_t send_pieces(int socket, const iovec* all, size_t count, int flags) {
    const msghdr message{.msg_iov = const_cast<iovec*>(all), .msg_iovlen = count};
    return mr_sendmsg(socket, &message, flags);
}

ssize_t receive_pieces(int socket, const iovec* all, size_t count, int flags) {
    msghdr message{.msg_iov = const_cast<iovec*>(all), .msg_iovlen = count};
    return mr_recvmsg(socket, &message, flags);
}

/// read, readv and writev have no work with nothing, whatever the socket is; write has.
ssize_t vectored(int socket, const iovec* all, int count,
                 ssize_t (*move)(int, const iovec*, size_t, int)) {
    // What is EINVAL here is EMSGSIZE to the message calls.
    if (count < 0 || static_cast<size_t>(count) > pieces_max) return fail(EINVAL);
    const auto size = static_cast<size_t>(count);
    const bool nothing = std::all_of(all, all == nullptr ? all : all + size,
                                     [](const iovec& piece) { return piece.iov_len == 0; });
    if (nothing && (all != nullptr || size == 0))
        return on_socket(socket, [](Socket&, Sockets&) -> Result<size_t> { return 0; });
    return move(socket, all, size, 0);
}

}  // namespace

extern "C" {

ssize_t mr_sendto(int socket, const void* data, size_t size, int flags, const sockaddr* to,
                  socklen_t to_size) {
    iovec piece{.iov_base = const_cast<void*>(data), .iov_len = size};
    const msghdr message{.msg_name = const_cast<sockaddr*>(to),
                         .msg_namelen = to_size,
                         .msg_iov = &piece,
                         .msg_iovlen = 1};
    return mr_sendmsg(socket, &message, flags);
}

ssize_t mr_send(int socket, const void* data, size_t size, int flags) {
    return mr_sendto(socket, data, size, flags, nullptr, 0);
}

ssize_t mr_write(int socket, const void* data, size_t size) {
    return mr_send(socket, data, size, 0);
}

ssize_t mr_writev(int socket, const iovec* pieces, int count) {
    return vectored(socket, pieces, count, send_pieces);
}

ssize_t mr_sendmsg(int socket, const msghdr* message, int flags) {
    if (message == nullptr) return fail(EFAULT);
    return on_socket(socket, [&](Socket& s, Sockets& sockets) {
        return send_message(s, sockets, *message, flags);
    });
}

int mr_sendmmsg(int socket, mmsghdr* messages, unsigned count, int flags) {
    return static_cast<int>(on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<size_t> {
        if (messages == nullptr && count > 0) return error(EFAULT);
        size_t sent = 0;
        for (mmsghdr& each : std::span(messages, std::min<size_t>(count, pieces_max))) {
            const auto answer = send_message(s, sockets, each.msg_hdr, flags);
            if (!answer && sent == 0) return answer;
            if (!answer) break;
            each.msg_len = static_cast<unsigned>(*answer);
            ++sent;
        }
        return sent;
    }));
}

ssize_t mr_recvfrom(int socket, void* data, size_t size, int flags, sockaddr* from,
                    socklen_t* from_size) {
    if (from != nullptr && from_size == nullptr) return fail(EFAULT);
    if (from != nullptr && static_cast<int>(*from_size) < 0) return fail(EINVAL);
    iovec piece{.iov_base = data, .iov_len = size};
    msghdr message{.msg_name = from,
                   .msg_namelen = from != nullptr ? *from_size : 0,
                   .msg_iov = &piece,
                   .msg_iovlen = 1};
    const ssize_t received = mr_recvmsg(socket, &message, flags);
    if (received >= 0 && from != nullptr) *from_size = message.msg_namelen;
    return received;
}

ssize_t mr_recv(int socket, void* data, size_t size, int flags) {
    return mr_recvfrom(socket, data, size, flags, nullptr, nullptr);
}

ssize_t mr_read(int socket, void* data, size_t size) {
    const iovec piece{.iov_base = data, .iov_len = size};
    return vectored(socket, &piece, 1, receive_pieces);
}

ssize_t mr_readv(int socket, const iovec* pieces, int count) {
    return vectored(socket, pieces, count, receive_pieces);
}

ssize_t mr_recvmsg(int socket, msghdr* message, int flags) {
    if (message == nullptr) return fail(EFAULT);
    return on_socket(socket, [&](Socket& s, Sockets& sockets) {
        return receive_message(s, sockets, *message, flags);
    });
}

int mr_recvmmsg(int socket, mmsghdr* messages, unsigned count, int flags, const timespec* timeout) {
    return static_cast<int>(on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<size_t> {
        if (messages == nullptr && count > 0) return error(EFAULT);
        constexpr long second = 1'000'000'000;
        if (timeout != nullptr &&
            (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= second))
            return error(EINVAL);
        // As Linux has it, the time is looked at behind each message: it ends no wait.
        Instant until = Instant::never();
        if (timeout != nullptr)
            until = sockets.loop().now() +
                    Duration::from_s(std::min<int64_t>(timeout->tv_sec, INT_MAX)) +
                    Duration::from_ns(timeout->tv_nsec);
        size_t received = 0;
        for (mmsghdr& each : std::span(messages, count)) {
            const auto answer =
                receive_message(s, sockets, each.msg_hdr, flags & ~MSG_WAITFORONE);
            if (!answer && received == 0) return answer;
            if (!answer) {
                DatagramSocket* const datagrams = s.datagrams();
                if (datagrams != nullptr && answer.error() != EAGAIN)
                    datagrams->put_back(answer.error().value);
                break;
            }
            each.msg_len = static_cast<unsigned>(*answer);
            ++received;
            if ((flags & MSG_WAITFORONE) != 0) flags |= MSG_DONTWAIT;
            if (timeout != nullptr && sockets.loop().now() >= until) break;
        }
        return received;
    }));
}

}  // extern "C"
