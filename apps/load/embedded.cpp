#include "load/embedded.h"

#include <algorithm>

#include <fmt/format.h>

#include <millrace/runtime.h>

namespace millrace::apps {

Config end_of_link(unsigned end, const Plan& plan) {
    Config config;
    PortConfig port;
    port.device = fmt::format("ring:load:{}", end);
    port.addresses = {*Prefix::parse(fmt::format("10.77.0.{}/16", end + 1)),
                      *Prefix::parse(fmt::format("fd77::{}/64", end + 1))};
    if (plan.vlan) port.vlan = *plan.vlan;
    if (plan.mtu != 0) port.mtu = plan.mtu;
    config.ports.push_back(port);
    // Two processors or more: a loop each. On one they take turns.
    const auto cpus = usable_cpus();
    if (cpus.size() > 1)
        config.cores[0].cpu = cpus[end];
    else
        config.cores[0] = {.cpu = std::nullopt, .idle = IdlePolicy::yield, .idle_turns = 1};
    config.tcp.max_connections = std::max(plan.connections * 2, 1024U);
    config.tcp.somaxconn = 65535;
    // Nearly every ephemeral port may be in use to the one server port.
    config.tcp.ip_local_port_range_min = 1024;
    config.tcp.ip_local_port_range_max = 65535;
    config.pools = {.receive = 8192, .header = 16384, .attach = 16384, .payload = 16384};
    // The first runtime's EAL memory serves both.
    config.eal.memory_mb = 512;
    return config;
}

}  // namespace millrace::apps
