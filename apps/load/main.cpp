// millrace-load: closed-loop load over HTTP or echo, and floods.
#include <map>

#include <fmt/format.h>

#include "common/program.h"
#include "load/flood.h"
#include "load/report.h"

using namespace millrace;

namespace {

/// What the command line says of a flood.
class FloodArguments {
public:
    void add_to(CLI::App& app);
    /// An error names the argument.
    Started<apps::FloodOptions> options(const SocketAddress& target) const;

private:
    apps::FloodOptions given_;
    std::string sources_;
};

void FloodArguments::add_to(CLI::App& app) {
    const std::map<std::string, apps::FloodKind> kinds{{"syn", apps::FloodKind::syn},
                                                       {"ack", apps::FloodKind::ack}};
    app.add_option("--flood", given_.kind, "what to flood with: syn or ack")
        ->transform(CLI::CheckedTransformer(kinds));
    app.add_option("--rate", given_.rate, "flood: segments a second; 0: all that the link takes")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--honest", given_.honest_rate,
                   "flood: connections a second that are opened and closed beside it")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option("--sources", sources_,
                   "flood: the network that it seems to come from (default: the one for "
                   "benchmarks, 198.18.0.0/15 or 2001:2::/48)");
}

Started<apps::FloodOptions> FloodArguments::options(const SocketAddress& target) const {
    // For IPv6 the network that RFC 5180 has for benchmarks.
    const std::string usual =
        target.address.is_v4() ? given_.sources.to_string() : std::string("2001:2::/48");
    const std::string network = sources_.empty() ? usual : sources_;
    const auto sources = Prefix::parse(network);
    if (!sources || sources->address.family() != target.address.family())
        return failure("--sources: " + network + " is no network of the target's family");
    apps::FloodOptions options = given_;
    options.target = target;
    options.sources = *sources;
    return options;
}

/// Floods until the time is over, with a line a second. One loop, turned here.
int flood(Runtime& runtime, const apps::FloodOptions& options, double duration,
          const apps::Signals& signals) {
    if (runtime.cores() != 1) return apps::fail({"--mode flood runs on one core"});
    Stack& stack = runtime.core(0);
    stack.poll_once();
    apps::Flood source(stack, options);
    const Instant start = stack.now();
    apps::FloodCounters before;
    for (uint64_t second = 1; duration == 0 || static_cast<double>(second) <= duration; ++second) {
        while (stack.now() - start < Duration::from_s(static_cast<int64_t>(second))) {
            source.burst(stack.now());
            stack.poll_once();
        }
        const apps::FloodCounters now = source.counters(stack.now());
        const apps::FloodCounters interval = now - before;
        fmt::print("{:4} s  {:>10} segments/s  {:>6} honest, {} established in time\n", second,
                   interval.segments, interval.honest_attempted, interval.honest_in_time);
        std::fflush(stdout);
        before = now;
        if (signals.wait(0)) break;
    }
    // Those who came last have as much time as the others.
    const Instant end = stack.now();
    while (source.is_waiting() && stack.now() - end <= apps::Flood::honest_patience)
        stack.poll_once();
    before = source.counters(stack.now());
    fmt::print("{} segments; {} honest attempts: {} established within {} s, {} later or not yet, "
               "{} failed\n",
               before.segments, before.honest_attempted, before.honest_in_time,
               apps::Flood::honest_patience.ms() / 1000, before.honest_late,
               before.honest_failed);
    return before.segments > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("millrace-load: a load generator on Millrace");
    apps::CommonOptions options;
    options.add_to(app);
    apps::LoadOptions load;
    std::string target = "10.77.0.1:80";
    double duration = 10;
    bool close = false;
    FloodArguments flood_arguments;
    const std::map<std::string, apps::LoadMode> modes{{"http", apps::LoadMode::http},
                                                      {"echo", apps::LoadMode::echo},
                                                      {"flood", apps::LoadMode::flood}};
    app.add_option("-t,--target", target, "ADDRESS:PORT or [ADDRESS]:PORT")->capture_default_str();
    app.add_option("-m,--mode", load.mode, "http, echo or flood (towards the target alone)")
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
    flood_arguments.add_to(app);
    app.add_option("-o,--output", load.output, "fetch once and write the body to this file");
    CLI11_PARSE(app, argc, argv);
    const auto address = SocketAddress::parse(target);
    if (!address) return apps::fail({"--target: " + target + " is not ADDRESS:PORT"});
    load.target = *address;
    const auto flooding = flood_arguments.options(load.target);
    if (!flooding) return apps::fail(flooding.error());
    if (close) load.requests_per_connection = 1;
    if (load.output) load.connections = 1;

    const apps::Signals signals;
    auto runtime = apps::start(options);
    if (!runtime) return apps::fail(runtime.error());
    if (load.mode == apps::LoadMode::flood)
        return flood(**runtime, *flooding, duration, signals);
    apps::LoadRun run(**runtime, load);
    if (auto started = run.start(); !started) return apps::fail(started.error());
    const apps::LoadCounters total =
        run.run(duration, [&](double seconds) { return signals.wait(seconds); });
    (*runtime)->stop();
    (*runtime)->join();
    runtime->reset();  // before the generators that its stack tells of events
    return total.errors_total() == 0 && total.requests > 0 ? 0 : 1;
}
