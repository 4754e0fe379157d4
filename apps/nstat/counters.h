// Counters as `nstat` and Prometheus show them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::apps {

/// Of a core or a port, by program and name.
struct Counter {
    std::string program;  ///< its process number and the runtime's place
    uint16_t core = 0;
    std::string name;
    uint64_t value = 0;
    std::string port;     ///< its device; empty: a core's
    bool level = false;   ///< how many there are now, which is not counted up
};
using Counters = std::vector<Counter>;

/// What an inspection has answered, appended.
void read_counters(const std::string& program, std::string_view text, Counters& counters);
/// Of all programs and cores together, and of each port, in the order of their first appearance.
Counters summed(const Counters& counters);

/// Which counters are shown, and how.
struct Shown {
    bool zeros = false;                 ///< those of 0, too
    std::vector<std::string> patterns;  ///< glob; none: all
    bool admits(const Counter& counter) const;
};
/// What has been counted since `before`, by programs that are still there or have come; levels as
/// they are now.
Counters since(const Counters& now, const Counters& before);
/// A line each: name, value and port, as `nstat`; a second's part of what is counted where
/// `seconds` is given.
std::string table(const Counters& counters, double seconds, const Shown& shown);
/// The text format of Prometheus: millrace_NAME{program="...",core="..."} value, or port="...".
std::string prometheus(const Counters& counters, const Shown& shown);

}  // namespace millrace::apps
