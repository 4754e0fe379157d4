#include "port/attach.h"

#include <linux/capability.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>

#include "port/interrupt_gate.h"

namespace millrace::port {

namespace {

constexpr unsigned ring_size = 1024;
constexpr uint16_t ring_queues_max = 16;

/// The value of `key=value` among a device's arguments.
std::optional<std::string> argument(std::string_view device, std::string_view key) {
    const std::string wanted = fmt::format(",{}=", key);
    const size_t at = device.find(wanted);
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view rest = device.substr(at + wanted.size());
    return std::string(rest.substr(0, rest.find(',')));
}

std::string name_of(std::string_view device) {
    return std::string(device.substr(0, device.find(',')));
}

struct RingName {
    std::string link;
    unsigned end;
    uint16_t queues;
};

/// "ring:NAME:0" or "ring:NAME:1,queues=4".
std::optional<RingName> parse_ring(const std::string& device) {
    const std::string name = name_of(device);
    if (!name.starts_with("ring:") || name.size() < 8) return std::nullopt;
    const std::string_view end = std::string_view(name).substr(name.size() - 2);
    if (end != ":0" && end != ":1") return std::nullopt;
    unsigned queues = 1;
    if (const auto text = argument(device, "queues")) {
        const auto [ptr, status] =
            std::from_chars(text->data(), text->data() + text->size(), queues);
        if (status != std::errc() || ptr != text->data() + text->size() || queues == 0 ||
            queues > ring_queues_max)
            return std::nullopt;
    }
    return RingName{name.substr(5, name.size() - 7), end[1] == '0' ? 0U : 1U,
                    static_cast<uint16_t>(queues)};
}

/// The links within this process: rings for each direction, shared by the two ends.
class Links {
public:
    Started<uint16_t> open(const RingName& name) {
        const std::lock_guard lock(mutex_);
        Link& link = links_[name.link];
        auto port = open_end(link, name);
        if (port)
            link.open[name.end] = true;
        else
            end_unless_open(name);
        return port;
    }

    void close(const RingName& name) {
        const std::lock_guard lock(mutex_);
        const auto found = links_.find(name.link);
        if (found == links_.end()) return;
        found->second.open[name.end] = false;
        end_unless_open(name);
    }

private:
    struct Link {
        std::array<std::vector<rte_ring*>, 2> rings;  // received by end 0, by end 1
        std::array<bool, 2> open{};
    };

    static Started<uint16_t> open_end(Link& link, const RingName& name) {
        if (link.rings[0].empty())
            if (auto made = make_rings(link, name); !made) return std::unexpected(made.error());
        if (link.rings[0].size() != name.queues)
            return failure(fmt::format("ring:{}: the other end has {} queues, this one asks for {}",
                                       name.link, link.rings[0].size(), name.queues),
                           EINVAL);
        if (link.open[name.end])
            return failure(fmt::format("ring:{}:{} is open already", name.link, name.end), EBUSY);
        auto& receive = link.rings[name.end];
        auto& transmit = link.rings[1 - name.end];
        const std::string port = fmt::format("{}_{}", name.link, name.end);
        const int id = rte_eth_from_rings(port.c_str(), receive.data(), name.queues,
                                          transmit.data(), name.queues, 0);
        if (id < 0)
            return failure(fmt::format("cannot make a port of ring:{}: {}", name.link,
                                       rte_strerror(rte_errno)),
                           rte_errno);
        return static_cast<uint16_t>(id);
    }

    static Started<void> make_rings(Link& link, const RingName& name) {
        for (unsigned direction = 0; direction < 2; ++direction)
            for (uint16_t q = 0; q < name.queues; ++q) {
                const std::string ring = fmt::format("mr_{}_{}_{}", name.link, direction, q);
                rte_ring* made = rte_ring_create(ring.c_str(), ring_size, SOCKET_ID_ANY, 0);
                if (made == nullptr)
                    return failure(fmt::format("cannot make the ring {}: {}", ring,
                                               rte_strerror(rte_errno)),
                                   rte_errno);
                link.rings[direction].push_back(made);
            }
        return {};
    }

    void end_unless_open(const RingName& name) {
        const auto found = links_.find(name.link);
        Link& link = found->second;
        if (link.open[0] || link.open[1]) return;
        for (auto& direction : link.rings)
            for (rte_ring* ring : direction) {
                void* mbuf = nullptr;
                while (rte_ring_dequeue(ring, &mbuf) == 0)
                    rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
                rte_ring_free(ring);
            }
        links_.erase(found);
    }

    std::mutex mutex_;
    std::map<std::string, Link> links_;
};

Links& links() {
    static Links instance;
    return instance;
}

/// Whether this thread has it in effect, whoever its user is.
bool has_capability(unsigned capability) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    if (syscall(SYS_capget, &header, sets.data()) != 0) return false;
    return (sets[capability / 32].effective >> capability % 32 & 1) != 0;
}

/// Why a device could not be made, as far as one can tell without the driver's own messages.
std::string cause_and_remedy(const std::string& device) {
    const std::string name = name_of(device);
    if (name.starts_with("net_tap")) {
        if (access("/dev/net/tun", F_OK) != 0)
            return "/dev/net/tun does not exist: load the tun module, or give the container the "
                   "device";
        if (access("/dev/net/tun", R_OK | W_OK) != 0)
            return "/dev/net/tun may not be opened by this user: give it read and write there";
        if (!has_capability(CAP_NET_ADMIN))
            return "TAP needs CAP_NET_ADMIN: give it to the program, run as root, or use a ring: "
                   "or net_memif link";
        const auto interface = argument(device, "iface");
        if (interface && if_nametoindex(interface->c_str()) != 0)
            return fmt::format("the interface {} exists already, perhaps of another program that "
                               "runs: choose another iface=",
                               *interface);
        return "the TAP driver refused: look at dmesg, or pass eal.arguments = "
               "[\"--log-level=debug\"]";
    }
    if (name.starts_with("net_af_packet") || name.starts_with("net_af_xdp")) {
        const auto interface = argument(device, "iface");
        if (!interface) return "iface= is missing: name the kernel's interface";
        if (if_nametoindex(interface->c_str()) == 0)
            return fmt::format("there is no interface {} in this network namespace", *interface);
        if (!has_capability(CAP_NET_RAW))
            return "raw sockets need CAP_NET_RAW: give it to the program, or run as root";
        return "the kernel refused: AF_XDP needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and a driver "
               "that supports it; net_af_packet works everywhere";
    }
    if (name.starts_with("net_memif"))
        return "the socket may be in use or its folder missing: check socket= and role=";
    if (name.find(':') != std::string::npos)
        return "a PCI device needs a driver that DPDK can use (mlx5's own, or vfio-pci): bind it, "
               "and pass eal.arguments = [\"-a\", \"ADDRESS\"]";
    return "unknown kind of device: ring:, net_tap, net_memif, net_af_packet, net_af_xdp, "
           "net_pcap, net_null or a PCI address";
}

/// Devices that this process has open through us.
class OpenDevices {
public:
    bool add(const std::string& name) {
        const std::lock_guard lock(mutex_);
        return names_.insert(name).second;
    }
    void remove(const std::string& name) {
        const std::lock_guard lock(mutex_);
        names_.erase(name);
    }

private:
    std::mutex mutex_;
    std::set<std::string> names_;
};

OpenDevices& open_devices() {
    static OpenDevices instance;
    return instance;
}

/// Nobody listens at this Unix socket any more.
bool is_left_behind(const std::string& path) {
    struct stat file {};
    if (lstat(path.c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) return false;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    // Of another type than net_memif's: whoever is bound there refuses it (EPROTOTYPE), and has no
    // connection to greet whose peer has gone, which would end his process (backlog.h).
    const int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0) return false;
    const bool refused =
        connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
        errno == ECONNREFUSED;
    close(probe);
    return refused;
}

/// net_memif makes no socket where a file is: a server that was killed would keep the next from
/// starting.
void make_room_for_memif(const std::string& device) {
    if (argument(device, "role") != "server" || argument(device, "socket-abstract") != "no") return;
    const auto path = argument(device, "socket");
    if (path && is_left_behind(*path)) unlink(path->c_str());
}

Started<uint16_t> attach_device(const std::string& device) {
    uint16_t port = 0;
    const std::string name = name_of(device);
    if (rte_eth_dev_get_port_by_name(name.c_str(), &port) == 0) return port;
    if (name.starts_with("net_memif")) {
        InterruptGate::instance().stand();
        make_room_for_memif(device);
    }
    const int status = rte_dev_probe(device.c_str());
    if (status == 0 && rte_eth_dev_get_port_by_name(name.c_str(), &port) == 0) return port;
    return failure(fmt::format("cannot open the port {}: {}", device, cause_and_remedy(device)),
                   status < 0 ? -status : ENODEV);
}

}  // namespace

Started<uint16_t> attach(const std::string& device) {
    if (device.starts_with("ring:")) {
        const auto ring = parse_ring(device);
        if (!ring)
            return failure(fmt::format("{}: a link is written ring:NAME:0 or ring:NAME:1, with "
                                       ",queues=N (1 to {}) if it has several",
                                       device, ring_queues_max),
                           EINVAL);
        return links().open(*ring);
    }
    if (!open_devices().add(name_of(device)))
        return failure(fmt::format("the port {} is open already in this process", device), EBUSY);
    auto port = attach_device(device);
    if (!port) open_devices().remove(name_of(device));
    return port;
}

void detach(const std::string& device, uint16_t port) {
    rte_eth_dev_info info{};
    const bool known = rte_eth_dev_info_get(port, &info) == 0;
    rte_eth_dev_close(port);
    if (const auto ring = device.starts_with("ring:") ? parse_ring(device) : std::nullopt) {
        if (known && info.device != nullptr) rte_dev_remove(info.device);
        links().close(*ring);
        return;
    }
    if (known && info.device != nullptr) rte_dev_remove(info.device);
    open_devices().remove(name_of(device));
}

uint16_t ring_queues(const std::string& device) {
    const auto ring = device.starts_with("ring:") ? parse_ring(device) : std::nullopt;
    return ring ? ring->queues : 0;
}

}  // namespace millrace::port
