// Micro-benchmarks of the rooms that every segment passes.
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/random.h"
#include "runtime/eal.h"
#include "tcp/flow.h"
#include "time/wheel.h"
#include "wire/checksum.h"
#include "wire/tcp.h"

namespace millrace {
namespace {

void checksum(benchmark::State& state) {
    std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)));
    Random(1).fill(bytes);
    for (auto _ : state)
        benchmark::DoNotOptimize(wire::Checksum().add(bytes.data(), bytes.size()).finish());
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(checksum)->Arg(40)->Arg(1460)->Arg(9000)->Arg(65536);

void parse_segment(benchmark::State& state) {
    wire::Segment segment;
    segment.flags = wire::TcpFlags::ack;
    segment.options.has_timestamps = true;
    std::array<uint8_t, 60> bytes{};
    const size_t size = segment.emit(bytes.data());
    for (auto _ : state) {
        benchmark::DoNotOptimize(bytes.data());
        benchmark::DoNotOptimize(wire::Segment::parse({bytes.data(), size}, size + 1000));
    }
}
BENCHMARK(parse_segment);

void emit_segment(benchmark::State& state) {
    wire::Segment segment;
    segment.flags = wire::TcpFlags::ack;
    segment.options.has_timestamps = true;
    std::array<uint8_t, 60> bytes{};
    for (auto _ : state) {
        benchmark::DoNotOptimize(segment);
        benchmark::DoNotOptimize(segment.emit(bytes.data()));
        benchmark::ClobberMemory();
    }
}
BENCHMARK(emit_segment);

/// Look-up of random flows among `range` of them.
void flow_table_hit(benchmark::State& state) {
    const auto count = static_cast<size_t>(state.range(0));
    const TableHash hash(7);
    HashTable<tcp::Flow> table(count);
    Pool<tcp::Flow> pool(count);
    std::vector<tcp::FlowKey> keys(count);
    Random random(2);
    for (tcp::FlowKey& key : keys) {
        const uint64_t bits = random.next();
        key.remote = Address::v4(&bits);
        key.remote_port = static_cast<uint16_t>(bits >> 32);
        table.insert(*pool.take(tcp::FlowKind::connection, key), hash(key));
    }
    for (auto _ : state) {
        const tcp::FlowKey& key = keys[random.below(count)];
        benchmark::DoNotOptimize(table.find(key, hash(key)));
    }
    table.for_each([&](tcp::Flow& flow) { table.erase(flow); });
}
BENCHMARK(flow_table_hit)->Arg(1000)->Arg(1'000'000);

void wheel_arm_and_cancel(benchmark::State& state) {
    time::Wheel wheel(Instant{});
    std::vector<time::WheelEntry> timers(1024);
    Random random(3);
    for (auto _ : state) {
        const uint64_t draw = random.next();
        wheel.arm(timers[draw % 1024],
                  Instant() + Duration::from_us(static_cast<int64_t>(draw >> 40)));
    }
}
BENCHMARK(wheel_arm_and_cancel);

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    millrace::EalConfig eal;
    eal.huge_pages = false;
    if (!millrace::runtime::start_eal(eal, 256)) return 2;
    benchmark::RunSpecifiedBenchmarks();
}
