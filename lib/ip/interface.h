// An interface as the stack sees it: what of a port matters above it.
#pragma once

#include <cstdint>
#include <vector>

#include <millrace/config.h>

#include "wire/ethernet.h"

namespace millrace::ip {

/// What a link does for the stack. What it does not do is done in software.
struct Offloads {
    bool ipv4_checksum = false;  ///< fills in IPv4 header checksums on transmit
    bool tcp_checksum = false;   ///< completes TCP checksums on transmit
    bool udp_checksum = false;
};

/// Copied to every core's stack at start and never changed.
struct Interface {
    std::string name;
    wire::MacAddress mac;
    uint16_t mtu = 1500;
    uint16_t vlan = 0;
    bool loopback = false;  ///< frames to our own addresses; never reaches a port
    std::vector<Prefix> addresses;
    std::vector<Route> routes;
    std::vector<NeighbourConfig> neighbours;
    Offloads offloads;
};

}  // namespace millrace::ip
