// A run of the load: its phases, and the collecting of its figures.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "load/generator.h"
#include "load/results.h"

namespace millrace::apps {

/// Told of each interval as it ends, with all of its figures; they are gone when this returns.
class RunObserver {
public:
    virtual void on_interval(const Interval& interval, const Figures& figures) = 0;

protected:
    ~RunObserver() = default;
};

/// Runs the generators of a runtime's cores, for whichever thread made it, which only waits and
/// adds up. Must outlive the runtime's loops.
class LoadRun {
public:
    /// `slack` buffers may rest in transmit rings at the end; `wait` waits for so many seconds, and
    /// answers true if the end was asked for.
    LoadRun(Runtime& runtime, const Plan& plan, size_t slack, std::function<bool(double)> wait);

    /// Starts the loops and makes the generators.
    Started<void> start();
    /// From the first connection to the last. What a server of ours says at the end comes from
    /// `served`, which may be empty.
    Results run(RunObserver& observer, const std::function<Served()>& served);

private:
    using Clock = std::chrono::steady_clock;
    /// What the cores and ports have counted up to some time.
    struct Reading {
        std::vector<uint64_t> busy_cycles;
        uint64_t tsc = 0;
        std::map<std::string, uint64_t> counters;
        Runtime::PortLosses losses;
        size_t connections = 0;
        size_t buffers = 0;
    };
    Reading read();
    void tell(void (Generator::*what)());
    template <typename Value>
    std::vector<Value> ask(const std::function<Value(Generator&)>& question);

    /// Intervals of a second until `until` or `over()` says so. True if the end was asked for.
    bool pass(Phase phase, double until, const std::function<bool()>& over);
    void await_schedule();
    void cut(Phase phase, double end);
    void open();
    void drain();
    void settle(const Reading& before);
    void judge(const Reading& before, const Reading& after);
    double elapsed() const {
        return std::chrono::duration<double>(Clock::now() - begun_).count();
    }

    Runtime& runtime_;
    const Plan& plan_;
    const size_t slack_;
    const std::function<bool(double)> wait_;
    std::vector<std::unique_ptr<Generator>> generators_;
    std::vector<std::unique_ptr<Figures>> spare_;  ///< empty, for the next exchange
    RunObserver* observer_ = nullptr;
    Results results_;
    Clock::time_point begun_;
    double interval_start_ = 0;
    Reading interval_reading_;
};

}  // namespace millrace::apps
