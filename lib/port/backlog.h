// Pending connections of a driver's listening socket whose peers have gone. net_memif's handler
// (DPDK 22.11) greets each that it accepts: where that fails it closes the connection but has EAL's
// thread wait for it on, and that ends the process (rte_panic).
//
// For the thread alone that waits at `epoll`, in front of its wait: an epoll instance of this
// process. What is pending is asked of the kernel by sock_diag(7). Where that does not know (its
// unix_diag is missing, the socket is of another network namespace, no descriptor is left) all
// stays as it is.
#pragma once

#include <optional>
#include <vector>

namespace millrace::port {

/// What `epoll` watches; no list where no descriptor is left to ask by, an empty one where there is
/// no such descriptor or no /proc.
std::optional<std::vector<int>> watched_by(int epoll);

/// For each SOCK_SEQPACKET socket of AF_UNIX that listens and that `epoll` watches: what is at the
/// head of its backlog and whose peer no longer reads is accepted and closed, a bounded number.
/// Another gets two milliseconds to go. Those of the sockets whose head has been there for so long,
/// or that nobody knows more of. Makes all of them non-blocking: drivers accept what their event
/// told of, and it may be gone.
std::vector<int> settle_backlogs(int epoll);

/// Until `epoll` has an event that is more than a connection which has not settled; no longer than
/// for one that is pending already. Until the next call it tells of no others. Returns the sockets
/// that have settled.
std::vector<int> wait_for_event(int epoll);

/// A last look at those: where the peer has gone meanwhile, `epoll` does not tell of it either.
void drop_dead_heads(int epoll, const std::vector<int>& settled);

}  // namespace millrace::port
