// Round-trip time and retransmission timeout (RFC 6298, with Linux's floor on the variance term).
#pragma once

#include <algorithm>
#include <cstdint>

#include <millrace/time.h>

namespace millrace::tcp {

/// 16 bytes in a connection; times in microseconds.
class RttEstimator {
public:
    bool has_sample() const { return srtt_us_ != 0; }
    Duration srtt() const { return Duration::from_us(srtt_us_); }
    Duration rttvar() const { return Duration::from_us(rttvar_us_); }

    /// The least of what was measured lately (RFC 8985 section 6.2: a window of minutes; Linux's
    /// tcp_min_rtt_wlen is 300 s). Zero before the first sample.
    Duration min_rtt() const { return Duration::from_us(min_us_); }
    void sample_min(Duration rtt, Instant now) {
        const auto r = static_cast<uint32_t>(std::clamp<int64_t>(rtt.us(), 1, 3'600'000'000));
        const auto second = static_cast<uint32_t>(now.ns() / 1'000'000'000);
        if (min_us_ != 0 && r > min_us_ && second - min_at_s_ < min_window_s) return;
        min_us_ = r;
        min_at_s_ = second;
    }

    void sample(Duration rtt) {
        const auto r = static_cast<uint32_t>(std::clamp<int64_t>(rtt.us(), 1, 3'600'000'000));
        if (!has_sample()) {  // RFC 6298 (2.2)
            srtt_us_ = r;
            rttvar_us_ = r / 2;
            return;
        }
        const uint32_t deviation = r > srtt_us_ ? r - srtt_us_ : srtt_us_ - r;  // (2.3)
        rttvar_us_ = rttvar_us_ - rttvar_us_ / 4 + deviation / 4;
        srtt_us_ = std::max(srtt_us_ - srtt_us_ / 8 + r / 8, 1U);
    }

    /// The handshake needed a retransmission and left no sample: data begins with 3 s (RFC 6298
    /// (5.7)).
    void doubt() {
        if (!has_sample()) rttvar_us_ = 3'000'000;
    }

    /// SRTT + max(floor, 4 RTTVAR), doubled `backoffs` times, at most `ceiling`; 1 s before the
    /// first sample (RFC 6298 (2.1), (5.5)).
    Duration rto(Duration floor, Duration ceiling, unsigned backoffs) const {
        const Duration unknown = rttvar_us_ != 0 ? rttvar() : Duration::from_s(1);
        const Duration base =
            has_sample() ? srtt() + std::max(floor, rttvar() * 4) : unknown;
        if (base >= ceiling) return ceiling;
        // 2^20 of the smallest base is beyond any ceiling, and of the largest below 2^63 ns.
        return std::min(base * (int64_t{1} << std::min(backoffs, 20U)), ceiling);
    }

private:
    uint32_t srtt_us_ = 0;
    uint32_t rttvar_us_ = 0;  // before the first sample: the RTO, where it is not 1 s
    uint32_t min_us_ = 0;
    uint32_t min_at_s_ = 0;
    static constexpr uint32_t min_window_s = 300;
};

}  // namespace millrace::tcp
