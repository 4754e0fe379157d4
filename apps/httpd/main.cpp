// millrace-httpd: files of a directory, and a body of fixed size, over HTTP/1.1.
#include <mutex>

#include <fmt/format.h>

#include "common/program.h"
#include "httpd/server.h"

using namespace millrace;

namespace {

void print_counters(const apps::HttpCounters& total) {
    std::string statuses;
    for (const auto& [status, count] : total.by_status)
        statuses += fmt::format(" {}:{}", status, count);
    fmt::print("connections {} requests {} bytes {} status{}\n", total.connections, total.requests,
               total.bytes, statuses.empty() ? " none" : statuses);
    std::fflush(stdout);
}

/// How the work was spread, and whether segments met a core that did not know them.
void print_cores(Runtime& runtime, const std::vector<std::unique_ptr<apps::HttpServer>>& servers) {
    const auto lines = apps::ask_cores<std::string>(runtime, [&servers](Stack& stack) {
        uint64_t resets = 0;
        uint64_t handed_over = 0;
        stack.counters([&](std::string_view name, uint64_t value) {
            if (name == "TcpOutRsts") resets = value;
            if (name == "FramesHandedOver") handed_over = value;
        });
        return fmt::format("core {}: connections {} handed over {} resets sent {}", stack.core(),
                           servers[stack.core()]->counters().connections, handed_over, resets);
    });
    for (const std::string& line : lines) fmt::print("{}\n", line);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("millrace-httpd: an HTTP/1.1 server on Millrace");
    apps::CommonOptions options;
    options.add_to(app);
    apps::HttpOptions http;
    bool quiet = false;
    app.add_option("-r,--root", http.root, "directory whose files are served")
        ->check(CLI::ExistingDirectory);
    app.add_option("-p,--port", http.port, "TCP port")->capture_default_str();
    app.add_option("-b,--body", http.body_size, "bytes that /body answers with")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 30));
    app.add_flag("-q,--quiet", quiet, "no access counters every ten seconds");
    CLI11_PARSE(app, argc, argv);

    const apps::Signals signals;
    auto runtime = apps::start(options);
    if (!runtime) return apps::fail(runtime.error());
    // The servers outlive the loops: they are destroyed after `runtime` has joined.
    std::vector<std::unique_ptr<apps::HttpServer>> servers((*runtime)->cores());
    std::atomic<int> failed{0};
    const auto running = (*runtime)->run([&](Stack& stack) {
        auto server = std::make_unique<apps::HttpServer>(stack, http);
        if (const auto listening = server->listen(); !listening) {
            failed = listening.error().value;
            fmt::print(stderr, "port {}: {}\n", http.port, listening.error().message());
        }
        servers[stack.core()] = std::move(server);
    });
    if (!running) return apps::fail(running.error());
    // Every core has set up once it answers.
    apps::ask_cores<int>(**runtime, [](Stack&) { return 0; });
    if (failed == 0) fmt::print("listening on port {}\n", http.port);
    std::fflush(stdout);
    const auto collect = [&] {
        apps::HttpCounters total;
        for (const auto& counters : apps::ask_cores<apps::HttpCounters>(
                 **runtime, [&](Stack& stack) { return servers[stack.core()]->counters(); }))
            total += counters;
        return total;
    };
    while (failed == 0 && !signals.wait(10))
        if (!quiet) print_counters(collect());
    print_counters(collect());
    print_cores(**runtime, servers);
    (*runtime)->stop();
    (*runtime)->join();
    runtime->reset();
    return failed == 0 ? 0 : 1;
}
