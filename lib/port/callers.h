// Calls at a listening socket of a driver's whose callers have left before they were answered.
// net_memif's handler (DPDK 22.11) answers each: where that fails it closes the connection but has
// EAL's thread wait for it on, and that ends the process (rte_panic).
#pragma once

#include <optional>
#include <vector>

namespace millrace::port {

/// What `epoll`, an epoll instance of this process, watches; nothing where nobody says (no /proc,
/// or no descriptor is left to ask by).
std::optional<std::vector<int>> watched_by(int epoll);

/// At each SOCK_SEQPACKET socket of AF_UNIX that listens and that `epoll` watches: takes away the
/// calls at the head of the queue that nobody is behind any more (by sock_diag(7)). Whoever seems
/// to be there gets two milliseconds to leave. True: whoever calls now has been there for so long;
/// false: others have come meanwhile. Only the thread that accepts may ask.
bool settle_calls(int epoll);

}  // namespace millrace::port
