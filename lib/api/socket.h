// One socket: what stands between the calls of `millrace/socket.h` and a connection or listener.
#pragma once

#include <sys/socket.h>

#include <optional>

#include "api/context.h"

namespace millrace::api {

/// State of a socket as Linux's `struct socket` and `struct sock` keep it. It looks at its
/// connection when it is asked; the events of the loop only save what the connection loses when it
/// ends. Owned by one context's `Sockets`.
class Socket final : private ConnectionHandler, private ListenHandler {
public:
    Socket(Context& context, int family) : context_(context), family_(family) {}
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() override;

    // --- none of these waits: EAGAIN or EINPROGRESS where the caller might
    Result<void> bind(const SocketAddress& address);
    Result<void> listen(int backlog);
    /// Fills `accepted`, which is fresh, with the connection that has waited longest.
    Result<void> accept(Socket& accepted);
    Result<void> connect(const SocketAddress& address);
    /// Whether an attempt is over: EINPROGRESS until then; its error, once.
    Result<void> finish_connect();
    Result<void> disconnect();
    Result<void> shutdown(int how);
    Result<size_t> send(std::span<const std::byte> data);
    Result<size_t> receive(std::span<std::byte> data, bool peek);
    short poll_events();
    /// The application lets go. True: SO_LINGER asks to wait, at most so long, until `is_flushed`.
    std::optional<Duration> begin_close();
    bool is_flushed() const;

    Result<SocketAddress> local() const;
    Result<SocketAddress> peer() const;
    int take_error();
    /// The error that a call has been answered with is told.
    void told(int error) {
        if (error == error_) error_ = 0;
    }
    /// Nothing more will arrive; what has may still be read.
    bool is_ended() const;

    // --- options.cpp
    Result<void> set_option(int level, int name, std::span<const std::byte> value);
    Result<void> get_option(int level, int name, std::span<std::byte> value, socklen_t& size);

    int family() const { return family_; }
    /// connect() does not look at the address: it listens, or has a connection or an attempt.
    bool is_taken() const { return connecting_ || connected_ || listener_ != nullptr; }
    /// Of the connection that there is, or was.
    const SocketAddress& last_peer() const { return peer_; }
    bool non_blocking = false;
    Duration receive_timeout, send_timeout;  ///< zero: none; negative: no waiting

private:
    void on_readable(Connection) override { take_received(); }
    void on_closed(Connection, CloseReason) override;
    void on_acceptable(Listener) override {}

    Address any_address() const {
        return Address::any(family_ == AF_INET ? Family::ipv4 : Family::ipv6);
    }
    tcp::Connection* tcb() const { return connection_.connection_; }
    stack::Stack& stack() const { return context_.stack(); }
    void take_received();
    bool peer_closed() const;
    void apply_options();
    void reset();
    void release_binding();
    void set_reuse();

    Context& context_;
    const int family_;
    stack::Binding* binding_ = nullptr;
    tcp::Listener* listener_ = nullptr;
    Connection connection_;       ///< null before connect, and after its end
    bool connecting_ = false;     ///< SS_CONNECTING: nobody has been told how the attempt ended
    bool connected_ = false;      ///< SS_CONNECTED
    bool implicit_ = false;       ///< `binding_` is listen()'s own choice
    bool done_ = false;           ///< SOCK_DONE: the stream ended in good order, or was shut
    bool shut_read_ = false;
    bool shut_write_ = false;
    int error_ = 0;               ///< SO_ERROR
    SocketAddress local_, peer_;  ///< of the connection that was
    BufferChain received_;
    stack::BindOptions bind_options_;
    bool keepalive_ = false;
    bool no_delay_ = false;
    std::optional<Duration> linger_;
};

}  // namespace millrace::api
