#include "doctor/interfaces.h"

#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "doctor/files.h"

namespace millrace::apps {

namespace {

/// What the files say of one.
void describe_interface(const std::string& root, NetInterface& interface) {
    const std::string folder = root + "/sys/class/net/" + interface.name;
    interface.is_tun = !read_word(folder + "/tun_flags").empty();
    interface.mtu = static_cast<uint32_t>(read_integer(folder + "/mtu", 0));
    interface.driver = link_name(folder + "/device/driver");
    interface.node = static_cast<int>(read_integer(folder + "/device/numa_node", -1));
    // A virtio device has its place from the PCI device that it lies in.
    if (interface.node < 0)
        interface.node = static_cast<int>(read_integer(folder + "/device/../numa_node", -1));
    const auto queues = entries(folder + "/queues");
    interface.queues = static_cast<uint32_t>(std::ranges::count_if(
        queues, [](const std::string& name) { return name.starts_with("rx-"); }));
}

void set_flags(NetInterface& interface, unsigned flags) {
    interface.up = (flags & IFF_UP) != 0;
    interface.running = (flags & IFF_RUNNING) != 0;
}

/// By ethtool's question about channels.
uint32_t queues_max(int asking, const std::string& name) {
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), sizeof(request.ifr_name) - 1);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    if (ioctl(asking, SIOCETHTOOL, &request) != 0) return 0;
    return std::max(channels.max_combined, channels.max_rx);
}

std::vector<NetInterface> of_files(const std::string& root) {
    std::vector<NetInterface> interfaces;
    for (const std::string& name : entries(root + "/sys/class/net")) {
        NetInterface interface;
        interface.name = name;
        const std::string folder = fmt::format("{}/sys/class/net/{}", root, name);
        set_flags(interface, static_cast<unsigned>(
                                 std::strtoul(read_word(folder + "/flags").c_str(), nullptr, 16)));
        interface.running = interface.up && read_integer(folder + "/carrier", 0) == 1;
        describe_interface(root, interface);
        interfaces.push_back(std::move(interface));
    }
    return interfaces;
}

/// /sys may show another namespace's: the kernel is asked which there are.
std::vector<NetInterface> of_kernel() {
    std::vector<NetInterface> interfaces;
    ifaddrs* all = nullptr;
    if (getifaddrs(&all) != 0) return {};
    for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
        auto at = std::ranges::find(interfaces, one->ifa_name, &NetInterface::name);
        if (at == interfaces.end()) {
            at = interfaces.insert(at, NetInterface{});
            at->name = one->ifa_name;
            set_flags(*at, one->ifa_flags);
        }
        if (one->ifa_addr == nullptr) continue;
        if (one->ifa_addr->sa_family == AF_INET)
            at->addresses.push_back(
                Address::v4(&reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr));
        if (one->ifa_addr->sa_family == AF_INET6)
            at->addresses.push_back(
                Address::v6(&reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr));
    }
    freeifaddrs(all);
    const int asking = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (NetInterface& interface : interfaces) {
        describe_interface("", interface);
        interface.queues_max = queues_max(asking, interface.name);
    }
    if (asking >= 0) close(asking);
    return interfaces;
}

}  // namespace

std::vector<NetInterface> look_at_interfaces(const std::string& root) {
    return root.empty() ? of_kernel() : of_files(root);
}

}  // namespace millrace::apps
