// Micro-benchmarks: time by Google Benchmark; under callgrind, instructions (instructions.py).
#include <benchmark/benchmark.h>

#include "runtime/eal.h"

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    millrace::EalConfig eal;
    eal.huge_pages = false;
    if (!millrace::runtime::start_eal(eal, 256)) return 2;
    benchmark::RunSpecifiedBenchmarks();
}
