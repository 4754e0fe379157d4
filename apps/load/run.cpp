#include "load/run.h"

#include <x86intrin.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include <fmt/format.h>

#include "common/program.h"

namespace millrace::apps {

namespace {

// A look at whether something is over, while there is nothing else to wait for.
constexpr double glance = 0.01;
// Connections of a rate of its own get so long to stand, and this much more.
constexpr double opening_s = 30;
// Frames under way and buffers in caches come to rest within so long.
constexpr double settling_s = 2;

}  // namespace

LoadRun::LoadRun(Runtime& runtime, const Plan& plan, size_t slack,
                 std::function<bool(double)> wait)
    : runtime_(runtime),
      plan_(plan),
      slack_(slack),
      wait_(std::move(wait)),
      generators_(runtime.cores()) {
    for (uint16_t i = 0; i < runtime.cores(); ++i) spare_.push_back(std::make_unique<Figures>());
}

Started<void> LoadRun::start() {
    auto contexts = std::make_shared<std::vector<std::unique_ptr<TlsContext>>>(runtime_.cores());
    for (auto& context : *contexts) {
        if (plan_.protocol != Protocol::https) break;
        auto made = TlsContext::client(plan_.tls);
        if (!made) return std::unexpected(made.error());
        context = std::move(*made);
    }
    const auto started = runtime_.run([this, contexts](Stack& stack) {
        const uint16_t core = stack.core();
        generators_[core] = std::make_unique<Generator>(stack, plan_, core, runtime_.cores(),
                                                        std::move((*contexts)[core]));
        (void)stack.set_turn_handler(generators_[core].get());
    });
    if (started) ask_cores<int>(runtime_, [](Stack&) { return 0; });  // set up once it answers
    return started;
}

template <typename Value>
std::vector<Value> LoadRun::ask(const std::function<Value(Generator&)>& question) {
    return ask_cores<Value>(
        runtime_, [&](Stack& stack) { return question(*generators_[stack.core()]); });
}

void LoadRun::tell(void (Generator::*what)()) {
    ask<int>([what](Generator& generator) {
        (generator.*what)();
        return 0;
    });
}

LoadRun::Reading LoadRun::read() {
    struct OfCore {
        uint64_t busy = 0;
        std::map<std::string, uint64_t> counters;
        size_t connections = 0;
        size_t buffers = 0;
    };
    Reading reading;
    for (const OfCore& core : ask_cores<OfCore>(runtime_, [](Stack& stack) {
             OfCore core;
             stack.counters([&](std::string_view name, uint64_t value) {
                 if (name == "CoreBusyCycles") core.busy = value;
                 if (value != 0) core.counters.emplace(name, value);
             });
             const auto population = stack.population();
             core.connections = population.connections + population.half_open;
             core.buffers = stack.buffers_available();
             return core;
         })) {
        reading.busy_cycles.push_back(core.busy);
        for (const auto& [name, value] : core.counters) reading.counters[name] += value;
        reading.connections += core.connections;
        reading.buffers += core.buffers;
    }
    reading.tsc = __rdtsc();
    reading.losses = runtime_.losses();
    return reading;
}

/// Takes the figures since the last cut. The generators go on counting in empty ones.
void LoadRun::cut(Phase phase, double end) {
    Figures sum;
    // Each core takes its spare figures and leaves the full ones in their place.
    ask<int>([this](Generator& generator) {
        auto& spare = spare_[generator.core()];
        spare = generator.exchange(std::move(spare));
        return 0;
    });
    for (const auto& figures : spare_) {
        sum += *figures;
        figures->clear();
    }
    Interval interval{.phase = phase, .start = interval_start_, .seconds = end - interval_start_};
    for (const uint64_t open :
         ask<uint64_t>([](Generator& generator) { return generator.open_now(); }))
        interval.open += open;
    interval.attempted = sum.attempted;
    interval.established = sum.established;
    interval.completed = sum.completed;
    interval.errors = sum.errors_total();
    interval.bytes_in = sum.bytes_in;
    interval.bytes_out = sum.bytes_out;
    interval.p50 = sum.request.percentile(0.5);
    interval.p99 = sum.request.percentile(0.99);
    interval.max = sum.request.max();
    interval.connect_p99 = sum.connect.percentile(0.99);
    interval.lag_p99 = sum.lag.percentile(0.99);
    const Reading now = read();
    const auto cycles = static_cast<double>(now.tsc - interval_reading_.tsc);
    for (size_t i = 0; i < now.busy_cycles.size(); ++i)
        interval.busy = std::max(
            interval.busy,
            static_cast<double>(now.busy_cycles[i] - interval_reading_.busy_cycles[i]) / cycles);
    interval_reading_ = now;
    interval_start_ = end;
    if (phase == Phase::counting) results_.counted += sum;
    // What was intended in time and answered late would else be left out: the longest of all.
    if (phase == Phase::draining && plan_.is_open_loop()) results_.counted.add_latencies(sum);
    results_.whole += sum;
    results_.series.push_back(interval);
    observer_->on_interval(interval, sum);
}

/// The loops count time by the TSC, this thread by the system's clock: where those differ (some
/// parts in a thousand), what is left of the schedule is still to come. Not for long.
void LoadRun::await_schedule() {
    if (!plan_.is_open_loop()) return;
    const auto over = [this] {
        const auto cores =
            ask<int>([](Generator& generator) { return generator.is_schedule_over() ? 1 : 0; });
        return std::ranges::find(cores, 0) == cores.end();
    };
    const double limit = elapsed() * 1.01 + 0.05;
    while (elapsed() < limit && !over())
        std::this_thread::sleep_for(std::chrono::duration<double>(glance / 10));
}

bool LoadRun::pass(Phase phase, double until, const std::function<bool()>& over) {
    double next_cut = std::floor(elapsed()) + 1;
    while (true) {
        const double now = elapsed();
        const double step = std::min({next_cut, until, over ? now + glance : until});
        const bool asked = wait_(std::max(0.0, step - now));
        const bool ended = asked || elapsed() >= until || (over && over());
        if (ended && !asked && phase == Phase::counting) await_schedule();
        if (ended || elapsed() >= next_cut) {
            cut(phase, elapsed());
            next_cut = std::floor(elapsed()) + 1;
        }
        if (ended) return asked;
    }
}

Results LoadRun::run(RunObserver& observer, const std::function<Served()>& served) {
    observer_ = &observer;
    begun_ = Clock::now();
    const Reading before = interval_reading_ = read();
    open();
    if (!results_.interrupted && results_.invalid.empty()) {
        tell(&Generator::begin);
        // What came before the load came at negative times.
        const double opening = elapsed();
        for (Interval& interval : results_.series) interval.start -= opening;
        begun_ = Clock::now();  // when all have begun: at its end, nothing of a schedule is to come
        interval_start_ = 0;
        const double uncounted = plan_.uncounted_seconds();
        const double end = uncounted + plan_.counted_seconds();
        if (uncounted > 0) results_.interrupted = pass(Phase::warming_up, uncounted, {});
        const double counting_since = interval_start_;
        const Reading first = read();
        const std::function<bool()> output = [this] {
            const auto has = ask<int>([](Generator& g) { return g.has_output() ? 1 : 0; });
            return std::ranges::find(has, 1) != has.end();
        };
        if (!results_.interrupted)
            results_.interrupted =
                pass(Phase::counting, end, plan_.output ? output : std::function<bool()>());
        results_.seconds = interval_start_ - counting_since;
        const Reading last = read();
        for (uint16_t i = 0; i < last.busy_cycles.size(); ++i) {
            const uint64_t busy = last.busy_cycles[i] - first.busy_cycles[i];
            results_.cores.push_back({i, static_cast<double>(busy) /
                                             static_cast<double>(last.tsc - first.tsc), busy});
        }
    }
    drain();
    settle(before);
    if (served) results_.served = served();
    judge(before, read());
    return std::move(results_);
}

/// Connections that are to stand come first.
void LoadRun::open() {
    tell(&Generator::open);
    const auto all_open = [this] {
        const auto open = ask<int>([](Generator& g) { return g.is_open() ? 1 : 0; });
        return std::ranges::find(open, 0) == open.end();
    };
    if (!plan_.connections_stand()) return;
    const double limit =
        opening_s + (plan_.mode == Mode::concurrent ? plan_.connections / plan_.rate : 0);
    results_.interrupted = pass(Phase::opening, limit, all_open);
    if (results_.interrupted) return;
    if (results_.whole.established == 0)
        results_.invalid.emplace_back("no connection could be opened");
    else if (!all_open())
        results_.invalid.push_back(
            fmt::format("only {} of {} connections were open after {:.0f} s",
                        results_.series.back().open, plan_.connections, limit));
}

void LoadRun::drain() {
    tell(&Generator::stop);
    for (const uint64_t behind :
         ask<uint64_t>([](Generator& generator) { return generator.behind(); }))
        results_.behind += behind;
    const auto finished = [this] {
        const auto done = ask<int>([](Generator& g) { return g.is_finished() ? 1 : 0; });
        return std::ranges::find(done, 0) == done.end();
    };
    if (!finished()) pass(Phase::draining, elapsed() + plan_.drain, finished);
    tell(&Generator::abandon);
    for (const auto& problem : ask<std::string>([](Generator& g) { return g.problem(); }))
        if (results_.tls_problem.empty()) results_.tls_problem = problem;
    cut(Phase::draining, elapsed());
}

/// Until nothing is open and every buffer is back, or for as long as that may take.
void LoadRun::settle(const Reading& before) {
    const auto end = Clock::now() + std::chrono::duration<double>(settling_s);
    while (Clock::now() < end) {
        const Reading now = read();
        if (now.connections == 0 && now.buffers >= before.buffers) return;
        std::this_thread::sleep_for(std::chrono::duration<double>(glance));
    }
}

}  // namespace millrace::apps
