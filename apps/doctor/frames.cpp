#include "doctor/frames.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <millrace/runtime.h>

#include "common/program.h"
#include "doctor/device.h"
#include "doctor/machine.h"
#include "doctor/report.h"

namespace millrace::apps {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* frames_topic = "frames";
constexpr uint16_t discard_port = 9;  // RFC 863

/// The first host of the network that is none of ours; nothing where there is no other.
std::optional<Address> first_other(const Prefix& prefix, const std::vector<Prefix>& ours) {
    const bool is_v4 = prefix.address.is_v4();
    const size_t bits = is_v4 ? 32 : 128;
    if (prefix.length + 2U > bits) return std::nullopt;
    std::array<uint8_t, 16> bytes{};
    const size_t size = bits / 8;
    std::memcpy(bytes.data(), prefix.address.wire(), size);
    for (size_t bit = prefix.length; bit < bits; ++bit)
        bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] & ~(0x80U >> bit % 8));
    for (uint8_t host = 1; host < 3; ++host) {
        bytes[size - 1] = static_cast<uint8_t>(bytes[size - 1] + 1);
        const Address other = is_v4 ? Address::v4(bytes.data()) : Address::v6(bytes.data());
        if (std::ranges::find(ours, other, &Prefix::address) == ours.end()) return other;
    }
    return std::nullopt;
}

/// One attempt of a connection: an answer of any kind proves both ways. One core's.
class Probe final : public ConnectionHandler {
public:
    Probe(size_t port, const Address& target) : port_(port), target_(target) {}

    void begin(Stack& stack, const PortConfig& config) {
        for (const Prefix& ours : config.addresses) {
            if (!ours.contains(target_)) continue;
            const auto made = stack.connect({target_, discard_port}, *this, {ours.address, 0});
            if (made) connection_ = *made;
            return;
        }
    }
    void end() {
        if (connection_) (void)connection_.abort();
        connection_ = {};
    }

    void on_connected(Connection) override { answered_ = true; }
    void on_closed(Connection, CloseReason reason) override {
        connection_ = {};
        if (reason == CloseReason::refused || reason == CloseReason::reset) answered_ = true;
    }

    size_t port() const { return port_; }
    const Address& target() const { return target_; }
    bool answered() const { return answered_; }

private:
    size_t port_;
    Address target_;
    Connection connection_;
    bool answered_ = false;
};

/// Which core does it for a port.
uint16_t core_of(const PortConfig& port) { return port.cores.empty() ? 0 : port.cores.front(); }

/// "ring:a:0" for "ring:a:1", with its arguments.
std::string other_end(const std::string& device) {
    std::string other = device;
    const size_t at = device.substr(0, device.find(',')).size() - 1;
    other[at] = device[at] == '0' ? '1' : '0';
    return other;
}

/// Links within the process whose other end a program would open itself: here we do.
std::vector<Config> ring_peers(const Config& config) {
    std::vector<Config> peers;
    for (const PortConfig& port : config.ports) {
        if (Device(port.device).kind() != DeviceKind::ring) continue;
        const std::string other = other_end(port.device);
        const std::string name(Device(other).name());
        if (std::ranges::any_of(config.ports, [&](const PortConfig& one) {
                return Device(one.device).name() == name;
            }))
            continue;
        Config peer;
        PortConfig end;
        end.device = other;
        for (const Prefix& prefix : port.addresses)
            if (const auto address = first_other(prefix, port.addresses))
                end.addresses.push_back({*address, prefix.length});
        peer.ports.push_back(std::move(end));
        peer.pools = {.receive = 2048, .header = 512, .attach = 512, .payload = 512};
        peer.cores.front().idle = IdlePolicy::yield;
        peer.inspect.enabled = false;
        peers.push_back(std::move(peer));
    }
    return peers;
}

using Probes = std::vector<std::unique_ptr<Probe>>;

/// Those of a core, on its thread.
template <typename Each>
void for_core(const Config& config, Probes& probes, uint16_t core, Each&& each) {
    for (const auto& probe : probes)
        if (core_of(config.ports[probe->port()]) == core) each(*probe);
}

/// Asks all cores which ports' probes were answered.
std::set<const Probe*> answered(Runtime& runtime, const Config& config, Probes& probes) {
    using Some = std::vector<const Probe*>;
    std::set<const Probe*> all;
    for (const Some& some : ask_cores<Some>(runtime, [&](Stack& stack) {
             Some found;
             for_core(config, probes, stack.core(), [&](const Probe& probe) {
                 if (probe.answered()) found.push_back(&probe);
             });
             return found;
         }))
        all.insert(some.begin(), some.end());
    return all;
}

struct Outcome {
    std::vector<Runtime::PortFrames> frames;
    std::set<const Probe*> answered;
};

Finding judge_frames(const Config& config, const FrameOptions& options, const Probes& probes,
                     const Outcome& outcome, size_t index) {
    const auto& [in, out] = outcome.frames[index];
    std::vector<std::string> asked, heard, named;
    for (const auto& probe : probes) {
        if (probe->port() != index) continue;
        const std::string name = probe->target().to_string();
        asked.push_back(name);
        if (outcome.answered.contains(probe.get()))
            heard.push_back(name);
        else if (std::ranges::find(options.peers, probe->target()) != options.peers.end())
            named.push_back(name);
    }
    const std::string name =
        fmt::format("port[{}] {}: {} frames out, {} in", index,
                    Device(config.ports[index].device).name(), out, in);
    if (!named.empty())
        return trouble(frames_topic, fmt::format("{}, no answer of {}", name,
                                                 fmt::join(named, ", ")),
                       out == 0 ? "no frame left the port: its link is down"
                                : "the peer is down, elsewhere, or drops what it does not know",
                       "look with tcpdump at the peer whether frames arrive; compare the subnet "
                       "and the VLAN");
    if (!heard.empty())
        return ok(frames_topic, fmt::format("{}; an answer of {}", name, fmt::join(heard, ", ")));
    const auto waited = static_cast<double>(options.patience.count()) / 1000;
    if (out == 0 && !asked.empty())
        return warning(frames_topic, name + ": none left",
                       "the link is down: nobody is at the other end",
                       "start the other end, or bring the link up; --no-frames leaves this out");
    if (in == 0)
        return warning(frames_topic,
                       fmt::format("{}: nothing came within {:g} s", name, waited),
                       asked.empty() ? std::string("there was nobody to ask: the port has no "
                                                   "address")
                                     : fmt::format("{} did not answer, nor did anybody else speak",
                                                   fmt::join(asked, ", ")),
                       "name a peer of the link with --peer; look with tcpdump whether it sees "
                       "the question");
    return ok(frames_topic, name);
}

/// Until everybody has answered, or patience ends.
Outcome wait_for_answers(Runtime& runtime, const Config& config, const FrameOptions& options,
                         Probes& probes) {
    const auto end = Clock::now() + options.patience;
    Outcome outcome;
    do {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        outcome.answered = answered(runtime, config, probes);
        outcome.frames = runtime.port_frames();
    } while (outcome.answered.size() < probes.size() && Clock::now() < end);
    return outcome;
}

Findings frames_of(const Config& given, const FrameOptions& options) {
    Config config = given;
    config.inspect.enabled = false;
    config.eal.shared = false;  // for a moment, with nobody else, and no files left behind
    config.eal.file_prefix.clear();
    config.ip.arp_notify = 0;  // the addresses may be in use by a program that runs elsewhere
    const auto peers = ring_peers(config);
    uint64_t memory_mb = memory_needed_mb(config);
    for (const Config& peer : peers) memory_mb += memory_needed_mb(peer);
    if (!peers.empty()) config.eal.memory_mb = static_cast<uint32_t>(memory_mb);
    const auto refused = [](const Failure& failure) {
        return Findings{trouble("start", "the configuration does not start", failure.what,
                                "do as the cause says; -v shows what DPDK says")};
    };
    auto runtime = Runtime::create(config);
    if (!runtime) return refused(runtime.error());
    std::vector<std::unique_ptr<Runtime>> others;
    for (const Config& peer : peers) {
        auto other = Runtime::create(peer);
        if (!other) return refused(other.error());
        if (const auto running = (*other)->run([](Stack&) {}); !running)
            return refused(running.error());
        others.push_back(std::move(*other));
    }
    Probes probes;
    for (size_t i = 0; i < config.ports.size(); ++i)
        for (const Address& target : neighbours_of(config.ports[i], options.peers))
            probes.push_back(std::make_unique<Probe>(i, target));
    const auto running = (*runtime)->run([&](Stack& stack) {
        for_core(config, probes, stack.core(), [&](Probe& probe) {
            probe.begin(stack, config.ports[probe.port()]);
        });
    });
    if (!running) return refused(running.error());
    const Outcome outcome = wait_for_answers(**runtime, config, options, probes);
    Findings findings;
    for (size_t i = 0; i < config.ports.size(); ++i)
        findings.push_back(judge_frames(config, options, probes, outcome, i));
    // What half opened is taken back, while there is a way to say so.
    ask_cores<int>(**runtime, [&](Stack& stack) {
        for_core(config, probes, stack.core(), [](Probe& probe) { probe.end(); });
        return 0;
    });
    ask_cores<int>(**runtime, [](Stack&) { return 0; });
    runtime->reset();
    return findings;
}

/// What a process says until it ends, or until the time is over.
std::string read_all(int from, Clock::time_point end) {
    std::string text;
    std::array<char, 4096> piece;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        pollfd ready{.fd = from, .events = POLLIN, .revents = 0};
        if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) == 0) return text;
        const ssize_t got = read(from, piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return text;
        text.append(piece.data(), static_cast<size_t>(got));
    }
}

/// EAL prints its usage on standard output, drivers' libraries write where they like.
void silence() {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

[[noreturn]] void run_child(const Config& config, const FrameOptions& options, int to) {
    if (options.verbose)
        dup2(STDERR_FILENO, STDOUT_FILENO);
    else
        silence();
    {
        const std::string said = findings_json(frames_of(config, options)).dump();
        for (size_t at = 0; at < said.size();) {
            const ssize_t wrote = write(to, said.data() + at, said.size() - at);
            if (wrote <= 0) break;
            at += static_cast<size_t>(wrote);
        }
    }
    _exit(0);  // who waits for it takes EAL's folder away
}

/// EAL's folder of the process that tried.
void clean_up_after(pid_t child) {
    std::error_code ignored;
    std::filesystem::remove_all(
        fmt::format("{}/dpdk/millrace{}", runtime_base(geteuid()), child), ignored);
}

}  // namespace

std::vector<Address> neighbours_of(const PortConfig& port, const std::vector<Address>& peers) {
    std::vector<Address> targets;
    const auto add = [&](const Address& address) {
        if (std::ranges::find(targets, address) == targets.end()) targets.push_back(address);
    };
    for (const Address& peer : peers)
        for (const Prefix& prefix : port.addresses)
            if (prefix.contains(peer)) add(peer);
    if (!targets.empty()) return targets;
    for (const Route& route : port.routes) add(route.gateway);
    if (!targets.empty()) return targets;
    for (const Prefix& prefix : port.addresses)
        if (const auto other = first_other(prefix, port.addresses)) add(*other);
    return targets;
}

Findings try_frames(const Config& config, const FrameOptions& options) {
    const auto failed = [](std::string cause) {
        return Findings{trouble(frames_topic, "the attempt did not end well", std::move(cause),
                                "start with -v for what DPDK says, or leave it out with "
                                "--no-frames")};
    };
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) return failed(Errno{errno}.message());
    const pid_t child = fork();
    if (child < 0) return failed(Errno{errno}.message());
    if (child == 0) {
        close(ends[0]);
        run_child(config, options, ends[1]);
    }
    close(ends[1]);
    const auto end = Clock::now() + options.limit;
    const std::string said = read_all(ends[0], end);
    close(ends[0]);
    int status = 0;
    // What it has said ends before it does: there are ports to close.
    bool ended = false;
    while (!(ended = waitpid(child, &status, WNOHANG) == child) && Clock::now() < end)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (!ended) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    clean_up_after(child);
    if (!ended) return failed(fmt::format("it took more than {} s", options.limit.count()));
    if (WIFSIGNALED(status)) {
        const char* name = sigabbrev_np(WTERMSIG(status));
        return failed(fmt::format("a driver ended the process by signal {} ({})", WTERMSIG(status),
                                  name != nullptr ? name : "of no name"));
    }
    const auto parsed = nlohmann::json::parse(said, nullptr, false);
    if (parsed.is_discarded() || !parsed.contains("findings"))
        return failed("the process that tried ended without a word");
    return findings_of(parsed["findings"]);
}

}  // namespace millrace::apps
