// UDP sockets of the native API (RFC 768, RFC 8085).
//
// Purpose: datagrams in and out without a copy, one by one or many in a call, over IPv4, IPv6 and
// multicast groups. What is larger than the path carries goes in fragments, as
// `set_path_mtu_discovery` has it; what comes in fragments is put together.
// Owner: the thread of its stack; on another, calls answer EPERM. Several cores may each have a
// socket of one port: what comes from one peer reaches the same one each time.
// Lifetime: until `close`; the handler must outlive it. In a handler's call any call may be made.
// Cost: some 0.2 us to receive and as much to send (bench/run.sh micro); neither allocates.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include <millrace/datagram.h>
#include <millrace/error.h>
#include <millrace/stack.h>

namespace millrace {

namespace udp {
struct Endpoint;
}

class UdpHandler;

/// Who else may have the port: Linux's options of the same names.
struct UdpOptions {
    bool reuse_address = false;  ///< SO_REUSEADDR, and so have all others: the last gets it all
    bool reuse_port = false;     ///< SO_REUSEPORT, likewise: each gets its share of the peers
    bool v6_only = false;        ///< IPV6_V6ONLY: the unspecified IPv6 address leaves IPv4 out
};

/// A handle of a UDP socket; copies stand for the same one.
class UdpSocket {
public:
    /// A null handle; calls that answer a Result answer EBADF.
    UdpSocket() = default;
    /// Of the same socket, or both null.
    bool operator==(const UdpSocket&) const = default;
    /// Not null; whether the socket still lives it does not say.
    explicit operator bool() const { return endpoint_ != nullptr; }

    /// A socket bound to an address of ours, to a group or broadcast address, or to the unspecified
    /// one (of IPv6: both families); a port of 0 is chosen. EADDRINUSE, EADDRNOTAVAIL, ENOBUFS
    /// (`max_udp_sockets`), EPERM.
    static Result<UdpSocket> open(Stack& stack, const SocketAddress& local, UdpHandler& handler,
                                  const UdpOptions& options = {});
    /// From now on it hears this peer alone, sends to it where nothing else is said, and is told of
    /// ICMP's errors. To port 0: to find out by `local` from where it would speak. ENETUNREACH,
    /// EADDRNOTAVAIL, EADDRINUSE (no port is left), EACCES (broadcast), ENOBUFS, EPERM. On several
    /// cores `on_error` tells EADDRNOTAVAIL where another has this port's conversation with it.
    Result<void> connect(const SocketAddress& remote);
    /// No longer. EPERM.
    Result<void> disconnect();

    /// The datagram that has waited longest; nothing where none waits.
    std::optional<Datagram> receive();
    /// As many as there are and there is room for; answers how many.
    size_t receive(std::span<Datagram> into);

    /// Sends one datagram; it leaves in this turn or the next. `datagram.data` is taken; where the
    /// answer is EAGAIN it is left as it was, and `on_writable` follows. EDESTADDRREQ (not
    /// connected, and no destination), EMSGSIZE, EACCES (broadcast), ENETUNREACH, EADDRNOTAVAIL,
    /// EINVAL or ENETUNREACH (port 0, or a source that is none of ours), ENODEV (no such
    /// interface), ENOBUFS, an error of `on_error` that was not fetched, EPERM.
    Result<void> send(OutgoingDatagram& datagram);
    /// Several, in their order, up to the first that cannot be sent: answers how many were; the
    /// error only where it is the first.
    Result<size_t> send(std::span<OutgoingDatagram> datagrams);
    /// A copy of these bytes.
    Result<void> send(std::span<const std::byte> data,
                      const std::optional<SocketAddress>& destination = std::nullopt);
    /// Likewise.
    Result<void> send(std::string_view data,
                      const std::optional<SocketAddress>& destination = std::nullopt);

    /// Hears a multicast group on an interface (0: as routes have it), which routers are told (IGMP
    /// version 3, MLD version 2, or what they speak). EINVAL (no group), ENODEV, EADDRINUSE (it
    /// does already), ENOBUFS (`igmp_max_memberships`), EPERM.
    Result<void> join(const Address& group, InterfaceIndex interface = 0);
    /// EADDRNOTAVAIL, EPERM.
    Result<void> leave(const Address& group, InterfaceIndex interface = 0);

    /// SO_BROADCAST: it may send to broadcast addresses. EPERM.
    Result<void> set_broadcast(bool on);
    /// SO_RCVBUF: bytes that may wait to be read, 512 more counted for each datagram; to
    /// `rmem_max`, and in at most an eighth of the core's receive buffers. What comes beyond is
    /// dropped. EPERM.
    Result<void> set_receive_buffer(uint32_t bytes);
    /// SO_SNDBUF: bytes that it may send in one turn of the loop, counted likewise; to `wmem_max`.
    /// EPERM.
    Result<void> set_send_buffer(uint32_t bytes);
    /// TTL or hop limit of what goes to one host, 1..255; 0: `ip_default_ttl`. EPERM.
    Result<void> set_ttl(uint8_t ttl);
    /// The same of what goes to groups; 1 at first, 0: it does not leave this host. EPERM.
    Result<void> set_multicast_ttl(uint8_t ttl);
    /// Whether this host's own members hear what it sends to groups; they do at first. EPERM.
    Result<void> set_multicast_loop(bool on);
    /// By which interface groups are reached; 0: as routes have it. ENODEV, EPERM.
    Result<void> set_multicast_interface(InterfaceIndex interface);
    /// DSCP and ECN, or the traffic class, of what is sent. EPERM.
    Result<void> set_tos(uint8_t tos);
    /// What becomes of what is larger than the path carries. EPERM.
    Result<void> set_path_mtu_discovery(PathMtuDiscovery how);

    /// What it is bound to; where it is connected, the address it speaks from.
    SocketAddress local() const;
    /// To whom it is connected; unspecified where it is not.
    SocketAddress remote() const;
    /// IP_RECVERR: all errors are told, those of an unconnected socket and soft ones, too, and wait
    /// to be read; off: what waits is dropped. EPERM.
    Result<void> set_receive_errors(bool on);
    /// The error that has waited longest; nothing where none waits.
    std::optional<DatagramError> receive_error();
    /// SO_ERROR: the errno of what `on_error` told last, once; 0: nothing.
    int take_error();
    /// What waits is dropped. The handle is dead.
    Result<void> close();

private:
    friend class api::Context;
    UdpSocket(api::Context* context, udp::Endpoint* endpoint)
        : context_(context), endpoint_(endpoint) {}
    int check() const;
    template <typename Set>
    Result<void> configure(Set&& set);

    api::Context* context_ = nullptr;
    udp::Endpoint* endpoint_ = nullptr;
};

/// Told of one socket's (or many sockets') events. Owned by the application; must outlive the
/// sockets that it was given to.
class UdpHandler {
public:
    /// The library deletes no handler.
    virtual ~UdpHandler() = default;
    /// Something has arrived. What is left is not announced again until more arrives.
    virtual void on_readable(UdpSocket) = 0;
    /// After a send that answered EAGAIN: there is room again.
    virtual void on_writable(UdpSocket) {}
    /// What was sent to the peer that the socket is connected to did not arrive: the errno that
    /// ICMP stands for, say ECONNREFUSED; with `set_receive_errors`, an error waits to be read.
    virtual void on_error(UdpSocket, int) {}
};

}  // namespace millrace
