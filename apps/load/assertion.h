// What a run is asserted to have come to: "p99<200us", "errors==0".
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <millrace/error.h>

#include "load/results.h"

namespace millrace::apps {

struct AssertionResult {
    std::string text;
    std::string value;  ///< what it is
    bool holds = false;
};

/// METRIC COMPARISON NUMBER[UNIT]. Metrics: a latency of whole requests (p50, p99.9, min, max,
/// mean), or of another kind with its name before it (connect.p99, first_byte.max,
/// uncorrected.p99, lag.p99); rates a second (rps, cps); counts (requests, connections, errors, one
/// kind of error by its name, retransmissions, drops, unsent); error_rate, a share of the requests;
/// gbps_in and gbps_out. Units: ns, us, ms, s of times, k, M, G of numbers, % of shares.
class Assertion {
public:
    static Started<Assertion> parse(std::string_view text);
    AssertionResult check(const Results& results) const;
    const std::string& text() const { return text_; }

private:
    enum class Comparison : uint8_t { less, at_most, greater, at_least, equal, unequal };
    using Metric = std::function<double(const Results&)>;
    static Metric metric(std::string_view name, bool& is_time);

    std::string text_;
    Metric metric_;
    Comparison comparison_ = Comparison::less;
    double limit_ = 0;       ///< of times in nanoseconds
    bool is_time_ = false;
};

}  // namespace millrace::apps
