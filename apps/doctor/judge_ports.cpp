#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <limits>

#include <fmt/format.h>

#include <millrace/runtime.h>

#include "doctor/device.h"
#include "doctor/interfaces.h"
#include "doctor/judge.h"

namespace millrace::apps {

namespace {

constexpr const char* privileges_topic = "privileges";
constexpr const char* give_capability =
    "run as root, or give it to the program: setpriv --ambient-caps, AmbientCapabilities= of a "
    "systemd unit, securityContext.capabilities of a container";

/// A port of the configuration on this machine: what its judges look at, and where they say it.
struct Judged {
    const Machine& machine;
    const Config& config;
    const PortConfig& port;
    const size_t index;
    const Device device;
    Findings findings;

    std::string name() const { return fmt::format("port[{}] {}", index, device.name()); }
    void add(Finding finding) { findings.push_back(std::move(finding)); }
    bool failed() const { return worst(findings) == Severity::failure; }
    void need(unsigned capability, const char* capability_name, const char* why) {
        if (!machine.can(capability))
            add(trouble(privileges_topic,
                        fmt::format("{} wants {}, which user {} does not have here", name(),
                                    capability_name, machine.user),
                        why, give_capability));
    }
};

/// Where its frames would cross from one NUMA node to the other.
void judge_node(Judged& on, int node) {
    if (node < 0 || on.machine.nodes.size() < 2) return;
    for (size_t i = 0; i < on.config.cores.size(); ++i) {
        const auto& cores = on.port.cores;
        if (!cores.empty() && std::ranges::find(cores, i) == cores.end()) continue;
        const Cpu* cpu =
            on.config.cores[i].cpu ? on.machine.cpu(*on.config.cores[i].cpu) : nullptr;
        if (cpu == nullptr || cpu->node == node) continue;
        on.add(warning("numa",
                       fmt::format("{} is on NUMA node {}, core[{}] polls it from CPU {} on node "
                                   "{}",
                                   on.name(), node, i, cpu->number, cpu->node),
                       "every frame crosses from one node's memory to the other's",
                       fmt::format("pin the loop to a CPU of node {}: cat /sys/devices/system/"
                                   "node/node{}/cpulist",
                                   node, node)));
        return;
    }
}

void judge_tap(Judged& on) {
    const DeviceFile& tun = on.machine.tun;
    if (!tun.exists)
        return on.add(trouble("tap", on.name() + " needs /dev/net/tun, which is not there",
                              "the tun module is not loaded, or the container was not given the "
                              "device",
                              "modprobe tun; in a container: --device /dev/net/tun"));
    if (tun.error != 0)
        return on.add(trouble("tap",
                              fmt::format("{}: /dev/net/tun cannot be opened: {}", on.name(),
                                          Errno{tun.error}.message()),
                              fmt::format("user {} may not read and write it, or the control "
                                          "group of devices forbids it",
                                          on.machine.user),
                              "chmod 666 /dev/net/tun (its usual mode), or allow 10:200 rw "
                              "(DeviceAllow= of a unit, devices of a container)"));
    on.need(CAP_NET_ADMIN, "CAP_NET_ADMIN", "a TAP interface is made with it");
    const std::string name = on.device.argument("iface", "dtap0");
    const NetInterface* interface = on.machine.interface(name);
    if (interface != nullptr && !interface->is_tun)
        return on.add(trouble("interface",
                              fmt::format("{}: the interface {} exists and is no TAP device",
                                          on.name(), name),
                              "net_tap makes an interface of that name",
                              "choose another iface=, or net_af_packet to use this one"));
    if (!on.failed())
        on.add(ok("tap", fmt::format("{} can make the interface {}", on.name(), name)));
}

/// The kernel's interface that a port goes through; null, with a finding, where it does not lead
/// anywhere.
const NetInterface* judge_interface(Judged& on) {
    const auto name = on.device.argument("iface");
    if (!name) {
        on.add(trouble("interface", on.name() + " has no iface=",
                       "it stands on an interface of the kernel",
                       "add iface=NAME to the device; ip link shows the names"));
        return nullptr;
    }
    const NetInterface* interface = on.machine.interface(*name);
    if (interface == nullptr) {
        on.add(trouble("interface",
                       fmt::format("{}: there is no interface {}", on.name(), *name),
                       "it is missing, or in another network namespace",
                       "correct iface=, make the interface, or start in its namespace (ip netns "
                       "exec); ip link shows the names"));
        return nullptr;
    }
    if (!interface->up) {
        on.add(trouble("interface", fmt::format("{}: the interface {} is down", on.name(), *name),
                       "nobody has brought it up: no frame passes",
                       fmt::format("ip link set {} up", *name)));
        return nullptr;
    }
    if (!interface->running)
        on.add(warning("interface",
                       fmt::format("{}: the interface {} has no link", on.name(), *name),
                       "the cable, the switch or the other end of a veth pair is down",
                       "bring the other end up"));
    if (interface->mtu != 0 && interface->mtu < on.port.mtu)
        on.add(warning("interface",
                       fmt::format("{}: the interface {} has an MTU of {}, the port one of {}",
                                   on.name(), *name, interface->mtu, on.port.mtu),
                       "larger frames are lost",
                       fmt::format("ip link set {} mtu {}, or lower port.mtu", *name,
                                   on.port.mtu)));
    judge_node(on, interface->node);
    return interface;
}

void judge_af_packet(Judged& on) {
    const NetInterface* interface = judge_interface(on);
    if (interface == nullptr) return;
    on.need(CAP_NET_RAW, "CAP_NET_RAW", "it sends and receives by a raw socket");
    on.need(CAP_NET_ADMIN, "CAP_NET_ADMIN", "the driver sets the interface's flags when it starts");
    if (!on.failed())
        on.add(ok("interface", fmt::format("{}: {} is up, {} receive queues", on.name(),
                                           interface->name, interface->queues)));
}

bool has_driver(const Machine& machine, std::string_view name) {
    return machine.drivers.empty() || std::ranges::any_of(machine.drivers, [&](const auto& one) {
        return name.starts_with(one);
    });
}

/// Devices whose memory stays where it is: the kernel counts it against RLIMIT_MEMLOCK.
void judge_memlock(Judged& on, uint64_t needed, const char* why) {
    if (on.machine.can(CAP_IPC_LOCK) || on.machine.memlock_max >= needed) return;
    on.add(trouble("limits",
                   fmt::format("{}: RLIMIT_MEMLOCK is {} KiB, {} MiB are needed", on.name(),
                               on.machine.memlock_max >> 10, needed >> 20),
                   why,
                   fmt::format("ulimit -l {} (LimitMEMLOCK=infinity in a systemd unit), or give "
                               "the program CAP_IPC_LOCK",
                               needed >> 10)));
}

void judge_af_xdp(Judged& on) {
    const NetInterface* interface = judge_interface(on);
    if (interface == nullptr) return;
    on.need(CAP_NET_ADMIN, "CAP_NET_ADMIN", "it attaches an XDP program to the interface");
    on.need(CAP_NET_RAW, "CAP_NET_RAW", "an AF_XDP socket is a raw one");
    // CAP_BPF does not do: libxdp asks for a program by its number, and its dispatcher compares
    // pointers.
    on.need(CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "it loads an XDP program and asks for it by number");
    // At least the receive buffers.
    judge_memlock(on, uint64_t{on.config.pools.receive} * on.config.cores.size() * 2048,
                  "the packet buffers of AF_XDP are locked in memory");
    const uint32_t first = on.device.number("start_queue", 0);
    const uint32_t count = on.device.number("queue_count", 1);
    if (interface->queues != 0 && uint64_t{first} + count > interface->queues)
        on.add(trouble("queues",
                       fmt::format("{} takes the queues {} to {}, {} has {}", on.name(), first,
                                   uint64_t{first} + count - 1, interface->name,
                                   interface->queues),
                       interface->queues_max > interface->queues
                           ? fmt::format("the driver could have {}", interface->queues_max)
                           : "the device has no more",
                       fmt::format("lower queue_count=, or ethtool -L {} combined {}",
                                   interface->name, uint64_t{first} + count)));
    if (!on.failed())
        on.add(ok("interface", fmt::format("{}: {} is up, {} receive queues{}", on.name(),
                                           interface->name, interface->queues,
                                           interface->driver.empty()
                                               ? ", in the kernel's generic mode"
                                               : ", driver " + interface->driver)));
}

void judge_memif(Judged& on) {
    const std::string path = memif_socket(on.device);
    const auto found = on.machine.meeting_places.find(path);
    if (found == on.machine.meeting_places.end()) return;
    const MeetingPlace& place = found->second;
    const std::string folder = std::filesystem::path(path).parent_path();
    const bool is_server = on.device.argument("role", "client") == "server";
    constexpr const char* topic = "memif";
    if (!place.folder_exists)
        return on.add(trouble(topic, fmt::format("{}: there is no folder {}", on.name(), folder),
                              fmt::format("the socket {} is made in it", path),
                              fmt::format("mkdir -p {}, or correct socket=", folder)));
    if (is_server && !place.folder_writable)
        return on.add(trouble(
            topic,
            fmt::format("{}: user {} may not write {}", on.name(), on.machine.user, folder),
            fmt::format("the server makes the socket {} there", path),
            "give the folder to that user, choose another socket=, or socket-abstract=yes"));
    if (is_server && place.bound)
        return on.add(trouble(topic, fmt::format("{}: {} is in use", on.name(), path),
                              "another process serves there already",
                              "end it, choose another socket=, or role=client"));
    if (is_server && place.exists && !place.is_socket)
        return on.add(trouble(topic, fmt::format("{}: {} is no socket", on.name(), path),
                              "the server makes its socket there, and no file may be in its place",
                              "rm " + path));
    if (is_server && place.exists)
        return on.add(note(topic, fmt::format("{}: {} is left behind", on.name(), path),
                           "a program that was killed could not remove its socket",
                           "none is needed: the next one does at its start"));
    if (!is_server && !place.bound)
        return on.add(note(topic, fmt::format("{}: nobody listens at {} yet", on.name(), path),
                           "the client tries again until its server comes",
                           "start the other end with role=server and this socket="));
    on.add(ok(topic, fmt::format("{} can {} at {}", on.name(), is_server ? "serve" : "ask", path)));
}

/// Drivers that work beside the kernel's own, on a card that keeps its interface.
bool is_bifurcated(const std::string& driver) {
    return driver == "mlx5_core" || driver == "mlx4_core" || driver == "mana";
}

void judge_vfio(Judged& on, const PciNic& nic) {
    constexpr const char* topic = "vfio";
    if (!on.machine.vfio)
        return on.add(trouble(topic, on.name() + " needs /dev/vfio/vfio, which is not there",
                              "the vfio-pci module is not loaded, or the container was not given "
                              "the device",
                              "modprobe vfio-pci; in a container give it /dev/vfio"));
    if (on.machine.iommu_groups == 0 && !on.machine.vfio_without_iommu)
        return on.add(trouble("iommu", on.name() + " needs an IOMMU, and there is none",
                              "it is turned off in the firmware, or the kernel was started "
                              "without it",
                              "boot with intel_iommu=on iommu=pt (amd_iommu=on), or, without "
                              "protection, echo Y > /sys/module/vfio/parameters/"
                              "enable_unsafe_noiommu_mode"));
    const std::string group =
        on.machine.iommu_groups == 0 ? "noiommu-" + nic.group : nic.group;
    const auto file = on.machine.vfio_groups.find(group);
    if (file == on.machine.vfio_groups.end() || file->second.error == EACCES)
        return on.add(trouble(topic,
                              fmt::format("{}: /dev/vfio/{} cannot be opened by user {}", on.name(),
                                          group, on.machine.user),
                              "the group of the device belongs to root",
                              fmt::format("chown {} /dev/vfio/{}, or a udev rule", on.machine.user,
                                          group)));
    judge_memlock(on, memory_needed_mb(on.config) << 20,
                  "a device reads and writes memory that stays where it is");
}

void judge_pci(Judged& on) {
    constexpr const char* topic = "nic";
    const std::string address = on.device.pci_address();
    const PciNic* nic = on.machine.nic(address);
    if (nic == nullptr)
        return on.add(trouble(topic, fmt::format("{}: there is no network card {}", on.name(),
                                                 address),
                              "nothing lies at that PCI address, or it is no network card",
                              "dpdk-devbind.py --status-dev net shows those that there are"));
    const bool is_allowed = std::ranges::any_of(on.config.eal.arguments, [](const auto& one) {
        return one.starts_with("-a") || one.starts_with("--allow");
    });
    if (!is_allowed)
        return on.add(trouble(topic, on.name() + " is not in eal.arguments",
                              "EAL looks at no PCI device that it was not told of",
                              fmt::format("eal.arguments = [\"-a\", \"{}\"]", address)));
    const bool is_free = nic->driver == "vfio-pci" || nic->driver == "igb_uio" ||
                         nic->driver == "uio_pci_generic";
    if (!is_free && !is_bifurcated(nic->driver))
        return on.add(trouble(
            topic,
            fmt::format("{} belongs to {}", on.name(),
                        nic->driver.empty() ? "no driver" : "the kernel's driver " + nic->driver),
            nic->interface.empty()
                ? "DPDK reaches it by vfio-pci"
                : fmt::format("it is the kernel's {}: what uses that would lose it",
                              nic->interface),
            fmt::format("dpdk-devbind.py -b vfio-pci {}, or net_af_packet with iface={}", address,
                        nic->interface.empty() ? "its interface" : nic->interface)));
    if (nic->driver == "vfio-pci") judge_vfio(on, *nic);
    judge_node(on, nic->node);
    if (!on.failed())
        on.add(ok(topic, fmt::format("{}: {}, driver {}", on.name(), nic->id, nic->driver)));
}

void judge_other(Judged& on) {
    if (on.device.name().starts_with("net_") && has_driver(on.machine, on.device.name())) return;
    on.add(trouble("driver",
                   fmt::format("{}: this DPDK has no driver for it", on.name()),
                   "its name begins with that of none of the plug-ins",
                   "correct device=: ring:NAME:0, net_tap, net_memif, net_af_packet, net_af_xdp, "
                   "net_pcap, net_null or a PCI address; or install the driver"));
}

void judge_port(Judged& on) {
    const std::string_view name = on.device.name();
    if (name.starts_with("net_") && !has_driver(on.machine, name)) return judge_other(on);
    switch (on.device.kind()) {
        case DeviceKind::tap: judge_tap(on); break;
        case DeviceKind::memif: judge_memif(on); break;
        case DeviceKind::af_packet: judge_af_packet(on); break;
        case DeviceKind::af_xdp: judge_af_xdp(on); break;
        case DeviceKind::pci: judge_pci(on); break;
        case DeviceKind::other: judge_other(on); break;
        case DeviceKind::ring:
        case DeviceKind::null: break;
    }
}

}  // namespace

Findings judge_ports(const Machine& machine, const Config& config) {
    Findings findings;
    for (size_t i = 0; i < config.ports.size(); ++i) {
        Judged on{machine, config, config.ports[i], i, Device(config.ports[i].device), {}};
        judge_port(on);
        std::ranges::move(on.findings, std::back_inserter(findings));
    }
    if (config.ports.empty())
        findings.push_back(note("port", "the configuration has no port",
                                "it can only talk to itself", "add a [[port]]"));
    return findings;
}

constexpr const char* address_topic = "address";

/// An adopted address, which the kernel has, too, on an interface whose frames both are given.
Finding keep_quiet(const std::string& what, const NetInterface& owner) {
    return note(address_topic, fmt::format("{} is taken over from {}", what, owner.name),
                "the kernel is given the same frames, and resets connections that it does not "
                "know, unless it is kept from them",
                fmt::format("nft add table netdev millrace; nft add chain netdev millrace {0} "
                            "'{{ type filter hook ingress device {0} priority 0; policy drop; }}'",
                            owner.name));
}

Findings judge_addresses(const Machine& machine, const Config& config) {
    constexpr const char* topic = address_topic;
    Findings findings;
    std::vector<std::pair<Address, size_t>> known;
    for (size_t i = 0; i < config.ports.size(); ++i) {
        const PortConfig& port = config.ports[i];
        const DeviceKind kind = Device(port.device).kind();
        if (port.addresses.empty())
            findings.push_back(warning(topic, fmt::format("port[{}] has no address", i),
                                       "nobody can talk to it",
                                       "add addresses = [\"192.0.2.1/24\"]"));
        for (const Prefix& prefix : port.addresses) {
            const auto other = std::ranges::find(known, prefix.address,
                                                 &std::pair<Address, size_t>::first);
            const std::string is = fmt::format("port[{}]: {}", i, prefix.address.to_string());
            if (other != known.end())
                findings.push_back(trouble(
                    topic, fmt::format("{} is port[{}]'s, too", is, other->second),
                    "the configuration names the address twice: answers would leave by one port",
                    "give each port an address of its own"));
            known.emplace_back(prefix.address, i);
            const auto owner = std::ranges::find_if(machine.interfaces, [&](const auto& one) {
                return std::ranges::find(one.addresses, prefix.address) != one.addresses.end();
            });
            if (owner == machine.interfaces.end()) continue;
            if (i < machine.adopted.size() && machine.adopted[i] == owner->name) {
                if (kind == DeviceKind::af_packet) findings.push_back(keep_quiet(is, *owner));
                continue;
            }
            const std::string what =
                fmt::format("{} is an address of the kernel's {}", is, owner->name);
            // On a link that the kernel has no part in it may be somebody else's.
            if (kind == DeviceKind::tap || kind == DeviceKind::af_packet ||
                kind == DeviceKind::af_xdp)
                findings.push_back(trouble(
                    topic, what,
                    "the kernel keeps what is for its own address, and resets connections that it "
                    "does not know",
                    fmt::format("choose another address, or take it away from the kernel: ip addr "
                                "del {} dev {}",
                                prefix.to_string(), owner->name)));
            else
                findings.push_back(warning(topic, what, "programs of this machine reach the "
                                                        "kernel by it, not the port",
                                           "choose another address"));
        }
    }
    if (findings.empty() && !known.empty())
        findings.push_back(ok(topic, fmt::format("{} in use by nobody else here",
                                                 known.size() == 1
                                                     ? known.front().first.to_string() + " is"
                                                     : fmt::format("{} addresses are",
                                                                   known.size()))));
    return findings;
}

Findings judge(const Machine& machine, const Config* config) {
    Findings all;
    const auto add = [&](Findings findings) {
        std::ranges::move(findings, std::back_inserter(all));
    };
    add(judge_privileges(machine, config));
    add(judge_memory(machine, config));
    add(judge_processors(machine, config));
    add(judge_runtime_files(machine, config));
    add(judge_devices(machine));
    if (config == nullptr) return all;
    add(judge_ports(machine, *config));
    add(judge_addresses(machine, *config));
    return all;
}

}  // namespace millrace::apps
