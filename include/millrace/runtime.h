// A runtime: ports and cores made from a configuration, and the threads that run them.
//
// Purpose: what a program makes first. Either it gives the loops away (`run`, `stop`, `join`) or it
// owns them (`core(i).poll_once()` in threads of its own).
// Owner: the thread that made it; `submit` and `stop` may be called from any.
//
//     auto config = millrace::load_config("echo.toml");
//     auto runtime = millrace::Runtime::create(*config);
//     (*runtime)->run([](millrace::Stack& stack) { ... listen ... });
//     (*runtime)->join();
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <millrace/config.h>
#include <millrace/error.h>
#include <millrace/stack.h>
#include <millrace/time.h>

namespace millrace {

/// How far a graceful end has come.
struct Draining {
    size_t connections = 0;  ///< not over yet, of all cores
    size_t half_open = 0;    ///< handshakes under way, for which nobody waits
    Duration passed;         ///< since it began
};

/// What `Runtime::drain` is to do.
struct DrainOptions {
    Duration within = Duration::from_s(10);  ///< then what is left is reset; zero: at once
    /// Called on each core's thread, once its listeners have stopped: the application closes what
    /// is idle, answers what it has been asked and closes behind that. None: it closes nothing.
    std::function<void(Stack&)> begin;
    /// Called on the calling thread each `Runtime::drain_interval`: false ends the wait, what is
    /// left is reset. None: nobody asks.
    std::function<bool(const Draining&)> go_on;
};

/// Ports, cores and the threads that run them.
class Runtime {
public:
    /// Starts EAL if need be, makes pools, opens ports. What cannot be is said with cause and
    /// remedy; nothing is left behind then.
    static Started<std::unique_ptr<Runtime>> create(const Config& config);
    /// Stops and joins what runs. Connections that are left are forgotten without a word.
    ~Runtime();
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    /// How many cores there are.
    uint16_t cores() const;
    /// The stack of a core; it lives as long as the runtime. `index` is not checked.
    Stack& core(uint16_t index);

    /// Starts a thread per core, pinned where the configuration says so; `setup` runs on each
    /// before its first turn. Once.
    Started<void> run(std::function<void(Stack&)> setup);
    /// How often `drain` looks.
    static constexpr Duration drain_interval = Duration::from_ms(20);
    /// A graceful end, before `stop`. Listeners take no more (`Listener::stop`), the application is
    /// told to finish, and this waits until every connection is over: what was sent has been
    /// acknowledged, FIN included. What is left behind `within` is reset, and so are handshakes
    /// that are still under way; answers how many connections that were. A program keeps its word
    /// to whoever has sent it something if it answers all that it could receive before it closes,
    /// and closes in the same turn: what arrives behind that is answered by a reset, and never
    /// acknowledged. EINVAL where `run` has not started the loops. The runtime's owner only.
    Result<size_t> drain(const DrainOptions& options);
    /// Asks the loops to end after their turn. Any thread, also a signal handler.
    void stop();
    /// Waits until they have. The runtime's owner only.
    void join();

    /// Runs `function` on a core's thread, in one of its next turns. False where its mailbox is
    /// full. Any thread.
    bool submit(uint16_t core, std::function<void(Stack&)> function);

    /// One line per port: what it does itself and what is done in software.
    std::vector<std::string> port_descriptions() const;
    /// Frames that were lost between stack and wire.
    struct PortLosses {
        uint64_t missed = 0,    ///< receive ring full
            no_buffer = 0,      ///< receive pool dry
            errors = 0,         ///< told by the port as such, of both directions
            transmit_full = 0;  ///< transmit ring full
    };
    /// Since the start, of all ports and cores together.
    PortLosses losses() const;

    /// Frames of a port, as its cores have counted them.
    struct PortFrames {
        uint64_t received = 0,  ///< taken from the wire
            transmitted = 0;    ///< given to it
    };
    /// Since the start, of each port in the configuration's order. The runtime's owner only.
    std::vector<PortFrames> port_frames() const;

    /// Messages of EAL and its drivers on standard error; off by default. Before `create`.
    static void set_verbose(bool verbose);

private:
    Runtime();
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

/// What `Runtime::create` does with `PortConfig::adopt`, for who wants to know before: asks the
/// kernel, fills in what it says, and empties the keys. ENODEV, ENETDOWN, EADDRNOTAVAIL (no
/// address) or EINVAL (no Ethernet), in words.
Started<void> adopt_interfaces(Config& config);
/// The CPUs on which the calling thread may run, ascending: what `core.cpu` can name.
std::vector<uint16_t> usable_cpus();
/// MiB of memory that a runtime of this configuration takes from DPDK, which it has checked.
uint64_t memory_needed_mb(const Config& config);
/// Of the DPDK that this process has loaded: "DPDK 22.11.4".
std::string dpdk_version();

}  // namespace millrace
