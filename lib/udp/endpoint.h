// A UDP socket as its core sees it (RFC 768, RFC 8085): who it speaks for, what waits to be read.
#pragma once

#include <algorithm>
#include <vector>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/slist.hpp>

#include <millrace/datagram.h>
#include <millrace/time.h>

#include "base/hash_table.h"
#include "base/pool.h"
#include "ip/flow_key.h"
#include "ip/neighbours.h"
#include "observe/counters.h"

namespace millrace::stack {
struct Binding;
}

namespace millrace::udp {

constexpr uint16_t protocol = 17;
constexpr size_t header_size = 8;

/// What a datagram counts for in a buffer besides its bytes: an empty one takes room, too.
constexpr uint32_t overhead = 512;

using QueueHook = boost::intrusive::slist_base_hook<
    boost::intrusive::link_mode<boost::intrusive::normal_link>>;

/// A datagram that waits to be read. From its core's pool.
struct Queued : QueueHook {
    Queued(Datagram&& received, uint32_t pinned) : datagram(std::move(received)), buffers(pinned) {}
    Datagram datagram;
    uint32_t buffers;  ///< receive buffers that it pins
};
using Queue = boost::intrusive::slist<Queued, boost::intrusive::cache_last<true>,
                                      boost::intrusive::constant_time_size<false>>;

/// An error that waits to be read (IP_RECVERR). From its core's pool.
struct QueuedError : QueueHook {
    QueuedError(DatagramError&& told, uint32_t pinned) : error(std::move(told)), buffers(pinned) {}
    DatagramError error;
    uint32_t buffers;  ///< receive buffers that it pins
};
using ErrorQueue = boost::intrusive::slist<QueuedError, boost::intrusive::cache_last<true>,
                                           boost::intrusive::constant_time_size<false>>;

/// What the application is told.
struct Event {
    static constexpr uint8_t readable = 1;
    static constexpr uint8_t writable = 2;
    static constexpr uint8_t error = 4;
};

/// Options that there are for each family.
struct FamilySettings {
    uint8_t tos = 0;            ///< IP_TOS, IPV6_TCLASS
    uint8_t ttl = 0;            ///< IP_TTL, IPV6_UNICAST_HOPS; 0: the tunable
    uint8_t multicast_ttl = 1;  ///< IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS; 0: not beyond this host
    bool multicast_loop = true;       ///< IP_MULTICAST_LOOP: this host hears it, too
    bool multicast_all = true;        ///< IP_MULTICAST_ALL: also of groups that others have joined
    InterfaceIndex multicast_interface = 0;  ///< IP_MULTICAST_IF; 0: as routes have it
    std::optional<Address> multicast_source; ///< the address by which that was named
    PathMtuDiscovery path_mtu_discovery = PathMtuDiscovery::want;  ///< IP_MTU_DISCOVER
    bool dont_fragment = false;       ///< IPV6_DONTFRAG
    bool receive_errors = false;      ///< IP_RECVERR, IPV6_RECVERR
};

struct Settings {
    FamilySettings v4, v6;
    bool broadcast = false;       ///< SO_BROADCAST
    uint32_t receive_buffer = 0;  ///< SO_RCVBUF, bytes
    uint32_t send_buffer = 0;     ///< SO_SNDBUF, bytes

    const FamilySettings& of(const Address& address) const { return address.is_v4() ? v4 : v6; }
    FamilySettings& of(Family family) { return family == Family::ipv4 ? v4 : v6; }
};

/// A group that a socket has joined on an interface (its place, not its index).
struct Membership {
    uint16_t interface;
    Address group;
    bool operator==(const Membership&) const = default;
};

template <typename Tag>
using EndpointHook = boost::intrusive::list_base_hook<
    boost::intrusive::tag<Tag>, boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
using ReadyHook = EndpointHook<struct EndpointReadyTag>;
using WaitHook = EndpointHook<struct EndpointWaitTag>;

/// Owned by one core's stack, from its pool. Bound, it is in the table, which it leaves when it is
/// closed; its memory stands until the end of that turn.
struct Endpoint : HashNode, ReadyHook, WaitHook {
    Endpoint(Family of, void* application) : family(of), owner(application) {}

    const Family family;           ///< ipv6: of both, unless `v6_only`
    void* owner;                   ///< the application's side
    SocketAddress local;           ///< the address may be unspecified, or a group
    SocketAddress remote;          ///< where it is connected
    bool connected = false;
    bool own_address = false;      ///< bind() has named the address: it outlives a connect()
    bool own_port = false;         ///< likewise the port
    bool v6_only = false;
    bool reuse_address = false;
    bool reuse_port = false;
    bool in_table = false;
    bool closed = false;
    uint8_t events = 0;            ///< not told yet
    int error = 0;                 ///< SO_ERROR
    uint64_t serial = 0;           ///< who came last; where several could be meant, that one is
    stack::Binding* binding = nullptr;  ///< null: not bound
    ip::FlowKey key;               ///< where it is connected from an address of ours
    ip::NeighbourRef next_hop;     ///< likewise, of the one it is connected to
    Settings settings;
    std::vector<Membership> groups;
    Queue queue;
    ErrorQueue errors;
    uint32_t queued = 0;           ///< bytes that wait, counted with `overhead`
    uint32_t buffers = 0;          ///< receive buffers that they pin
    uint32_t sent = 0;             ///< bytes sent in turn `sent_turn`, counted likewise
    uint64_t sent_turn = 0;

    /// It is found by its tuple; else by its port.
    bool has_tuple() const { return key.protocol != 0; }
    /// An address of its own, not one that stands for many.
    bool has_address() const { return !local.address.is_unspecified(); }
    /// Datagrams to this address could be meant for it.
    bool serves(const Address& destination) const {
        if (has_address()) return local.address == destination;
        return local.address.is_v4() ? destination.is_v4() : !(v6_only && destination.is_v4());
    }
    bool hears(const SocketAddress& source) const {
        if (!connected) return true;
        return remote.address == source.address &&
               (remote.port == 0 || remote.port == source.port);
    }
};

using ReadyList = boost::intrusive::list<Endpoint, boost::intrusive::base_hook<ReadyHook>,
                                         boost::intrusive::constant_time_size<false>>;
using WaitList = boost::intrusive::list<Endpoint, boost::intrusive::base_hook<WaitHook>,
                                        boost::intrusive::constant_time_size<false>>;

/// What one core lends to its sockets. Owned by its stack.
struct Env {
    static constexpr size_t burst_max = 512;
    /// Of the receive buffers, half may wait to be read, on all cores together: frames come from
    /// any core. But a core has room for what two turns bring. One socket has an eighth. Empty
    /// datagrams pin none, but take a place.
    Env(observe::Counters& counting, size_t receive_buffers, size_t cores)
        : counters(counting),
          queued(receive_buffers),
          errors(receive_buffers / 8),
          buffers_max(std::max(receive_buffers / 2 / cores,
                               std::min(receive_buffers / 2, burst_max))),
          socket_buffers_max(receive_buffers / 8) {}

    observe::Counters& counters;
    Pool<Queued> queued;       ///< of all datagrams that wait
    Pool<QueuedError> errors;  ///< and of all errors
    const size_t buffers_max;         ///< receive buffers that these may pin
    const size_t socket_buffers_max;  ///< and those of one socket
    size_t buffers = 0;        ///< and do
    ReadyList ready;           ///< have events for the application

    void notify(Endpoint& endpoint, uint8_t events) {
        endpoint.events |= events;
        if (!endpoint.ReadyHook::is_linked()) ready.push_back(endpoint);
    }
};

/// A datagram arrives, pinning so many buffers; dropped and counted where there is no room.
void deliver(Env& env, Endpoint& endpoint, Datagram datagram, uint32_t buffers);
/// Takes the datagram that has waited longest; there is one.
Datagram take(Env& env, Endpoint& endpoint);
/// Something has gone wrong with what was sent: SO_ERROR.
void report(Env& env, Endpoint& endpoint, int error);
/// The same with all that is known of it, for who has asked for that (IP_RECVERR); it waits to be
/// read, where there is room as for a datagram.
void report(Env& env, Endpoint& endpoint, DatagramError error, uint32_t buffers);
/// Takes the error that has waited longest; there is one. SO_ERROR is then that of the next.
DatagramError take_error(Env& env, Endpoint& endpoint);
/// The errors that wait are dropped.
void clear_errors(Env& env, Endpoint& endpoint);
/// What waits is dropped.
void clear(Env& env, Endpoint& endpoint);

}  // namespace millrace::udp
