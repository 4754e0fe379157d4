// All cores and ports of one runtime, made from a configuration.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "runtime/core.h"

namespace millrace::runtime {

/// What a core of this configuration takes.
buf::PoolSizes pool_sizes(const Config& config, uint16_t core);
/// What all of them and EAL take, in MiB.
uint64_t memory_needed_mb(const Config& config);

/// Held by whoever walks or changes EAL's lists of devices, which know nothing of threads.
std::mutex& devices();

/// Made and destroyed by one thread while no core runs. Several may live in one process.
class World {
public:
    static Started<std::unique_ptr<World>> create(const Config& config);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    const Config& config() const { return config_; }
    uint16_t cores() const { return static_cast<uint16_t>(cores_.size()); }
    Core& core(size_t index) { return *cores_[index]; }
    const port::Port& port(size_t index) const { return *ports_[index]; }
    size_t ports() const { return ports_.size(); }

private:
    explicit World(const Config& config) : config_(config) {}
    Started<void> make_cores();
    Started<void> open_ports();
    void make_stacks();

    const Config config_;
    std::string name_;  // unique in the process: EAL's objects are named after it
    std::vector<std::unique_ptr<Core>> cores_;
    std::vector<std::unique_ptr<port::Port>> ports_;
};

}  // namespace millrace::runtime
