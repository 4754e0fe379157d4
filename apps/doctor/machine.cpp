#include "doctor/machine.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "doctor/device.h"
#include "doctor/files.h"
#include "doctor/interfaces.h"

namespace millrace::apps {

namespace {

constexpr uint64_t no_limit = std::numeric_limits<uint64_t>::max();

bool is_writable(const std::string& path) {
    return faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

/// A row of /proc/self/limits; `column` 0 is what counts now, 1 what it may be raised to.
uint64_t limit_of(const std::string& limits, const std::string& name, unsigned column) {
    std::istringstream words(words_of(limits, name));
    std::string word;
    for (unsigned i = 0; i <= column; ++i) words >> word;
    return word == "unlimited" ? no_limit : parse_number<uint64_t>(word).value_or(no_limit);
}

void look_at_process(const std::string& root, Machine& machine) {
    const std::string status = read_text(root + "/proc/self/status");
    std::istringstream users(words_of(status, "Uid:"));
    uint32_t real = 0;
    users >> real >> machine.user;
    machine.capabilities =
        std::strtoull(words_of(status, "CapEff:").c_str(), nullptr, 16);
    machine.usable = parse_list(words_of(status, "Cpus_allowed_list:"));
    const std::string limits = read_text(root + "/proc/self/limits");
    machine.memlock_max = limit_of(limits, "Max locked memory", 0);
    machine.files_max = limit_of(limits, "Max open files", 1);  // EAL raises it by itself
}

/// What the control group leaves of its limit, of both versions of control groups.
std::optional<uint64_t> group_left(const std::string& root) {
    const std::string groups = read_text(root + "/proc/self/cgroup");
    const std::string base = root + "/sys/fs/cgroup";
    struct Place {
        std::string folder, limit, used;
    };
    std::vector<Place> places;
    std::istringstream lines(groups);
    for (std::string line; std::getline(lines, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string kind = line.substr(first + 1, second - first - 1);
        std::string path = line.substr(second + 1);
        // Within a namespace of its own a container sees its group at the top.
        for (;; path = path.substr(0, path.rfind('/'))) {
            if (kind.empty())
                places.push_back({base + path, "memory.max", "memory.current"});
            else if (kind == "memory")
                places.push_back({fmt::format("{}/memory{}", base, path), "memory.limit_in_bytes",
                                  "memory.usage_in_bytes"});
            if (path.empty() || path.find('/') == std::string::npos) break;
        }
    }
    std::optional<uint64_t> left;
    for (const Place& place : places) {
        const int64_t limit = read_integer(place.folder + "/" + place.limit, -1);
        // Version 1 says "none" by a number that no machine has.
        if (limit < 0 || limit > int64_t{1} << 60) continue;
        const int64_t used = read_integer(place.folder + "/" + place.used, 0);
        const auto free_mb = static_cast<uint64_t>(std::max<int64_t>(limit - used, 0)) >> 20;
        left = std::min(left.value_or(free_mb), free_mb);
    }
    return left;
}

void look_at_memory(const std::string& root, Machine& machine) {
    machine.available_mb =
        value_of(read_text(root + "/proc/meminfo"), "MemAvailable:", 0) / 1024;
    machine.group_left_mb = group_left(root);
    const std::string nodes = root + "/sys/devices/system/node";
    for (const uint16_t node : parse_list(read_text(nodes + "/online")))
        machine.nodes.push_back(node);
    constexpr std::string_view stem = "hugepages-";
    const std::string sizes = root + "/sys/kernel/mm/hugepages";
    for (const std::string& name : entries(sizes)) {
        HugePages pages;
        if (!name.starts_with(stem)) continue;
        pages.size_kib = std::strtoull(name.c_str() + stem.size(), nullptr, 10);
        pages.total = read_integer(fmt::format("{}/{}/nr_hugepages", sizes, name), 0);
        pages.free = read_integer(fmt::format("{}/{}/free_hugepages", sizes, name), 0);
        for (const int node : machine.nodes)
            pages.free_by_node[node] = read_integer(
                fmt::format("{}/node{}/hugepages/{}/free_hugepages", nodes, node, name), 0);
        machine.huge_pages.push_back(std::move(pages));
    }
    std::istringstream mounts(read_text(root + "/proc/self/mounts"));
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words(line);
        std::string from, path, type;
        if (words >> from >> path >> type && type == "hugetlbfs")
            machine.huge_mounts.push_back(path);
    }
}

void look_at_processors(const std::string& root, Machine& machine) {
    const std::string all = root + "/sys/devices/system/cpu";
    const auto isolated = parse_list(read_text(all + "/isolated"));
    std::map<uint16_t, int> node_of;
    for (const int node : machine.nodes)
        for (const uint16_t cpu : parse_list(
                 read_text(fmt::format("{}/sys/devices/system/node/node{}/cpulist", root, node))))
            node_of[cpu] = node;
    for (const uint16_t number : parse_list(read_text(all + "/online"))) {
        const std::string one = fmt::format("{}/cpu{}", all, number);
        Cpu cpu;
        cpu.number = number;
        cpu.isolated = std::ranges::find(isolated, number) != isolated.end();
        cpu.node = node_of[number];
        cpu.siblings = parse_list(read_text(one + "/topology/thread_siblings_list"));
        cpu.governor = read_word(one + "/cpufreq/scaling_governor");
        machine.cpus.push_back(std::move(cpu));
    }
}

DeviceFile look_at_file(const std::string& path) {
    DeviceFile file;
    file.exists = access(path.c_str(), F_OK) == 0;
    // To open it changes nothing: that begins with what is asked of it then.
    const int opened = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (opened < 0)
        file.error = errno;
    else
        close(opened);
    return file;
}

void look_at_pci(const std::string& root, Machine& machine) {
    const std::string all = root + "/sys/bus/pci/devices";
    for (const std::string& address : entries(all)) {
        const std::string one = fmt::format("{}/{}", all, address);
        if (!read_word(one + "/class").starts_with("0x02")) continue;  // network controllers
        PciNic nic;
        nic.address = address;
        const auto hexadecimal = [&](const char* name) {
            const std::string word = read_word(one + "/" + name);
            return word.starts_with("0x") ? word.substr(2) : word;
        };
        nic.id = hexadecimal("vendor") + ":" + hexadecimal("device");
        nic.driver = link_name(one + "/driver");
        nic.group = link_name(one + "/iommu_group");
        nic.node = static_cast<int>(read_integer(one + "/numa_node", -1));
        std::vector<std::string> names = entries(one + "/net");
        for (const std::string& below : entries(one))  // virtio's interface is one floor down
            if (names.empty() && below.starts_with("virtio"))
                names = entries(fmt::format("{}/{}/net", one, below));
        if (!names.empty()) nic.interface = names.front();
        machine.nics.push_back(std::move(nic));
    }
    machine.iommu_groups = entries(root + "/sys/kernel/iommu_groups").size();
    const std::string folder = root + "/dev/vfio";
    if (access((folder + "/vfio").c_str(), F_OK) == 0)
        machine.vfio = look_at_file(folder + "/vfio");
    for (const std::string& name : entries(folder))
        if (name != "vfio")
            machine.vfio_groups[name] = look_at_file(fmt::format("{}/{}", folder, name));
    const std::string parameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    machine.vfio_without_iommu = read_word(root + parameter) == "Y";
}

/// Plug-ins are named librte_net_tap.so.23.0.
void look_at_drivers(const std::string& root, Machine& machine) {
    constexpr std::string_view stem = "librte_";
    std::set<std::string> names;
    for (const std::string& file : entries(root + MILLRACE_DPDK_DRIVERS))
        if (file.starts_with(stem) && file.find(".so") != std::string::npos)
            names.insert(file.substr(stem.size(), file.find(".so") - stem.size()));
    machine.drivers.assign(names.begin(), names.end());
}

void look_at_meeting_places(const std::string& root, const Config& config, Machine& machine) {
    std::set<std::string> bound;
    std::istringstream sockets(read_text(root + "/proc/net/unix"));
    for (std::string line; std::getline(sockets, line);) {
        const size_t at = line.find_last_of(' ');
        if (at != std::string::npos) bound.insert(line.substr(at + 1));
    }
    for (const PortConfig& port : config.ports) {
        const Device device(port.device);
        if (device.kind() != DeviceKind::memif) continue;
        const std::string path = memif_socket(device);
        const bool is_abstract = path.starts_with('@');
        MeetingPlace place;
        std::error_code ignored;
        place.bound = bound.contains(path);
        place.exists = is_abstract ? place.bound : access((root + path).c_str(), F_OK) == 0;
        place.is_socket = is_abstract || std::filesystem::is_socket(root + path, ignored);
        const std::string folder = std::filesystem::path(root + path).parent_path();
        place.folder_exists = is_abstract || std::filesystem::is_directory(folder);
        place.folder_writable = is_abstract || is_writable(folder);
        machine.meeting_places[path] = place;
    }
}

/// Who has the lock that a primary process keeps on its configuration, as EAL takes it.
int holder_of(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    const bool asked = fcntl(file, F_GETLK, &lock) == 0;
    close(file);
    // Of another namespace of processes the kernel gives no number, but says that there is one.
    if (!asked || lock.l_type == F_UNLCK) return 0;
    return std::max<int>(lock.l_pid, 1);
}

void look_at_runtime_files(const std::string& root, Machine& machine) {
    machine.runtime_base = runtime_base(machine.user);
    const std::string base = root + machine.runtime_base;
    const std::string folder = base + "/dpdk";
    std::error_code ignored;
    machine.runtime_writable = is_writable(
        std::filesystem::is_directory(folder, ignored) ? folder : base);
    for (const std::string& prefix : entries(folder)) {
        RuntimeFolder found;
        found.prefix = prefix;
        found.path = machine.runtime_base + "/dpdk/" + prefix;
        const std::string config = fmt::format("{}/{}/config", folder, prefix);
        found.holder = holder_of(config);
        constexpr std::string_view ours = "millrace";
        const auto process = prefix.starts_with(ours)
                                 ? parse_number<uint32_t>(prefix.substr(ours.size()))
                                 : std::nullopt;
        // Ours keep no file there, but are named after their process.
        if (found.holder == 0 && process)
            found.stale = !std::filesystem::exists(fmt::format("{}/proc/{}", root, *process),
                                                   ignored);
        else
            found.stale = found.holder == 0 && std::filesystem::exists(config, ignored);
        machine.runtime_folders.push_back(std::move(found));
    }
}

template <typename Items, typename Key>
auto find(const Items& items, const Key& key, auto member) -> decltype(&items.front()) {
    const auto found = std::ranges::find(items, key, member);
    return found == items.end() ? nullptr : &*found;
}

/// Of the environment.
std::optional<std::string> variable(std::string_view name) {
    for (char** at = environ; *at != nullptr; ++at) {
        const std::string_view entry = *at;
        if (entry.starts_with(name) && entry.substr(name.size()).starts_with('='))
            return std::string(entry.substr(name.size() + 1));
    }
    return std::nullopt;
}

}  // namespace

std::string runtime_base(uint32_t user) {
    if (const auto given = variable("RUNTIME_DIRECTORY")) return *given;
    if (user == 0) return "/var/run";
    if (const auto given = variable("XDG_RUNTIME_DIR")) return *given;
    return "/tmp";
}

std::string memif_socket(const Device& device) {
    const std::string path = device.argument("socket", "/run/memif.sock");
    return device.argument("socket-abstract", "yes") == "yes" ? "@" + path : path;
}

const NetInterface* Machine::interface(std::string_view name) const {
    return find(interfaces, name, &NetInterface::name);
}
const PciNic* Machine::nic(std::string_view address) const {
    return find(nics, address, &PciNic::address);
}
const Cpu* Machine::cpu(uint16_t number) const { return find(cpus, number, &Cpu::number); }

uint64_t Machine::free_huge_mb() const {
    uint64_t kib = 0;
    for (const HugePages& pages : huge_pages) kib += pages.free * pages.size_kib;
    return kib / 1024;
}

Machine look(const std::string& root, const Config* config) {
    Machine machine;
    look_at_process(root, machine);
    look_at_memory(root, machine);
    look_at_processors(root, machine);
    machine.interfaces = look_at_interfaces(root);
    look_at_pci(root, machine);
    machine.tun = look_at_file(root + "/dev/net/tun");
    look_at_drivers(root, machine);
    if (config != nullptr) look_at_meeting_places(root, *config, machine);
    look_at_runtime_files(root, machine);
    return machine;
}

}  // namespace millrace::apps
