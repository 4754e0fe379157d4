#include "sim/behaviour.h"

#include <algorithm>
#include <numeric>

#include "harness.h"
#include "wire/tcp.h"

namespace millrace::testing {

namespace {

constexpr uint32_t frame_size = 1514;
constexpr uint32_t frame_payload = 1448;  // with timestamps
constexpr uint64_t mib = 1 << 20;
// An ACK, with as many SACK blocks as there is room for, is smaller.
constexpr size_t smallest_data = 200;

/// One for each path, or the same frames would be lost in each.
uint64_t seed_of(const Path& path) {
    return ((uint64_t{path.mbit} * 1'000 + path.rtt_ms) * 1'000 + path.buffer) * 1'000 +
           path.loss_ppm / 1'000;
}

sim::NodeOptions node(const Flow& flow) {
    sim::NodeOptions options;
    options.pools = {.receive = 16384, .header = 16384, .attach = 16384, .payload = 8192};
    options.config.tcp.tcp_congestion_control = flow.algorithm;
    // The receiver's window is never what limits: this is about congestion control.
    options.config.tcp.tcp_rmem = 8 * mib;
    if (flow.algorithm == CongestionControl::dctcp) options.config.tcp.tcp_ecn = 1;
    return options;
}

sim::Impairments bottleneck(const Path& path) {
    const uint64_t buffer = path.bdp() * path.buffer / 100;
    return {.delay = Duration::from_us(int64_t{path.rtt_ms} * 500),
            .loss_ppm = path.loss_ppm,
            .bits_per_second = uint64_t{path.mbit} * 1'000'000,
            .queue_max = 1000_s,
            // Three frames at least, or not even two in a row would pass.
            .queue_bytes = static_cast<uint32_t>(std::max<uint64_t>(buffer, 3 * frame_size)),
            // RFC 8257 section 3.5: a seventh of the path and more keeps the line busy.
            .mark_bytes = static_cast<uint32_t>(std::max<uint64_t>(path.bdp() / 6, frame_size))};
}

class Experiment {
public:
    Experiment(const Path& path, const Flow& first, std::optional<Flow> second)
        : path_(path), pair_(seed_of(path), node(first), node(first)), flows_{first} {
        if (second) flows_.push_back(*second);
        pair_.network.set_impairments({.delay = Duration::from_us(int64_t{path.rtt_ms} * 500)});
        pair_.server.prototype = {.salt_in = 1};
        pair_.server.listen(Pair::address(2), 80);
    }

    Outcome run(Duration time, Duration skip) {
        connect();
        const Instant start = pair_.network.now();
        for (size_t i = 0; i < flows_.size(); ++i)
            pair_.network.schedule(pair_.a, 0, start + flows_[i].start, [this, i] {
                sender(i).to_send = uint64_t{1} << 40;
                sender(i).pump();
            });
        if (skip > Duration()) pair_.network.run_until(start + skip);
        const Outcome before = count();
        waits_.clear();
        pair_.network.run_until(start + time);
        return difference(count(), before, time - skip);
    }

private:
    Endpoint& sender(size_t flow) { return *pair_.client.connecting.at(flow); }
    Endpoint& receiver(size_t flow) { return *pair_.server.accepted.at(flow); }

    /// One after the other, so that the accepted ones are in the same order; over a clean line, so
    /// that the handshake's luck is not in the figures.
    void connect() {
        for (const Flow& flow : flows_) {
            Endpoint& end = pair_.client.connect({Pair::address(2), 80}, {.salt_out = 1});
            const auto name = congestion::name(
                static_cast<congestion::Algorithm>(flow.algorithm));
            EXPECT_TRUE(tcp::set_congestion_control(end.stack->env(), *end.connection, name));
            EXPECT_TRUE(pair_.network.run_while(1_s, [&] {
                return pair_.server.accepted.size() == pair_.client.connecting.size();
            }));
        }
        pair_.network.set_impairments(pair_.a, bottleneck(path_));
        pair_.network.set_filter([this](const sim::Node& from, std::span<const uint8_t> frame) {
            if (&from != &pair_.a || frame.size() < smallest_data) return true;
            ++data_frames_;
            waits_.push_back(static_cast<uint64_t>(
                from.line().backlog(pair_.network.now()).us()));
            return true;
        });
    }

    /// What has been counted from the beginning; bytes where the outcome says rates.
    Outcome count() {
        const observe::Counters& sent = pair_.a.stack().counters();
        const observe::Counters& received = pair_.b.stack().counters();
        const sim::Line& line = pair_.a.line();
        Outcome sum;
        sum.intact = true;
        for (size_t i = 0; i < flows_.size(); ++i) {
            sum.kbit_per_second[i] = receiver(i).received;
            sum.intact = sum.intact && receiver(i).intact;
        }
        sum.data_frames = data_frames_;
        sum.retransmitted = sent.tcp_retrans_segs;
        sum.lost = line.count(sim::Fate::lost) + line.count(sim::Fate::overflowed);
        sum.spurious = received.tcp_dsack_old_sent + received.tcp_dsack_ofo_sent;
        sum.timeouts = sent.tcp_timeouts;
        sum.marked = line.count(sim::Fate::marked);
        return sum;
    }

    Outcome difference(Outcome after, const Outcome& before, Duration time) {
        const auto ms = static_cast<uint64_t>(time.ms());
        uint64_t bytes = 0;
        for (size_t i = 0; i < flows_.size(); ++i) {
            const uint64_t of_flow = after.kbit_per_second[i] - before.kbit_per_second[i];
            bytes += of_flow;
            after.kbit_per_second[i] = of_flow * 8 / ms;
        }
        after.use_permille = bytes * 8 * frame_size / frame_payload / (uint64_t{path_.mbit} * ms);
        after.data_frames -= before.data_frames;
        after.retransmitted -= before.retransmitted;
        after.lost -= before.lost;
        after.spurious -= before.spurious;
        after.timeouts -= before.timeouts;
        after.marked -= before.marked;
        if (waits_.empty()) return after;
        std::sort(waits_.begin(), waits_.end());
        after.queue_mean_us = std::accumulate(waits_.begin(), waits_.end(), uint64_t{0}) /
                              waits_.size();
        after.queue_p95_us = waits_[(waits_.size() - 1) * 95 / 100];
        return after;
    }

    Path path_;
    Pair pair_;
    std::vector<Flow> flows_;
    uint64_t data_frames_ = 0;
    std::vector<uint64_t> waits_;  // of data frames, microseconds
};

}  // namespace

Outcome run(const Path& path, const Flow& first, std::optional<Flow> second, Duration time,
            Duration skip) {
    return Experiment(path, first, second).run(time, skip);
}

uint64_t jain_permille(uint64_t a, uint64_t b) {
    if (a == 0 && b == 0) return 1000;
    return (a + b) * (a + b) * 1000 / (2 * (a * a + b * b));
}

}  // namespace millrace::testing
