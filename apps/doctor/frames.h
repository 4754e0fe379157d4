// A real frame out of each port, and what comes back.
//
// Purpose: the proof that no look at files can give. A process of its own starts the library with
// the configuration, asks a neighbour on each port (ARP or NDP, then the SYN of a connection to the
// discard port, which is taken back), and counts frames out and in. It ends after a bounded time,
// whatever happens in it.
#pragma once

#include <chrono>
#include <vector>

#include <millrace/config.h>

#include "doctor/finding.h"

namespace millrace::apps {

struct FrameOptions {
    std::vector<Address> peers;  ///< to be asked on the ports in whose subnets they are
    std::chrono::milliseconds patience{1000};  ///< for an answer
    std::chrono::seconds limit{30};            ///< for all of it
    bool verbose = false;  ///< what DPDK and its drivers print goes to standard error
};

/// Whom a port asks: the peers that are named, else its gateways, else the first address of each
/// subnet that is not its own (a guess).
std::vector<Address> neighbours_of(const PortConfig& port, const std::vector<Address>& peers);

/// What came of it, per port. The configuration has been found good so far.
Findings try_frames(const Config& config, const FrameOptions& options);

}  // namespace millrace::apps
