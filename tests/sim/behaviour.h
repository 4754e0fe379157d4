// One or two bulk transfers over a bottleneck, and what came of them: the cells of the behaviour
// tables. Everything is counted in integers, from fixed seeds: a cell is the same on every machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <millrace/config.h>
#include <millrace/time.h>

namespace millrace::testing {

/// The way from the sender to the receiver; the way back only delays.
struct Path {
    uint32_t mbit = 0;      ///< per second, of whole frames
    uint32_t rtt_ms = 0;    ///< with empty queues
    uint32_t buffer = 100;  ///< of the bottleneck, percent of rate times round trip
    uint32_t loss_ppm = 0;  ///< by chance, beside what the buffer drops

    uint64_t bdp() const { return uint64_t{mbit} * 125 * rtt_ms; }  ///< bytes
};

struct Flow {
    CongestionControl algorithm = CongestionControl::cubic;
    Duration start;
};

struct Outcome {
    uint64_t kbit_per_second[2]{};  ///< of payload that the application got, by flow
    uint64_t use_permille = 0;      ///< all flows, of what the line can carry as payload
    uint64_t data_frames = 0;       ///< sent with payload, again or not
    uint64_t retransmitted = 0;     ///< of these, again
    uint64_t lost = 0;              ///< frames that the line dropped for either reason
    uint64_t spurious = 0;          ///< segments that the receiver had already
    uint64_t timeouts = 0;
    uint64_t marked = 0;            ///< with CE
    uint64_t queue_mean_us = 0;     ///< what data frames found before them
    uint64_t queue_p95_us = 0;
    bool intact = false;
};

/// Runs the flows for `time` and measures after the first `skip` of it.
Outcome run(const Path& path, const Flow& first, std::optional<Flow> second, Duration time,
            Duration skip = {});

/// Jain's index of two rates, in thousandths: 500 where one has all, 1000 where each has half.
uint64_t jain_permille(uint64_t a, uint64_t b);

}  // namespace millrace::testing
