// What the fields of a configuration must be by themselves and to each other.
#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include <fmt/format.h>

#include <millrace/config.h>

#include "config/tunables.h"

namespace millrace {

namespace {

template <typename Struct>
Started<void> check(std::span<const config::Field<Struct>> fields, const Struct& values,
                    std::string_view table) {
    for (const auto& field : fields) {
        const uint32_t value = values.*field.member;
        if (value < field.min || value > field.max)
            return failure(fmt::format("{}.{}: {} is not an integer from {} to {}", table,
                                       field.name, value, field.min, field.max),
                           EINVAL);
    }
    return {};
}

/// What is adopted must not be given as well: which of the two counts would be anybody's guess.
Started<void> check_adoption(const PortConfig& port, size_t index) {
    constexpr size_t name_max = 15;  // IFNAMSIZ
    if (port.adopt.empty()) return {};
    if (port.adopt.size() > name_max)
        return failure(fmt::format("port[{}].adopt: {} is no name of an interface: it has more "
                                   "than {} bytes",
                                   index, port.adopt, name_max),
                       EINVAL);
    const std::array given{std::pair("addresses", !port.addresses.empty()),
                           std::pair("routes", !port.routes.empty()),
                           std::pair("neighbours", !port.neighbours.empty()),
                           std::pair("mac", !port.mac.empty()),
                           std::pair("mtu", port.mtu != PortConfig().mtu)};
    for (const auto& [field, is_given] : given)
        if (is_given)
            return failure(fmt::format("port[{}].{}: comes with adopt: leave one of them out",
                                       index, field),
                           EINVAL);
    return {};
}

Started<void> check_neighbours(const PortConfig& port, size_t index, uint32_t neighbour_max) {
    for (const NeighbourConfig& neighbour : port.neighbours) {
        const std::string name = neighbour.address.to_string();
        const auto within = [&](const Prefix& network) {
            return network.contains(neighbour.address);
        };
        const bool on_link =
            std::ranges::any_of(port.addresses, within) ||
            std::ranges::any_of(port.routes, [&](const Route& route) {
                return route.gateway.is_unspecified() && within(route.destination);
            });
        if ((neighbour.mac[0] & 1) != 0 || neighbour.mac == decltype(neighbour.mac){})
            return failure(fmt::format("port[{}].neighbours: {} is at no unicast address", index,
                                       name),
                           EINVAL);
        if (!on_link)
            return failure(fmt::format("port[{}].neighbours: {} is in no subnet of this port",
                                       index, name),
                           EINVAL);
    }
    if (port.neighbours.size() >= neighbour_max)
        return failure(fmt::format("port[{}].neighbours: {} are more than ip.neighbour_max ({}) "
                                   "has room for",
                                   index, port.neighbours.size(), neighbour_max),
                       EINVAL);
    return {};
}

Started<void> check_port(const PortConfig& port, size_t index, size_t cores) {
    const auto refuse = [&](std::string_view field, std::string why) {
        return failure(fmt::format("port[{}].{}: {}", index, field, why), EINVAL);
    };
    if (port.device.empty())
        return refuse("device", R"(is missing; for example "net_tap0,iface=mr0")");
    for (const Prefix& prefix : port.addresses)
        if (prefix.address.is_multicast() || prefix.address.is_unspecified() ||
            prefix.address.is_limited_broadcast())
            return refuse("addresses", prefix.to_string() + " cannot be a host's address");
    for (const Route& route : port.routes) {
        if (route.gateway.is_unspecified()) continue;
        const bool on_link = std::ranges::any_of(port.addresses, [&](const Prefix& prefix) {
            return prefix.contains(route.gateway);
        });
        if (!on_link)
            return refuse("routes", fmt::format("the gateway {} is in no subnet of this port",
                                                route.gateway.to_string()));
    }
    for (const uint16_t core : port.cores)
        if (core >= cores)
            return refuse("cores", fmt::format("{} is not a core from 0 to {}", core, cores - 1));
    if (!std::ranges::is_sorted(port.cores, std::ranges::less_equal{}) && port.cores.size() > 1)
        return refuse("cores", "name each core once, in ascending order");
    if (port.mtu < 576 || port.mtu > 16000)
        return refuse("mtu", fmt::format("{} is not from 576 to 16000", port.mtu));
    if (port.vlan > 4094) return refuse("vlan", fmt::format("{} is above 4094", port.vlan));
    if (port.mtu < 1280 && std::ranges::any_of(port.addresses, [](const Prefix& prefix) {
            return !prefix.address.is_v4();
        }))
        return refuse("mtu", fmt::format("{} is under 1280, which IPv6 needs", port.mtu));
    return {};
}

Started<void> check_eal(const EalConfig& eal) {
    constexpr size_t prefix_max = 32;
    constexpr std::string_view others = "_-.";
    const bool named = std::ranges::all_of(eal.file_prefix, [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               others.contains(c);
    });
    if (!named || eal.file_prefix.size() > prefix_max || eal.file_prefix.starts_with('.'))
        return failure(fmt::format("eal.file_prefix: \"{}\" is not at most {} letters, digits, "
                                   "'_', '-' and '.'",
                                   eal.file_prefix, prefix_max),
                       EINVAL);
    if (eal.telemetry && std::ranges::count(eal.arguments, "--no-telemetry") != 0)
        return failure("eal.telemetry: eal.arguments has --no-telemetry", EINVAL);
    if (!eal.shared) return {};
    if (!eal.huge_pages)
        return failure("eal.shared: only huge pages can be shared, and eal.huge_pages is false",
                       EINVAL);
    for (const std::string& argument : eal.arguments)
        for (const std::string_view private_memory :
             {"--in-memory", "--no-huge", "--no-shconf", "--huge-unlink"})
            if (argument.starts_with(private_memory))
                return failure(fmt::format("eal.shared: eal.arguments has {}, with which nothing "
                                           "is shared",
                                           argument),
                               EINVAL);
    return {};
}

}  // namespace

Started<void> validate(const Config& config) {
    if (auto valid = check(config::tcp_fields(), config.tcp, "tcp"); !valid) return valid;
    if (auto valid = check(config::ip_fields(), config.ip, "ip"); !valid) return valid;
    if (auto valid = check(config::pool_fields(), config.pools, "pools"); !valid) return valid;
    if (auto valid = check(config::recorder_fields(), config.recorder, "recorder"); !valid)
        return valid;
    if (auto valid = check_eal(config.eal); !valid) return valid;
    if (!std::has_single_bit(config.recorder.events))
        return failure(fmt::format("recorder.events: {} is not a power of two",
                                   config.recorder.events),
                       EINVAL);
    if (config.tcp.ip_local_port_range_min > config.tcp.ip_local_port_range_max)
        return failure(fmt::format("tcp.ip_local_port_range_min: {} is above "
                                   "ip_local_port_range_max ({})",
                                   config.tcp.ip_local_port_range_min,
                                   config.tcp.ip_local_port_range_max),
                       EINVAL);
    if (config.cores.empty() || config.cores.size() > 64)
        return failure(fmt::format("core: {} cores are not from 1 to 64", config.cores.size()),
                       EINVAL);
    if (config.ports.size() > 32)
        return failure(fmt::format("port: {} ports are more than 32", config.ports.size()), EINVAL);
    for (size_t i = 0; i < config.ports.size(); ++i)
        for (size_t j = 0; j < i; ++j)
            if (config.ports[i].device == config.ports[j].device)
                return failure(fmt::format("port[{}].device: {} is port[{}] already", i,
                                           config.ports[i].device, j),
                               EINVAL);
    for (const PortConfig& port : config.ports)
        if (config.pools.receive < port.receive_descriptors + 128U)
            return failure(fmt::format("pools.receive: {} buffers cannot fill the {} receive "
                                       "descriptors of {} and leave any",
                                       config.pools.receive, port.receive_descriptors, port.device),
                           EINVAL);
    for (size_t i = 0; i < config.ports.size(); ++i) {
        if (auto valid = check_adoption(config.ports[i], i); !valid) return valid;
        if (auto valid = check_port(config.ports[i], i, config.cores.size()); !valid) return valid;
        if (auto valid = check_neighbours(config.ports[i], i, config.ip.neighbour_max); !valid)
            return valid;
    }
    return {};
}

}  // namespace millrace
