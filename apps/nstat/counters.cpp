#include "nstat/counters.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "common/text.h"

namespace millrace::apps {

namespace {

/// "TcpExtListenOverflows" -> "millrace_tcp_ext_listen_overflows_total".
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
    return text + "_total";
}

}  // namespace

void read_counters(const std::string& program, std::string_view text, Counters& counters) {
    while (!text.empty()) {
        const std::string_view row = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(row.size() + 1, text.size()));
        const size_t name_at = row.find(' ');
        const size_t value_at = row.rfind(' ');
        if (name_at == std::string_view::npos || value_at == name_at) continue;
        const auto core = parse_number<uint16_t>(row.substr(0, name_at));
        const auto value = parse_number<uint64_t>(row.substr(value_at + 1));
        if (!core || !value) continue;
        counters.push_back(
            {program, *core, std::string(row.substr(name_at + 1, value_at - name_at - 1)), *value});
    }
}

Counters summed(const Counters& counters) {
    Counters sums;
    std::map<std::string_view, size_t> places;
    for (const Counter& counter : counters) {
        const auto [at, fresh] = places.emplace(counter.name, sums.size());
        if (fresh)
            sums.push_back({{}, 0, counter.name, counter.value});
        else
            sums[at->second].value += counter.value;
    }
    return sums;
}

bool Shown::admits(const Counter& counter) const {
    if (patterns.empty()) return true;
    return std::ranges::any_of(patterns, [&](const std::string& pattern) {
        return fnmatch(pattern.c_str(), counter.name.c_str(), 0) == 0;
    });
}

std::string table(const Counters& now, const Counters& before, double seconds, const Shown& shown) {
    std::map<std::string_view, uint64_t> was;
    for (const Counter& counter : before) was[counter.name] = counter.value;
    std::string text;
    for (const Counter& counter : now) {
        if (!shown.admits(counter)) continue;
        if (seconds <= 0) {
            if (counter.value != 0 || shown.zeros)
                text += fmt::format("{:<36}{:>20}\n", counter.name, counter.value);
            continue;
        }
        // A program that has come or gone meanwhile must not make a number of a lack.
        const uint64_t since = counter.value - std::min(counter.value, was[counter.name]);
        if (since != 0 || shown.zeros)
            text += fmt::format("{:<36}{:>20.1f}\n", counter.name,
                                static_cast<double>(since) / seconds);
    }
    return text;
}

std::string prometheus(const Counters& counters, const Shown& shown) {
    std::string text;
    std::set<std::string_view> done;
    for (const Counter& first : counters) {
        if (!shown.admits(first) || !done.insert(first.name).second) continue;
        const std::string name = metric_name(first.name);
        text += fmt::format("# TYPE {} counter\n", name);
        for (const Counter& counter : counters)
            if (counter.name == first.name)
                text += fmt::format("{}{{program=\"{}\",core=\"{}\"}} {}\n", name, counter.program,
                                    counter.core, counter.value);
    }
    return text;
}

}  // namespace millrace::apps
