// A socket of libnl's that ends with its owner.
#pragma once

#include <memory>

#include <netlink/netlink.h>

namespace millrace {

struct FreeNetlinkSocket {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using NetlinkSocket = std::unique_ptr<nl_sock, FreeNetlinkSocket>;

}  // namespace millrace
