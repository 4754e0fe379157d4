// Pending connections of a driver's listening socket whose peers have gone. net_memif's handler
// (DPDK 22.11) greets each that it accepts: where that fails it closes the connection but has EAL's
// thread wait for it on, and that ends the process (rte_panic).
//
// What is pending is asked of the kernel by sock_diag(7). Where that does not know (its unix_diag
// is missing, the socket is of another network namespace, no descriptor is left) all stays as it
// is.
#pragma once

#include <optional>
#include <vector>

namespace millrace::port {

/// What `epoll`, an epoll instance of this process, watches; nothing where nobody says (no /proc,
/// or no descriptor is left to ask by).
std::optional<std::vector<int>> watched_by(int epoll);

/// For each SOCK_SEQPACKET socket of AF_UNIX that listens and that `epoll` watches: what is at the
/// head of its backlog and has no peer that listens is accepted and closed, a bounded number.
/// Another gets two milliseconds to go. The sockets with a connection that has been pending for so
/// long, or that nobody knows more of; nothing: more has come meanwhile. Makes all of them
/// non-blocking: drivers accept what their event told of, and it may be gone. For the thread alone
/// that accepts.
std::optional<std::vector<int>> settle_backlogs(int epoll);

/// The same without patience, as the last thing before the driver accepts.
void drop_dead_heads(int epoll);

/// Until `epoll` has an event that is more than a connection which has not settled; who connects
/// without end makes it no later than by a second.
void wait_for_event(int epoll);

}  // namespace millrace::port
