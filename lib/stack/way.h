// From where to where one datagram goes, and by what.
#pragma once

#include <millrace/datagram.h>

#include "ip/neighbours.h"
#include "ip/routes.h"
#include "wire/ip.h"

namespace millrace::stack {

/// Decided once for each datagram that is sent, on its core. `cached` lives as long as its socket.
struct Way {
    SocketAddress from, to;
    ip::NextHop hop;
    bool group = false;
    bool named = false;  ///< the caller has said by which interface
    uint8_t ttl = 0;
    uint8_t tos = 0;
    PathMtuDiscovery how = PathMtuDiscovery::want;
    bool dont_fragment = false;
    ip::NeighbourRef* cached = nullptr;

    size_t ip_size() const { return wire::Ip::size_for(to.address.family()); }
};

}  // namespace millrace::stack
