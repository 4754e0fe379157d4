// What travels beside the bytes in sendmsg and recvmsg (RFC 3542 and Linux's ip(7)).
#pragma once

#include <sys/socket.h>

#include <millrace/datagram.h>
#include <millrace/error.h>

#include "api/datagram_socket.h"

namespace millrace::api {

/// Reads IP_PKTINFO, IP_TTL, IP_TOS, IPV6_PKTINFO, IPV6_HOPLIMIT and IPV6_TCLASS into `out`; EINVAL
/// for anything else.
Result<void> read_control(const msghdr& message, OutgoingDatagram& out);
/// Writes what the socket's options ask for; sets `msg_controllen`, and MSG_CTRUNC where there is
/// not enough room.
void write_control(const DatagramSocket& socket, const Datagram& datagram, msghdr& message);

/// IP_RECVERR or IPV6_RECVERR: what went wrong.
void write_error(int family, const DatagramError& error, msghdr& message);

}  // namespace millrace::api
