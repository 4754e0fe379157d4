// DPDK's environment abstraction layer: one a process.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <millrace/config.h>

namespace millrace::runtime {

/// Starts EAL if this process has not done so; its memory then serves all runtimes of the process
/// (`eal.memory_mb` of the first one makes room for the others). Without huge pages (none reserved,
/// or not wanted) it takes ordinary memory by itself; without root and PCI it needs neither.
/// `memory_mb` is what the pools will take; more than the machine has is refused.
Started<void> start_eal(const EalConfig& config, uint64_t memory_mb);

/// The calling thread's EAL identity, with which it has caches in the pools; given back when this
/// dies, on the same thread, with what the caches hold. None, and no caches, where other processes
/// may attach (`eal.shared`).
class ThreadIdentity {
public:
    static Started<ThreadIdentity> take();
    ThreadIdentity(ThreadIdentity&& other) noexcept : ours_(std::exchange(other.ours_, false)) {}
    ThreadIdentity& operator=(ThreadIdentity&&) = delete;
    ~ThreadIdentity();

private:
    explicit ThreadIdentity(bool ours) : ours_(ours) {}
    bool ours_;
};

/// CPUs on which the calling thread may run, ascending.
std::vector<uint16_t> usable_cpus();

/// Huge pages that are free on this machine, in MiB.
uint64_t free_huge_pages_mb();

/// Of the DPDK that is loaded.
const char* dpdk_version();

/// Where the messages of EAL and its drivers go: nowhere, unless `verbose`.
void set_eal_log(bool verbose);

}  // namespace millrace::runtime
