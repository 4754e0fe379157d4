// A run's figures for programs: JSON, CSV, HdrHistogram's log.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "load/assertion.h"
#include "load/hdr_log.h"
#include "load/results.h"

namespace millrace::apps {

/// Options by name, each with what it was given.
using OptionValues = std::map<std::string, std::vector<std::string>>;

/// The whole run as JSON, as `report.schema.json` has it. `options` is the resolved plan.
std::string to_json(const OptionValues& options, const Results& results,
                    const std::vector<AssertionResult>& assertions);

/// Its intervals as a table, times in microseconds.
std::string to_csv(const Results& results);

/// Writes a whole file. The errno where that cannot be.
Result<void> write_file(const std::string& path, std::string_view text);

}  // namespace millrace::apps
