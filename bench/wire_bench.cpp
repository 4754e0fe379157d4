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

/// The options of a SYN as Linux sends it, or three SACK blocks behind timestamps.
void parse_options(benchmark::State& state) {
    const bool syn = state.range(0) != 0;
    wire::TcpOptions options;
    options.has_timestamps = true;
    if (syn) {
        options.mss = 1460;
        options.sack_permitted = options.has_window_scale = true;
        options.window_scale = 7;
    } else {
        options.sack_count = 3;
    }
    std::array<uint8_t, wire::TcpOptions::max_size> bytes{};
    wire::Checksum sum;
    options.emit(bytes.data(), syn, sum);
    const std::span<const uint8_t> emitted(bytes.data(), options.size(syn));
    in_batches(state, with_argument("parse_options", state), [&] {
        for (size_t i = 0; i < batch; ++i) {
            wire::TcpOptions out;
            benchmark::DoNotOptimize(bytes.data());
            benchmark::DoNotOptimize(wire::TcpOptions::parse(emitted, syn, out));
            benchmark::DoNotOptimize(out);
        }
    });
}
BENCHMARK(parse_options)->Arg(0)->Arg(1);

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

/// A word of 16 bits changes under a checksum.
void update_checksum(benchmark::State& state) {
    uint16_t sum = 0x1234;
    in_batches(state, "update_checksum", [&] {
        for (size_t i = 0; i < batch; ++i) {
            sum = wire::update_checksum(sum, static_cast<uint16_t>(i), sum);
            benchmark::DoNotOptimize(sum);
        }
    });
}
BENCHMARK(update_checksum);

}  // namespace
}  // namespace millrace
