// What a runtime counts, for who reads DPDK's telemetry: dpdk-telemetry.py, Telegraf.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "api/inspected.h"
#include "api/stop_event.h"

namespace millrace::api {

/// One runtime's numbers, for threads that may outlive it. They ask one after the other.
class Summaries {
public:
    explicit Summaries(Inspected inspected) : inspected_(std::move(inspected)) {}

    /// Sums over all cores, or of one. 0; ENODEV: there is no such core, or no runtime any more;
    /// ETIMEDOUT: it does not turn; EBUSY.
    int take(std::optional<uint16_t> core, observe::Counters& counters);
    int take(std::optional<uint16_t> core, Levels& levels);  ///< likewise
    /// Calls `visit(cores, ports)`. 0, or ENODEV.
    template <typename Visit>
    int describe(Visit&& visit) {
        const std::lock_guard lock(mutex_);
        if (closed_) return ENODEV;
        visit(inspected_.cores, inspected_.ports);
        return 0;
    }
    /// When this returns, no core is asked any more. Who waits for one waits no longer.
    void close();

private:
    template <typename Take>
    int on_cores(std::optional<uint16_t> core, Take&& take);

    std::mutex mutex_;
    const Inspected inspected_;
    StopEvent stop_;
    bool closed_ = false;
};

/// Answers for one runtime at "/millrace/..." of this process' telemetry socket from its making to
/// its end: summaries alone, since DPDK's answers end at 16 KiB. Made and destroyed by the
/// runtime's owner while the cores' mailboxes stand; DPDK asks from threads of its own.
class Telemetry {
public:
    explicit Telemetry(Inspected inspected);
    ~Telemetry();
    Telemetry(const Telemetry&) = delete;
    Telemetry& operator=(const Telemetry&) = delete;

private:
    const std::shared_ptr<Summaries> summaries_;
    int number_ = 0;
};

}  // namespace millrace::api
