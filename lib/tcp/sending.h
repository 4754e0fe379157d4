// What a connection needs only while it has something to send or in flight.
#pragma once

#include <cstdint>

#include "tcp/send_queue.h"
#include "tcp/sent.h"

namespace millrace::tcp {

/// Where the sender stands with losses; Linux's names.
enum class Recovery : uint8_t {
    open,      ///< nothing is suspicious
    disorder,  ///< SACKs or duplicate ACKs have come
    cwr,       ///< the window comes down for a congestion mark or a lost probe, nothing is missing
    recovery,  ///< fast recovery (RFC 6675, RFC 6582)
    loss,      ///< after a retransmission timeout
};

/// Borrowed from the core's pool by the first byte queued, given back when everything has been
/// acknowledged: an idle connection holds none. Changed by `lib/tcp` alone.
struct Sending {
    explicit Sending(SentRanges::Ranges& ranges) : sent(ranges) {}

    SendQueue queue;
    SentRanges sent;

    // RACK (RFC 8985 section 5.2): of the segment sent last among those delivered.
    Instant rack_sent_at;
    Seq rack_end;
    Seq retransmitted_end;        ///< end of the highest octet sent again, SND.UNA at least
    Duration rack_rtt;
    Seq highest_delivered;        ///< RACK.fack
    /// ACKs that told of new data above SND.UNA, or duplicate ACKs, since it last moved (RFC 6675
    /// section 5, RFC 5681 section 3.2).
    uint8_t duplicate_acks = 0;

    // Proportional rate reduction (RFC 9937 section 6), bytes.
    uint32_t prr_delivered = 0;
    uint32_t prr_out = 0;
    uint32_t recover_in_flight = 0;  ///< RecoverFS

    // Tail loss probe (RFC 8985 section 7.2).
    Seq tlp_end;                  ///< SND.NXT when the probe went out
    uint32_t tlp_again = 0;       ///< bytes that the probe sent a second time
    bool tlp_out = false;
    bool tlp_due = false;         ///< the probe goes out this turn

    Seq small_end;                ///< end of the last segment sent that was not full (Nagle)

    bool urgent = false;          ///< SND.UP is ahead of SND.UNA
    Seq snd_up;                   ///< the octet behind the urgent data (RFC 6093 section 4)

    bool cork_over = false;       ///< a corked partial segment has waited long enough
    Instant cork_due = Instant::never();  ///< until when it waits

    bool frto = false;            ///< looking whether the timeout was spurious (RFC 5682)
    bool frto_new_data = false;   ///< its step 2b: new data goes before what may not be lost
    bool window_limited = false;  ///< the congestion window held data back in this window
    uint32_t reno_sacked = 0;     ///< bytes that duplicate ACKs stand for, where there is no SACK
    uint32_t max_in_flight = 0;   ///< in the window of data that ends at `usage_end`
    Seq usage_end;

    Instant pace_at;              ///< nothing paced leaves before (pacing.h)
    bool pace_waiting = false;    ///< the connection's timer is armed for it

    // The peer has been told of a reduction (RFC 3168 section 6.1.2): once `cwr_end` has been
    // acknowledged, an ECE speaks of another mark.
    bool cwr_out = false;
    Seq cwr_end;

    // Delivery rate (draft-cheng-iccrg-delivery-rate-estimation).
    Instant delivered_at;
    Instant first_sent_at;
    uint64_t app_limited_until = 0;  ///< value of `delivered` up to which samples are limited
};

}  // namespace millrace::tcp
