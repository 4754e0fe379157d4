// millrace-ss: the sockets of running programs, as Linux's ss shows the kernel's.
#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "common/program.h"
#include "common/say.h"
#include "ss/filter.h"
#include "ss/json.h"
#include "ss/line.h"
#include "common/programs.h"
#include "ss/story.h"

namespace millrace::apps {
namespace {

struct Options {
    StateChoice choice;
    LineOptions shown;
    bool numeric = false, summary = false, json = false, kill = false, no_heading = false;
    bool drops = false, story = false;
    std::optional<uint32_t> follow;
    std::string program;
    std::vector<std::string> words;

    bool lists() const { return !summary && !kill && !drops && !story && !follow; }
};

/// What -s counts.
struct Summary {
    std::map<SocketState, uint64_t> tcp;
    uint64_t udp = 0, orphans = 0;

    void add(const SocketRecord& record) {
        if (record.kind == SocketKind::udp)
            ++udp;
        else
            ++tcp[record.state];
        if (record.orphan) ++orphans;
    }
    std::string text() const {
        uint64_t all = 0;
        for (const auto& [state, count] : tcp) all += count;
        const auto of = [&](SocketState state) {
            const auto found = tcp.find(state);
            return found == tcp.end() ? 0 : found->second;
        };
        return fmt::format("TCP:   {} (estab {}, synrecv {}, timewait {}, listen {}, orphaned {})\n"
                           "UDP:   {}\n",
                           all, of(SocketState::established), of(SocketState::syn_received),
                           of(SocketState::time_wait), of(SocketState::listen), orphans, udp);
    }
};

/// Of all cores together: how often, the reason, and what it means.
std::string drops_table(std::string_view text, bool all) {
    struct Reason {
        uint64_t count = 0;
        std::string sentence;
    };
    std::vector<std::pair<std::string, Reason>> reasons;
    std::istringstream rows{std::string(text)};
    uint16_t core = 0;
    std::string name, sentence;
    uint64_t count = 0;
    while (rows >> core >> name >> count && std::getline(rows >> std::ws, sentence)) {
        auto at = std::ranges::find(reasons, name, &std::pair<std::string, Reason>::first);
        if (at == reasons.end()) at = reasons.insert(at, {name, {0, sentence}});
        at->second.count += count;
    }
    std::string table;
    for (const auto& [reason, what] : reasons)
        if (what.count != 0 || all)
            table += fmt::format("{:>12} {:<28} {}\n", what.count, reason, what.sentence);
    return table;
}

/// Listed, counted or aborted, in one of them.
Started<void> look(Inspection& inspection, const SocketFilter& filter, const Options& options,
                   Summary& summary) {
    if (options.drops) {
        const auto drops = inspection.drops();
        if (!drops) return std::unexpected(drops.error());
        say("{}", drops_table(*drops, options.choice.all));
        return {};
    }
    if (options.follow) return inspection.follow(filter, *options.follow);
    if (options.story)
        return inspection.stories(filter, [](const Story& story) {
            say("{}\n", story_text(story));
        });
    if (options.kill) {
        const auto count = inspection.abort(filter);
        if (!count) return std::unexpected(count.error());
        say("{} connections reset\n", *count);
        return {};
    }
    return inspection.list(filter, [&](const SocketRecord& record) {
        if (options.summary)
            summary.add(record);
        else if (options.json)
            say("{}\n", to_json(record).dump());
        else
            say("{}", line(record, options.shown));
    });
}

int run(Options& options) {
    if (options.summary) options.choice.all = true;
    const auto filter = parse_filter(options.words, options.choice);
    if (!filter) return fail(filter.error());
    const bool narrowed = !options.words.empty();
    if (options.kill && !narrowed)
        return fail({"-K wants a filter: it would reset every connection", EINVAL});
    const auto paths = meant(options.program);
    if (!paths) return fail(paths.error());
    Summary summary;
    if (options.lists() && !options.json && !options.no_heading)
        say("{}", heading(options.shown));
    for (const std::string& path : *paths) {
        auto inspection = Inspection::open(path);
        if (!inspection) return fail(inspection.error());
        if (const auto seen = look(*inspection, *filter, options, summary); !seen)
            return fail(seen.error());
    }
    if (options.summary) say("{}", summary.text());
    return said(0);
}

}  // namespace
}  // namespace millrace::apps

int main(int argc, char** argv) {
    using namespace millrace::apps;
    CLI::App app("millrace-ss: the sockets of running programs");
    Options options;
    app.add_flag("-n,--numeric", options.numeric, "as ss; nothing is resolved anyway");
    app.add_flag("-a,--all", options.choice.all, "listening and not, half-open and TIME-WAIT");
    app.add_flag("-l,--listening", options.choice.listening, "listening only");
    app.add_flag("-t,--tcp", options.choice.tcp, "TCP only");
    app.add_flag("-u,--udp", options.choice.udp, "UDP only");
    app.add_flag("-o,--options", options.shown.timers, "timers");
    app.add_flag("-i,--info", options.shown.details, "what TCP knows");
    app.add_flag("-s,--summary", options.summary, "how many of each state");
    app.add_flag("-H,--no-header", options.no_heading, "no heading");
    app.add_flag("-K,--kill", options.kill, "reset the connections of the filter");
    app.add_flag("--json", options.json, "a JSON object a line");
    app.add_flag("--drops", options.drops, "what was dropped, how often and why; -a: all reasons");
    app.add_flag("--story", options.story,
                 "what the connections of the filter did, as wire scripts with times");
    app.add_option("--follow", options.follow,
                   "from now on, keep one in N of the filter's connections whole; 0: none");
    add_program_option(app, options.program);
    app.add_option("filter", options.words,
                   "state NAME, exclude NAME, sport PORT, dport PORT, src PREFIX, dst PREFIX");
    CLI11_PARSE(app, argc, argv);
    options.shown.kinds = !options.choice.tcp && !options.choice.udp;
    return run(options);
}
