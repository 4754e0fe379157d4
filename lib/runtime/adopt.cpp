#include "runtime/adopt.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "base/netlink.h"
#include "wire/ethernet.h"

namespace millrace::runtime {

namespace {

struct FreeCache {
    void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};
struct PutLink {
    void operator()(rtnl_link* link) const { rtnl_link_put(link); }
};
using Cache = std::unique_ptr<nl_cache, FreeCache>;
using Link = std::unique_ptr<rtnl_link, PutLink>;

/// An address of IP; unspecified IPv6 for anything else.
Address address_of(const nl_addr* address) {
    if (address == nullptr) return {};
    const void* bytes = nl_addr_get_binary_addr(address);
    const unsigned size = nl_addr_get_len(address);
    if (nl_addr_get_family(address) == AF_INET && size == 4) return Address::v4(bytes);
    if (nl_addr_get_family(address) == AF_INET6 && size == 16) return Address::v6(bytes);
    return {};
}

/// A route's destination; a default one has no bytes at all.
Prefix prefix_of(nl_addr* address, Family family) {
    const unsigned length = address != nullptr ? nl_addr_get_prefixlen(address) : 0;
    if (length == 0) return {Address::any(family), 0};
    return {address_of(address), static_cast<uint8_t>(length)};
}

wire::MacAddress mac_of(const nl_addr* address) {
    wire::MacAddress mac;
    std::memcpy(mac.bytes.data(), nl_addr_get_binary_addr(address), mac.bytes.size());
    return mac;
}

bool is_mac(const nl_addr* address) { return address != nullptr && nl_addr_get_len(address) == 6; }

/// Calls `visit` for each object of a cache.
template <typename Object, typename Visit>
void for_each(const Cache& cache, Visit&& visit) {
    for (nl_object* o = nl_cache_get_first(cache.get()); o != nullptr; o = nl_cache_get_next(o))
        visit(reinterpret_cast<Object*>(o));
}

/// One interface, as it is read.
class Adoption {
public:
    Adoption(nl_sock* socket, PortConfig& port, size_t index)
        : socket_(socket), port_(port), name_(port.adopt), index_(index) {}
    Started<void> read();

private:
    template <typename... Arguments>
    std::unexpected<Failure> refuse(int code, fmt::format_string<Arguments...> what,
                                    Arguments&&... arguments) const {
        return failure(fmt::format("port[{}].adopt: {}: {}", index_, name_,
                                   fmt::format(what, std::forward<Arguments>(arguments)...)),
                       code);
    }
    std::unexpected<Failure> unreadable(std::string_view what, int error) const {
        return refuse(EIO, "the kernel does not tell its {}: {}", what, nl_geterror(error));
    }
    Started<void> read_link();
    Started<void> read_addresses();
    Started<void> read_routes();
    Started<void> read_neighbours();
    void add(rtnl_addr* address);
    void add(rtnl_route* route);
    void add(rtnl_neigh* neighbour);
    bool is_on_link(const Address& address) const;

    struct Metered {
        Route route;
        uint32_t metric;
    };

    nl_sock* socket_;
    PortConfig& port_;
    const std::string name_;
    const size_t index_;
    int interface_ = 0;
    std::vector<Metered> routes_;
};

Started<void> Adoption::read() {
    if (auto read = read_link(); !read) return read;
    if (auto read = read_addresses(); !read) return read;
    if (auto read = read_routes(); !read) return read;
    if (auto read = read_neighbours(); !read) return read;
    port_.adopt.clear();
    return {};
}

Started<void> Adoption::read_link() {
    rtnl_link* found = nullptr;
    if (const int error = rtnl_link_get_kernel(socket_, 0, name_.c_str(), &found); error < 0)
        return error == -NLE_OBJ_NOTFOUND || error == -NLE_NODEV
                   ? refuse(ENODEV, "no such interface in this network namespace; ip link shows "
                                    "those that there are")
                   : unreadable("links", error);
    const Link link(found);
    if ((rtnl_link_get_flags(found) & IFF_UP) == 0)
        return refuse(ENETDOWN, "the interface is down: it has neither routes nor neighbours; ip "
                                "link set {} up", name_);
    if (rtnl_link_get_arptype(found) != ARPHRD_ETHER || !is_mac(rtnl_link_get_addr(found)))
        return refuse(EINVAL, "is no Ethernet interface");
    interface_ = rtnl_link_get_ifindex(found);
    port_.mac = mac_of(rtnl_link_get_addr(found)).to_string();
    port_.mtu = static_cast<uint16_t>(std::min(rtnl_link_get_mtu(found), 65535U));
    return {};
}

Started<void> Adoption::read_addresses() {
    nl_cache* made = nullptr;
    if (const int error = rtnl_addr_alloc_cache(socket_, &made); error < 0)
        return unreadable("addresses", error);
    const Cache cache(made);
    for_each<rtnl_addr>(cache, [&](rtnl_addr* one) { add(one); });
    if (port_.addresses.empty())
        return refuse(EADDRNOTAVAIL, "the interface has no address to be taken over; ip addr add "
                                     "ADDRESS/LENGTH dev {}", name_);
    return {};
}

void Adoption::add(rtnl_addr* address) {
    if (rtnl_addr_get_ifindex(address) != interface_) return;
    // Not ours yet, or somebody else's (RFC 4862 section 5.4).
    constexpr unsigned not_ours = IFA_F_TENTATIVE | IFA_F_DADFAILED;
    if ((rtnl_addr_get_flags(address) & not_ours) != 0) return;
    nl_addr* local = rtnl_addr_get_local(address);
    if (local == nullptr) return;
    port_.addresses.push_back(
        {address_of(local), static_cast<uint8_t>(rtnl_addr_get_prefixlen(address))});
}

Started<void> Adoption::read_routes() {
    nl_cache* made = nullptr;
    if (const int error = rtnl_route_alloc_cache(socket_, AF_UNSPEC, 0, &made); error < 0)
        return unreadable("routes", error);
    const Cache cache(made);
    for_each<rtnl_route>(cache, [&](rtnl_route* one) { add(one); });
    // Of those to one network the kernel takes that of the lowest metric, which comes first.
    for (const Metered& one : routes_) {
        const bool known = std::ranges::any_of(port_.routes, [&](const Route& other) {
            return other.destination == one.route.destination;
        });
        if (!known) port_.routes.push_back(one.route);
    }
    return {};
}

/// Unicast routes of the main table by this interface; of several ways the first one by it.
void Adoption::add(rtnl_route* route) {
    if (rtnl_route_get_table(route) != RT_TABLE_MAIN ||
        rtnl_route_get_type(route) != RTN_UNICAST ||
        (rtnl_route_get_flags(route) & RTM_F_CLONED) != 0)
        return;
    const Family family =
        rtnl_route_get_family(route) == AF_INET ? Family::ipv4 : Family::ipv6;
    const Prefix destination = prefix_of(rtnl_route_get_dst(route), family);
    if (destination.address.is_multicast()) return;
    // An address brings its network along.
    const bool of_an_address = std::ranges::any_of(port_.addresses, [&](const Prefix& own) {
        return own.length == destination.length && own.contains(destination.address);
    });
    for (int i = 0; i < rtnl_route_get_nnexthops(route); ++i) {
        rtnl_nexthop* hop = rtnl_route_nexthop_n(route, i);
        if (rtnl_route_nh_get_ifindex(hop) != interface_) continue;
        const nl_addr* gateway = rtnl_route_nh_get_gateway(hop);
        if (gateway == nullptr && of_an_address) return;
        const Address by = gateway != nullptr ? address_of(gateway) : Address::any(family);
        const uint32_t metric = rtnl_route_get_priority(route);
        routes_.insert(std::ranges::upper_bound(routes_, metric, {}, &Metered::metric),
                       {{destination, by}, metric});
        return;
    }
}

Started<void> Adoption::read_neighbours() {
    nl_cache* made = nullptr;
    if (const int error = rtnl_neigh_alloc_cache(socket_, &made); error < 0)
        return unreadable("neighbours", error);
    const Cache cache(made);
    for_each<rtnl_neigh>(cache, [&](rtnl_neigh* one) { add(one); });
    return {};
}

bool Adoption::is_on_link(const Address& address) const {
    return std::ranges::any_of(port_.addresses,
                               [&](const Prefix& own) { return own.contains(address); }) ||
           std::ranges::any_of(port_.routes, [&](const Route& route) {
               return route.gateway.is_unspecified() && route.destination.contains(address);
           });
}

/// Those that the kernel would send to without a doubt, and that a route of ours leads to.
void Adoption::add(rtnl_neigh* neighbour) {
    const int state = rtnl_neigh_get_state(neighbour);
    nl_addr* mac = rtnl_neigh_get_lladdr(neighbour);
    const Address address = address_of(rtnl_neigh_get_dst(neighbour));
    if (rtnl_neigh_get_ifindex(neighbour) != interface_ || !is_mac(mac) ||
        (state & (NUD_PERMANENT | NUD_REACHABLE)) == 0 || !is_on_link(address) ||
        address.is_multicast())
        return;
    port_.neighbours.push_back(
        {.address = address, .mac = mac_of(mac).bytes, .permanent = (state & NUD_PERMANENT) != 0});
}

}  // namespace

Started<void> adopt(Config& config) {
    NetlinkSocket socket;
    for (size_t i = 0; i < config.ports.size(); ++i) {
        if (config.ports[i].adopt.empty()) continue;
        if (socket == nullptr) {
            socket.reset(nl_socket_alloc());
            if (socket == nullptr) return failure("adopt: no memory for netlink", ENOMEM);
            if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0)
                return failure(fmt::format("adopt: no netlink: {}", nl_geterror(error)), EIO);
        }
        Adoption adoption(socket.get(), config.ports[i], i);
        if (auto read = adoption.read(); !read) return read;
    }
    return {};
}

}  // namespace millrace::runtime
