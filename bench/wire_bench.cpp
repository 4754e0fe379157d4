// What is done to the bytes of every segment.
#include <array>
#include <vector>

#include "base/random.h"
#include "measured.h"
#include "wire/checksum.h"
#include "wire/tcp.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

void checksum(benchmark::State& state) {
    std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)));
    Random(1).fill(bytes);
    in_batches(state, with_argument("checksum", state), [&] {
        for (size_t i = 0; i < batch; ++i)
            benchmark::DoNotOptimize(wire::Checksum().add(bytes.data(), bytes.size()).finish());
    });
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(checksum)->Arg(40)->Arg(1460)->Arg(9000)->Arg(65536);

void parse_segment(benchmark::State& state) {
    wire::Segment segment;
    segment.flags = wire::TcpFlags::ack;
    segment.options.has_timestamps = true;
    std::array<uint8_t, 60> bytes{};
    const size_t size = segment.emit(bytes.data());
    in_batches(state, "parse_segment", [&] {
        for (size_t i = 0; i < batch; ++i) {
            benchmark::DoNotOptimize(bytes.data());
            benchmark::DoNotOptimize(wire::Segment::parse({bytes.data(), size}, size + 1000));
        }
    });
}
BENCHMARK(parse_segment);

void emit_segment(benchmark::State& state) {
    wire::Segment segment;
    segment.flags = wire::TcpFlags::ack;
    segment.options.has_timestamps = true;
    std::array<uint8_t, 60> bytes{};
    in_batches(state, "emit_segment", [&] {
        for (size_t i = 0; i < batch; ++i) {
            benchmark::DoNotOptimize(segment);
            benchmark::DoNotOptimize(segment.emit(bytes.data()));
            benchmark::ClobberMemory();
        }
    });
}
BENCHMARK(emit_segment);

}  // namespace
}  // namespace millrace
