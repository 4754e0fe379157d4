// What a sender and a receiver do for a segment beside its headers: the scoreboard under SACKs,
// data out of order, a step of congestion control.
#include <memory>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "congestion/control.h"
#include "frames.h"
#include "measured.h"
#include "tcp/connection.h"
#include "tcp/reassembly.h"
#include "tcp/sent.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

constexpr uint32_t segment = 1448;

/// A window of so many segments, each sent in a turn of its own; every other is SACKed, then all
/// are acknowledged. Counted by segment.
void scoreboard(benchmark::State& state) {
    const auto window = static_cast<uint32_t>(state.range(0));
    Pool<tcp::SentRange> pool(window + 1);
    tcp::SentRanges sent(pool);
    Seq next(0xfffff000);
    Instant now = Instant::from_ns(1'000'000'000);
    in_batches(state, with_argument("scoreboard", state), [&] {
        for (size_t done = 0; done < batch; done += window) {
            const Seq begin = next;
            for (uint32_t i = 0; i < window; ++i, next += segment) {
                now = now + Duration::from_us(1);
                sent.append(next, next + segment, now, {}, {});
            }
            for (uint32_t i = 1; i < window; i += 2) {
                const Seq at = begin + i * segment;
                sent.sack(at, at + segment, window, [](const tcp::SentRange&, uint32_t) {});
            }
            sent.acknowledge(next, [](const tcp::SentRange&, uint32_t) {});
        }
    });
    if (!sent.empty()) state.SkipWithError("segments are left");
}
BENCHMARK(scoreboard)->Arg(16)->Arg(256);

/// Every other segment of a window is missing; the others come in random order, then what is
/// missing makes all of it contiguous. Counted by segment.
void reassembly(benchmark::State& state) {
    constexpr uint32_t window = 256, bytes = 1000;
    static buf::Pools pools = bench::make_pools(
        "reassembly",
        {.receive = 8192, .header = 256, .attach = 256, .payload = 4096, .region = 256});
    const std::vector<uint8_t> payload(bytes);
    tcp::Reassembly::Ranges ranges(window);
    tcp::Connection owner{tcp::FlowKey()};
    tcp::Reassembly held(ranges, owner);
    std::vector<uint32_t> order(window / 2);
    std::iota(order.begin(), order.end(), 0);
    Random random(1);
    std::vector<BufferChain> arriving;
    Seq begin(0xfffff000);
    size_t read = 0;
    in_batches(
        state, "reassembly",
        [&] {
            for (size_t i = order.size() - 1; i > 0; --i)
                std::swap(order[i], order[random.below(i + 1)]);
            arriving.clear();
            for (size_t i = 0; i < batch; ++i)
                arriving.push_back(pools.received(payload).into_chain());
        },
        [&] {
            tcp::Reassembly::Copies copies{pools};
            size_t next = 0;
            for (size_t done = 0; done < batch; done += window) {
                for (const uint32_t i : order)
                    held.insert(begin + (2 * i + 1) * bytes, std::move(arriving[next++]),
                                size_t{1} << 30, copies);
                for (uint32_t i = 0; i < window / 2; ++i) {
                    BufferChain out;
                    const auto merged =
                        held.merge(begin + 2 * i * bytes, std::move(arriving[next++]), out, copies);
                    benchmark::DoNotOptimize(merged.next);
                    read += out.size();
                }
                begin += window * bytes;
            }
        });
    if (read != static_cast<size_t>(state.iterations()) * bytes || !held.empty())
        state.SkipWithError("bytes are lost");
}
BENCHMARK(reassembly);

/// An ACK of a full segment in congestion avoidance, the window in use.
void congestion_ack(benchmark::State& state) {
    const auto algorithm = static_cast<congestion::Algorithm>(state.range(0));
    Pool<congestion::Bbr> bbrs(1);
    congestion::Window window{.cwnd = 100 * segment, .ssthresh = 50 * segment, .mss = segment};
    congestion::Control control;
    congestion::Ack ack;
    ack.now = Instant::from_ns(1'000'000'000);
    if (!control.begin(algorithm, window, ack.now, bbrs)) return state.SkipWithError("no state");
    ack.acked = ack.newly_delivered = segment;
    ack.srtt = ack.rtt = ack.min_rtt = Duration::from_ms(10);
    ack.window_limited = true;
    ack.rate.interval = Duration::from_ms(10);
    in_batches(state, with_argument("congestion_ack", state), [&] {
        for (size_t i = 0; i < batch; ++i) {
            ack.now = ack.now + Duration::from_us(100);
            ack.snd_una += segment;
            ack.snd_nxt = ack.snd_una + window.cwnd;
            ack.in_flight = ack.prior_in_flight = window.cwnd;
            ack.delivered += segment;
            ack.rate.prior_delivered = ack.delivered - window.cwnd;
            ack.rate.delivered = window.cwnd;
            control.on_ack(window, ack);
            benchmark::DoNotOptimize(window.cwnd);
        }
    });
    control.release(bbrs);
}
BENCHMARK(congestion_ack)->DenseRange(0, 3);

}  // namespace
}  // namespace millrace
