// The doctor's judgments, on machines that are made up: their files in a folder, or their values.
#include "doctor/judge.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "doctor/device.h"
#include "doctor/files.h"
#include "doctor/frames.h"
#include "doctor/interfaces.h"
#include "doctor/report.h"

namespace millrace::apps {
namespace {

constexpr unsigned cap_net_admin = 12, cap_net_raw = 13, cap_ipc_lock = 14,
                   cap_sys_admin = 21;
constexpr uint64_t gib = 1 << 30;

Config configured(const std::string& text) {
    const auto config = parse_config(text, "test");
    EXPECT_TRUE(config) << (config ? "" : config.error().what);
    return config ? *config : Config{};
}

Config with_port(const std::string& device, const std::string& more = {}) {
    return configured(fmt::format("[[port]]\ndevice = \"{}\"\naddresses = [\"10.0.0.1/24\"]\n{}",
                                  device, more));
}

/// One where everything is in order.
Machine healthy() {
    Machine machine;
    machine.capabilities = ~uint64_t{0};
    machine.memlock_max = machine.files_max = ~uint64_t{0};
    machine.available_mb = 16384;
    machine.huge_pages = {{2048, 1024, 1024, {{0, 1024}}}};
    machine.nodes = {0};
    for (uint16_t i = 0; i < 4; ++i) {
        machine.cpus.push_back({i, false, 0, {i}, {}});
        machine.usable.push_back(i);
    }
    machine.interfaces = {{.name = "eth0", .up = true, .running = true, .mtu = 1500, .node = 0,
                           .queues = 2, .driver = "virtio_net"}};
    machine.tun.exists = true;
    machine.drivers = {"net_af_packet", "net_af_xdp", "net_memif", "net_null", "net_tap"};
    machine.runtime_base = "/var/run";
    machine.runtime_writable = true;
    return machine;
}

/// The one thing that is wrong.
Finding the_trouble(const Findings& findings, Severity severity = Severity::failure) {
    Findings bad;
    for (const Finding& finding : findings)
        if (finding.severity >= Severity::warning) bad.push_back(finding);
    EXPECT_EQ(bad.size(), 1U) << findings_text(findings);
    if (bad.empty()) return {};
    EXPECT_EQ(bad.front().severity, severity) << findings_text(bad);
    EXPECT_FALSE(bad.front().cause.empty());
    EXPECT_FALSE(bad.front().remedy.empty());
    return bad.front();
}

Finding the_trouble(const Machine& machine, const Config& config,
                    Severity severity = Severity::failure) {
    return the_trouble(judge(machine, &config), severity);
}

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

/// Files of a machine, in a folder of their own.
class Files {
public:
    Files() {
        std::string name = std::filesystem::temp_directory_path() / "millrace-doctor-XXXXXX";
        root_ = mkdtemp(name.data());
    }
    ~Files() { std::filesystem::remove_all(root_); }
    Files(const Files&) = delete;
    Files& operator=(const Files&) = delete;

    void write(const std::string& path, const std::string& text) {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::ofstream(root_ + path) << text;
    }
    void link(const std::string& path, const std::string& target) {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::filesystem::create_symlink(target, root_ + path);
    }
    const std::string& root() const { return root_; }

private:
    std::string root_;
};

TEST(Doctor, devices_are_taken_apart) {
    const Device tap("net_tap0,iface=mr0,mac=fixed");
    EXPECT_EQ(tap.kind(), DeviceKind::tap);
    EXPECT_EQ(tap.name(), "net_tap0");
    EXPECT_EQ(tap.argument("iface"), "mr0");
    EXPECT_EQ(tap.argument("mac"), "fixed");
    EXPECT_EQ(tap.argument("face"), std::nullopt);
    EXPECT_EQ(Device("net_af_xdp0,iface=a,queue_count=4").number("queue_count", 1), 4U);
    EXPECT_EQ(Device("net_af_xdp0,queue_count=x").number("queue_count", 1), 1U);
    EXPECT_EQ(Device("03:00.0").kind(), DeviceKind::pci);
    EXPECT_EQ(Device("03:00.0").pci_address(), "0000:03:00.0");
    EXPECT_EQ(Device("ring:a:0").kind(), DeviceKind::ring);
    EXPECT_EQ(Device("net_pcap0").kind(), DeviceKind::other);
    EXPECT_EQ(memif_socket(Device("net_memif0")), "@/run/memif.sock");
    EXPECT_EQ(memif_socket(Device("net_memif0,socket=/a/b,socket-abstract=no")), "/a/b");
}

TEST(Doctor, lists_and_values_of_the_kernel) {
    EXPECT_EQ(parse_list("0-2,5\n"), (std::vector<uint16_t>{0, 1, 2, 5}));
    EXPECT_EQ(parse_list("\n"), std::vector<uint16_t>{});
    EXPECT_EQ(parse_list("x,3-,7"), std::vector<uint16_t>{7});
    EXPECT_EQ(parse_list("5-3"), std::vector<uint16_t>{});
    EXPECT_EQ(value_of("A: 1\nMemAvailable:  2048 kB\n", "MemAvailable:", 0), 2048U);
    EXPECT_EQ(value_of("", "MemAvailable:", 7), 7U);
}

TEST(Doctor, a_machine_is_read_from_its_files) {
    Files files;
    files.write("/proc/self/status", "Name:\tx\nUid:\t1000\t1001\t1000\t1000\n"
                                     "CapEff:\t0000000000003000\nCpus_allowed_list:\t0,2\n");
    files.write("/proc/self/limits",
                "Limit            Soft Limit  Hard Limit  Units\n"
                "Max open files            1024                 4096                 files\n"
                "Max locked memory         65536                unlimited            bytes\n");
    files.write("/proc/meminfo", "MemTotal: 99 kB\nMemAvailable:    2097152 kB\n");
    files.write("/proc/self/cgroup", "0::/pod/one\n");
    files.write("/sys/fs/cgroup/pod/memory.max", "536870912\n");
    files.write("/sys/fs/cgroup/pod/memory.current", "268435456\n");
    files.write("/sys/fs/cgroup/pod/one/memory.max", "max\n");
    files.write("/sys/devices/system/node/online", "0-1\n");
    files.write("/sys/devices/system/node/node0/cpulist", "0-1\n");
    files.write("/sys/devices/system/node/node1/cpulist", "2-3\n");
    files.write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "10\n");
    files.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "8\n");
    files.write("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "8\n");
    files.write("/proc/self/mounts", "a /mnt ext4 rw 0 0\nh /dev/hugepages hugetlbfs rw 0 0\n");
    files.write("/sys/devices/system/cpu/online", "0-3\n");
    files.write("/sys/devices/system/cpu/isolated", "2\n");
    files.write("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n");
    files.write("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n");
    files.write("/dev/net/tun", "");
    files.write("/var/run/dpdk/millrace999999/x", "");
    files.write("/var/run/dpdk/old/config", "");

    setenv("RUNTIME_DIRECTORY", "/var/run", 1);
    const Machine machine = look(files.root(), nullptr);
    unsetenv("RUNTIME_DIRECTORY");
    EXPECT_EQ(machine.user, 1001U);
    EXPECT_TRUE(machine.can(cap_net_admin));
    EXPECT_TRUE(machine.can(cap_net_raw));
    EXPECT_FALSE(machine.can(cap_ipc_lock));
    EXPECT_EQ(machine.usable, (std::vector<uint16_t>{0, 2}));
    EXPECT_EQ(machine.files_max, 4096U);
    EXPECT_EQ(machine.memlock_max, 65536U);
    EXPECT_EQ(machine.available_mb, 2048U);
    EXPECT_EQ(machine.group_left_mb, 256U);
    EXPECT_EQ(machine.free_huge_mb(), 16U);
    ASSERT_EQ(machine.huge_pages.size(), 1U);
    EXPECT_EQ(machine.huge_pages[0].free_by_node.at(0), 0U);
    EXPECT_EQ(machine.huge_pages[0].free_by_node.at(1), 8U);
    EXPECT_EQ(machine.huge_mounts, std::vector<std::string>{"/dev/hugepages"});
    ASSERT_NE(machine.cpu(2), nullptr);
    EXPECT_TRUE(machine.cpu(2)->isolated);
    EXPECT_EQ(machine.cpu(2)->node, 1);
    EXPECT_EQ(machine.cpu(2)->siblings, (std::vector<uint16_t>{0, 2}));
    EXPECT_EQ(machine.cpu(2)->governor, "powersave");
    EXPECT_EQ(machine.cpu(4), nullptr);
    EXPECT_TRUE(machine.tun.exists);
    EXPECT_EQ(machine.tun.error, 0);
    EXPECT_TRUE(machine.runtime_writable);
    ASSERT_EQ(machine.runtime_folders.size(), 2U);
    EXPECT_TRUE(machine.runtime_folders[0].stale);
    EXPECT_TRUE(machine.runtime_folders[1].stale);
}

TEST(Doctor, cards_and_interfaces_are_read_from_their_files) {
    Files files;
    const std::string card = "/sys/bus/pci/devices/0000:03:00.0";
    files.write(card + "/class", "0x020000\n");
    files.write(card + "/vendor", "0x8086\n");
    files.write(card + "/device", "0x1572\n");
    files.write(card + "/numa_node", "1\n");
    files.link(card + "/driver", "../../drivers/i40e");
    files.link(card + "/iommu_group", "../../../kernel/iommu_groups/17");
    files.write(card + "/net/ens1/address", "");
    files.write("/sys/bus/pci/devices/0000:04:00.0/class", "0x010802\n");
    files.write("/sys/kernel/iommu_groups/17/type", "DMA\n");
    files.write("/dev/vfio/vfio", "");
    files.write("/sys/class/net/ens1/flags", "0x1003\n");
    files.write("/sys/class/net/ens1/carrier", "0\n");
    files.write("/sys/class/net/ens1/mtu", "9000\n");
    files.write("/sys/class/net/ens1/queues/rx-0/x", "");
    files.write("/sys/class/net/ens1/queues/rx-1/x", "");
    files.write("/sys/class/net/ens1/queues/tx-0/x", "");
    files.link("/sys/class/net/ens1/device/driver", "../../drivers/i40e");

    const Machine machine = look(files.root(), nullptr);
    ASSERT_EQ(machine.nics.size(), 1U);
    const PciNic& nic = machine.nics[0];
    EXPECT_EQ(nic.address, "0000:03:00.0");
    EXPECT_EQ(nic.id, "8086:1572");
    EXPECT_EQ(nic.driver, "i40e");
    EXPECT_EQ(nic.group, "17");
    EXPECT_EQ(nic.interface, "ens1");
    EXPECT_EQ(nic.node, 1);
    EXPECT_EQ(machine.iommu_groups, 1U);
    EXPECT_TRUE(machine.vfio.has_value());
    const NetInterface* interface = machine.interface("ens1");
    ASSERT_NE(interface, nullptr);
    EXPECT_TRUE(interface->up);
    EXPECT_FALSE(interface->running);
    EXPECT_EQ(interface->mtu, 9000U);
    EXPECT_EQ(interface->queues, 2U);
    EXPECT_EQ(interface->driver, "i40e");
}

TEST(Doctor, a_folder_that_is_locked_belongs_to_a_primary_process) {
    Files files;
    const std::string path = files.root() + "/var/run/dpdk/shared/config";
    files.write("/var/run/dpdk/shared/config", "x");
    std::array<int, 2> ready{}, done{};
    ASSERT_EQ(pipe(ready.data()) | pipe(done.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct flock lock{};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        const int file = open(path.c_str(), O_RDWR);
        char byte = fcntl(file, F_SETLK, &lock) == 0 ? 1 : 0;
        (void)!write(ready[1], &byte, 1);
        (void)!read(done[0], &byte, 1);
        _exit(0);
    }
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    EXPECT_EQ(byte, 1);
    setenv("RUNTIME_DIRECTORY", "/var/run", 1);
    Machine machine = look(files.root(), nullptr);
    ASSERT_EQ(machine.runtime_folders.size(), 1U);
    EXPECT_EQ(machine.runtime_folders[0].holder, child);
    EXPECT_FALSE(machine.runtime_folders[0].stale);
    ASSERT_EQ(write(done[1], &byte, 1), 1);
    waitpid(child, nullptr, 0);
    machine = look(files.root(), nullptr);
    unsetenv("RUNTIME_DIRECTORY");
    EXPECT_TRUE(machine.runtime_folders[0].stale);
}

TEST(Doctor, a_healthy_machine_has_no_trouble) {
    const Config config = with_port("net_tap0,iface=mr0");
    const Findings findings = judge(healthy(), &config);
    EXPECT_LE(worst(findings), Severity::note) << findings_text(findings);
    EXPECT_EQ(exit_status(findings, true), 0);
    EXPECT_LE(worst(judge(healthy(), nullptr)), Severity::note);
}

TEST(Doctor, memory_that_is_not_there) {
    Machine machine = healthy();
    machine.available_mb = 100;
    machine.huge_pages.clear();
    const Config config = with_port("net_null0", "[pools]\nreceive = 1000000\n");
    const Finding found = the_trouble(machine, config);
    EXPECT_EQ(found.topic, "memory");
    EXPECT_TRUE(has(found.cause, "pools are larger than the memory"));
    EXPECT_TRUE(has(found.remedy, "[pools]"));
}

TEST(Doctor, a_container_s_limit) {
    Machine machine = healthy();
    machine.group_left_mb = 32;
    const Finding found = the_trouble(machine, with_port("net_null0"));
    EXPECT_EQ(found.topic, "memory");
    EXPECT_TRUE(has(found.remedy, "memory.max"));
}

TEST(Doctor, huge_pages_that_are_missing) {
    Machine machine = healthy();
    machine.huge_pages = {{2048, 0, 0, {}}};
    // Used when there are any: without them it runs as well, and large pools are worth a warning.
    EXPECT_LE(worst(judge_memory(machine, nullptr)), Severity::note);
    const Config small = with_port("net_null0");
    EXPECT_EQ(worst(judge(machine, &small)), Severity::note);
    const Config large = with_port("net_null0", "[eal]\nmemory_mb = 4096\n");
    EXPECT_EQ(the_trouble(machine, large, Severity::warning).topic, "huge pages");
    const Config demanding =
        with_port("net_null0", "[eal]\narguments = [\"--single-file-segments\"]\n");
    const Finding found = the_trouble(machine, demanding);
    EXPECT_EQ(found.topic, "huge pages");
    EXPECT_TRUE(has(found.cause, "--single-file-segments"));
    EXPECT_TRUE(has(found.remedy, "nr_hugepages"));
    const Config contradicts = with_port(
        "net_null0", "[eal]\nhuge_pages = false\narguments = [\"--huge-dir=/mnt\"]\n");
    EXPECT_TRUE(has(the_trouble(healthy(), contradicts).remedy, "eal.huge_pages = true"));
    machine.huge_pages = {{2048, 10, 10, {}}};
    EXPECT_TRUE(has(the_trouble(machine, small, Severity::warning).what, "20 MiB are free"));
}

TEST(Doctor, memory_that_is_shared_wants_huge_pages_and_their_file_system) {
    const Config config = with_port("net_null0", "[eal]\nshared = true\n");
    Machine machine = healthy();
    Finding found = the_trouble(machine, config);
    EXPECT_EQ(found.topic, "huge pages");
    EXPECT_TRUE(has(found.what, "hugetlbfs is not mounted")) << found.what;
    EXPECT_TRUE(has(found.remedy, "mount -t hugetlbfs"));
    machine.huge_mounts = {"/dev/hugepages"};
    EXPECT_LE(worst(judge(machine, &config)), Severity::note);
    machine.huge_pages[0].free = 0;
    found = the_trouble(machine, config);
    EXPECT_TRUE(has(found.cause, "eal.shared is true")) << found.cause;
}

TEST(Doctor, an_adopted_address_is_the_kernels_and_it_should_be_quiet) {
    const Config config = with_port("net_af_packet0,iface=eth0");
    Machine machine = healthy();
    machine.interfaces[0].addresses = {Address::v4(10, 0, 0, 1)};
    EXPECT_EQ(the_trouble(machine, config).topic, "address");
    machine.adopted = {"eth0"};
    const Findings findings = judge(machine, &config);
    EXPECT_EQ(worst(findings), Severity::note) << findings_text(findings);
    const auto quiet = std::ranges::find(findings, "address", &Finding::topic);
    ASSERT_NE(quiet, findings.end());
    EXPECT_TRUE(has(quiet->what, "10.0.0.1 is taken over from eth0")) << quiet->what;
    EXPECT_TRUE(has(quiet->remedy, "hook ingress device eth0"));
}

TEST(Doctor, a_node_that_there_is_not) {
    const Config config =
        with_port("net_null0", "[eal]\narguments = [\"--socket-mem=0,512\"]\n");
    const Finding found = the_trouble(healthy(), config);
    EXPECT_EQ(found.topic, "numa");
    EXPECT_TRUE(has(found.cause, "no NUMA node 1"));
    Machine two = healthy();
    two.nodes = {0, 1};
    EXPECT_LT(worst(judge(two, &config)), Severity::warning);
}

TEST(Doctor, each_huge_page_is_an_open_file) {
    Machine machine = healthy();
    machine.files_max = 64;
    const Finding found = the_trouble(machine, with_port("net_null0"));
    EXPECT_EQ(found.topic, "limits");
    EXPECT_TRUE(has(found.what, "RLIMIT_NOFILE"));
    EXPECT_LT(worst(judge_memory(machine, nullptr)), Severity::warning);
}

TEST(Doctor, cpus_that_cannot_be_had) {
    Machine machine = healthy();
    const auto on = [](int cpu) {
        return with_port("net_null0", fmt::format("[[core]]\ncpu = {}\n", cpu));
    };
    EXPECT_TRUE(has(the_trouble(machine, on(99)).cause, "not online"));
    machine.usable = {0};
    const Finding found = the_trouble(machine, on(1));
    EXPECT_TRUE(has(found.cause, "outside this process' set"));
    EXPECT_TRUE(has(found.remedy, "taskset"));
    machine.cpus[0].governor = "powersave";
    const Config first = on(0);
    const Findings findings = judge_processors(machine, &first);
    EXPECT_EQ(worst(findings), Severity::note);
}

TEST(Doctor, loops_in_each_other_s_way) {
    Machine machine = healthy();
    const Finding found = the_trouble(
        machine, with_port("net_null0", "[[core]]\ncpu = 1\n[[core]]\ncpu = 1\n"),
        Severity::warning);
    EXPECT_TRUE(has(found.what, "core[0] and core[1] are both on CPU 1"));
    std::string many;
    for (int i = 0; i < 5; ++i) many += "[[core]]\n";
    EXPECT_TRUE(has(the_trouble(machine, with_port("net_null0", many), Severity::warning).what,
                    "5 loops spin on 4 CPUs"));
    machine.cpus[0].siblings = machine.cpus[2].siblings = {0, 2};
    const Config siblings = with_port("net_null0", "[[core]]\ncpu = 0\n[[core]]\ncpu = 2\n");
    EXPECT_TRUE(has(judge_processors(machine, &siblings).at(1).what, "hyper-threads"));
    machine.cpus[3].isolated = true;
    EXPECT_TRUE(has(findings_text(judge_processors(machine, &siblings)), "no isolated CPU"));
}

TEST(Doctor, files_of_eal) {
    Machine machine = healthy();
    const Config config = with_port("net_null0", "[eal]\narguments = [\"--file-prefix=p\"]\n");
    machine.runtime_folders = {{"p", "/var/run/dpdk/p", 42, false}};
    const Finding found = the_trouble(machine, config);
    EXPECT_EQ(found.topic, "primary process");
    EXPECT_TRUE(has(found.what, "process 42"));
    EXPECT_TRUE(has(found.remedy, "--file-prefix"));
    EXPECT_LT(worst(judge_runtime_files(machine, nullptr)), Severity::warning);
    machine.runtime_folders = {{"millrace7", "/var/run/dpdk/millrace7", 0, true}};
    EXPECT_TRUE(has(the_trouble(machine, config, Severity::warning).remedy,
                    "rm -r /var/run/dpdk/millrace7"));
    machine = healthy();
    machine.runtime_writable = false;
    EXPECT_TRUE(has(the_trouble(machine, config).remedy, "XDG_RUNTIME_DIR"));
}

TEST(Doctor, ports_on_tap) {
    const Config config = with_port("net_tap0,iface=mr0");
    Machine machine = healthy();
    machine.capabilities = 0;
    EXPECT_TRUE(has(the_trouble(machine, config).what, "CAP_NET_ADMIN"));
    machine = healthy();
    machine.tun = {};
    EXPECT_TRUE(has(the_trouble(machine, config).remedy, "modprobe tun"));
    machine.tun = {true, EACCES};
    EXPECT_TRUE(has(the_trouble(machine, config).what, "cannot be opened: Permission denied"));
    EXPECT_EQ(the_trouble(healthy(), with_port("net_tap0,iface=eth0")).topic, "interface");
}

TEST(Doctor, ports_on_an_interface) {
    const Config config = with_port("net_af_packet0,iface=eth0");
    Machine machine = healthy();
    EXPECT_LT(worst(judge(machine, &config)), Severity::warning);
    EXPECT_TRUE(has(the_trouble(machine, with_port("net_af_packet0,iface=eth7")).what,
                    "no interface eth7"));
    EXPECT_TRUE(has(the_trouble(machine, with_port("net_af_packet0")).what, "no iface="));
    machine.capabilities = 1ULL << cap_net_admin;
    EXPECT_TRUE(has(the_trouble(machine, config).what, "CAP_NET_RAW"));
    machine.capabilities = 1ULL << cap_net_raw;
    EXPECT_TRUE(has(the_trouble(machine, config).what, "CAP_NET_ADMIN"));
    machine = healthy();
    machine.interfaces[0].up = false;
    EXPECT_EQ(the_trouble(machine, config).remedy, "ip link set eth0 up");
    machine.interfaces[0].up = true;
    machine.interfaces[0].running = false;
    EXPECT_TRUE(has(the_trouble(machine, config, Severity::warning).what, "no link"));
    machine = healthy();
    machine.interfaces[0].mtu = 1400;
    EXPECT_TRUE(has(the_trouble(machine, config, Severity::warning).remedy, "mtu 1500"));
}

TEST(Doctor, ports_on_af_xdp) {
    const Config config = with_port("net_af_xdp0,iface=eth0");
    Machine machine = healthy();
    EXPECT_LT(worst(judge(machine, &config)), Severity::warning);
    machine.capabilities = 1ULL << cap_net_admin | 1ULL << cap_net_raw | 1ULL << cap_sys_admin;
    machine.memlock_max = 65536;
    EXPECT_TRUE(has(the_trouble(machine, config).what, "RLIMIT_MEMLOCK is 64 KiB"));
    machine.memlock_max = gib;
    EXPECT_LT(worst(judge(machine, &config)), Severity::warning);
    machine.capabilities = 1ULL << cap_net_admin | 1ULL << cap_net_raw;
    EXPECT_TRUE(has(the_trouble(machine, config).what, "CAP_SYS_ADMIN"));
    const Finding found =
        the_trouble(healthy(), with_port("net_af_xdp0,iface=eth0,queue_count=8"));
    EXPECT_EQ(found.topic, "queues");
    EXPECT_TRUE(has(found.what, "takes the queues 0 to 7, eth0 has 2"));
    EXPECT_TRUE(has(found.remedy, "ethtool -L eth0"));
}

TEST(Doctor, ports_far_from_their_cores) {
    Machine machine = healthy();
    machine.nodes = {0, 1};
    machine.cpus[3].node = 1;
    const Finding found =
        the_trouble(machine, with_port("net_af_packet0,iface=eth0", "[[core]]\ncpu = 3\n"),
                    Severity::warning);
    EXPECT_EQ(found.topic, "numa");
    EXPECT_TRUE(has(found.what, "core[0] polls it from CPU 3 on node 1"));
    const Config near = with_port("net_af_packet0,iface=eth0", "[[core]]\ncpu = 2\n");
    EXPECT_LT(worst(judge(machine, &near)), Severity::warning);
}

TEST(Doctor, ports_on_memif) {
    Machine machine = healthy();
    const std::string socket = "/run/x/m.sock";
    const auto config = [&](const char* role) {
        return with_port(
            fmt::format("net_memif0,role={},socket={},socket-abstract=no", role, socket));
    };
    MeetingPlace& place = machine.meeting_places[socket];
    EXPECT_EQ(the_trouble(machine, config("server")).remedy, "mkdir -p /run/x, or correct socket=");
    place.folder_exists = true;
    EXPECT_TRUE(has(the_trouble(machine, config("server")).what, "may not write /run/x"));
    place.folder_writable = true;
    const Config client = config("client");
    EXPECT_LT(worst(judge(machine, &client)), Severity::warning);
    place.exists = true;
    EXPECT_EQ(the_trouble(machine, config("server")).remedy, "rm " + socket);
    place.is_socket = true;  // the library takes that one away itself
    const Config server = config("server");
    EXPECT_EQ(worst(judge_ports(machine, server)), Severity::note);
    place.bound = true;
    EXPECT_TRUE(has(the_trouble(machine, config("server")).what, "is in use"));
    EXPECT_LT(worst(judge_ports(machine, client)), Severity::note);
}

TEST(Doctor, ports_on_a_card) {
    const std::string arguments = "[eal]\narguments = [\"-a\", \"0000:03:00.0\"]\n";
    const Config config = with_port("0000:03:00.0", arguments);
    Machine machine = healthy();
    EXPECT_TRUE(has(the_trouble(machine, config).what, "no network card 0000:03:00.0"));
    machine.nics = {{"0000:03:00.0", "15b3:1017", "mlx5_core", "ens1", "17", 0}};
    EXPECT_LE(worst(judge(machine, &config)), Severity::note);
    EXPECT_EQ(the_trouble(machine, with_port("0000:03:00.0")).remedy,
              "eal.arguments = [\"-a\", \"0000:03:00.0\"]");
    machine.nics[0].driver = "i40e";
    EXPECT_TRUE(has(the_trouble(machine, config).cause, "the kernel's ens1"));
    machine.nics[0].driver = "vfio-pci";
    EXPECT_TRUE(has(the_trouble(machine, config).remedy, "modprobe vfio-pci"));
    machine.vfio = DeviceFile{true, 0};
    EXPECT_EQ(the_trouble(machine, config).topic, "iommu");
    machine.iommu_groups = 20;
    machine.vfio_groups["17"] = {true, EACCES};
    EXPECT_TRUE(has(the_trouble(machine, config).what, "/dev/vfio/17 cannot be opened"));
    machine.vfio_groups["17"].error = 0;
    EXPECT_LE(worst(judge(machine, &config)), Severity::note);
    machine.capabilities = 0;
    machine.memlock_max = 65536;
    EXPECT_EQ(the_trouble(machine, config).topic, "limits");
}

TEST(Doctor, drivers_that_there_are_not) {
    EXPECT_EQ(the_trouble(healthy(), with_port("net_nonsense0")).topic, "driver");
    EXPECT_EQ(the_trouble(healthy(), with_port("nonsense")).topic, "driver");
    Machine machine = healthy();
    machine.drivers = {"net_tap"};
    EXPECT_EQ(the_trouble(machine, with_port("net_af_xdp0,iface=eth0")).topic, "driver");
}

TEST(Doctor, addresses_of_others) {
    const Finding twice = the_trouble(
        healthy(), with_port("net_null0", "[[port]]\ndevice = \"net_null1\"\n"
                                          "addresses = [\"10.0.0.1/16\"]\n"));
    EXPECT_EQ(twice.topic, "address");
    EXPECT_TRUE(has(twice.what, "port[1]: 10.0.0.1 is port[0]'s, too"));
    Machine machine = healthy();
    machine.interfaces[0].addresses = {Address::v4(10, 0, 0, 1)};
    const Finding kernel = the_trouble(machine, with_port("net_tap0,iface=mr0"));
    EXPECT_TRUE(has(kernel.what, "the kernel's eth0"));
    EXPECT_TRUE(has(kernel.remedy, "ip addr del 10.0.0.1/24 dev eth0"));
    (void)the_trouble(machine, with_port("net_null0"), Severity::warning);
}

TEST(Doctor, whom_a_port_asks) {
    Config config = with_port("net_null0", "routes = [\"default via 10.0.0.254\"]\n");
    PortConfig& port = config.ports.front();
    using Addresses = std::vector<Address>;
    EXPECT_EQ(neighbours_of(port, {}), (Addresses{Address::v4(10, 0, 0, 254)}));
    EXPECT_EQ(neighbours_of(port, {Address::v4(10, 0, 0, 7), Address::v4(11, 0, 0, 7)}),
              (Addresses{Address::v4(10, 0, 0, 7)}));
    port.routes.clear();
    port.addresses.push_back(*Prefix::parse("fd00::5/64"));
    port.addresses.push_back(*Prefix::parse("10.9.9.9/32"));
    EXPECT_EQ(neighbours_of(port, {}),
              (Addresses{Address::v4(10, 0, 0, 2), *Address::parse("fd00::1")}));
}

TEST(Doctor, findings_go_through_json_and_to_an_exit_status) {
    const Findings findings{ok("a", "b"), note("c", "d", "e", "f"), warning("g", "h", "i", "j")};
    const auto json = findings_json(findings);
    EXPECT_EQ(json["status"], "warning");
    const Findings again = findings_of(nlohmann::json::parse(json.dump())["findings"]);
    ASSERT_EQ(again.size(), 3U);
    EXPECT_EQ(findings_text(again), findings_text(findings));
    EXPECT_TRUE(has(findings_text(findings), "0 failures, 1 warning, 1 note\n"));
    EXPECT_EQ(exit_status(findings, false), 0);
    EXPECT_EQ(exit_status(findings, true), 1);
    EXPECT_EQ(exit_status({trouble("k", "l", "m", "n")}, false), 2);
    EXPECT_EQ(findings_of(nlohmann::json::parse(R"([{"severity": "bad"}, {}])")).size(), 0U);
}

}  // namespace
}  // namespace millrace::apps
