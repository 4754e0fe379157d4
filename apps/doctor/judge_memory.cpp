#include <algorithm>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <millrace/runtime.h>

#include "doctor/device.h"
#include "doctor/judge.h"

namespace millrace::apps {

namespace {

constexpr const char* memory_topic = "memory";
constexpr const char* huge_topic = "huge pages";

std::string size_name(uint64_t kib) {
    return kib >= 1 << 20 ? fmt::format("{} GiB", kib >> 20) : fmt::format("{} MiB", kib >> 10);
}

/// What in the configuration EAL can only do with huge pages; empty: nothing.
std::string demand_for_huge_pages(const Config& config) {
    if (config.eal.shared) return "eal.shared is true";
    for (const std::string& argument : config.eal.arguments)
        for (const char* wanted : {"--huge-dir", "--huge-unlink", "--socket-mem",
                                   "--socket-limit", "--single-file-segments", "--match-alloc"})
            if (argument.starts_with(wanted)) return "eal.arguments has " + argument;
    for (const PortConfig& port : config.ports)
        if (Device(port.device).argument("zero-copy", "no") == "yes")
            return "zero-copy=yes of " + port.device;
    return {};
}

std::string reserve(uint64_t memory_mb) {
    return fmt::format("reserve them: echo {} > /sys/kernel/mm/hugepages/hugepages-2048kB/"
                       "nr_hugepages (in a container: on its host, and ask for hugepages-2Mi)",
                       (memory_mb + 1) / 2);
}

std::string page_counts(const Machine& machine) {
    std::vector<std::string> parts;
    for (const HugePages& pages : machine.huge_pages) {
        std::string part = fmt::format("{} of {} pages of {} free", pages.free, pages.total,
                                       size_name(pages.size_kib));
        if (pages.free_by_node.size() > 1) {
            std::vector<std::string> nodes;
            for (const auto& [node, free] : pages.free_by_node)
                nodes.push_back(fmt::format("node {}: {}", node, free));
            part += fmt::format(" ({})", fmt::join(nodes, ", "));
        }
        parts.push_back(std::move(part));
    }
    if (parts.empty()) return "this kernel has none";
    parts.push_back(machine.huge_mounts.empty()
                        ? "hugetlbfs not mounted, which Millrace does not need"
                        : fmt::format("mounted at {}", fmt::join(machine.huge_mounts, ", ")));
    return fmt::format("{}", fmt::join(parts, "; "));
}

Finding judge_amount(const Machine& machine, uint64_t needed_mb) {
    const uint64_t huge = machine.free_huge_mb();
    const uint64_t there = std::max(machine.available_mb, huge);
    if (needed_mb > there)
        return trouble(memory_topic,
                       fmt::format("the configuration takes {} MiB, {} MiB are available",
                                   needed_mb, there),
                       "the pools are larger than the memory of this machine: [pools] is counted "
                       "per core, pools.receive per core and port",
                       "lower [pools] or eal.memory_mb, use fewer cores, or free memory");
    if (machine.group_left_mb && needed_mb > *machine.group_left_mb)
        return trouble(memory_topic,
                       fmt::format("the configuration takes {} MiB, the control group leaves {}",
                                   needed_mb, *machine.group_left_mb),
                       "the container's memory limit is lower than what the pools take: the "
                       "kernel would kill the program",
                       "raise the limit (memory.max; resources.limits.memory of a pod), or lower "
                       "[pools]");
    return ok(memory_topic, fmt::format("the configuration takes {} MiB, {} MiB are available",
                                        needed_mb, there));
}

/// Of a configuration that would use them.
Finding judge_huge_pages(const Machine& machine, const Config& config, uint64_t needed_mb) {
    const std::string demand = demand_for_huge_pages(config);
    const uint64_t free_mb = machine.free_huge_mb();
    if (!config.eal.huge_pages)
        return demand.empty() ? ok(huge_topic, "not used: eal.huge_pages = false")
                              : trouble(huge_topic, demand + ", but eal.huge_pages is false",
                                        "EAL cannot do that with ordinary memory",
                                        "set eal.huge_pages = true, or leave that out");
    if (config.eal.shared && machine.huge_mounts.empty())
        return trouble(huge_topic, "hugetlbfs is not mounted",
                       "eal.shared is true: other processes find the memory there",
                       "mount -t hugetlbfs none /dev/hugepages");
    if (free_mb >= needed_mb) return ok(huge_topic, page_counts(machine));
    const std::string found = free_mb == 0 ? fmt::format("none are free, {} MiB would be used",
                                                         needed_mb)
                                           : fmt::format("{} MiB are free, {} MiB would be used",
                                                         free_mb, needed_mb);
    if (!demand.empty())
        return trouble(huge_topic, found, demand + ", which needs huge pages", reserve(needed_mb));
    constexpr const char* instead = "ordinary memory is taken instead: packets cost more TLB "
                                    "misses, most where tables are large";
    if (free_mb == 0 && needed_mb < 1024) return note(huge_topic, found, instead,
                                                      reserve(needed_mb));
    return warning(huge_topic, found, instead, reserve(needed_mb));
}

/// EAL's --socket-mem and --socket-limit have a number for each node.
void judge_nodes(const Machine& machine, const Config& config, Findings& findings) {
    for (const std::string& argument : config.eal.arguments) {
        if (!argument.starts_with("--socket-mem=") && !argument.starts_with("--socket-limit="))
            continue;
        std::istringstream parts(argument.substr(argument.find('=') + 1));
        int node = 0;
        for (std::string part; std::getline(parts, part, ','); ++node) {
            if (part == "0" || std::ranges::find(machine.nodes, node) != machine.nodes.end())
                continue;
            findings.push_back(trouble(
                "numa", fmt::format("eal.arguments has {}", argument),
                fmt::format("there is no NUMA node {}: this machine has {}", node,
                            fmt::join(machine.nodes, ", ")),
                "name an amount only for the nodes that there are, as in numactl --hardware"));
        }
    }
}

/// With --in-memory each page is a file of its own, unless they are put together.
void judge_files(const Machine& machine, const Config& config, uint64_t needed_mb,
                 Findings& findings) {
    const bool together = std::ranges::any_of(config.eal.arguments, [](const std::string& one) {
        return one.starts_with("--single-file-segments");
    });
    if (!config.eal.huge_pages || machine.free_huge_mb() < needed_mb || together) return;
    constexpr uint64_t others = 64;
    const uint64_t pages = needed_mb / 2 + others;
    if (pages <= machine.files_max) return;
    findings.push_back(trouble(
        "limits", fmt::format("RLIMIT_NOFILE is {}, {} are needed", machine.files_max, pages),
        "each huge page of the program is an open file",
        fmt::format("ulimit -Hn {} (LimitNOFILE={} in a systemd unit), or eal.arguments = "
                    "[\"--single-file-segments\"]",
                    pages, pages)));
}

}  // namespace

Findings judge_memory(const Machine& machine, const Config* config) {
    Findings findings;
    if (config == nullptr) {
        findings.push_back(ok(memory_topic, fmt::format("{} MiB are available",
                                                        machine.available_mb)));
        findings.push_back(machine.free_huge_mb() > 0
                               ? ok(huge_topic, page_counts(machine))
                               : note(huge_topic, page_counts(machine),
                                      "without them ordinary memory is taken", reserve(512)));
        return findings;
    }
    const uint64_t needed_mb = memory_needed_mb(*config);
    findings.push_back(judge_amount(machine, needed_mb));
    // Whether huge pages are too few as well matters only once memory suffices.
    if (findings.front().severity == Severity::failure) return findings;
    judge_nodes(machine, *config, findings);
    if (worst(findings) == Severity::failure) return findings;
    findings.push_back(judge_huge_pages(machine, *config, needed_mb));
    judge_files(machine, *config, needed_mb, findings);
    return findings;
}

}  // namespace millrace::apps
