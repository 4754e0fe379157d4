#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/judge.h"

namespace millrace::apps {

namespace {

constexpr const char* cores_topic = "cores";

/// Of a loop that is pinned to a CPU.
void judge_pin(const Machine& machine, size_t loop, uint16_t number, Findings& findings) {
    const Cpu* cpu = machine.cpu(number);
    const std::string what = fmt::format("core[{}].cpu is {}", loop, number);
    if (cpu == nullptr) {
        const auto first = machine.cpus.empty() ? 0 : machine.cpus.front().number;
        const auto last = machine.cpus.empty() ? 0 : machine.cpus.back().number;
        findings.push_back(trouble(cores_topic, what,
                                   fmt::format("that CPU is not online: this machine has {} to {}",
                                               first, last),
                                   "name one that nproc --all counts, or leave cpu out"));
    } else if (std::ranges::find(machine.usable, number) == machine.usable.end()) {
        findings.push_back(trouble(
            cores_topic, what,
            fmt::format("it is outside this process' set of CPUs ({}): a cpuset or taskset keeps "
                        "it away",
                        fmt::join(machine.usable, ",")),
            "name a CPU of the set, or widen it (taskset -c, AllowedCPUs= of a unit, the "
            "container's cpuset)"));
    } else if (cpu->governor == "powersave") {
        findings.push_back(note(cores_topic, what, "its governor is powersave: a loop that has "
                                                   "slept begins slowly",
                                "cpupower frequency-set -g performance"));
    }
}

/// Which loops there are on each CPU, and on each hyper-threaded core.
void judge_neighbours(const Machine& machine, const Config& config, Findings& findings) {
    std::map<uint16_t, size_t> loop_of;
    for (size_t i = 0; i < config.cores.size(); ++i) {
        const auto number = config.cores[i].cpu;
        if (!number) continue;
        if (const auto [other, fresh] = loop_of.try_emplace(*number, i); !fresh) {
            findings.push_back(warning(
                cores_topic, fmt::format("core[{}] and core[{}] are both on CPU {}", other->second,
                                         i, *number),
                "two loops on one CPU wait for each other, milliseconds at a time",
                "give each loop a CPU of its own"));
            continue;
        }
        const Cpu* cpu = machine.cpu(*number);
        if (cpu == nullptr) continue;
        for (const uint16_t sibling : cpu->siblings)
            if (const auto found = loop_of.find(sibling);
                sibling != *number && found != loop_of.end())
                findings.push_back(note(
                    cores_topic,
                    fmt::format("core[{}] and core[{}] are hyper-threads of one core (CPU {} and "
                                "{})",
                                found->second, i, sibling, *number),
                    "they share its execution units and caches",
                    "for the most throughput give each loop a core of its own"));
    }
}

bool spins(const CoreConfig& core) { return core.idle == IdlePolicy::spin; }

void judge_loops(const Machine& machine, const Config& config, Findings& findings) {
    for (size_t i = 0; i < config.cores.size(); ++i)
        if (config.cores[i].cpu) judge_pin(machine, i, *config.cores[i].cpu, findings);
    judge_neighbours(machine, config, findings);
    const auto spinning = static_cast<size_t>(std::ranges::count_if(config.cores, spins));
    if (spinning > machine.usable.size())
        findings.push_back(warning(
            cores_topic,
            fmt::format("{} loops spin on {} CPUs", spinning, machine.usable.size()),
            "a loop that spins never gives its CPU away: the others wait for the scheduler",
            "configure as many [[core]] as there are CPUs, or idle = \"yield\" or \"sleep\""));
    const auto isolated = std::ranges::count_if(machine.cpus, &Cpu::isolated);
    const auto outside = std::ranges::find_if(config.cores, [&](const CoreConfig& core) {
        const Cpu* cpu = core.cpu ? machine.cpu(*core.cpu) : nullptr;
        return cpu == nullptr || !cpu->isolated;
    });
    if (isolated > 0 && outside != config.cores.end())
        findings.push_back(note(
            cores_topic, fmt::format("core[{}] is on no isolated CPU",
                                     outside - config.cores.begin()),
            fmt::format("isolcpus keeps {} CPUs free of other programs", isolated),
            "pin the loops there with core.cpu"));
}

struct Capability {
    unsigned number;
    const char* name;
};
constexpr std::array<Capability, 8> known_capabilities{{{CAP_NET_ADMIN, "CAP_NET_ADMIN"},
                                                  {CAP_NET_RAW, "CAP_NET_RAW"},
                                                  {CAP_IPC_LOCK, "CAP_IPC_LOCK"},
                                                  {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
                                                  {CAP_SYS_NICE, "CAP_SYS_NICE"},
                                                  {CAP_SYS_RAWIO, "CAP_SYS_RAWIO"},
                                                  {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
                                                  {CAP_BPF, "CAP_BPF"}}};

std::string limit_text(uint64_t limit, uint64_t unit, const char* name) {
    if (limit == std::numeric_limits<uint64_t>::max()) return "unlimited";
    return fmt::format("{}{}", limit / unit, name);
}

/// What `--file-prefix` says, or `eal.file_prefix`; empty: ours are named after the process.
std::string prefix_of(const Config* config) {
    constexpr std::string_view option = "--file-prefix=";
    if (config == nullptr) return {};
    for (const std::string& argument : config->eal.arguments)
        if (argument.starts_with(option)) return argument.substr(option.size());
    return config->eal.file_prefix;
}

}  // namespace

Findings judge_processors(const Machine& machine, const Config* config) {
    Findings findings;
    if (config != nullptr) judge_loops(machine, *config, findings);
    if (worst(findings) >= Severity::warning) return findings;
    std::string what = fmt::format("{} CPUs online, this process may use {}", machine.cpus.size(),
                                   machine.usable.size());
    if (machine.nodes.size() > 1) what += fmt::format(", {} NUMA nodes", machine.nodes.size());
    if (config != nullptr) what += fmt::format("; {} configured", config->cores.size());
    findings.insert(findings.begin(), ok(cores_topic, std::move(what)));
    return findings;
}

Findings judge_privileges(const Machine& machine, const Config*) {
    std::vector<std::string> names;
    for (const Capability& one : known_capabilities)
        if (machine.can(one.number)) names.emplace_back(one.name);
    Findings findings;
    if (names.empty()) names.emplace_back("no capability that matters here");
    findings.push_back(ok("privileges", fmt::format("effective user {}; {}", machine.user,
                                                    fmt::join(names, " "))));
    findings.push_back(ok("limits", fmt::format("RLIMIT_MEMLOCK {}, RLIMIT_NOFILE {}",
                                                limit_text(machine.memlock_max, 1024, " KiB"),
                                                limit_text(machine.files_max, 1, ""))));
    return findings;
}

Findings judge_runtime_files(const Machine& machine, const Config* config) {
    constexpr const char* topic = "runtime files";
    const std::string folder = machine.runtime_base + "/dpdk";
    Findings findings;
    if (!machine.runtime_writable) {
        findings.push_back(trouble(
            topic, fmt::format("{} cannot be written by user {}", folder, machine.user),
            "EAL makes a folder there for each process, and does not start without",
            "set XDG_RUNTIME_DIR or RUNTIME_DIRECTORY to a folder of this user "
            "(RuntimeDirectory= of a systemd unit does), or mount a tmpfs there"));
        return findings;
    }
    const std::string prefix = prefix_of(config);
    size_t stale = 0, running = 0;
    std::string example;
    for (const RuntimeFolder& one : machine.runtime_folders) {
        if (one.holder != 0 && one.prefix == prefix)
            findings.push_back(trouble(
                "primary process",
                fmt::format("another primary process has the prefix \"{}\" (process {})", prefix,
                            one.holder),
                "two primary processes of one prefix share their files: this one's end would take "
                "away the other's",
                "leave eal.file_prefix out, and --file-prefix out of eal.arguments (each process "
                "has one of its own then), "
                "choose another, or end that process"));
        if (one.stale && stale++ == 0) example = one.path;
        if (!one.stale) ++running;
    }
    if (stale == 1)
        findings.push_back(warning(topic, "one folder was left behind in " + folder,
                                   "a program that was killed could not remove its files",
                                   "rm -r " + example));
    else if (stale > 1)
        findings.push_back(
            warning(topic, fmt::format("{} folders were left behind in {}", stale, folder),
                    "programs that were killed could not remove their files",
                    fmt::format("rm -r {} and its like, of processes that are gone", example)));
    if (findings.empty())
        findings.push_back(ok(topic, fmt::format("{} can be written, {} other processes use it",
                                                 folder, running)));
    return findings;
}

}  // namespace millrace::apps
