// millrace-load: closed-loop load over HTTP or echo.
#include <map>

#include "common/program.h"
#include "load/report.h"

using namespace millrace;

int main(int argc, char** argv) {
    CLI::App app("millrace-load: a load generator on Millrace");
    apps::CommonOptions options;
    options.add_to(app);
    apps::LoadOptions load;
    std::string target = "10.77.0.1:80";
    double duration = 10;
    bool close = false;
    const std::map<std::string, apps::LoadMode> modes{{"http", apps::LoadMode::http},
                                                      {"echo", apps::LoadMode::echo}};
    app.add_option("-t,--target", target, "ADDRESS:PORT or [ADDRESS]:PORT")->capture_default_str();
    app.add_option("-m,--mode", load.mode, "http or echo")
        ->transform(CLI::CheckedTransformer(modes));
    app.add_option("-n,--connections", load.connections, "connections in all")
        ->capture_default_str()
        ->check(CLI::Range(1, 10'000'000));
    app.add_option("-d,--duration", duration, "seconds; 0: until Ctrl-C")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("-r,--requests", load.requests_per_connection,
                   "requests per connection, 0: keep it")
        ->capture_default_str();
    app.add_flag("--close", close, "a connection per request, as --requests 1");
    app.add_option("-p,--path", load.path, "what HTTP asks for")->capture_default_str();
    app.add_option("-s,--size", load.size, "bytes of an echo message")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20));
    app.add_option("-o,--output", load.output, "fetch once and write the body to this file");
    CLI11_PARSE(app, argc, argv);
    const auto address = SocketAddress::parse(target);
    if (!address) return apps::fail({"--target: " + target + " is not ADDRESS:PORT"});
    load.target = *address;
    if (close) load.requests_per_connection = 1;
    if (load.output) load.connections = 1;

    const apps::Signals signals;
    auto runtime = apps::start(options);
    if (!runtime) return apps::fail(runtime.error());
    apps::LoadRun run(**runtime, load);
    if (auto started = run.start(); !started) return apps::fail(started.error());
    const apps::LoadCounters total =
        run.run(duration, [&](double seconds) { return signals.wait(seconds); });
    (*runtime)->stop();
    (*runtime)->join();
    runtime->reset();  // before the generators that its stack tells of events
    return total.errors_total() == 0 && total.requests > 0 ? 0 : 1;
}
