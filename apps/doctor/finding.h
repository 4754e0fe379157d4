// What the doctor says: one finding each, with cause and remedy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace millrace::apps {

/// In ascending order.
enum class Severity : uint8_t {
    ok,       ///< as it should be
    note,     ///< good to know; nothing is wrong
    warning,  ///< it runs, but worse than it could, or not as somebody may think
    failure,  ///< it will not run, or not do what it is for
};

/// One thing that was looked at.
struct Finding {
    Severity severity = Severity::ok;
    std::string topic;   ///< "huge pages"; the same words for the same question, always
    std::string what;    ///< what was found
    std::string cause;   ///< why that is so, or why it matters; empty where nothing is wrong
    std::string remedy;  ///< what to do about it; likewise
};

using Findings = std::vector<Finding>;

inline Finding ok(std::string topic, std::string what) {
    return {Severity::ok, std::move(topic), std::move(what), {}, {}};
}
inline Finding note(std::string topic, std::string what, std::string cause = {},
                    std::string remedy = {}) {
    return {Severity::note, std::move(topic), std::move(what), std::move(cause),
            std::move(remedy)};
}
inline Finding warning(std::string topic, std::string what, std::string cause,
                       std::string remedy) {
    return {Severity::warning, std::move(topic), std::move(what), std::move(cause),
            std::move(remedy)};
}
/// A `Failure` is what a call answers; this is one of the things that were found.
inline Finding trouble(std::string topic, std::string what, std::string cause,
                       std::string remedy) {
    return {Severity::failure, std::move(topic), std::move(what), std::move(cause),
            std::move(remedy)};
}

/// The worst of them; `ok` where there is none.
inline Severity worst(const Findings& findings) {
    Severity found = Severity::ok;
    for (const Finding& finding : findings) found = std::max(found, finding.severity);
    return found;
}

}  // namespace millrace::apps
