#include <millrace/runtime.h>

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include <fmt/format.h>

#include "api/context.h"
#include "api/core_loop.h"
#include "api/inspector.h"
#include "api/telemetry.h"
#include "runtime/adopt.h"
#include "runtime/eal.h"
#include "runtime/sleep.h"
#include "runtime/world.h"

namespace millrace {

struct Runtime::Parts {
    explicit Parts(std::unique_ptr<runtime::World> w) : world(std::move(w)) {
        for (uint16_t i = 0; i < world->cores(); ++i) {
            loops.push_back(std::make_unique<api::CoreLoop>(world->core(i)));
            contexts.push_back(
                std::make_unique<api::Context>(world->core(i).stack(), *loops.back()));
        }
    }
    void loop(uint16_t core);
    std::vector<std::string> port_descriptions() const;
    api::Inspected inspected();

    std::unique_ptr<runtime::World> world;
    std::vector<std::unique_ptr<api::CoreLoop>> loops;
    std::vector<std::unique_ptr<api::Context>> contexts;
    std::vector<std::thread> threads;
    std::atomic<bool> stopping{false};
    std::unique_ptr<api::Inspector> inspector;  ///< null: nobody may, or it could not be made
    std::unique_ptr<api::Telemetry> telemetry;  ///< null: nobody wants it
};

std::vector<std::string> Runtime::Parts::port_descriptions() const {
    std::vector<std::string> lines;
    for (size_t i = 0; i < world->ports(); ++i) lines.push_back(world->port(i).description());
    return lines;
}

/// For as long as this stands.
api::Inspected Runtime::Parts::inspected() {
    std::vector<api::InspectedPort> ports;
    for (size_t i = 0; i < world->ports(); ++i)
        ports.push_back({.device = world->config().ports[i].device,
                         .id = world->port(i).id(),
                         .mtu = world->port(i).mtu(),
                         .counters = [&port = world->port(i)] { return port.counters(); }});
    return {.cores = world->cores(),
            .ask =
                [this](uint16_t core, std::function<void(runtime::Core&)> what) {
                    return world->core(core).mailbox().post(runtime::Letter(std::function<void()>(
                        [this, core, what = std::move(what)] { what(world->core(core)); })));
                },
            .descriptions = [this] { return port_descriptions(); },
            .ports = std::move(ports)};
}

namespace {

Started<void> pin(const CoreConfig& config, std::thread& thread) {
    if (!config.cpu) return {};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(*config.cpu, &set);
    const int status = pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
    if (status != 0)
        return failure(fmt::format("core.cpu: CPU {} cannot be used ({}): it is missing or outside "
                                   "this process' set; see nproc and taskset -p",
                                   *config.cpu, Errno{status}.message()),
                       status);
    return {};
}

}  // namespace

Started<void> adopt_interfaces(Config& config) { return runtime::adopt(config); }

std::vector<uint16_t> usable_cpus() { return runtime::usable_cpus(); }

uint64_t memory_needed_mb(const Config& config) {
    return std::max<uint64_t>(runtime::memory_needed_mb(config), config.eal.memory_mb);
}

std::string dpdk_version() { return runtime::dpdk_version(); }

Runtime::Runtime() = default;

Runtime::~Runtime() {
    stop();
    join();
}

Started<std::unique_ptr<Runtime>> Runtime::create(const Config& config) {
    auto world = runtime::World::create(config);
    if (!world) return std::unexpected(world.error());
    std::unique_ptr<Runtime> runtime(new Runtime());
    runtime->parts_ = std::make_unique<Parts>(std::move(*world));
    Parts& parts = *runtime->parts_;
    // A program runs as well without: nothing is said where it cannot be.
    if (config.inspect.enabled)
        if (auto inspector = api::Inspector::start(parts.inspected()))
            parts.inspector = std::move(*inspector);
    if (config.eal.telemetry) parts.telemetry = std::make_unique<api::Telemetry>(parts.inspected());
    return runtime;
}

uint16_t Runtime::cores() const { return parts_->world->cores(); }
Stack& Runtime::core(uint16_t index) { return parts_->contexts[index]->facade(); }

/// Turns until told to stop; an idle loop spins, gives the processor away or sleeps.
void Runtime::Parts::loop(uint16_t index) {
    const CoreConfig& config = world->config().cores[index];
    api::Context& context = *contexts[index];
    runtime::Core& core = world->core(index);
    if (config.idle == IdlePolicy::sleep) runtime::sleep_precisely();
    const Duration nap = Duration::from_us(config.idle_sleep_us);
    uint32_t empty_turns = 0;
    while (!stopping.load(std::memory_order_relaxed)) {
        if (loops[index]->turn(context, api::Loop::usual_bursts)) {
            empty_turns = 0;
        } else if (config.idle != IdlePolicy::spin && ++empty_turns >= config.idle_turns) {
            if (config.idle == IdlePolicy::yield)
                sched_yield();
            else
                runtime::sleep_for(std::min(nap, core.next_deadline() - core.now()));
        }
    }
}

Started<void> Runtime::run(std::function<void(Stack&)> setup) {
    if (!parts_->threads.empty()) return failure("the loops run already", EALREADY);
    // Nobody turns before all are placed and known to EAL: one that cannot be stops the start.
    auto gate = std::make_shared<std::atomic<int>>(0);
    std::vector<std::future<Started<void>>> ready;
    Started<void> status;
    for (uint16_t i = 0; i < cores(); ++i) {
        const CoreConfig& config = parts_->world->config().cores[i];
        std::promise<Started<void>> promise;
        ready.push_back(promise.get_future());
        parts_->threads.emplace_back([parts = parts_.get(), i, setup, gate,
                                      known = std::move(promise)]() mutable {
            const auto identity = runtime::ThreadIdentity::take();
            if (identity)
                known.set_value({});
            else
                known.set_value(std::unexpected(identity.error()));
            gate->wait(0);
            if (gate->load() < 0) return;
            api::Context& context = *parts->contexts[i];
            context.own();
            context.stack().set_time(context.loop().now());
            setup(context.facade());
            parts->loop(i);
        });
        if (status) status = pin(config, parts_->threads.back());
    }
    for (auto& thread : ready)
        if (auto known = thread.get(); !known && status) status = known;
    gate->store(status ? 1 : -1);
    gate->notify_all();
    if (!status) join();
    return status;
}

namespace {

/// What the cores answer, each for itself; kept by those that answer late.
struct Census {
    std::atomic<size_t> connections{0}, half_open{0};
    std::atomic<uint32_t> answers{0};
};

using SteadyClock = std::chrono::steady_clock;

Duration since(SteadyClock::time_point begin) {
    return Duration::from_ns(
        std::chrono::duration_cast<std::chrono::nanoseconds>(SteadyClock::now() - begin).count());
}

/// Asks every core, and waits until all have answered or have had their time.
std::shared_ptr<const Census> ask_all(Runtime& runtime,
                                      const std::function<void(Stack&, Census&)>& question) {
    constexpr Duration patience = Duration::from_s(1);  // a handler may hold a core up
    const auto begin = SteadyClock::now();
    auto census = std::make_shared<Census>();
    for (uint16_t core = 0; core < runtime.cores(); ++core) {
        const auto ask = [census, question](Stack& stack) {
            question(stack, *census);
            ++census->answers;
        };
        // A full mailbox is read in the core's next turn.
        while (!runtime.submit(core, ask) && since(begin) < patience) std::this_thread::yield();
    }
    while (census->answers < runtime.cores() && since(begin) < patience)
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    return census;
}

std::shared_ptr<const Census> count_all(Runtime& runtime) {
    return ask_all(runtime, [](Stack& stack, Census& census) {
        const Stack::Population population = stack.population();
        census.connections += population.connections;
        census.half_open += population.half_open;
    });
}

}  // namespace

Result<size_t> Runtime::drain(const DrainOptions& options) {
    if (parts_->threads.empty()) return error(EINVAL);
    const auto began = SteadyClock::now();
    const auto pause = std::chrono::nanoseconds(drain_interval.ns());
    ask_all(*this, [begin = options.begin](Stack& stack, Census&) {
        static_cast<void>(stack.stop_listening());
        if (begin) begin(stack);
    });
    while (true) {
        const auto census = count_all(*this);
        const Draining draining{census->connections, census->half_open, since(began)};
        if (options.go_on && !options.go_on(draining)) break;
        const bool all_answered = census->answers == cores();
        if ((all_answered && draining.connections == 0) || draining.passed >= options.within)
            break;
        std::this_thread::sleep_for(pause);
    }
    const auto aborted = ask_all(*this, [](Stack& stack, Census& census) {
        census.connections += stack.abort_all().value_or(0);
    });
    // The resets leave in their cores' turns, or later where a port takes no more.
    constexpr int looks = 10;
    for (int i = 0; i < looks && count_all(*this)->connections > 0; ++i)
        std::this_thread::sleep_for(pause);
    return aborted->connections.load();
}

void Runtime::stop() { parts_->stopping.store(true, std::memory_order_relaxed); }

void Runtime::join() {
    for (std::thread& thread : parts_->threads) thread.join();
    parts_->threads.clear();
}

bool Runtime::submit(uint16_t core, std::function<void(Stack&)> function) {
    api::Context& context = *parts_->contexts[core];
    return parts_->world->core(core).mailbox().post(runtime::Letter(std::function<void()>(
        [&context, function = std::move(function)] { function(context.facade()); })));
}

std::vector<std::string> Runtime::port_descriptions() const {
    return parts_->port_descriptions();
}

Runtime::PortLosses Runtime::losses() const {
    PortLosses losses;
    for (size_t i = 0; i < parts_->world->ports(); ++i) {
        const auto counters = parts_->world->port(i).counters();
        losses.missed += counters.missed;
        losses.no_buffer += counters.no_buffer;
        losses.errors += counters.errors;
    }
    for (uint16_t i = 0; i < parts_->world->cores(); ++i)
        losses.transmit_full += parts_->world->core(i).transmit_dropped();
    return losses;
}

std::vector<Runtime::PortFrames> Runtime::port_frames() const {
    std::vector<PortFrames> frames;
    for (size_t i = 0; i < parts_->world->ports(); ++i) {
        const auto counters = parts_->world->port(i).counters();
        frames.push_back({counters.received, counters.transmitted});
    }
    return frames;
}

void Runtime::set_verbose(bool verbose) { runtime::set_eal_log(verbose); }

}  // namespace millrace
