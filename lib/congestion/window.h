// What congestion control and the connection say to each other. Values, no behaviour: the
// algorithms beside this file change a `Window` by what an `Ack` tells them.
//
// Owned by one core, as the connection is. All arithmetic is in integers, so that a run replays
// bit for bit on every machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include <millrace/time.h>

#include "base/seq.h"

namespace millrace::congestion {

/// How much may be in flight. Held inside a connection; all amounts in bytes.
struct Window {
    /// RFC 7323 section 2.3: no window beyond 1 GiB can be used.
    static constexpr uint32_t max_size = 1U << 30;
    static constexpr uint32_t unlimited = std::numeric_limits<uint32_t>::max();

    uint32_t cwnd = 0;
    uint32_t ssthresh = unlimited;  ///< slow start below it
    uint16_t mss = 536;             ///< sender's maximum payload (SMSS)

    bool in_slow_start() const { return cwnd < ssthresh; }
    void grow(uint32_t bytes) { cwnd = std::min(cwnd + bytes, max_size); }
    void set(uint32_t bytes) { cwnd = std::clamp<uint32_t>(bytes, mss, max_size); }
};

/// A sample of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation): what reached the
/// peer between the sending of a segment and this ACK. `interval` zero: no sample.
struct RateSample {
    uint64_t prior_delivered = 0;  ///< connection's `delivered` when the segment was sent, bytes
    uint32_t delivered = 0;        ///< bytes delivered over `interval`
    uint32_t lost = 0;             ///< bytes marked lost since the segment was sent
    uint32_t tx_in_flight = 0;     ///< bytes in flight when the segment was sent, itself included
    Duration interval;             ///< the longer of the send and the ACK phase
    bool app_limited = false;      ///< the sender had too little to send meanwhile
    bool retransmitted = false;    ///< the newest segment sampled had been sent more than once
};

/// What was in flight when the newest of the segments that this ACK marked lost had been sent. BBR
/// asks at how much in flight the losses began: the segment that an ACK samples was often sent
/// later and into less. `size` zero: nothing was lost, or the caller does not know.
struct LossSample {
    uint32_t tx_in_flight = 0;  ///< bytes in flight when it was sent, itself included
    uint32_t lost = 0;          ///< bytes marked lost since it was sent, itself included
    uint32_t size = 0;          ///< its own bytes
    bool app_limited = false;   ///< it was sent while the sender had too little to send
};

/// What one acknowledgment told the sender, after the scoreboard has been brought up to date.
struct Ack {
    Instant now;
    Seq snd_una;                   ///< after this ACK
    Seq snd_nxt;                   ///< highest sent (RFC 9293's SND.NXT)
    /// Bytes delivered by an ACK that moved SND.UNA; what SACKs had told of before is not in it.
    uint32_t acked = 0;
    uint32_t newly_delivered = 0;  ///< bytes newly acknowledged or newly SACKed
    uint32_t newly_lost = 0;       ///< bytes marked lost by this ACK
    uint32_t in_flight = 0;        ///< bytes in flight now (RFC 6675's pipe)
    uint32_t prior_in_flight = 0;  ///< before this ACK
    uint64_t delivered = 0;        ///< bytes delivered since the connection began
    uint64_t lost = 0;             ///< bytes marked lost since the connection began
    Duration rtt;                  ///< of the newest segment acknowledged, zero: no valid sample
    Duration srtt;                 ///< smoothed; zero before the first sample
    Duration min_rtt;              ///< the connection's minimum, zero before the first sample
    bool window_limited = false;   ///< cwnd, not the application or the peer, held the sender back
    bool ece = false;              ///< the segment bore ECE on a connection that negotiated ECN
    bool in_recovery = false;      ///< fast recovery or after an RTO: PRR rules the window
    /// Without SACK a round trip shows one loss at most, so that BBR must take one for many.
    bool selective_acks = true;
    RateSample rate;
    LossSample loss;
};

}  // namespace millrace::congestion
