// Timers of the application on its core's timing wheel.
//
// Purpose: what has to happen later, or not at all: timeouts, pauses, periods.
// Owner: the thread of the stack that it was started on; it may be made and destroyed anywhere
// while it does not run. It may outlive its stack, which cancels it.
// Cost: 72 bytes; starting and cancelling are O(1) and allocate nothing.
#pragma once

#include <cstddef>
#include <functional>

#include <millrace/error.h>
#include <millrace/time.h>

namespace millrace {

namespace api {
class Context;
}
class Stack;

/// Calls a function once, later.
class Timer {
public:
    /// `expired` is called once for each `start`; it may start the timer again, or destroy it.
    explicit Timer(std::function<void()> expired);
    /// Cancels.
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    /// Expires after `time`, in the application's turn: not before, and at most 65.5 us later as
    /// far as the loop turns in time. One that runs begins anew. EPERM on another thread than the
    /// stack's, EINVAL for a negative time, or where there is no function.
    Result<void> start(Stack& stack, Duration time);
    /// It does not expire any more. Nothing where it does not run.
    void cancel();
    /// Started, and neither expired nor cancelled; false already while `expired` runs.
    bool is_running() const;

private:
    friend class api::Context;
    void expire();

    std::function<void()> expired_;
    bool* destroyed_ = nullptr;           ///< told when it is, while its function runs
    alignas(void*) std::byte entry_[32];  ///< its place on the wheel
};

}  // namespace millrace
