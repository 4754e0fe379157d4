// What a runtime counts, for who reads DPDK's telemetry: dpdk-telemetry.py, Telegraf.
#pragma once

#include "api/inspected.h"
#include "api/stop_event.h"

namespace millrace::api {

/// Answers for one runtime at "/millrace/..." of this process' telemetry socket from its making to
/// its end: summaries alone, since DPDK's answers end at 16 KiB. Made and destroyed by the
/// runtime's owner while the cores' mailboxes stand; DPDK asks from threads of its own.
class Telemetry {
public:
    explicit Telemetry(Inspected inspected);
    ~Telemetry();
    Telemetry(const Telemetry&) = delete;
    Telemetry& operator=(const Telemetry&) = delete;

    const Inspected& inspected() const { return inspected_; }
    /// Sums over all cores, or of one. 0, or a negative errno.
    int sum_up(int core, observe::Counters& counters) const;
    int sum_up(int core, Levels& levels) const;  ///< likewise

private:
    template <typename Take>
    int on_cores(int core, Take&& take) const;

    const Inspected inspected_;
    StopEvent stop_;
    int number_ = 0;
};

}  // namespace millrace::api
