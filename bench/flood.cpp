// A flood from one core to another, over the embedded link: what an answer costs the server, what
// becomes of honest connections beside it, and of those that are established.
//
//     flood_bench [--seconds S]
//
// Prints a JSON object. The generator floods as fast as the link takes (the server's receive ring
// is the bound), opens a thousand honest connections a second on the same queue, and asks over kept
// ones; both loops are turned by threads of this program.
#include <cmath>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>

#include "load/flood.h"
#include "two_ends.h"

using namespace millrace;
using namespace millrace::bench;

namespace {

constexpr size_t message_size = 140;
constexpr uint32_t flows = 64;
constexpr double honest_rate = 1000;

/// Answers each message by one of its own.
class Server final : public ServerBase {
public:
    void on_readable(Connection c) override {
        const size_t size = take_all(c);
        if (size > 0) (void)c.send(std::string_view(answer_).substr(0, size));
        if (c.at_end()) (void)c.close();
    }

private:
    const std::string answer_ = std::string(8 * message_size, 'a');
};

/// Kept connections, each with one request under way.
class Flows final : public ConnectionHandler {
public:
    explicit Flows(Stack& stack) : stack_(stack) {}
    bool open() {
        for (uint32_t i = 0; i < flows; ++i)
            if (!stack_.connect({server_address(), first_server_port}, *this,
                                {client_address(0), 0}))
                return false;
        while (open_.size() < flows && closed_ == 0) stack_.poll_once();
        return closed_ == 0;
    }
    void on_connected(Connection c) override { open_.push_back(c); }
    void on_readable(Connection c) override {
        answered_ += take_all(c);
        if (asking_)
            (void)c.send(request_);
        else
            --waiting_;
    }
    void on_closed(Connection, CloseReason) override { ++closed_; }
    /// Begins to ask over all, or stops when what is under way has been answered.
    void ask(bool on) {
        asking_ = on;
        if (on)
            for (Connection& c : open_) waiting_ += c.send(request_).has_value() ? 1 : 0;
        else
            while (waiting_ > 0 && closed_ == 0) stack_.poll_once();
    }
    uint64_t answered() const { return answered_ / message_size; }
    uint32_t closed() const { return closed_; }

private:
    Stack& stack_;
    const std::string request_ = std::string(message_size, 'q');
    std::vector<Connection> open_;
    bool asking_ = false;
    uint32_t waiting_ = 0, closed_ = 0;
    uint64_t answered_ = 0;
};

struct Phase {
    double flood_rate = 0;     ///< segments a second that reached the link
    double answer_rate = 0;    ///< segments a second that the server sent
    double request_rate = 0;
    double cycles = 0;         ///< the server's busy ones a second
    double honest_share = 0;   ///< of the attempts, established in time
    size_t half_open_max = 0;
    uint64_t connections = 0;  ///< passive opens that nobody honest has asked for
};

class Bench {
public:
    Bench(Runtime& server, Stack& client, const Loop& loop)
        : server_(server), client_(client), loop_(loop), flows_(client) {}
    bool open() { return flows_.open(); }

    /// So long with what `flood` asks for, if anything, and with requests if `asking`.
    Phase run(double seconds, const apps::FloodOptions* flood, bool asking) {
        apps::Flood source(client_, flood != nullptr ? *flood : apps::FloodOptions());
        flows_.ask(asking);
        Phase phase;
        const auto counters = [this] {
            return on_loop(server_, [](Stack& stack) {
                std::map<std::string, uint64_t, std::less<>> all;
                stack.counters([&](std::string_view name, uint64_t value) {
                    all.emplace(name, value);
                });
                return all;
            });
        };
        auto before = counters();
        const uint64_t busy = loop_.busy(), answered = flows_.answered();
        const auto start = Clock::now();
        for (auto looked = start; seconds_since(start) < seconds;) {
            if (flood != nullptr) source.burst(client_.now());
            client_.poll_once();
            if (seconds_since(looked) < 0.05) continue;
            looked = Clock::now();
            phase.half_open_max = std::max(phase.half_open_max, on_loop(server_, [](Stack& stack) {
                return stack.population().half_open;
            }));
        }
        const double time = seconds_since(start);
        const auto sent = source.counters(client_.now());
        phase.cycles = static_cast<double>(loop_.busy() - busy) / time;
        phase.request_rate = static_cast<double>(flows_.answered() - answered) / time;
        auto after = counters();
        phase.flood_rate = static_cast<double>(sent.segments) / time;
        phase.answer_rate =
            static_cast<double>(after["TcpOutSegs"] - before["TcpOutSegs"]) / time;
        // What is under way gets the time that the others had.
        const auto end = Clock::now();
        while (seconds_since(end) < 3.2 && flood != nullptr && honest_rate > 0)
            client_.poll_once();
        flows_.ask(false);
        const auto honest = source.counters(client_.now());
        if (honest.honest_attempted > 0)
            phase.honest_share = static_cast<double>(honest.honest_in_time) /
                                 static_cast<double>(honest.honest_attempted);
        after = counters();
        const uint64_t opened = after["TcpPassiveOpens"] - before["TcpPassiveOpens"];
        const uint64_t asked_for = honest.honest_in_time + honest.honest_late;
        phase.connections = opened > asked_for ? opened - asked_for : 0;
        return phase;
    }
    uint32_t closed() const { return flows_.closed(); }

private:
    Runtime& server_;
    Stack& client_;
    const Loop& loop_;
    Flows flows_;
};

double tsc_hz() {
    const auto start = Clock::now();
    const uint64_t from = __rdtsc();
    while (seconds_since(start) < 0.2) continue;
    return static_cast<double>(__rdtsc() - from) / seconds_since(start);
}

Config with_room(Config config, bool server) {
    config.tcp.max_connections = 262'144;
    config.tcp.tcp_max_tw_buckets = 1024;
    config.eal.memory_mb = 1024;
    // The made-up clients are behind the generator.
    if (server) config.ports[0].routes.push_back({*Prefix::parse("0.0.0.0/0"), client_address(0)});
    return config;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("flood_bench: floods of SYNs and ACKs, and honest connections among them");
    double seconds = 5;
    app.add_option("-s,--seconds", seconds, "of each phase")
        ->capture_default_str()
        ->check(CLI::Range(0.5, 600.0));
    CLI11_PARSE(app, argc, argv);

    const auto cpus = usable_cpus();
    auto server_runtime = Runtime::create(with_room(end_of_link("flood", 0), true));
    if (!server_runtime) return fail(server_runtime.error().what);
    auto client_runtime = Runtime::create(with_room(end_of_link("flood", 1), false));
    if (!client_runtime) return fail(client_runtime.error().what);
    Server server;
    const Loop loop((*server_runtime)->core(0), cpus, 0);
    if (!listen_on(**server_runtime, server, 1, 4096)) return fail("cannot listen");
    pin(cpus, 1);
    Bench bench(**server_runtime, (*client_runtime)->core(0), loop);
    if (!bench.open()) return fail("cannot connect");

    apps::FloodOptions flood;
    flood.target = {server_address(), first_server_port};
    flood.honest_rate = honest_rate;
    for (uint8_t i = 1; i < client_addresses; ++i) flood.honest_from.push_back(client_address(i));
    bench.run(1, nullptr, true);  // warm
    const Phase unloaded = bench.run(seconds, nullptr, true);
    const Phase syn = bench.run(seconds, &flood, false);
    const double syn_cycles = syn.cycles / syn.flood_rate;
    apps::FloodOptions half = flood;
    half.rate = syn.flood_rate / 2;
    const Phase shared = bench.run(seconds, &half, true);
    const double left = 1 - shared.flood_rate * syn_cycles / tsc_hz();
    flood.kind = apps::FloodKind::ack;
    const Phase ack = bench.run(seconds, &flood, false);
    if (bench.closed() != 0) return fail("an established flow was closed");
    fmt::print("{{\"syn_rate\": {:.0f}, \"syn_ack_rate\": {:.0f}, \"syn_cycles\": {:.0f}, "
               "\"syn_half_open_max\": {}, \"syn_honest_share\": {:.4f}, "
               "\"flows_unloaded\": {:.0f}, \"flows_flooded\": {:.0f}, \"cycles_left\": {:.3f}, "
               "\"flows_kept\": {:.3f}, \"ack_rate\": {:.0f}, \"ack_cycles\": {:.0f}, "
               "\"ack_honest_share\": {:.4f}, \"ack_accepted\": {}}}\n",
               syn.flood_rate, syn.answer_rate, syn_cycles, syn.half_open_max, syn.honest_share,
               unloaded.request_rate, shared.request_rate, left,
               shared.request_rate / (unloaded.request_rate * left), ack.flood_rate,
               ack.cycles / ack.flood_rate, ack.honest_share, ack.connections);
    return 0;
}
