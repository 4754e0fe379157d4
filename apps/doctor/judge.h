// What is to be said of a machine and a configuration: pure functions of the two.
//
// Each answers findings of its own topics. Without a configuration they say what there is; with one
// they say whether it will do. What the library itself refuses with cause and remedy is left to the
// attempt to start it.
#pragma once

#include "doctor/finding.h"
#include "doctor/machine.h"

namespace millrace::apps {

/// Memory, huge pages, NUMA nodes that EAL is asked to take them from.
Findings judge_memory(const Machine& machine, const Config* config);
/// CPUs and the loops on them.
Findings judge_processors(const Machine& machine, const Config* config);
/// User, capabilities, limits.
Findings judge_privileges(const Machine& machine, const Config* config);
/// EAL's files: whether it can make them, who else has them, what was left behind.
Findings judge_runtime_files(const Machine& machine, const Config* config);
/// IOMMU, VFIO, network cards, the kernel's interfaces, TAP, DPDK's drivers.
Findings judge_devices(const Machine& machine);
/// Each port: whether its device is there, may be opened and leads anywhere.
Findings judge_ports(const Machine& machine, const Config& config);
/// Addresses: of several ports, and of the kernel.
Findings judge_addresses(const Machine& machine, const Config& config);

/// All of these, in this order.
Findings judge(const Machine& machine, const Config* config);

}  // namespace millrace::apps
