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

Counters since(const Counters& now, const Counters& before) {
    const auto key = [](const Counter& c) {
        return std::tuple<std::string_view, uint16_t, std::string_view>(c.program, c.core, c.name);
    };
    std::map<decltype(key(now.front())), uint64_t> was;
    for (const Counter& counter : before) was[key(counter)] = counter.value;
    Counters counted = now;
    for (Counter& counter : counted) {
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
        if (seconds <= 0)
            text += fmt::format("{:<36}{:>20}\n", counter.name, counter.value);
        else
            text += fmt::format("{:<36}{:>20.1f}\n", counter.name,
                                static_cast<double>(counter.value) / seconds);
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
