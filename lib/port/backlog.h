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

/// What is at the head of the backlog of one of these listening sockets, and whose peer no longer
/// reads, is accepted and closed, a bounded number. Another gets two milliseconds to go. Those of
/// the sockets whose head has been there for so long, or that nobody knows more of. Makes all of
/// them non-blocking: drivers accept what their event told of, and it may be gone.
std::vector<int> settle_backlogs(std::vector<int> listeners);

/// Until `epoll` has an event that is more than a connection which has not settled, at a
/// SOCK_SEQPACKET socket of AF_UNIX that listens; returns at once if one is pending already. Then
/// `epoll` tells of no others until the next call. Returns the sockets from which the driver may
/// accept next: those that have settled, and those that it had been told of before.
std::vector<int> wait_for_event(int epoll);

/// A last look at those: what is dead by now goes, and `epoll` does not tell of what was behind it.
void drop_dead_heads(int epoll, const std::vector<int>& listeners);

}  // namespace millrace::port
