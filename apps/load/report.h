// A run's figures for people: a line a second, a report at the end.
#pragma once

#include "load/assertion.h"
#include "load/run.h"

namespace millrace::apps {

/// Prints the live table on standard output; it fits a terminal of 80 columns.
class LiveTable {
public:
    explicit LiveTable(const Plan& plan) : plan_(plan) {}
    void print(const Interval& interval, const Figures& figures);

private:
    const Plan& plan_;
    uint64_t lines_ = 0;
};

/// What was asked for, what came of it, whether it is to be believed.
void print_report(const Plan& plan, const Results& results,
                  const std::vector<AssertionResult>& assertions);

}  // namespace millrace::apps
