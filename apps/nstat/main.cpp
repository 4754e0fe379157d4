// millrace-nstat: counters of running programs, as Linux's nstat shows the kernel's.
#include <chrono>
#include <cstdio>
#include <thread>

#include <fmt/format.h>

#include "common/program.h"
#include "nstat/counters.h"
#include "ss/programs.h"

namespace millrace::apps {
namespace {

struct Options {
    std::string program;
    Shown shown;
    double seconds = 0;  ///< between two looks; 0: one alone
    bool prometheus = false;
};

Started<Counters> look(const Options& options) {
    const auto paths = meant(options.program);
    if (!paths) return std::unexpected(paths.error());
    Counters counters;
    for (const std::string& path : *paths) {
        auto inspection = Inspection::open(path);
        if (!inspection) return std::unexpected(inspection.error());
        const auto text = inspection->counters();
        if (!text) return std::unexpected(text.error());
        read_counters(path.substr(path.rfind('/') + 1), *text, counters);
    }
    return counters;
}

int run(const Options& options) {
    auto now = look(options);
    if (!now) return fail(now.error());
    if (options.prometheus) {
        std::fputs(prometheus(*now, options.shown).c_str(), stdout);
        return 0;
    }
    if (options.seconds <= 0) {
        std::fputs(table(summed(*now), {}, 0, options.shown).c_str(), stdout);
        return 0;
    }
    for (;;) {
        const Counters before = summed(*now);
        const auto begun = std::chrono::steady_clock::now();
        std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
        now = look(options);
        if (!now) return fail(now.error());
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begun;
        fmt::print("{}\n", table(summed(*now), before, passed.count(), options.shown));
        std::fflush(stdout);
    }
}

}  // namespace
}  // namespace millrace::apps

int main(int argc, char** argv) {
    using namespace millrace::apps;
    CLI::App app("millrace-nstat: counters of running programs");
    Options options;
    add_program_option(app, options.program);
    app.add_flag("-z,--zeros", options.shown.zeros, "those of 0, too");
    app.add_option("-d,--scan", options.seconds,
                   "differences a second, over so many seconds each, until they are gone")
        ->check(CLI::Range(0.1, 3600.0));
    app.add_flag("--prometheus", options.prometheus, "as Prometheus reads them, by core");
    app.add_option("pattern", options.shown.patterns, "names, with * and ?");
    CLI11_PARSE(app, argc, argv);
    return run(options);
}
