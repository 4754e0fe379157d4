// millrace-nstat: counters of running programs, as Linux's nstat shows the kernel's.
#include <chrono>
#include <cstdio>
#include <thread>

#include "common/program.h"
#include "common/say.h"
#include "nstat/counters.h"
#include "common/programs.h"

namespace millrace::apps {
namespace {

struct Options {
    std::string program;
    Shown shown;
    double seconds = 0;  ///< between two looks; 0: one alone
    bool prometheus = false;
};

Started<Counters> look(const std::vector<std::string>& paths) {
    Counters counters;
    for (const std::string& path : paths) {
        auto inspection = Inspection::open(path);
        if (!inspection) return std::unexpected(inspection.error());
        const auto text = inspection->counters();
        if (!text) return std::unexpected(text.error());
        read_counters(path.substr(path.rfind('/') + 1), *text, counters);
    }
    return counters;
}

/// Of those that are there by now; a program may come and go meanwhile.
Started<Counters> look_again(const Options& options) {
    const auto paths = meant(options.program);
    if (!paths) return std::unexpected(paths.error());
    Counters counters;
    for (const std::string& path : *paths)
        if (const auto seen = look({path}))
            counters.insert(counters.end(), seen->begin(), seen->end());
    return counters;
}

/// Differences, until nobody is left to be asked.
int scan(const Options& options, Counters now) {
    for (;;) {
        const auto begun = std::chrono::steady_clock::now();
        std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
        auto then = look_again(options);
        if (!then) return 0;
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begun;
        say("{}\n", table(summed(since(*then, now)), passed.count(), options.shown));
        if (const int failed = said(0); failed != 0) return failed;
        now = std::move(*then);
    }
}

int run(const Options& options) {
    const auto paths = meant(options.program);
    if (!paths) return fail(paths.error());
    const auto now = look(*paths);
    if (!now) return fail(now.error());
    if (options.seconds > 0) return scan(options, *now);
    const std::string text = options.prometheus ? prometheus(*now, options.shown)
                                                : table(summed(*now), 0, options.shown);
    say("{}", text);
    return said(0);
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
    app.add_flag("--prometheus", options.prometheus, "as Prometheus reads them, by core")
        ->excludes("--scan");
    app.add_option("pattern", options.shown.patterns, "names, with * and ?");
    CLI11_PARSE(app, argc, argv);
    return run(options);
}
