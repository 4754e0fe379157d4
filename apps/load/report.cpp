#include "load/report.h"

#include <chrono>

#include <fmt/format.h>

#include "common/program.h"

namespace millrace::apps {

namespace {

std::string errors_of(const LoadCounters& counters) {
    std::string text;
    for (size_t i = 0; i < load_error_count; ++i)
        if (counters.errors[i] != 0)
            text += fmt::format(" {}:{}", name(static_cast<LoadError>(i)), counters.errors[i]);
    return text.empty() ? " none" : text;
}

double us(Duration d) { return static_cast<double>(d.ns()) / 1000; }

}  // namespace

LoadRun::LoadRun(Runtime& runtime, const LoadOptions& options)
    : runtime_(runtime), options_(options), generators_(runtime.cores()) {}

Started<void> LoadRun::start() {
    return runtime_.run([this](Stack& stack) {
        const uint32_t cores = runtime_.cores();
        const uint32_t share = options_.connections / cores +
                               (stack.core() < options_.connections % cores ? 1 : 0);
        auto generator = std::make_unique<Generator>(stack, options_, share);
        generator->start();
        generators_[stack.core()] = std::move(generator);
    });
}

LoadCounters LoadRun::collect(const std::function<LoadCounters(Generator&)>& from) {
    LoadCounters sum;
    for (const LoadCounters& counters : ask_cores<LoadCounters>(
             runtime_, [&](Stack& stack) { return from(*generators_[stack.core()]); }))
        sum += counters;
    return sum;
}

LoadCounters LoadRun::run(double seconds, const std::function<bool(double)>& wait) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    fmt::print("{:>4} {:>12} {:>12} {:>12} {:>10} {:>10}  {}\n", "s", "requests/s", "connects/s",
               "MB/s", "p50 us", "p99 us", "errors");
    for (uint64_t second = 1;; ++second) {
        double next = static_cast<double>(second);
        if (seconds > 0 && next > seconds) next = seconds;
        const bool ended = wait(std::max(0.0, next - elapsed()));
        print_line(second, collect([](Generator& g) { return g.take_interval(); }));
        const bool done = collect([](Generator& g) {
                              LoadCounters counters;
                              counters.requests = g.done() ? 1 : 0;
                              return counters;
                          }).requests != 0;
        if (ended || done || (seconds > 0 && elapsed() >= seconds)) break;
    }
    const double lasted = elapsed();
    const LoadCounters total = collect([](Generator& g) {
        g.stop();
        return g.total();
    });
    wait(0.2);  // what is open closes in good order
    print_report(total, lasted);
    return total;
}

void LoadRun::print_line(uint64_t second, const LoadCounters& interval) const {
    fmt::print("{:>4} {:>12} {:>12} {:>12.1f} {:>10.1f} {:>10.1f} {}\n", second, interval.requests,
               interval.established, static_cast<double>(interval.bytes) / 1e6,
               us(interval.latency.percentile(0.5)), us(interval.latency.percentile(0.99)),
               errors_of(interval));
    std::fflush(stdout);
}

void LoadRun::print_report(const LoadCounters& total, double seconds) const {
    fmt::print("\n{} over {} connections to {}, {:.1f} s\n",
               options_.mode == LoadMode::http ? "HTTP " + options_.path : "echo",
               options_.connections, options_.target.to_string(), seconds);
    fmt::print("  requests    {} ({:.0f}/s)\n", total.requests,
               static_cast<double>(total.requests) / seconds);
    fmt::print("  connections {} attempted, {} established\n", total.attempted, total.established);
    fmt::print("  bytes       {} ({:.1f} MB/s)\n", total.bytes,
               static_cast<double>(total.bytes) / 1e6 / seconds);
    fmt::print("  errors     {}\n  latency us ", errors_of(total));
    for (const auto& [label, fraction] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99},
                                          {"p99.9", 0.999}, {"p99.99", 0.9999}})
        fmt::print(" {} {:.1f}", label, us(total.latency.percentile(fraction)));
    fmt::print(" max {:.1f}\n", us(total.latency.max()));
    std::fflush(stdout);
}

}  // namespace millrace::apps
