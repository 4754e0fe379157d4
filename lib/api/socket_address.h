// Addresses on their way between `sockaddr` and the library.
#pragma once

#include <sys/socket.h>

#include <millrace/datagram.h>
#include <millrace/error.h>

namespace millrace::api {

/// For a socket of `family`: Linux's checks, in its order: size, then family. EFAULT, EINVAL,
/// EAFNOSUPPORT.
Result<SocketAddress> read_address(int family, const sockaddr* from, socklen_t size);
/// As much as there is room for; `size` says how long it is. `interface`: of a link-local one.
void write_address(int family, const SocketAddress& is, sockaddr* to, socklen_t* size,
                   InterfaceIndex interface = 0);
/// `sin6_scope_id`; 0 where there is none.
InterfaceIndex scope_of(const sockaddr* address, socklen_t size);

}  // namespace millrace::api
