// millrace-demo: server and generator in one process, each on a core of its own, over a ring link.
#include <atomic>

#include <fmt/format.h>

#include "common/program.h"
#include "httpd/server.h"
#include "load/report.h"

using namespace millrace;

namespace {

Config end_of_link(unsigned end, std::string_view address, std::string_view address6,
                   const std::vector<uint16_t>& cpus, uint32_t connections) {
    Config config;
    PortConfig port;
    port.device = fmt::format("ring:demo:{}", end);
    port.addresses = {*Prefix::parse(address), *Prefix::parse(address6)};
    config.ports.push_back(port);
    // Two processors or more: a loop each. On one they take turns.
    if (cpus.size() > 1)
        config.cores[0].cpu = cpus[end];
    else
        config.cores[0] = {.cpu = std::nullopt, .idle = IdlePolicy::yield, .idle_turns = 1};
    config.tcp.max_connections = std::max(connections * 2, 1024U);
    // Nearly every ephemeral port may be in use to the one server port.
    config.tcp.ip_local_port_range_min = 1024;
    config.tcp.ip_local_port_range_max = 65535;
    config.pools = {.receive = 8192, .header = 16384, .attach = 16384, .payload = 16384};
    // The first runtime's EAL memory serves both.
    config.eal.memory_mb = 512;
    return config;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("millrace-demo: a server and a generator over an embedded link");
    double duration = 5;
    bool ipv6 = false;
    bool close = false;
    apps::LoadOptions load;
    apps::HttpOptions http;
    app.add_option("-d,--duration", duration, "seconds; 0: until Ctrl-C")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("-n,--connections", load.connections, "connections")
        ->capture_default_str()
        ->check(CLI::Range(1, 60000));
    app.add_option("-b,--body", http.body_size, "bytes of an answer's body")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 30));
    app.add_flag("-6,--ipv6", ipv6, "over IPv6");
    app.add_flag("--close", close, "a connection per request");
    CLI11_PARSE(app, argc, argv);
    if (close) load.requests_per_connection = 1;
    load.target = ipv6 ? SocketAddress{*Address::parse("fd77::1"), http.port}
                       : SocketAddress{Address::v4(10, 77, 0, 1), http.port};

    const apps::Signals signals;
    const auto cpus = usable_cpus();
    std::unique_ptr<apps::HttpServer> server;  // outlives the loop that calls it
    auto server_runtime = apps::start(
        end_of_link(0, "10.77.0.1/24", "fd77::1/64", cpus, load.connections));
    if (!server_runtime) return apps::fail(server_runtime.error());
    auto client_runtime = apps::start(
        end_of_link(1, "10.77.0.2/24", "fd77::2/64", cpus, load.connections));
    if (!client_runtime) return apps::fail(client_runtime.error());

    std::atomic<int> failed{0};
    const auto serving = (*server_runtime)->run([&](Stack& stack) {
        server = std::make_unique<apps::HttpServer>(stack, http);
        if (const auto listening = server->listen(); !listening)
            failed = listening.error().value;
    });
    if (!serving) return apps::fail(serving.error());
    // The core has set up once it answers.
    apps::ask_cores<int>(**server_runtime, [](Stack&) { return 0; });
    if (failed != 0)
        return apps::fail({fmt::format("port {}: {}", http.port, Errno{failed}.message()), failed});
    apps::LoadRun run(**client_runtime, load);
    if (auto started = run.start(); !started) {
        (*server_runtime)->stop();
        (*server_runtime)->join();
        return apps::fail(started.error());
    }
    const apps::LoadCounters total =
        run.run(duration, [&](double seconds) { return signals.wait(seconds); });

    const auto served = apps::ask_cores<uint64_t>(
        **server_runtime, [&](Stack&) { return server->counters().requests; });
    fmt::print("  server      {} requests answered\n", served.empty() ? 0 : served[0]);
    for (auto* runtime : {&*client_runtime, &*server_runtime}) {
        (*runtime)->stop();
        (*runtime)->join();
    }
    client_runtime->reset();
    server_runtime->reset();
    return total.errors_total() == 0 && total.requests > 0 ? 0 : 1;
}
