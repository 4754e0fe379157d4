// Very many idle connections between two cores of one process, over the embedded link: how fast they
// are built up, what each costs in memory, and what a request costs the server among them.
//
//     idle_bench --connections N [--seconds S]
//
// Prints a JSON object; `bytes_per_connection` is of one side, without the client application's own
// handle for each. Both loops are turned by threads of this program, which counts the cycles of
// those turns that had something to do.
#include <random>

#include <CLI/CLI.hpp>

#include "two_ends.h"

using namespace millrace;
using namespace millrace::bench;

namespace {

constexpr size_t request_size = 140;
constexpr size_t response_size = 200;
constexpr uint32_t few = 1000;       // what a request among many is compared with
constexpr uint32_t opening_max = 512;
constexpr uint32_t asking_max = 64;  // requests under way at any time
constexpr uint32_t ports_per_pair = 60'000;  // of 64,512: there are `few` more

/// Answers each request of `request_size` bytes with `response_size`.
class Server final : public ServerBase {
public:
    void on_readable(Connection c) override {
        const size_t size = take_all(c);
        for (size_t answered = 0; answered + request_size <= size; answered += request_size) {
            if (!c.send(response_)) ++errors_;
            requests_.fetch_add(1, std::memory_order_relaxed);
        }
        if (c.at_end()) (void)c.close();
    }
    uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
    uint64_t errors() const { return errors_; }

private:
    const std::string response_ = std::string(response_size, 'r');
    std::atomic<uint64_t> requests_{0};
    std::atomic<uint64_t> errors_{0};
};

/// Opens connections and asks over them. Its loop is turned by whoever calls.
class Client final : public ConnectionHandler {
public:
    Client(Stack& stack, uint32_t connections) : stack_(stack) { open_.reserve(connections); }

    void on_connected(Connection c) override {
        --opening_;
        open_.push_back(c);
    }
    void on_readable(Connection c) override {
        const size_t size = take_all(c);
        answered_ += size;
        asking_ -= static_cast<uint32_t>(size / response_size);
    }
    void on_closed(Connection, CloseReason) override { ++errors_; }

    /// Until so many are open; answers how long that took, seconds.
    double build_up(uint32_t connections) {
        const auto start = Clock::now();
        while (open_.size() < connections && errors_ == 0) {
            while (opening_ < opening_max && open_.size() + opening_ < connections && open_one())
                continue;
            stack_.poll_once();
        }
        return seconds_since(start);
    }

    /// Requests over `share` of the connections, drawn anew each second, for so long.
    void ask(double seconds, double share) {
        const auto size = std::max<size_t>(
            static_cast<size_t>(static_cast<double>(open_.size()) * share), asking_max);
        for (const auto start = Clock::now(); seconds_since(start) < seconds && errors_ == 0;) {
            std::vector<Connection> some(size);
            for (Connection& c : some) c = open_[random_() % open_.size()];
            size_t next = 0;
            for (const auto drawn = Clock::now(); seconds_since(drawn) < 1 && errors_ == 0;) {
                while (asking_ < asking_max) {
                    if (!some[next++ % size].send(request_)) ++errors_;
                    ++asking_;
                }
                stack_.poll_once();
            }
        }
        const auto start = Clock::now();
        while (asking_ > 0 && seconds_since(start) < 5) stack_.poll_once();
    }
    uint64_t answered() const { return answered_ / response_size; }
    uint64_t errors() const { return errors_; }
    uint32_t under_way() const { return asking_; }

private:
    bool open_one() {
        // The first ones come from all addresses, so that each is a known neighbour from then on:
        // half a thousand SYN-ACKs to an unknown one would not all wait for it.
        const uint32_t pair = opened_ < few ? opened_ : opened_ / ports_per_pair;
        const auto address = static_cast<uint8_t>(pair % client_addresses);
        const auto port = static_cast<uint16_t>(
            first_server_port + (opened_ < few ? 0 : pair / client_addresses));
        const auto made = stack_.connect({server_address(), port}, *this,
                                         {client_address(address), 0});
        if (!made) {
            ++errors_;
            return false;
        }
        ++opening_;
        ++opened_;
        return true;
    }

    Stack& stack_;
    const std::string request_ = std::string(request_size, 'q');
    std::vector<Connection> open_;
    std::mt19937_64 random_{1};
    uint32_t opening_ = 0, opened_ = 0, asking_ = 0;
    uint64_t answered_ = 0, errors_ = 0;
};

Config with_room(Config config, uint32_t connections) {
    config.tcp.max_connections = connections + 2 * opening_max;
    config.tcp.somaxconn = 2 * opening_max;
    config.tcp.tcp_max_tw_buckets = 1024;
    // Answers wait for delayed ACKs: 40 ms of them at any rate that there may be.
    config.pools.payload = 65536;
    config.eal.memory_mb = 1024;
    return config;
}

struct Asked {
    double rate = 0;
    double cycles = 0;
};

/// Requests for so long; what they cost the server.
Asked ask(Client& client, const Server& server, const Loop& loop, double seconds, double share) {
    client.ask(1, share);  // warm
    const uint64_t requests = server.requests(), busy = loop.busy();
    const auto start = Clock::now();
    client.ask(seconds, share);
    const auto asked = static_cast<double>(server.requests() - requests);
    return {asked / seconds_since(start), static_cast<double>(loop.busy() - busy) / asked};
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("idle_bench: very many idle connections, and requests among them");
    uint32_t connections = 1'000'000;
    double seconds = 5;
    app.add_option("-n,--connections", connections, "connections")
        ->capture_default_str()
        ->check(CLI::Range(10'000, 10'000'000));
    app.add_option("-s,--seconds", seconds, "of requests, each time")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    const auto cpus = usable_cpus();
    auto server_runtime = Runtime::create(with_room(end_of_link("idle", 0), connections));
    if (!server_runtime) return fail(server_runtime.error().what);
    auto client_runtime = Runtime::create(with_room(end_of_link("idle", 1), connections));
    if (!client_runtime) return fail(client_runtime.error().what);

    Server server;
    Stack& serving = (*server_runtime)->core(0);
    const uint32_t pairs = (connections + ports_per_pair - 1) / ports_per_pair;
    const auto ports = static_cast<uint16_t>((pairs + client_addresses - 1) / client_addresses);
    const Loop loop(serving, cpus, 0);
    if (!listen_on(**server_runtime, server, ports, 2 * opening_max)) return fail("cannot listen");

    pin(cpus, 1);
    Client client((*client_runtime)->core(0), connections);
    client.build_up(few);
    const Asked among_few = ask(client, server, loop, seconds, 1);
    const uint64_t before = memory_in_use();
    const uint32_t part = std::max(connections / 100, 10 * few);
    const double first_part = client.build_up(few + part);
    const double rest = client.build_up(connections);
    const uint64_t after = memory_in_use();
    const uint32_t measured = connections - few;
    const Asked among_many = ask(client, server, loop, seconds, 0.01);
    if (client.errors() + server.errors() != 0 || client.under_way() != 0 ||
        client.answered() != server.requests())
        return fail(fmt::format("{} errors at the client, {} at the server, {} of {} answered",
                                client.errors(), server.errors(), client.answered(),
                                server.requests()));
    fmt::print("{{\"connections\": {}, \"bytes_per_connection\": {:.1f}, "
               "\"handle_bytes\": {}, \"rate_empty\": {:.0f}, \"rate_full\": {:.0f}, "
               "\"requests_few\": {:.0f}, \"requests_many\": {:.0f}, "
               "\"cycles_few\": {:.0f}, \"cycles_many\": {:.0f}}}\n",
               connections,
               (static_cast<double>(after - before) / measured - sizeof(Connection)) / 2,
               sizeof(Connection), part / first_part,
               (measured - part) / rest, among_few.rate, among_many.rate, among_few.cycles,
               among_many.cycles);
    return 0;
}
