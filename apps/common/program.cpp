#include "common/program.h"

#include <chrono>
#include <csignal>
#include <ctime>

#include <fmt/format.h>

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
}

bool Signals::wait(double seconds) const {
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
        if (sigtimedwait(&set, nullptr, &limit) > 0) return true;
        // Drivers interrupt this thread with signals of their own (net_tap does, per frame).
        if (errno != EINTR) return false;
    }
}

int fail(const Failure& failure) {
    fmt::print(stderr, "{}\n", failure.what);
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
            fmt::print(stderr, "port {}\n", line);
    return runtime;
}

}  // namespace millrace::apps
