// millrace-dump: frames of a running program, as pcapng.
#include <cstdio>

#include <fmt/format.h>

#include "common/program.h"
#include "common/say.h"
#include "dump/output.h"
#include "ss/filter.h"
#include "common/programs.h"

namespace millrace::apps {
namespace {

struct Options {
    CaptureOptions capture;
    StateChoice choice;
    std::string program, output, direction = "inout";
    bool list = false;
    std::vector<std::string> words;
};

/// The ports of the programs that are meant, each with its number.
int list_ports(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
        auto inspection = Inspection::open(path);
        if (!inspection) return fail(inspection.error());
        const auto about = inspection->about();
        if (!about) return fail(about.error());
        say("{}\n{}", path, *about);
    }
    return said(0);
}

/// One program alone: its ports' numbers and times are its own.
Started<std::string> the_program(const std::string& wanted) {
    const auto paths = meant(wanted);
    if (!paths) return std::unexpected(paths.error());
    if (paths->size() == 1) return paths->front();
    std::string all;
    for (const std::string& path : *paths) all += fmt::format(" {}", path);
    return failure(fmt::format("several programs run; -p names one:{}", all), EINVAL);
}

Started<void> read_filter(Options& options) {
    for (const std::string& word : options.words)
        if (word == "state" || word == "exclude")
            return failure(fmt::format("filter: {}: a frame has no state", word), EINVAL);
    const auto filter = parse_filter(options.words, options.choice);
    if (!filter) return std::unexpected(filter.error());
    options.capture.filter = *filter;
    options.capture.received = options.direction != "out";
    options.capture.sent = options.direction != "in";
    return {};
}

/// Captures until it is told to end, the frames wanted are there, or nobody takes them any more.
int capture(const Options& options, const std::string& path, const Signals& signals) {
    auto inspection = Inspection::open(path);
    if (!inspection) return fail(inspection.error());
    auto output = Output::open(options.output);
    if (!output) return fail(output.error());
    const auto counts =
        inspection->capture(options.capture, [&](std::span<const std::byte> bytes) {
            return output->write(bytes) && !signals.wait(0);
        });
    if (!counts) return fail(counts.error());
    complain("{} frames captured, {} dropped, of {} seen\n", counts->captured,
             counts->dropped, counts->seen);
    if (output->wrong() != 0 && !output->reader_has_gone())
        return fail({fmt::format("cannot write {}: {}", options.output,
                                 Errno{output->wrong()}.message()),
                     output->wrong()});
    return 0;
}

int run(Options& options) {
    const Signals signals;
    if (auto read = read_filter(options); !read) return fail(read.error());
    if (options.list) {
        const auto paths = meant(options.program);
        return paths ? list_ports(*paths) : fail(paths.error());
    }
    if (options.output.empty()) return fail({"-w FILE is wanted, or -w - for a pipe", EINVAL});
    const auto path = the_program(options.program);
    if (!path) return fail(path.error());
    return capture(options, *path, signals);
}

}  // namespace
}  // namespace millrace::apps

int main(int argc, char** argv) {
    using namespace millrace::apps;
    CLI::App app("millrace-dump: frames of a running program, as pcapng");
    Options options;
    app.add_option("-i,--port", options.capture.port,
                   "a port by number, device or interface; else all");
    app.add_option("-w,--write", options.output, "to this file; -: to standard output");
    app.add_option("-c,--count", options.capture.count, "end with so many frames");
    app.add_option("-s,--snaplen", options.capture.snaplen, "bytes of each frame")
        ->check(CLI::Range(1, 65535));
    app.add_option("-Q,--direction", options.direction, "in, out or inout, as the port sees it")
        ->check(CLI::IsMember({"in", "out", "inout"}));
    app.add_option("--waiting", options.capture.waiting,
                   "copies of each core that may wait; a power of two, 64 to 65536");
    app.add_flag("-t,--tcp", options.choice.tcp, "TCP only");
    app.add_flag("-u,--udp", options.choice.udp, "UDP only");
    app.add_flag("-D,--list", options.list, "the ports there are");
    add_program_option(app, options.program);
    app.add_option("filter", options.words,
                   "sport PORT, dport PORT, src PREFIX, dst PREFIX, the program's side being "
                   "the source");
    CLI11_PARSE(app, argc, argv);
    return run(options);
}
