// How the micro-benchmarks measure: in batches, whose preparation counts neither as time nor as
// instructions.
#pragma once

#include <string>
#include <utility>

#include <benchmark/benchmark.h>
#include <valgrind/callgrind.h>

namespace millrace::bench {

/// Under callgrind (started with --collect-atstart=no) each run of a benchmark dumps what it has
/// executed between `begin` and `end`, labelled "LABEL:ITERATIONS"; elsewhere it costs a few
/// instructions that do nothing.
class Instructions {
public:
    Instructions() { CALLGRIND_ZERO_STATS; }
    Instructions(const Instructions&) = delete;
    Instructions& operator=(const Instructions&) = delete;
    void begin() { CALLGRIND_TOGGLE_COLLECT; }
    void end() { CALLGRIND_TOGGLE_COLLECT; }
    void dump(const std::string& label, const benchmark::State& state) {
        // Named: the request is a statement of its own, behind the one that evaluates this.
        const std::string name = label + ":" + std::to_string(state.iterations());
        CALLGRIND_DUMP_STATS_AT(name.c_str());
    }
};

/// Operations are measured by so many at once: reading the clock costs more than most of them.
constexpr size_t batch = 4096;

/// `measured()` does `batch` operations; `prepare()` comes before it and is not counted.
template <typename Prepare, typename Measured>
void in_batches(benchmark::State& state, const std::string& label, Prepare&& prepare,
                Measured&& measured) {
    Instructions instructions;
    while (state.KeepRunningBatch(batch)) {
        state.PauseTiming();
        prepare();
        state.ResumeTiming();
        instructions.begin();
        measured();
        instructions.end();
        state.PauseTiming();
        state.ResumeTiming();
    }
    instructions.dump(label, state);
}

/// Nothing needs preparing.
template <typename Measured>
void in_batches(benchmark::State& state, const std::string& label, Measured&& measured) {
    in_batches(state, label, [] {}, std::forward<Measured>(measured));
}

/// A benchmark's name with its argument, as Google Benchmark prints it.
inline std::string with_argument(const std::string& name, const benchmark::State& state) {
    return name + "/" + std::to_string(state.range(0));
}

/// The sizes of tables and wheels that are measured.
inline void populations(benchmark::internal::Benchmark* benchmark) {
    benchmark->Arg(1000)->Arg(1'000'000)->Arg(10'000'000);
}

}  // namespace millrace::bench
