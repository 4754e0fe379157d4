// NewReno: slow start, congestion avoidance and fast recovery without SACK (RFC 5681, RFC 6582).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace millrace::congestion {

/// All amounts in bytes; `mss` is the sender's maximum payload (SMSS). Held inside a connection.
class NewReno {
public:
    NewReno() = default;
    NewReno(uint32_t initial_segments, uint32_t mss) : window_(initial_segments * mss) {}

    uint32_t window() const { return window_; }
    uint32_t ssthresh() const { return ssthresh_; }
    bool in_slow_start() const { return window_ < ssthresh_; }

    /// New data was acknowledged outside recovery. Growth counts bytes, at most two segments an ACK
    /// (RFC 3465, attack case 46: ACK division earns nothing).
    void on_ack(uint32_t bytes, uint32_t mss) {
        if (in_slow_start()) {
            grow(std::min(bytes, 2 * mss));
            return;
        }
        credit_ += bytes;
        if (credit_ < window_) return;
        credit_ -= window_;
        grow(mss);
    }

    /// RFC 5681 equation (4), then the loss window.
    void on_timeout(uint32_t in_flight, uint32_t mss) {
        ssthresh_ = halved(in_flight, mss);
        window_ = mss;
        credit_ = 0;
    }
    /// A timeout of what was already retransmitted leaves ssthresh alone (RFC 5681 section 3.1).
    void on_repeated_timeout(uint32_t mss) { window_ = mss; }

    /// The third duplicate ACK (RFC 6582 section 3.2 step 2).
    void enter_recovery(uint32_t in_flight, uint32_t mss) {
        ssthresh_ = halved(in_flight, mss);
        window_ = ssthresh_ + 3 * mss;
        credit_ = 0;
    }
    /// A further duplicate: one more segment has left the network.
    void on_duplicate(uint32_t mss) { grow(mss); }
    /// A partial acknowledgment (RFC 6582 section 3.2 step 3).
    void on_partial_ack(uint32_t bytes, uint32_t mss) {
        window_ = std::max(window_ - std::min(bytes, window_), mss);
        if (bytes >= mss) grow(mss);
    }
    /// A full acknowledgment ends recovery (RFC 6582 section 3.2 step 3, option 1).
    void exit_recovery(uint32_t in_flight, uint32_t mss) {
        window_ = std::min(ssthresh_, std::max(in_flight, mss) + mss);
    }

private:
    static uint32_t halved(uint32_t in_flight, uint32_t mss) {
        return std::max(in_flight / 2, 2 * mss);
    }
    void grow(uint32_t bytes) {
        // RFC 7323 section 2.3: no window beyond 1 GiB can be used.
        window_ = std::min<uint32_t>(window_ + bytes, 1U << 30);
    }

    uint32_t window_ = 0;
    uint32_t ssthresh_ = std::numeric_limits<uint32_t>::max();
    uint32_t credit_ = 0;  // bytes acknowledged towards the next increase
};

}  // namespace millrace::congestion
