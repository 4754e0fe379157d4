// Datagrams and what their sockets may be told: the values of `udp.h`.
//
// Purpose: one UDP datagram (RFC 768) with the parts of its IP header that matter to applications,
// as it is received and as it is sent. Payload is owned slices, never copied.
// Owner: the thread that holds it, as buffers are.
#pragma once

#include <cstdint>
#include <optional>

#include <millrace/address.h>
#include <millrace/buffer.h>

namespace millrace {

/// An interface by number, as Linux's ifindex: the ports in the order of the configuration from 1
/// on, behind them the loopback, which carries what goes to our own addresses. 0: none, or any.
using InterfaceIndex = uint32_t;

/// A datagram that was received.
struct Datagram {
    SocketAddress source;          ///< who sent it
    Address destination;           ///< one of ours, or a group
    InterfaceIndex interface = 0;  ///< by which it came
    uint8_t ttl = 0;               ///< or hop limit
    uint8_t tos = 0;               ///< DSCP and ECN; traffic class of IPv6
    BufferChain data;              ///< its payload; empty where it has none
};

/// A datagram to be sent. What is not set is as the socket has it.
struct OutgoingDatagram {
    std::optional<SocketAddress> destination;  ///< none: to whom the socket is connected
    std::optional<Address> source;             ///< one of ours
    InterfaceIndex interface = 0;  ///< by which to go; 0: as routes, or the socket, have it
    std::optional<uint8_t> ttl;    ///< or hop limit, from 1 on
    std::optional<uint8_t> tos;    ///< DSCP and ECN; traffic class of IPv6
    BufferChain data;              ///< its payload; may be empty
};

/// What went wrong with a datagram that was sent, as Linux's `sock_extended_err` tells it.
struct DatagramError {
    /// Who says so: Linux's SO_EE_ORIGIN_LOCAL, _ICMP and _ICMP6.
    enum class Origin : uint8_t { local = 1, icmp = 2, icmp6 = 3 };

    int error = 0;              ///< errno
    Origin origin = Origin::local;  ///< ee_origin
    uint8_t type = 0;           ///< of the ICMP message
    uint8_t code = 0;           ///< likewise
    uint32_t info = 0;          ///< of EMSGSIZE: what the path carries, bytes of an IP packet
    Address offender;           ///< who sent the message; unspecified where it is our own
    SocketAddress destination;  ///< where the datagram was to go
    BufferChain data;           ///< what the message quotes of its payload
};

/// What becomes of datagrams that are larger than the path carries: Linux's IP_MTU_DISCOVER, by its
/// values.
enum class PathMtuDiscovery : uint8_t {
    dont = 0,       ///< cut into fragments here, and by any router
    want = 1,       ///< cut here into what the path is known to carry; the rest goes with DF
    always = 2,     ///< IP_PMTUDISC_DO: EMSGSIZE
    probe = 3,      ///< EMSGSIZE above what the interface carries; ICMP's word does not count
    interface = 4,  ///< the same without DF
    omit = 5,       ///< cut into what the interface carries, without DF
};

}  // namespace millrace
