#include "runtime/world.h"

#include <algorithm>

#include <fmt/format.h>
#include <rte_ethdev.h>

#include "runtime/adopt.h"
#include "runtime/eal.h"

namespace millrace::runtime {

namespace {

constexpr uint64_t mib = 1 << 20;

/// Which cores poll a port.
std::vector<uint16_t> cores_of(const Config& config, const PortConfig& port) {
    if (!port.cores.empty()) return port.cores;
    std::vector<uint16_t> all(config.cores.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    return all;
}

}  // namespace

std::mutex& devices() {
    static std::mutex mutex;
    return mutex;
}

buf::PoolSizes pool_sizes(const Config& config, uint16_t core) {
    uint32_t ports = 0;
    uint32_t mtu = 1500;
    for (const PortConfig& port : config.ports) {
        const auto cores = cores_of(config, port);
        if (std::ranges::find(cores, core) == cores.end()) continue;
        ++ports;
        mtu = std::max<uint32_t>(mtu, port.mtu);
    }
    buf::PoolSizes sizes;
    sizes.receive = config.pools.receive * std::max(ports, 1U);
    sizes.header = config.pools.header;
    sizes.attach = config.pools.attach;
    sizes.payload = config.pools.payload;
    sizes.region = config.pools.attach;
    // A whole frame in one buffer: ports without scatter need that, and copies into one piece.
    if (mtu > 1500) sizes.receive_room = mtu + 64;
    return sizes;
}

uint64_t memory_needed_mb(const Config& config) {
    uint64_t memory = 0;
    for (uint16_t core = 0; core < config.cores.size(); ++core)
        memory += pool_sizes(config, core).memory();
    // Rings, driver queues, EAL's own tables, and what alignment costs the pools.
    return memory * 5 / 4 / mib + 64 + 16 * config.ports.size();
}

Started<std::unique_ptr<World>> World::create(const Config& given) {
    if (auto valid = validate(given); !valid) return std::unexpected(valid.error());
    Config config = given;
    if (auto adopted = adopt(config); !adopted) return std::unexpected(adopted.error());
    // The kernel allows more than a port does.
    if (auto valid = validate(config); !valid)
        return failure(fmt::format("{} (as adopted)", valid.error().what), valid.error().code);
    if (auto eal = start_eal(config.eal, memory_needed_mb(config)); !eal)
        return std::unexpected(eal.error());
    std::unique_ptr<World> world(new World(config));
    const std::lock_guard lock(devices());  // let go before a world that could not be made ends
    static unsigned worlds = 0;
    world->name_ = fmt::format("mr{}", worlds++);
    if (auto made = world->make_cores(); !made) return std::unexpected(made.error());
    if (auto opened = world->open_ports(); !opened) return std::unexpected(opened.error());
    world->make_stacks();
    return world;
}

World::~World() {
    const std::lock_guard lock(devices());
    // Stacks give their buffers back before ports and pools go; ports theirs before pools.
    for (auto& core : cores_) {
        core->stack_.reset();
        core->outlets_.clear();
    }
    ports_.clear();
}

Started<void> World::make_cores() {
    for (uint16_t i = 0; i < config_.cores.size(); ++i) {
        const std::string name = fmt::format("{}c{}", name_, i);
        auto pools = buf::Pools::create(name, pool_sizes(config_, i));
        if (!pools) return std::unexpected(pools.error());
        auto mailbox = Mailbox::create(name);
        if (!mailbox) return std::unexpected(mailbox.error());
        cores_.push_back(
            std::make_unique<Core>(*this, i, std::move(*pools), std::move(*mailbox)));
    }
    return {};
}

Started<void> World::open_ports() {
    const stack::Steering steering(cores());
    for (uint16_t p = 0; p < config_.ports.size(); ++p) {
        const PortConfig& config = config_.ports[p];
        const auto polled_by = cores_of(config_, config);
        std::vector<buf::Pools*> pools;
        for (const uint16_t core : polled_by) pools.push_back(&cores_[core]->pools_);
        port::Rss rss{stack::Steering::key(), {}};
        // Hardware can steer only where its queues are the cores, in order.
        for (size_t i = 0; i < stack::Steering::table_size; ++i)
            rss.table.push_back(steering.table_entry(i));
        // `validate` has them ascending: as many as there are means all, in order.
        if (polled_by.size() != cores_.size()) rss.key = {};
        auto port = port::Port::open(config, pools, rss);
        if (!port) return std::unexpected(port.error());
        for (uint16_t q = 0; q < (*port)->receive_queues(); ++q)
            cores_[polled_by[q % polled_by.size()]]->receive_queues_.push_back(
                {port->get(), p, q});
        for (uint16_t i = 0; i < cores(); ++i) {
            cores_[i]->outlets_.resize(config_.ports.size());
            cores_[i]->outlets_[p].via = polled_by[i % polled_by.size()];
        }
        for (uint16_t i = 0; i < polled_by.size(); ++i) {
            Core::Outlet& outlet = cores_[polled_by[i]]->outlets_[p];
            outlet.port = port->get();
            outlet.waiting.reserve(Core::waiting_max);
            outlet.queue = static_cast<uint16_t>(i % (*port)->transmit_queues());
        }
        ports_.push_back(std::move(*port));
    }
    return {};
}

void World::make_stacks() {
    std::vector<ip::Interface> interfaces;
    for (size_t p = 0; p < ports_.size(); ++p) {
        const PortConfig& config = config_.ports[p];
        ip::Interface interface;
        interface.name = config.device;
        interface.mac = ports_[p]->mac();
        interface.mtu = ports_[p]->mtu();
        interface.vlan = config.vlan;
        interface.addresses = config.addresses;
        interface.routes = config.routes;
        interface.neighbours = config.neighbours;
        interface.offloads = ports_[p]->offloads();
        interfaces.push_back(std::move(interface));
    }
    interfaces = stack::with_loopback(std::move(interfaces));
    const tcp::Secrets secrets = tcp::Secrets::from_system();
    for (uint16_t i = 0; i < cores_.size(); ++i)
        cores_[i]->stack_ = std::make_unique<stack::Stack>(
            stack::Options{.config = config_,
                           .interfaces = interfaces,
                           .secrets = secrets,
                           .core = i,
                           .cores = cores(),
                           .now = cores_[i]->now(),
                           .announces = i == 0 && config_.ip.arp_notify != 0},
            cores_[i]->pools_, *cores_[i]);
}

}  // namespace millrace::runtime
