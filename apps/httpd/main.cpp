// millrace-httpd: files of a directory, and a body of fixed size, over HTTP/1.1.
#include <mutex>

#include <fmt/format.h>

#include "common/program.h"
#include "common/say.h"
#include "httpd/server.h"

using namespace millrace;

namespace {

void print_counters(const apps::HttpCounters& total) {
    std::string statuses;
    for (const auto& [status, count] : total.by_status)
        statuses += fmt::format(" {}:{}", status, count);
    const std::string tls = total.handshakes == 0
                                ? ""
                                : fmt::format(" handshakes {} resumed {}", total.handshakes,
                                              total.resumed);
    apps::say("connections {} requests {} bytes {} status{}{}\n", total.connections,
              total.requests, total.bytes, statuses.empty() ? " none" : statuses, tls);
    for (const auto& [why, count] : total.tls_failures)
        apps::say("TLS failed: {} ({} times)\n", why, count);
    std::fflush(stdout);
}

/// How the work was spread, what it cost, and whether segments met a core that did not know them.
void print_cores(Runtime& runtime, const std::vector<std::unique_ptr<apps::HttpServer>>& servers) {
    const auto lines = apps::ask_cores<std::string>(runtime, [&servers](Stack& stack) {
        return fmt::format("core {}: connections {} handed over {} resets sent {} busy cycles {}",
                           stack.core(), servers[stack.core()]->counters().connections,
                           apps::counter(stack, "FramesHandedOver"),
                           apps::counter(stack, "TcpOutRsts"),
                           apps::counter(stack, "CoreBusyCycles"));
    });
    for (const std::string& line : lines) apps::say("{}\n", line);
}

/// What the command line says.
struct Arguments {
    explicit Arguments(CLI::App& app) {
        common.add_to(app);
        app.set_config("--options", "", "a TOML file with options under these names")
            ->configurable(false);
        app.allow_config_extras(false);
        app.add_option("-r,--root", http.root, "directory whose files are served")
            ->check(CLI::ExistingDirectory);
        app.add_option("-p,--port", http.port, "TCP port; 0: HTTPS only")->capture_default_str();
        app.add_option("-b,--body", http.body_size, "bytes that /body answers with")
            ->capture_default_str()
            ->check(CLI::Range(1, 1 << 30));
        app.add_option("--certificate", identity.certificate,
                       "PEM file: the certificate's chain; serves HTTPS, too")
            ->check(CLI::ExistingFile);
        app.add_option("--key", identity.key, "PEM file: its private key, not encrypted")
            ->check(CLI::ExistingFile);
        app.add_option("--https-port", http.tls_port, "TCP port of HTTPS")
            ->default_str("443")
            ->check(CLI::Range(1, 65535));
        app.add_option("--idle-timeout", idle_timeout,
                       "seconds without a whole request, or without progress of an answer, after "
                       "which a connection ends; 0: never")
            ->capture_default_str()
            ->check(CLI::Range(0.0, 1e6));
        drain.add_to(app);
        app.add_flag("-q,--quiet", quiet, "no access counters every ten seconds");
    }

    /// Makes of it what the servers need; an error names the option.
    Started<void> complete() {
        http.idle_timeout = Duration::from_ns(static_cast<int64_t>(idle_timeout * 1e9));
        if (identity.certificate.empty() != identity.key.empty())
            return failure("--certificate and --key: one is missing");
        if (http.tls_port != 0 && identity.key.empty())
            return failure("--https-port: --certificate and --key are missing");
        if (identity.key.empty())
            return http.port != 0 ? Started<void>() : failure("--port 0: nothing is served");
        if (http.tls_port == 0) http.tls_port = 443;
        if (http.port == http.tls_port) return failure("--port and --https-port are the same");
        auto made = apps::TlsContext::server(identity);
        if (!made) return std::unexpected(made.error());
        tls = std::move(*made);
        http.tls = tls.get();
        return {};
    }

    apps::CommonOptions common;
    apps::HttpOptions http;
    apps::TlsIdentity identity;
    std::unique_ptr<apps::TlsContext> tls;
    double idle_timeout = 75;
    apps::DrainOption drain;
    bool quiet = false;
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("millrace-httpd: an HTTP/1.1 server on Millrace");
    Arguments arguments(app);
    CLI11_PARSE(app, argc, argv);
    if (const auto whole = arguments.complete(); !whole) return apps::fail(whole.error());
    const apps::HttpOptions& http = arguments.http;

    const apps::Signals signals;
    auto runtime = apps::start(arguments.common);
    if (!runtime) return apps::fail(runtime.error());
    // The servers outlive the loops: they are destroyed after `runtime` has joined.
    std::vector<std::unique_ptr<apps::HttpServer>> servers((*runtime)->cores());
    std::atomic<bool> failed{false};
    const auto running = (*runtime)->run([&](Stack& stack) {
        auto server = std::make_unique<apps::HttpServer>(stack, http);
        if (const auto listening = server->listen(); !listening) {
            failed = true;
            apps::complain("{}\n", listening.error().what);
        }
        servers[stack.core()] = std::move(server);
    });
    if (!running) return apps::fail(running.error());
    // Every core has set up once it answers.
    apps::ask_cores<int>(**runtime, [](Stack&) { return 0; });
    if (!failed && http.port != 0) apps::say("listening on port {}\n", http.port);
    if (!failed && http.tls_port != 0)
        apps::say("listening on port {} (HTTPS)\n", http.tls_port);
    std::fflush(stdout);
    const auto collect = [&] {
        apps::HttpCounters total;
        for (const auto& counters : apps::ask_cores<apps::HttpCounters>(
                 **runtime, [&](Stack& stack) { return servers[stack.core()]->counters(); }))
            total += counters;
        return total;
    };
    int by = 0;
    while (!failed && (by = signals.wait(10)) == 0)
        if (!arguments.quiet) print_counters(collect());
    int status = 1;
    if (!failed)
        status = arguments.drain.end(**runtime, signals, by, [&servers](Stack& stack) {
            servers[stack.core()]->drain();
        });
    print_counters(collect());
    print_cores(**runtime, servers);
    (*runtime)->stop();
    (*runtime)->join();
    runtime->reset();
    return status;
}
