#include "doctor/report.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace millrace::apps {

namespace {

constexpr std::array<std::string_view, 4> severity_names{"ok", "note", "warning", "failure"};

std::string_view name_of(Severity severity) {
    return severity_names[static_cast<size_t>(severity)];
}

std::string counted(size_t count, std::string_view what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

std::string findings_text(const Findings& findings) {
    std::string text;
    std::array<size_t, 4> counts{};
    for (const Finding& finding : findings) {
        ++counts[static_cast<size_t>(finding.severity)];
        text += fmt::format("{:<8} {:<15} {}\n", name_of(finding.severity), finding.topic,
                            finding.what);
        if (!finding.cause.empty()) text += fmt::format("{:24} cause:  {}\n", "", finding.cause);
        if (!finding.remedy.empty()) text += fmt::format("{:24} remedy: {}\n", "", finding.remedy);
    }
    return text + fmt::format("{}, {}, {}\n", counted(counts[3], "failure"),
                              counted(counts[2], "warning"), counted(counts[1], "note"));
}

nlohmann::ordered_json findings_json(const Findings& findings) {
    auto list = nlohmann::ordered_json::array();
    for (const Finding& finding : findings)
        list.push_back({{"severity", name_of(finding.severity)},
                        {"topic", finding.topic},
                        {"what", finding.what},
                        {"cause", finding.cause},
                        {"remedy", finding.remedy}});
    return {{"status", name_of(worst(findings))}, {"findings", std::move(list)}};
}

Findings findings_of(const nlohmann::json& list) {
    Findings findings;
    for (const auto& one : list) {
        Finding finding;
        const std::string severity = one.value("severity", "");
        const auto found = std::ranges::find(severity_names, severity);
        if (found == severity_names.end()) continue;
        finding.severity = static_cast<Severity>(found - severity_names.begin());
        finding.topic = one.value("topic", "");
        finding.what = one.value("what", "");
        finding.cause = one.value("cause", "");
        finding.remedy = one.value("remedy", "");
        findings.push_back(std::move(finding));
    }
    return findings;
}

int exit_status(const Findings& findings, bool strict) {
    const Severity found = worst(findings);
    if (found == Severity::failure) return 2;
    return strict && found == Severity::warning ? 1 : 0;
}

}  // namespace millrace::apps
