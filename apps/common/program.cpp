#include "common/program.h"

#include <chrono>
#include <csignal>
#include <ctime>

#include "common/say.h"

namespace millrace::apps {

void CommonOptions::add_to(CLI::App& app) {
    app.add_option("-c,--config", config_path, "TOML file: ports, addresses, cores (see config/)")
        ->required();
    app.add_flag("-v,--verbose", verbose, "messages of DPDK and its drivers");
}

namespace {
sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}
}  // namespace

Signals::Signals() {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
}

int Signals::wait(double seconds) const {
    const sigset_t set = ending_signals();
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    while (true) {
        const std::chrono::duration<double> left =
            std::max<std::chrono::duration<double>>(end - Clock::now(), {});
        timespec limit{};
        limit.tv_sec = static_cast<time_t>(left.count());
        limit.tv_nsec =
            static_cast<long>((left.count() - static_cast<double>(limit.tv_sec)) * 1e9);
        if (const int taken = sigtimedwait(&set, nullptr, &limit); taken > 0) return taken;
        // Drivers interrupt this thread with signals of their own (net_tap does, per frame).
        if (errno != EINTR) return 0;
    }
}

void DrainOption::add_to(CLI::App& app) {
    app.add_option("--drain", seconds,
                   "seconds that SIGTERM gives connections to be answered and to end, before they "
                   "are reset; 0: none")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 86400.0));
}

int DrainOption::end(Runtime& runtime, const Signals& signals, int by,
                     std::function<void(Stack&)> begin) const {
    const bool gracefully = by == SIGTERM && seconds > 0;
    int next_line = 0;
    const auto go_on = [&](const Draining& draining) {
        if (draining.connections > 0 && draining.passed.seconds() >= next_line) {
            complain("draining: {} connections left, {:.0f} of {:g} s\n",
                     draining.connections, draining.passed.seconds(), seconds);
            next_line = static_cast<int>(draining.passed.seconds()) + 1;
        }
        return signals.wait(0) == 0;
    };
    DrainOptions options;
    if (gracefully) {
        options.within = Duration::from_ns(static_cast<int64_t>(seconds * 1e9));
        options.begin = std::move(begin);
        options.go_on = go_on;
    } else {
        options.within = Duration();
    }
    const auto reset = runtime.drain(options);
    if (!gracefully || !reset) return 0;
    if (*reset == 0)
        complain("drained\n");
    else
        complain("drained, but for {} connections, which were reset\n", *reset);
    return *reset == 0 ? 0 : status_reset;
}

int fail(const Failure& failure) {
    complain("{}\n", failure.what);
    return 1;
}

Started<std::unique_ptr<Runtime>> start(const CommonOptions& options) {
    Runtime::set_verbose(options.verbose);
    const auto config = load_config(options.config_path);
    if (!config) return std::unexpected(config.error());
    return start(*config);
}

Started<std::unique_ptr<Runtime>> start(const Config& config) {
    auto runtime = Runtime::create(config);
    if (runtime)
        for (const std::string& line : (*runtime)->port_descriptions())
            complain("port {}\n", line);
    return runtime;
}

}  // namespace millrace::apps
