// What a machine is like, as far as Millrace cares: plain values, read and never changed.
//
// Purpose: everything that is judged is gathered here first, so that a test can say what a machine
// is like, or lay its files out in a folder. Facts come from /proc, /sys, /dev and /var/run under a
// root, of which "" is this machine itself; what has no file (addresses, the driver's queues) is
// asked of the kernel on this machine alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <millrace/address.h>
#include <millrace/config.h>

namespace millrace::apps {

/// Pages of one size.
struct HugePages {
    uint64_t size_kib = 0;
    uint64_t total = 0;
    uint64_t free = 0;
    std::map<int, uint64_t> free_by_node;
};

struct Cpu {
    uint16_t number = 0;
    bool isolated = false;            ///< the scheduler leaves it alone (isolcpus)
    int node = 0;                     ///< NUMA
    std::vector<uint16_t> siblings;   ///< hyper-threads of its core, itself among them
    std::string governor;             ///< of its frequency; empty: none
};

/// One of the kernel's.
struct NetInterface {
    std::string name;
    bool up = false;
    bool running = false;     ///< its link is there
    bool is_tun = false;      ///< TUN or TAP
    uint32_t mtu = 0;
    int node = -1;            ///< of the device behind it; -1: unknown, or none
    uint32_t queues = 0;      ///< receive queues that it has now
    uint32_t queues_max = 0;  ///< that the driver could have; 0: it does not say
    std::string driver;       ///< of the device behind it; empty: none
    std::vector<Address> addresses;
};

/// A network card.
struct PciNic {
    std::string address;     ///< "0000:03:00.0"
    std::string id;          ///< "15b3:1017"
    std::string driver;      ///< that has it; empty: none
    std::string interface;   ///< the kernel's, where it has one
    std::string group;       ///< of the IOMMU; empty: none
    int node = -1;           ///< NUMA; -1: unknown
};

/// What an EAL of a prefix keeps in the runtime directory.
struct RuntimeFolder {
    std::string prefix;
    std::string path;
    int holder = 0;      ///< process that has it locked; 0: none
    bool stale = false;  ///< nobody's any more
};

/// Where a memif link meets.
struct MeetingPlace {
    bool folder_exists = false;
    bool folder_writable = false;
    bool exists = false;
    bool is_socket = false;
    bool bound = false;  ///< a process of this machine has the socket
};

/// A file that a device is opened by.
struct DeviceFile {
    bool exists = false;
    int error = 0;  ///< errno of opening it to read and write; 0: it can be
};

struct Machine {
    std::vector<std::string> adopted;  ///< by each port of the configuration; empty: none

    // Who asks.
    uint32_t user = 0;           ///< effective
    uint64_t capabilities = 0;   ///< effective, a bit each
    uint64_t memlock_max = 0;    ///< RLIMIT_MEMLOCK, bytes; ~0: no limit
    uint64_t files_max = 0;      ///< RLIMIT_NOFILE, what may be asked for; ~0: no limit

    // Memory.
    uint64_t available_mb = 0;
    std::optional<uint64_t> group_left_mb;  ///< of the control group's limit, if it has one
    std::vector<HugePages> huge_pages;
    std::vector<std::string> huge_mounts;
    std::vector<int> nodes;                 ///< NUMA nodes that are online

    // Processors.
    std::vector<Cpu> cpus;                  ///< that are online, ascending
    std::vector<uint16_t> usable;           ///< of these by the asking process, ascending

    // Ways out.
    std::vector<NetInterface> interfaces;
    std::vector<PciNic> nics;
    DeviceFile tun;
    std::optional<DeviceFile> vfio;         ///< /dev/vfio/vfio; none: no VFIO in this kernel
    std::map<std::string, DeviceFile> vfio_groups;
    uint64_t iommu_groups = 0;
    bool vfio_without_iommu = false;        ///< enable_unsafe_noiommu_mode
    std::vector<std::string> drivers;       ///< DPDK's plug-ins: "net_tap"; empty: unknown
    std::map<std::string, MeetingPlace> meeting_places;  ///< by path

    // EAL's files.
    std::string runtime_base;               ///< in which it makes its "dpdk"
    bool runtime_writable = false;
    std::vector<RuntimeFolder> runtime_folders;

    bool can(unsigned capability) const { return (capabilities >> capability & 1) != 0; }
    const NetInterface* interface(std::string_view name) const;
    const PciNic* nic(std::string_view address) const;
    const Cpu* cpu(uint16_t number) const;
    uint64_t free_huge_mb() const;
};

/// In which folder EAL makes its "dpdk": systemd's choice, else one by the user, as it does itself.
std::string runtime_base(uint32_t user);

/// Looks at the machine whose files are under `root`; "": this one. A configuration says what
/// sockets to look at. What cannot be read is as if it were not there.
Machine look(const std::string& root, const Config* config);

}  // namespace millrace::apps
