// A generator's figures for people: a line a second, a report at the end.
#pragma once

#include <vector>

#include "load/generator.h"

namespace millrace::apps {

/// Runs the generators of a runtime: starts them, prints a line a second until `seconds` are over
/// (0: no end) or `ended()` says so, stops them, prints the report. Answers the totals.
class LoadRun {
public:
    LoadRun(Runtime& runtime, const LoadOptions& options);

    Started<void> start();
    /// Waits for a second by `wait`, which answers true if the end was asked for.
    LoadCounters run(double seconds, const std::function<bool(double)>& wait);

private:
    void print_line(uint64_t second, const LoadCounters& interval) const;
    void print_report(const LoadCounters& total, double seconds) const;
    LoadCounters collect(const std::function<LoadCounters(Generator&)>& from);

    Runtime& runtime_;
    LoadOptions options_;
    std::vector<std::unique_ptr<Generator>> generators_;
};

}  // namespace millrace::apps
