// A stream socket: what stands between the calls of `millrace/socket.h` and a connection or
// listener.
#pragma once

#include <optional>

#include "api/pieces.h"
#include "api/socket.h"
#include "api/stream_options.h"

namespace millrace::api {

/// It looks at its connection when it is asked; the events of the loop only save what the
/// connection loses when it ends.
class StreamSocket final : public Socket, private ConnectionHandler, private ListenHandler {
public:
    using Socket::Socket;
    ~StreamSocket() override;

    StreamSocket* stream() override { return this; }
    Result<void> bind(const SocketAddress& address) override;
    Result<void> listen(int backlog) override;
    /// Fills `accepted`, which is fresh, with the connection that has waited longest.
    Result<void> accept(StreamSocket& accepted);
    using Socket::connect;
    Result<void> connect(const SocketAddress& address) override;
    Result<void> finish_connect() override;
    Result<void> disconnect() override;
    bool is_taken() const override { return connecting_ || connected_ || listener_ != nullptr; }
    Result<void> shutdown(int how) override;
    uint32_t poll_events() override;
    std::optional<Duration> begin_close() override;
    bool is_flushed() const override;

    Result<SocketAddress> local() const override;
    Result<SocketAddress> peer() const override;
    int take_error();
    /// The error that a call has been answered with is told.
    void told(int error) {
        if (error == error_) error_ = 0;
    }

    // --- stream_data.cpp
    /// Takes what there is room for; `urgent`: with the mark behind it (MSG_OOB).
    Result<size_t> send(std::span<const std::byte> data, bool urgent);
    /// The same of a slice, without a copy: all of it, or EAGAIN.
    Result<size_t> send(Buffer&& data);
    /// There was no buffer for what was to be sent: a wake-up says when to try again.
    void wait_for_buffers();
    /// MSG_MORE: what fills no segment waits for the next that is sent.
    void hold(bool more);
    /// Copies what has arrived, at most to the urgent mark; null pieces with `discard` (MSG_TRUNC).
    Result<size_t> receive(Pieces into, bool peek, bool discard);
    /// Slices of what has arrived, at most to the urgent mark, as many as there is room for; says
    /// how many. The window opens by `consumed`.
    Result<size_t> receive_slices(std::span<Buffer> into, size_t& count);
    /// EINVAL for more than was received by `receive_slices` and is not consumed.
    Result<void> consumed(size_t bytes);
    /// The urgent byte (MSG_OOB).
    Result<size_t> receive_urgent(Pieces into, bool peek, bool discard);
    /// The byte behind the next `peeked` is the urgent one, or was it (SIOCATMARK).
    bool is_at_mark(size_t peeked = 0) const { return urgent_ && urgent_->at == read_ + peeked; }
    /// Nothing more will arrive; what has may still be read.
    bool is_ended() const;
    Result<int> unread_bytes() const override;
    Result<int> unacknowledged_bytes() const override;
    Result<int> unsent_bytes() const override;
    Result<int> at_mark() const override { return is_at_mark(); }

    // --- stream_options.cpp, tcp_options.cpp, stream_ip_options.cpp
    Result<void> set_option(int level, int name, std::span<const std::byte> value) override;
    Result<void> get_option(int level, int name, std::span<std::byte> value,
                            socklen_t& size) override;
    Duration receive_timeout() const override { return options_.receive_timeout; }
    Duration send_timeout() const override { return options_.send_timeout; }

    const StreamOptions& options() const { return options_; }
    /// Of the connection that there is, or was.
    const SocketAddress& last_peer() const { return peer_; }

private:
    void on_connected(Connection) override { wake(0); }
    void on_urgent(Connection) override;
    void on_readable(Connection) override;
    void on_writable(Connection) override;
    void on_closed(Connection, CloseReason) override;
    void on_acceptable(Listener) override;

    /// Urgent data, of which one byte is out of band (Linux's urg_data and urg_seq).
    struct Urgent {
        uint64_t at;        ///< which byte of the stream it is
        bool told = false;  ///< MSG_OOB has fetched it
    };

    tcp::Connection* tcb() const { return connection_.connection_; }
    Result<void> check_sending() const;
    Result<size_t> nothing_received() const;
    Buffer copy_received(size_t bytes);
    size_t available() const;
    void copy_available(std::span<std::byte> out, size_t skip) const;
    void drop_received(size_t bytes);
    void look_for_urgent();
    bool is_urgent_here() const;
    /// The urgent byte is the next, and not part of the stream.
    bool skips_urgent() const { return is_at_mark() && !options_.urgent_inline; }
    bool is_readable() const;
    bool peer_closed() const;
    bool is_opening() const;
    void apply_options();
    Result<void> set_socket_option(int name, std::span<const std::byte> value);
    Result<void> set_tcp_option(int name, std::span<const std::byte> value);
    Result<void> set_congestion(std::span<const std::byte> value);
    Result<void> set_ip_option(int name, std::span<const std::byte> value);
    Result<void> set_ipv6_option(int name, std::span<const std::byte> value);
    Result<void> set_mtu_discover(int how);
    Result<void> get_socket_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> get_tcp_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> set_listening_option(int name, int is);
    Result<void> get_saved_syn(std::span<std::byte> value, socklen_t& size);
    Result<void> get_tcp_info(std::span<std::byte> value, socklen_t& size) const;
    Result<void> get_ip_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> get_ipv6_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> get_path_mtu(std::span<std::byte> value, socklen_t& size) const;
    uint8_t ttl_of(uint8_t set) const;
    void apply_ip_options();
    void apply_linger2();
    void apply_keepalive();
    void make_room_for_low_water();
    void apply_to_listener();
    void reset();
    Result<void> bind_to_any_port();
    void release_binding();
    void set_reuse();

    stack::Binding* binding_ = nullptr;
    std::optional<Address> address_without_port_;  ///< IP_BIND_ADDRESS_NO_PORT
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
    BufferChain received_;        ///< taken from TCP, not read: the rest of what was, or all
    size_t lent_ = 0;             ///< bytes received in slices and not consumed
    uint64_t read_ = 0;           ///< bytes of the stream that are read, or skipped
    std::optional<Urgent> urgent_;
    bool more_ = false;           ///< MSG_MORE holds back what fills no segment
    StreamOptions options_;
};

}  // namespace millrace::api
