// Short connections between two cores of one process, over the embedded link, until the server, who
// closes first, has as many TIME-WAIT entries as asked for; then on, beyond that; then the drain.
//
//     time_wait_bench --entries N [--seconds S] [--timewait T]
//
// Prints a JSON object: connections a second while there are next to no entries, and while there
// are all of them; what did not fit (`overflow`), what was opened again over an entry (`reopened`,
// RFC 6191); bytes an entry costs; how long the drain took and what was left behind it.
#include <CLI/CLI.hpp>

#include "two_ends.h"

using namespace millrace;
using namespace millrace::bench;

namespace {

constexpr uint32_t open_at_once = 128;
constexpr size_t message_size = 64;

/// Answers and closes first: the entries are its own.
class Server final : public ServerBase {
public:
    void on_readable(Connection c) override {
        if (take_all(c) == 0) return;
        if (!c.send(response_)) ++errors_;
        (void)c.close();
    }
    void on_closed(Connection, CloseReason) override { ++errors_; }
    uint64_t errors() const { return errors_; }

private:
    const std::string response_ = std::string(message_size, 'r');
    std::atomic<uint64_t> errors_{0};
};

/// Opens one connection after the other, asks, and closes when the server has. Its loop is turned
/// by whoever calls.
class Client final : public ConnectionHandler {
public:
    Client(Stack& stack, uint16_t server_ports) : stack_(stack), server_ports_(server_ports) {}

    void on_connected(Connection c) override {
        if (!c.send(request_)) ++errors_;
    }
    void on_readable(Connection c) override {
        answered_ += take_all(c);
        if (!c.at_end()) return;
        (void)c.close();
        --open_;
        ++done_;
    }
    void on_closed(Connection, CloseReason) override {
        --open_;
        ++errors_;
    }

    /// Connections, as fast as they are answered, for so long; answers how many a second.
    double run(double seconds) {
        const uint64_t before = done_;
        const auto start = Clock::now();
        while (seconds_since(start) < seconds) {
            for (int i = 0; i < 64; ++i) turn();
        }
        return static_cast<double>(done_ - before) / seconds_since(start);
    }
    void turn() {
        while (open_ < open_at_once && open_one()) continue;
        stack_.poll_once();
    }
    void finish() {
        const auto start = Clock::now();
        while (open_ > 0 && seconds_since(start) < 5) stack_.poll_once();
    }
    uint64_t done() const { return done_; }
    uint64_t errors() const { return errors_ + (answered_ != done_ * message_size ? 1 : 0); }
    uint64_t refused() const { return refused_; }

private:
    bool open_one() {
        // Each pair of addresses in its turn: its ports come again as late as can be.
        const uint64_t pair = opened_++ % (uint64_t{client_addresses} * server_ports_);
        const auto port = static_cast<uint16_t>(first_server_port + pair / client_addresses);
        const auto from = client_address(static_cast<uint8_t>(pair % client_addresses));
        if (!stack_.connect({server_address(), port}, *this, {from, 0})) {
            ++refused_;
            return false;
        }
        ++open_;
        return true;
    }

    Stack& stack_;
    const uint16_t server_ports_;
    const std::string request_ = std::string(message_size, 'q');
    uint64_t opened_ = 0, done_ = 0, answered_ = 0, errors_ = 0, refused_ = 0;
    uint32_t open_ = 0;
};

uint64_t counter(Runtime& runtime, std::string_view wanted) {
    return on_loop(runtime, [&](Stack& stack) {
        uint64_t found = 0;
        stack.counters([&](std::string_view name, uint64_t value) {
            if (name == wanted) found = value;
        });
        return found;
    });
}

Stack::Population population(Runtime& runtime) {
    return on_loop(runtime, [](Stack& stack) { return stack.population(); });
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("time_wait_bench: short connections over very many TIME-WAIT entries");
    uint32_t entries = 3'000'000;
    double seconds = 4;
    uint32_t timewait = 60;
    app.add_option("-n,--entries", entries, "TIME-WAIT entries to keep (tcp_max_tw_buckets)")
        ->capture_default_str()
        ->check(CLI::Range(50'000, 16'000'000));
    app.add_option("-s,--seconds", seconds, "of connections, each time")->capture_default_str();
    app.add_option("-t,--timewait", timewait, "tcp_timewait_len, seconds")
        ->capture_default_str()
        ->check(CLI::Range(1, 240));
    CLI11_PARSE(app, argc, argv);

    Config serving_config = end_of_link("timewait", 0);
    serving_config.tcp.tcp_max_tw_buckets = entries;
    serving_config.tcp.tcp_timewait_len = timewait;
    serving_config.tcp.somaxconn = 2 * open_at_once;
    const auto cpus = usable_cpus();
    auto server_runtime = Runtime::create(serving_config);
    if (!server_runtime) return fail(server_runtime.error().what);
    auto client_runtime = Runtime::create(end_of_link("timewait", 1));
    if (!client_runtime) return fail(client_runtime.error().what);

    // Hardly more tuples than entries: they are opened again while their entries still stand.
    const auto ports = static_cast<uint16_t>(1 + entries / (uint32_t{client_addresses} * 64'512));
    Server server;
    Runtime& serving = **server_runtime;
    const Loop loop(serving.core(0), cpus, 0);
    if (!listen_on(serving, server, ports, 2 * open_at_once)) return fail("cannot listen");

    pin(cpus, 1);
    Client client((*client_runtime)->core(0), ports);
    client.run(0.1);
    const uint64_t before = memory_in_use();
    const size_t held_before = population(serving).time_wait;
    const double rate_empty = client.run(0.5);
    const auto filling = Clock::now();
    while (population(serving).time_wait < entries && seconds_since(filling) < timewait)
        client.run(0.05);
    const size_t held = population(serving).time_wait;
    const uint64_t after = memory_in_use();
    const double rate_full = client.run(seconds);
    client.finish();
    const uint64_t overflow = counter(serving, "TcpExtTCPTimeWaitOverflow");
    const uint64_t reopened = counter(serving, "TimeWaitReopened");
    const uint64_t accepted = counter(serving, "TcpPassiveOpens");

    const auto draining = Clock::now();
    while (population(serving).time_wait > 0 && seconds_since(draining) < 2.0 * timewait)
        // The drain takes a minute: a twentieth of a second is near enough, and disturbs it little.
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const double drained = seconds_since(draining);
    const auto left = population(serving);
    if (client.errors() + server.errors() != 0 || left.time_wait != 0 || left.connections != 0)
        return fail(fmt::format("{} errors at the client, {} at the server, {} entries and {} "
                                "connections left",
                                client.errors(), server.errors(), left.time_wait,
                                left.connections));
    fmt::print("{{\"entries\": {}, \"bytes_per_entry\": {:.1f}, \"rate_empty\": {:.0f}, "
               "\"rate_full\": {:.0f}, \"overflow\": {}, \"reopened\": {}, \"connections\": {}, \"refused\": {}, "
               "\"drained_s\": {:.1f}}}\n",
               held,
               static_cast<double>(after - before) / static_cast<double>(held - held_before),
               rate_empty, rate_full, overflow, reopened, accepted, client.refused(), drained);
    return 0;
}
