// A datagram socket of `millrace/socket.h`, over an endpoint of the stack.
#pragma once

#include <memory>

#include <millrace/udp.h>

#include "api/pieces.h"
#include "api/socket.h"

namespace millrace::api {

/// What an application has set and only this socket knows; the rest is the endpoint's.
struct DatagramOptions {
    stack::BindOptions bind;  ///< SO_REUSEADDR, SO_REUSEPORT, IPV6_V6ONLY
    Duration receive_timeout;  ///< SO_RCVTIMEO
    Duration send_timeout;     ///< SO_SNDTIMEO
    bool receive_buffer_set = false;  ///< SO_RCVBUF: told doubled, as Linux does
    bool send_buffer_set = false;     ///< SO_SNDBUF, likewise
    bool cork = false;                ///< UDP_CORK
    bool packet_info = false;         ///< IP_PKTINFO
    bool receive_ttl = false;         ///< IP_RECVTTL
    bool receive_tos = false;         ///< IP_RECVTOS
    bool packet_info_v6 = false;      ///< IPV6_RECVPKTINFO
    bool receive_hops = false;        ///< IPV6_RECVHOPLIMIT
    bool receive_class = false;       ///< IPV6_RECVTCLASS
};

class DatagramSocket final : public Socket, private UdpHandler {
public:
    /// ENOBUFS.
    static Result<std::unique_ptr<DatagramSocket>> open(Context& context, int family);
    ~DatagramSocket() override;

    DatagramSocket* datagrams() override { return this; }
    Result<void> bind(const SocketAddress& address) override;
    using Socket::connect;
    Result<void> connect(const SocketAddress& address) override;
    Result<void> disconnect() override;
    Result<void> shutdown(int how) override;
    uint32_t poll_events() override;
    Result<SocketAddress> local() const override;
    Result<SocketAddress> peer() const override;

    /// Copies all of `data` into one datagram; `more`: what is sent next follows in the same.
    Result<size_t> send(Pieces data, OutgoingDatagram& out, bool more);
    /// An error that was answered behind what came before it is told by the next call.
    void put_back(int error) { endpoint_.error = error; }
    /// Copies as much as there is room for of the datagram that has waited longest; `what` is the
    /// rest. Answers its whole size.
    Result<size_t> receive(Pieces into, bool peek, Datagram& what);
    /// The error that has waited longest (MSG_ERRQUEUE), as `receive` has it. EAGAIN.
    Result<size_t> receive_error(Pieces into, DatagramError& what);
    /// From which address an answer to it would go.
    Address answers_from(const Datagram& datagram) const;
    bool is_shut_for_reading() const { return shut_read_; }
    Result<int> unread_bytes() const override;
    Result<int> unacknowledged_bytes() const override { return 0; }

    // --- datagram_options.cpp
    Result<void> set_option(int level, int name, std::span<const std::byte> value) override;
    Result<void> get_option(int level, int name, std::span<std::byte> value,
                            socklen_t& size) override;
    Duration receive_timeout() const override { return options_.receive_timeout; }
    Duration send_timeout() const override { return options_.send_timeout; }
    const DatagramOptions& options() const { return options_; }

private:
    DatagramSocket(Context& context, int family, udp::Endpoint& endpoint);
    void on_readable(UdpSocket) override;
    void on_writable(UdpSocket) override;
    void on_error(UdpSocket, int) override;

    Result<void> send_corked();
    Result<void> set_socket_option(int name, std::span<const std::byte> value);
    Result<void> set_ip_option(int name, std::span<const std::byte> value);
    Result<void> set_ipv6_option(int name, std::span<const std::byte> value);
    Result<void> set_membership(int name, std::span<const std::byte> value);
    Result<void> set_membership_v6(int name, std::span<const std::byte> value);
    Result<void> set_group_membership(int name, int family, std::span<const std::byte> value);
    Result<void> set_multicast_interface(std::span<const std::byte> value);
    Result<void> get_socket_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> get_ip_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> get_ipv6_option(int name, std::span<std::byte> value, socklen_t& size);
    Result<void> get_path_mtu(std::span<std::byte> value, socklen_t& size) const;
    Result<void> change_group(bool join, const Address& group, InterfaceIndex interface);
    void receive_errors(udp::FamilySettings& settings, bool on);
    uint8_t ttl_of(uint8_t set) const;
    udp::FamilySettings& v4() { return endpoint_.settings.v4; }
    udp::FamilySettings& v6() { return endpoint_.settings.v6; }

    udp::Endpoint& endpoint_;
    bool shut_read_ = false;
    bool shut_write_ = false;
    /// MSG_MORE and UDP_CORK: what has been gathered of a datagram.
    std::optional<OutgoingDatagram> corked_;
    DatagramOptions options_;
};

}  // namespace millrace::api
