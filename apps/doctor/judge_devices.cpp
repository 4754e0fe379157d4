#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/judge.h"

namespace millrace::apps {

namespace {

Finding describe_iommu(const Machine& machine) {
    const std::string groups =
        machine.iommu_groups == 0 ? "no IOMMU" : fmt::format("{} IOMMU groups",
                                                             machine.iommu_groups);
    if (!machine.vfio)
        return note("vfio", groups + ", no VFIO in this kernel",
                    "network cards cannot be given to DPDK, but for those with a driver of their "
                    "own beside the kernel's (mlx5)",
                    "modprobe vfio-pci; TAP, AF_PACKET, AF_XDP and memif do without");
    if (machine.iommu_groups == 0 && !machine.vfio_without_iommu)
        return note("iommu", "VFIO is there, no IOMMU",
                    "cards cannot be given to programs safely",
                    "boot with intel_iommu=on iommu=pt (amd_iommu=on)");
    return ok("vfio", groups + (machine.vfio_without_iommu ? ", VFIO also without" : ", VFIO"));
}

Finding describe_nic(const Machine& machine, const PciNic& nic) {
    std::string what = fmt::format("{} {}, {}", nic.address, nic.id,
                                   nic.driver.empty() ? "no driver" : "driver " + nic.driver);
    if (nic.node >= 0) what += fmt::format(", NUMA node {}", nic.node);
    const NetInterface* interface = machine.interface(nic.interface);
    if (interface != nullptr) {
        what += fmt::format(", interface {}, {} receive queues", interface->name,
                            interface->queues);
        if (interface->queues_max > 0) what += fmt::format(" of {}", interface->queues_max);
    }
    return ok("nic", std::move(what));
}

}  // namespace

Findings judge_devices(const Machine& machine) {
    Findings findings;
    findings.push_back(describe_iommu(machine));
    for (const PciNic& nic : machine.nics) findings.push_back(describe_nic(machine, nic));
    std::vector<std::string> names;
    for (const NetInterface& one : machine.interfaces)
        names.push_back(fmt::format("{} ({}{})", one.name, !one.up         ? "down"
                                                           : !one.running ? "no link"
                                                                          : "up",
                                    one.driver.empty() ? "" : ", " + one.driver));
    findings.push_back(ok("interfaces", fmt::format("{}", fmt::join(names, ", "))));
    if (machine.tun.exists && machine.tun.error == 0)
        findings.push_back(ok("tun", "/dev/net/tun can be opened"));
    else
        findings.push_back(note("tun", machine.tun.exists
                                           ? fmt::format("/dev/net/tun cannot be opened: {}",
                                                         Errno{machine.tun.error}.message())
                                           : "/dev/net/tun is not there",
                                "net_tap cannot be used",
                                "modprobe tun; chmod 666 /dev/net/tun; in a container: --device "
                                "/dev/net/tun"));
    std::vector<std::string> drivers;
    for (const char* name : {"net_af_packet", "net_af_xdp", "net_tap", "net_memif", "net_mlx5",
                             "net_ice", "net_i40e", "net_ixgbe", "net_ena", "net_gve",
                             "net_virtio"})
        for (const std::string& driver : machine.drivers)
            if (driver == name) drivers.push_back(name + 4);
    findings.push_back(
        machine.drivers.empty()
            ? note("driver", "DPDK's plug-ins were not found",
                   "its drivers are part of the program, or lie elsewhere")
            : ok("driver", fmt::format("{} plug-ins, among them {}", machine.drivers.size(),
                                       fmt::join(drivers, " "))));
    return findings;
}

}  // namespace millrace::apps
