#include "runtime/eal.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mempool.h>
#include <rte_pdump.h>
#include <rte_version.h>

#include "runtime/clock.h"
#include "runtime/pcapng.h"

namespace millrace::runtime {

namespace {

std::mutex mutex;
bool started = false;
std::atomic<bool> others_may_attach{false};
bool verbose_log = false;

/// EAL writes its messages to a stream; a library prints nothing.
FILE* silent_stream() {
    static FILE* stream = std::fopen("/dev/null", "w");
    return stream;
}

uint64_t read_number(const std::string& path) {
    std::ifstream file(path);
    uint64_t value = 0;
    file >> value;
    return value;
}

/// Ordinary memory or huge pages, whichever is more.
uint64_t available_memory_mb() {
    std::ifstream file("/proc/meminfo");
    std::string line;
    uint64_t kib = 0;
    while (std::getline(file, line))
        if (std::sscanf(line.c_str(), "MemAvailable: %lu kB", &kib) == 1) break;
    return std::max(kib / 1024, free_huge_pages_mb());
}

/// Where hugetlbfs is mounted; empty: nowhere.
std::string hugetlbfs() {
    std::ifstream mounts("/proc/mounts");
    std::string device, folder, type, rest;
    while (mounts >> device >> folder >> type && std::getline(mounts, rest))
        if (type == "hugetlbfs") return folder;
    return {};
}

/// Whether this machine has what other processes can attach to.
Started<void> check_shared(const EalConfig& config, uint64_t memory_mb) {
    if (const uint64_t free = free_huge_pages_mb(); free < memory_mb)
        return failure(fmt::format("eal.shared needs {} MiB of huge pages, {} MiB are free: echo "
                                   "{} > /proc/sys/vm/nr_hugepages, or lower [pools]",
                                   memory_mb, free, (memory_mb + 1) / 2),
                       ENOMEM);
    const bool given = std::ranges::any_of(config.arguments, [](const std::string& argument) {
        return argument.starts_with("--huge-dir");
    });
    const std::string folder = hugetlbfs();
    if (folder.empty() && !given)
        return failure("eal.shared needs hugetlbfs, which is not mounted: mount -t hugetlbfs none "
                       "/dev/hugepages",
                       ENODEV);
    if (!given && access(folder.c_str(), W_OK) != 0)
        return failure(fmt::format("eal.shared: {} cannot be written by this user: mount hugetlbfs "
                                   "with uid=, or name another with --huge-dir in eal.arguments",
                                   folder),
                       EACCES);
    return {};
}

/// Files of huge pages outlive the process, and keep the pages: those that it has mapped.
void remove_huge_files(const std::string& prefix) {
    std::ifstream maps("/proc/self/maps");
    std::string line;
    while (std::getline(maps, line)) {
        const size_t at = line.find('/');
        if (at == std::string::npos) continue;
        const std::filesystem::path path = line.substr(at);
        if (path.filename().string().starts_with(prefix + "map_")) unlink(path.c_str());
    }
}

std::string prefix_of(const EalConfig& config) {
    constexpr std::string_view option = "--file-prefix=";
    for (const std::string& argument : config.arguments)
        if (argument.starts_with(option)) return argument.substr(option.size());
    return config.file_prefix.empty() ? fmt::format("millrace{}", getpid()) : config.file_prefix;
}

std::vector<std::string> arguments(const EalConfig& config, uint64_t memory_mb) {
    const bool huge = config.huge_pages && free_huge_pages_mb() >= memory_mb;
    std::vector<std::string> args{"millrace", fmt::format("--file-prefix={}", prefix_of(config))};
    if (!config.telemetry) args.emplace_back("--no-telemetry");
    // The main thread keeps the affinity that it has; loops pin themselves.
    args.push_back(fmt::format("--lcores=0@({})", fmt::join(usable_cpus(), ",")));
    if (huge && !config.shared) {
        args.emplace_back("--in-memory");
    } else if (!huge) {
        // EAL refuses --in-memory beside --no-huge (which implies --legacy-mem); --no-shconf is
        // what is left of it there: no files are shared.
        args.insert(args.end(), {"--no-huge", "--no-shconf", "-m", std::to_string(memory_mb)});
    }
    const auto has_device = std::ranges::any_of(config.arguments, [](const std::string& argument) {
        return argument.starts_with("-a") || argument.starts_with("--allow");
    });
    if (!has_device) args.emplace_back("--no-pci");
    if (!verbose_log) {
        args.emplace_back("--log-level=error");
    }
    args.insert(args.end(), config.arguments.begin(), config.arguments.end());
    return args;
}

/// The threads that EAL starts meanwhile leave the program's signals to the program. Those that a
/// fault raises stay (EAL tries its huge pages, and catches SIGBUS), and the real-time ones, by
/// which TAP ports learn of frames: any thread may take those.
class OthersSignalsBlocked {
public:
    OthersSignalsBlocked() {
        constexpr int real_time = 32;
        sigset_t others;
        sigemptyset(&others);
        for (int signal = 1; signal < real_time; ++signal) sigaddset(&others, signal);
        for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS})
            sigdelset(&others, fault);
        pthread_sigmask(SIG_BLOCK, &others, &before_);
    }
    ~OthersSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    OthersSignalsBlocked(const OthersSignalsBlocked&) = delete;
    OthersSignalsBlocked& operator=(const OthersSignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

/// EAL leaves its folder behind, whatever it was told, and shared memory. A child removes nothing.
/// Programs that share no memory may have one prefix, and so one folder: it goes with the last of
/// them, as a lock in it says (not on it: for that one DPDK's second processes wait). Whose EAL
/// starts in the moment in which the last one ends may lose his.
void leave_nothing_behind(const EalConfig& config) {
    static const std::string folder = rte_eal_get_runtime_dir();
    static const std::string shared = config.shared ? prefix_of(config) : std::string();
    static const pid_t process = getpid();
    static const int lived_in =
        open((folder + "/millrace.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    flock(lived_in, LOCK_SH | LOCK_NB);
    std::atexit([] {
        if (getpid() != process) return;
        std::error_code ignored;
        if (flock(lived_in, LOCK_EX | LOCK_NB) == 0) std::filesystem::remove_all(folder, ignored);
        if (!shared.empty()) remove_huge_files(shared);
    });
}

/// Others may ask for copies of frames.
Started<void> admit_others() {
    others_may_attach = true;
    set_pcapng_clock();
    if (rte_pdump_init() == 0) return {};
    return failure(fmt::format("eal.shared: DPDK's packet capture did not start: {}",
                               rte_strerror(rte_errno)),
                   rte_errno);
}

}  // namespace

std::vector<uint16_t> usable_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    std::vector<uint16_t> cpus;
    for (uint16_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    return cpus;
}

uint64_t free_huge_pages_mb() {
    const std::string root = "/sys/kernel/mm/hugepages/hugepages-";
    return read_number(root + "2048kB/free_hugepages") * 2 +
           read_number(root + "1048576kB/free_hugepages") * 1024;
}

const char* dpdk_version() { return rte_version(); }

void set_eal_log(bool verbose) {
    verbose_log = verbose;
    rte_openlog_stream(verbose ? nullptr : silent_stream());
}

Started<void> start_eal(const EalConfig& config, uint64_t memory_mb) {
    const std::lock_guard lock(mutex);
    if (started) return {};
    const uint64_t memory = std::max<uint64_t>({memory_mb, config.memory_mb, 64});
    if (const uint64_t available = available_memory_mb(); memory > available)
        return failure(memory == config.memory_mb
                           ? fmt::format("eal.memory_mb is {} MiB, {} MiB are available: lower it, "
                                         "or free some",
                                         memory, available)
                           : fmt::format("the pools want {} MiB of memory, {} MiB are available: "
                                         "lower [pools] in the configuration, or free some",
                                         memory, available),
                       ENOMEM);
    if (config.shared)
        if (auto can = check_shared(config, memory); !can) return can;
    auto args = arguments(config, memory);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    if (!verbose_log) rte_openlog_stream(silent_stream());
    int status = 0;
    // EAL's own start takes long enough to measure by.
    const TscReading before = TscReading::take();
    {
        const OthersSignalsBlocked blocked;
        status = rte_eal_init(static_cast<int>(argv.size()), argv.data());
    }
    if (status < 0) {
        std::string line;
        for (const std::string& arg : args) line += arg + " ";
        return failure(fmt::format("EAL did not start: {} (arguments: {}). Check eal.arguments, or "
                                   "lower [pools] if memory ({} MiB wanted) is short",
                                   rte_strerror(rte_errno), line, memory),
                       rte_errno);
    }
    started = true;
    measure_tsc_hz(before);
    leave_nothing_behind(config);
    return config.shared ? admit_others() : Started<void>();
}

Started<ThreadIdentity> ThreadIdentity::take() {
    // The first thread that is registered shuts other processes out, for good (DPDK 22.11): where
    // they are to come in, loops go without caches in the pools.
    if (rte_lcore_id() != LCORE_ID_ANY || others_may_attach) return ThreadIdentity(false);
    if (rte_thread_register() < 0)
        return failure(fmt::format("no EAL identity is left for another thread ({}): at most {} "
                                   "loops can run in a process",
                                   rte_strerror(rte_errno), RTE_MAX_LCORE),
                       rte_errno);
    return ThreadIdentity(true);
}

ThreadIdentity::~ThreadIdentity() {
    if (!ours_) return;
    // Caches are per identity: what this one holds would be lost to the pools until it is reused.
    rte_mempool_walk(
        [](rte_mempool* pool, void*) {
            rte_mempool_cache* cache = rte_mempool_default_cache(pool, rte_lcore_id());
            if (cache != nullptr) rte_mempool_cache_flush(cache, pool);
        },
        nullptr);
    rte_thread_unregister();
}

}  // namespace millrace::runtime
