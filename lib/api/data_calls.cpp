// C functions of `millrace/socket.h` that move data: each says it as pieces and flags.
#include <algorithm>
#include <climits>

#include "api/c_calls.h"

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

ssize_t send_pieces(int socket, const iovec* all, size_t count, int flags) {
    return on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<size_t> {
        if ((flags & ~send_flags) != 0) return error(EOPNOTSUPP);
        const auto pieces = pieces_of(all, count);
        if (!pieces) return std::unexpected(pieces.error());
        if (pieces->has_null()) return error(EFAULT);
        return sockets.send(s, *pieces, flags);
    });
}

ssize_t receive_pieces(int socket, const iovec* all, size_t count, int flags) {
    return on_socket(socket, [&](Socket& s, Sockets& sockets) -> Result<size_t> {
        if ((flags & ~receive_flags) != 0) return error(EOPNOTSUPP);
        // Nothing is ever queued there: IP_RECVERR is refused.
        if ((flags & MSG_ERRQUEUE) != 0) return error(EAGAIN);
        const auto pieces = pieces_of(all, count);
        if (!pieces) return std::unexpected(pieces.error());
        return sockets.receive(s, *pieces, flags);
    });
}

/// Calls that are not told to send or receive have no work with nothing, whatever the socket is.
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

ssize_t mr_sendto(int socket, const void* data, size_t size, int flags, const sockaddr*,
                  socklen_t) {
    const iovec piece{.iov_base = const_cast<void*>(data), .iov_len = size};
    return send_pieces(socket, &piece, 1, flags);
}

ssize_t mr_send(int socket, const void* data, size_t size, int flags) {
    return mr_sendto(socket, data, size, flags, nullptr, 0);
}

ssize_t mr_write(int socket, const void* data, size_t size) {
    const iovec piece{.iov_base = const_cast<void*>(data), .iov_len = size};
    return vectored(socket, &piece, 1, send_pieces);
}

ssize_t mr_writev(int socket, const iovec* pieces, int count) {
    return vectored(socket, pieces, count, send_pieces);
}

ssize_t mr_sendmsg(int socket, const msghdr* message, int flags) {
    if (message == nullptr) return fail(EFAULT);
    if (message->msg_iovlen > pieces_max) return fail(EMSGSIZE);
    if (message->msg_controllen != 0) return fail(EOPNOTSUPP);
    return send_pieces(socket, message->msg_iov, message->msg_iovlen, flags);
}

ssize_t mr_recvfrom(int socket, void* data, size_t size, int flags, sockaddr* from,
                    socklen_t* from_size) {
    if (from != nullptr && from_size == nullptr) return fail(EFAULT);
    const iovec piece{.iov_base = data, .iov_len = size};
    const ssize_t received = receive_pieces(socket, &piece, 1, flags);
    if (received >= 0 && from != nullptr) *from_size = 0;  // a stream tells no sender
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
    if (message->msg_iovlen > pieces_max) return fail(EMSGSIZE);
    const ssize_t received = receive_pieces(socket, message->msg_iov, message->msg_iovlen, flags);
    if (received < 0) return received;
    if (message->msg_name != nullptr) message->msg_namelen = 0;
    message->msg_controllen = 0;
    message->msg_flags = flags & ((received > 0 ? MSG_OOB : 0) | MSG_CMSG_CLOEXEC);
    return received;
}

}  // extern "C"
