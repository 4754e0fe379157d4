// The doctor's findings, for people and for programs.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "doctor/finding.h"

namespace millrace::apps {

/// A line each, with cause and remedy below where there are any; counts at the end.
std::string findings_text(const Findings& findings);
/// The same as an object: {"status", "findings": [{"severity", "topic", "what", ...}]}.
nlohmann::ordered_json findings_json(const Findings& findings);
/// Back again; what is no finding is left out.
Findings findings_of(const nlohmann::json& list);
/// For scripts: 0 without a failure, 1 with a warning where warnings count, 2 with a failure.
int exit_status(const Findings& findings, bool strict);

}  // namespace millrace::apps
