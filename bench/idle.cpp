// Very many idle connections between two cores of one process, over the embedded link: how fast they
// are built up, what each costs in memory, and what a request costs the server among them, on the
// way, too; and among many listeners and timers.
//
//     idle_bench --connections N [--seconds S] [--ask-at N]... [--others]
//
// Prints a JSON object; `bytes_per_connection` is of one side, without the client application's own
// handle for each. Both loops are turned by threads of this program, which counts the cycles of
// those turns that had something to do.
#include <algorithm>
#include <deque>
#include <limits>
#include <random>

#include <CLI/CLI.hpp>

#include <millrace/timer.h>

#include "two_ends.h"

using namespace millrace;
using namespace millrace::bench;

namespace {

constexpr size_t request_size = 140;
constexpr size_t response_size = 200;
constexpr uint32_t few = 1000;       // what a request among many is compared with
constexpr uint32_t least_part = 20 * few;  // into an empty table, for the rate
constexpr uint32_t opening_max = 512;
constexpr uint32_t asking_max = 64;  // requests under way at any time
constexpr uint32_t ports_per_pair = 60'000;  // of 64,512: there are `few` more
constexpr uint16_t more_listeners = 1000, first_more = 20'000;
constexpr uint32_t more_timers = 1'000'000;

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
                while (asking_ < std::min<size_t>(asking_max, open_.size())) {
                    if (!some[next++ % size].send(request_)) ++errors_;
                    ++asking_;
                }
                stack_.poll_once();
            }
        }
        const auto start = Clock::now();
        while (asking_ > 0 && seconds_since(start) < 5) stack_.poll_once();
    }
    uint32_t connections() const { return static_cast<uint32_t>(open_.size()); }
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

/// A thousand more ports that are listened to, as long as this lives.
class MoreListeners {
public:
    MoreListeners(Runtime& runtime, Server& server) : runtime_(runtime) {
        on_loop(runtime_, [&](Stack& stack) {
            for (uint16_t i = 0; i < more_listeners; ++i) {
                const auto port = static_cast<uint16_t>(first_more + i);
                if (auto made = stack.listen({server_address(), port}, server, 64))
                    listeners_.push_back(*made);
            }
            return true;
        });
    }
    ~MoreListeners() {
        on_loop(runtime_, [&](Stack&) {
            for (Listener& listener : listeners_) (void)listener.close();
            return true;
        });
    }
    MoreListeners(const MoreListeners&) = delete;
    MoreListeners& operator=(const MoreListeners&) = delete;
    bool all() const { return listeners_.size() == more_listeners; }

private:
    Runtime& runtime_;
    std::vector<Listener> listeners_;
};

/// What else there may be many of, among a thousand connections: all in turn with none of it.
struct Others {
    double cycles = 0, cycles_listeners = 0, cycles_timers = 0;  ///< of a request, at the server
    double open_cycles = 0, open_cycles_listeners = 0;           ///< of a connection
};

/// A million timers that are armed for the hour after next, as long as `during` runs.
template <typename During>
bool among_timers(Runtime& runtime, During&& during) {
    std::deque<Timer> timers;
    std::mt19937_64 random(2);
    const bool all = on_loop(runtime, [&](Stack& stack) {
        for (uint32_t i = 0; i < more_timers; ++i) {
            const auto time = Duration::from_ms(3'600'000 + random() % 3'600'000);
            if (!timers.emplace_back([] {}).start(stack, time)) return false;
        }
        return true;
    });
    during();
    return on_loop(runtime, [&](Stack&) {
        timers.clear();
        return all;
    });
}

/// Nothing where listeners or timers could not be made.
std::optional<Others> measure_others(Runtime& runtime, Client& client, Server& server,
                                     const Loop& loop, double seconds) {
    constexpr uint32_t at_once = 2000, rounds = 2, open_rounds = 4;
    static_assert(few + (1 + 2 * open_rounds) * at_once < least_part);
    Others others;
    const auto request = [&] {
        return ask(client, server, loop, seconds, 1).cycles / rounds;
    };
    const auto open = [&] {
        const uint64_t busy = loop.busy();
        client.build_up(client.connections() + at_once);
        return static_cast<double>(loop.busy() - busy) / at_once;
    };
    for (uint32_t i = 0; i < rounds; ++i) {
        others.cycles += request();
        {
            const MoreListeners listeners(runtime, server);
            if (!listeners.all()) return std::nullopt;
            others.cycles_listeners += request();
        }
        if (!among_timers(runtime, [&] { others.cycles_timers += request(); }))
            return std::nullopt;
    }
    // The least of some: so few connections take no longer than a loop may lose its processor for,
    // and the first ones touch memory for the first time.
    open();
    others.open_cycles = others.open_cycles_listeners = std::numeric_limits<double>::max();
    for (uint32_t i = 0; i < open_rounds; ++i) {
        others.open_cycles = std::min(others.open_cycles, open());
        const MoreListeners listeners(runtime, server);
        if (!listeners.all()) return std::nullopt;
        others.open_cycles_listeners = std::min(others.open_cycles_listeners, open());
    }
    return others;
}

struct Options {
    uint32_t connections = 1'000'000;
    double seconds = 5;
    std::vector<uint32_t> points;  ///< how many there are when requests are measured
    bool others = false;
    /// Into an empty table, for the rate.
    uint32_t part() const { return std::max(connections / 100, least_part); }
};

/// Why points cannot be; empty where they can. The first and the last are always there.
std::string order(Options& options) {
    auto& points = options.points;
    points.insert(points.end(), {few, options.connections});
    std::ranges::sort(points);
    points.erase(std::unique(points.begin(), points.end()), points.end());
    const bool good = points.front() > 0 && points.back() == options.connections &&
                      std::ranges::all_of(points, [&](uint32_t point) {
                          return point <= few || point >= options.part();
                      });
    return good ? "" : fmt::format("--ask-at: 1 to {}, or {} to {}", few, options.part(),
                                   options.connections);
}

/// What is measured on the way, in the order of it.
struct Measured {
    std::string points;  ///< as JSON's members
    Asked among_few, among_many;
    double cycles_hot = 0, cycles_cold = 0;  ///< of a request, with all there, in turn
    Others others;
    uint32_t begun = 0;              ///< connections when the memory before was looked at
    uint64_t before = 0, after = 0;  ///< memory, bytes
    double first_part = 0, rest = 0;  ///< seconds

    std::string json(const Options& options) const {
        const uint32_t connections = options.connections;
        const double bytes = static_cast<double>(after - before) / (connections - begun);
        std::string more;
        if (options.others)
            more = fmt::format("\"cycles\": {:.0f}, \"cycles_listeners\": {:.0f}, "
                               "\"cycles_timers\": {:.0f}, \"open_cycles\": {:.0f}, "
                               "\"open_cycles_listeners\": {:.0f}, ",
                               others.cycles, others.cycles_listeners, others.cycles_timers,
                               others.open_cycles, others.open_cycles_listeners);
        return fmt::format(
            "{{\"connections\": {}, \"bytes_per_connection\": {:.1f}, \"handle_bytes\": {}, "
            "\"rate_empty\": {:.0f}, \"rate_full\": {:.0f}, {}{}\"requests_few\": {:.0f}, "
            "\"requests_many\": {:.0f}, \"cycles_few\": {:.0f}, \"cycles_many\": {:.0f}, "
            "\"cycles_hot\": {:.0f}, \"cycles_cold\": {:.0f}}}",
            connections, (bytes - sizeof(Connection)) / 2, sizeof(Connection),
            (options.part() - begun) / first_part, (connections - options.part()) / rest, points,
            more, among_few.rate, among_many.rate, among_few.cycles, among_many.cycles,
            cycles_hot, cycles_cold);
    }
};

/// Builds up and measures. False where listeners or timers could not be made.
bool measure(const Options& options, Runtime& runtime, Client& client, Server& server,
             const Loop& loop, Measured& measured) {
    for (const uint32_t point : options.points) {
        if (point > few && measured.first_part == 0)
            measured.first_part = client.build_up(options.part());
        const double passed = client.build_up(point);
        if (point > few) measured.rest += passed;
        if (point == options.connections) measured.after = memory_in_use();
        const Asked asked = ask(client, server, loop, options.seconds, point > few ? 0.01 : 1);
        measured.points += fmt::format("\"cycles_at_{0}\": {1:.0f}, \"requests_at_{0}\": {2:.0f}, ",
                                       point, asked.cycles, asked.rate);
        (point > few ? measured.among_many : measured.among_few) = asked;
        if (point != few) continue;
        if (options.others) {
            const auto others = measure_others(runtime, client, server, loop, options.seconds);
            if (!others) return false;
            measured.others = *others;
        }
        measured.begun = client.connections();
        measured.before = memory_in_use();
    }
    // The way there took long, and the machine may be another by now: a thousand of all and a
    // random 1 % of them in turn.
    constexpr int rounds = 3;
    for (int i = 0; i < rounds; ++i) {
        const double hot = static_cast<double>(few) / options.connections;
        measured.cycles_hot += ask(client, server, loop, options.seconds, hot).cycles / rounds;
        measured.cycles_cold += ask(client, server, loop, options.seconds, 0.01).cycles / rounds;
    }
    return true;
}

int run(const Options& options) {
    const auto cpus = usable_cpus();
    const uint32_t connections = options.connections;
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
    Measured measured;
    if (!measure(options, **server_runtime, client, server, loop, measured))
        return fail("listeners or timers could not be made");
    if (client.errors() + server.errors() != 0 || client.under_way() != 0 ||
        client.answered() != server.requests())
        return fail(fmt::format("{} errors at the client, {} at the server, {} of {} answered",
                                client.errors(), server.errors(), client.answered(),
                                server.requests()));
    fmt::print("{}\n", measured.json(options));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("idle_bench: very many idle connections, and requests among them");
    Options options;
    app.add_option("-n,--connections", options.connections, "connections")
        ->capture_default_str()
        ->check(CLI::Range(2 * least_part, 10'000'000U));
    app.add_option("-s,--seconds", options.seconds, "of requests, each time")
        ->capture_default_str();
    app.add_option("--ask-at", options.points, "measure requests among so many, too");
    app.add_flag("--others", options.others, "measure among many listeners and timers, too");
    CLI11_PARSE(app, argc, argv);
    if (const std::string why = order(options); !why.empty()) return fail(why);
    return run(options);
}
