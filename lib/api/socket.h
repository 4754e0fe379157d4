// What the sockets of `millrace/socket.h` share, whatever goes through them.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <span>

#include <millrace/error.h>

#include "api/context.h"
#include "api/pollable.h"

namespace millrace::api {

class DatagramSocket;
class StreamSocket;

/// State of a socket as Linux's `struct socket` and `struct sock` keep it. Owned by one context's
/// `Sockets`. None of these functions waits: EAGAIN or EINPROGRESS where the caller might.
class Socket : public Pollable {
public:
    Socket(Context& context, int family) : context_(context), family_(family) {}

    /// One of the two is this one.
    virtual StreamSocket* stream() { return nullptr; }
    virtual DatagramSocket* datagrams() { return nullptr; }

    virtual Result<void> bind(const SocketAddress& address) = 0;
    /// Of streams: EOPNOTSUPP.
    virtual Result<void> listen(int) { return error(EOPNOTSUPP); }
    /// ENETUNREACH where `scope`, the interface that a link-local address was named with, is not
    /// the one by which there is a route.
    Result<void> connect(const SocketAddress& address, InterfaceIndex scope) {
        if (scope != 0 && address.address.is_link_local()) {
            const auto way = stack().route_to(address.address);
            if (!way || *way + InterfaceIndex{1} != scope) return error(ENETUNREACH);
        }
        return connect(address);
    }
    virtual Result<void> connect(const SocketAddress& address) = 0;
    /// Whether an attempt is over: EINPROGRESS until then; its error, once.
    virtual Result<void> finish_connect() { return {}; }
    virtual Result<void> disconnect() = 0;
    /// connect() does not look at the address: it listens, or has a connection or an attempt.
    virtual bool is_taken() const { return false; }
    virtual Result<void> shutdown(int how) = 0;
    /// The application lets go. Some time: SO_LINGER asks to wait, at most so long, until
    /// `is_flushed`.
    virtual std::optional<Duration> begin_close() { return std::nullopt; }
    virtual bool is_flushed() const { return true; }

    virtual Result<SocketAddress> local() const = 0;
    virtual Result<SocketAddress> peer() const = 0;

    virtual Result<int> unread_bytes() const = 0;          ///< SIOCINQ
    virtual Result<int> unacknowledged_bytes() const = 0;  ///< SIOCOUTQ
    /// SIOCOUTQNSD and SIOCATMARK, of streams.
    virtual Result<int> unsent_bytes() const { return error(ENOTTY); }
    virtual Result<int> at_mark() const { return error(ENOTTY); }

    virtual Result<void> set_option(int level, int name, std::span<const std::byte> value) = 0;
    virtual Result<void> get_option(int level, int name, std::span<std::byte> value,
                                    socklen_t& size) = 0;
    /// SO_RCVTIMEO and SO_SNDTIMEO; zero: none; negative: no waiting.
    virtual Duration receive_timeout() const = 0;
    virtual Duration send_timeout() const = 0;

    int family() const { return family_; }
    bool non_blocking = false;

protected:
    Address any_address() const {
        return Address::any(family_ == AF_INET ? Family::ipv4 : Family::ipv6);
    }
    stack::Stack& stack() const { return context_.stack(); }

    Context& context_;
    const int family_;
};

}  // namespace millrace::api
