#include "nstat/counters.h"

#include <fnmatch.h>

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "common/text.h"

namespace millrace::apps {

namespace {

/// "TcpExtListenOverflows" -> "millrace_tcp_ext_listen_overflows".
std::string metric_name(std::string_view name) {
    std::string text = "millrace";
    bool in_word = false;
    for (const char c : name) {
        const bool upper = c >= 'A' && c <= 'Z';
        if (upper && !in_word) text += '_';
        if (!upper && text == "millrace") text += '_';
        in_word = upper;
        text += upper ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return text;
}

/// The last word of a row, which loses it and the space before it.
std::string_view take_last_word(std::string_view& row) {
    const size_t space = row.rfind(' ');
    if (space == std::string_view::npos) return std::exchange(row, {});
    const std::string_view word = row.substr(space + 1);
    row = row.substr(0, space);
    return word;
}

/// From behind: what a port is called may have spaces.
std::optional<Counter> parse_row(const std::string& program, std::string_view row) {
    Counter counter;
    counter.program = program;
    const auto value = parse_number<uint64_t>(take_last_word(row));
    counter.name = take_last_word(row);
    const std::string_view kind = row.substr(0, row.find(' '));
    row.remove_prefix(std::min(kind.size() + 1, row.size()));
    if (!value || row.empty()) return std::nullopt;
    counter.value = *value;
    if (kind == "port") {
        counter.port = row;
        return counter;
    }
    const auto core = parse_number<uint16_t>(row);
    if (!core || (kind != "core" && kind != "level")) return std::nullopt;
    counter.core = *core;
    counter.level = kind == "level";
    return counter;
}

/// As Prometheus wants it between quotes.
std::string quoted(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

std::string owner_label(const Counter& counter) {
    return counter.port.empty() ? fmt::format("core=\"{}\"", counter.core)
                                : fmt::format("port=\"{}\"", quoted(counter.port));
}

}  // namespace

void read_counters(const std::string& program, std::string_view text, Counters& counters) {
    while (!text.empty()) {
        const std::string_view row = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(row.size() + 1, text.size()));
        if (auto counter = parse_row(program, row)) counters.push_back(std::move(*counter));
    }
}

Counters summed(const Counters& counters) {
    Counters sums;
    std::map<std::tuple<std::string_view, std::string_view>, size_t> places;
    for (const Counter& counter : counters) {
        const auto [at, fresh] = places.emplace(std::tie(counter.name, counter.port), sums.size());
        if (!fresh) {
            sums[at->second].value += counter.value;
            continue;
        }
        sums.push_back(counter);
        sums.back().program.clear();
        sums.back().core = 0;
    }
    return sums;
}

bool Shown::admits(const Counter& counter) const {
    if (patterns.empty()) return true;
    return std::ranges::any_of(patterns, [&](const std::string& pattern) {
        return fnmatch(pattern.c_str(), counter.name.c_str(), 0) == 0;
    });
}

Counters since(const Counters& now, const Counters& before) {
    const auto key = [](const Counter& c) {
        return std::tuple<std::string_view, std::string_view, uint16_t, std::string_view>(
            c.program, c.port, c.core, c.name);
    };
    std::map<decltype(key(now.front())), uint64_t> was;
    for (const Counter& counter : before) was[key(counter)] = counter.value;
    Counters counted = now;
    for (Counter& counter : counted) {
        if (counter.level) continue;
        // Another program of the same number begins at 0.
        const uint64_t then = was[key(counter)];
        counter.value -= then <= counter.value ? then : 0;
    }
    return counted;
}

std::string table(const Counters& counters, double seconds, const Shown& shown) {
    std::string text;
    for (const Counter& counter : counters) {
        if (!shown.admits(counter) || (counter.value == 0 && !shown.zeros)) continue;
        if (seconds <= 0 || counter.level)
            text += fmt::format("{:<36}{:>20}", counter.name, counter.value);
        else
            text += fmt::format("{:<36}{:>20.1f}", counter.name,
                                static_cast<double>(counter.value) / seconds);
        text += counter.port.empty() ? "\n" : fmt::format("  {}\n", counter.port);
    }
    return text;
}

std::string prometheus(const Counters& counters, const Shown& shown) {
    std::string text;
    std::set<std::string_view> done;
    for (const Counter& first : counters) {
        if (!shown.admits(first) || !done.insert(first.name).second) continue;
        const std::string name = metric_name(first.name) + (first.level ? "" : "_total");
        text += fmt::format("# TYPE {} {}\n", name, first.level ? "gauge" : "counter");
        for (const Counter& counter : counters)
            if (counter.name == first.name)
                text += fmt::format("{}{{program=\"{}\",{}}} {}\n", name, counter.program,
                                    owner_label(counter), counter.value);
    }
    return text;
}

}  // namespace millrace::apps
