// What a run has come to.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/served.h"
#include "load/figures.h"
#include "load/plan.h"

namespace millrace::apps {

enum class Phase : uint8_t { opening, warming_up, counting, draining };
std::string_view name_of(Phase phase);

/// A stretch of time, about a second, with its figures in few words.
struct Interval {
    Phase phase = Phase::counting;
    double start = 0;      ///< seconds since the load began; negative while it is opening
    double seconds = 0;
    uint64_t open = 0;     ///< connections at its end
    uint64_t attempted = 0, established = 0, completed = 0, errors = 0;
    uint64_t bytes_in = 0, bytes_out = 0;
    Duration p50, p99, max;  ///< of whole requests
    Duration connect_p99;
    Duration lag_p99;
    double busy = 0;         ///< share of the busiest core's cycles
};

/// Something that must hold at the end of a run, and whether it does.
struct Invariant {
    std::string name;
    bool holds = false;
    std::string detail;
};

struct CoreShare {
    uint16_t core = 0;
    double busy = 0;             ///< share of its cycles in turns with something to do
    uint64_t busy_cycles = 0;
};

struct Results {
    double seconds = 0;          ///< that count
    Figures counted;             ///< of those
    Figures whole;               ///< of the whole run, from the first connection to the last answer
    std::vector<Interval> series;
    std::vector<CoreShare> cores;
    std::map<std::string, uint64_t> counters;  ///< of our stacks, over the whole run
    uint64_t port_missed = 0, port_no_buffer = 0, port_errors = 0, port_transmit_full = 0;
    std::optional<Served> served;              ///< by a server of ours
    std::vector<Invariant> invariants;
    uint64_t behind = 0;         ///< of the schedule, not begun yet when it was over
    std::vector<std::string> invalid;          ///< why the figures are not to be believed
    std::string tls_problem;     ///< why TLS failed first; empty where it did not
    bool interrupted = false;

    double per_second(uint64_t n) const {
        return seconds > 0 ? static_cast<double>(n) / seconds : 0;
    }
    uint64_t counter(const std::string& name) const {
        const auto found = counters.find(name);
        return found == counters.end() ? 0 : found->second;
    }
    uint64_t retransmitted_syns() const { return counter("TcpExtTCPSynRetrans"); }
    uint64_t retransmitted_fins() const { return counter("FinRetrans"); }
    /// What carried data alone.
    uint64_t retransmitted_data() const;
    uint64_t drops() const {
        return port_missed + port_no_buffer + port_errors + port_transmit_full;
    }
};

/// Adds to `invalid` where the generator, or its target, has not kept up with the schedule.
void judge_schedule(Results& results, const Plan& plan);

}  // namespace millrace::apps
