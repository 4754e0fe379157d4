// What a connection needs only while it has something to send or in flight.
#pragma once

#include <cstdint>

#include "congestion/control.h"
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

/// What the retransmission timer is armed for; one at a time, as in Linux.
enum class TimerMode : uint8_t {
    retransmit,  ///< RTO of what is in flight or of a SYN
    probe,       ///< a closed window is to be probed
    loss_probe,  ///< TLP
    reorder,     ///< RACK's reordering window ends
};

/// What is known of what is in flight now: begins anew when everything has been acknowledged.
struct Flight {
    explicit Flight(Seq snd_una)
        : retransmitted_end(snd_una), highest_delivered(snd_una), tlp_end(snd_una),
          small_end(snd_una) {}

    Instant retransmit_at = Instant::never();      ///< what for: `timer_mode`
    TimerMode timer_mode = TimerMode::retransmit;
    /// ACKs that told of new data above SND.UNA, or duplicate ACKs, since it last moved (RFC 6675
    /// section 5, RFC 5681 section 3.2).
    uint8_t duplicate_acks = 0;
    bool begun = false;           ///< something has been sent in it
    bool tlp_out = false;         ///< a tail loss probe has not been answered
    bool tlp_due = false;         ///< it goes out this turn
    bool urgent = false;          ///< SND.UP is ahead of SND.UNA
    bool cork_over = false;       ///< a corked partial segment has waited long enough
    bool frto = false;            ///< looking whether the timeout was spurious (RFC 5682)
    bool frto_new_data = false;   ///< its step 2b: new data goes before what may not be lost
    bool window_limited = false;  ///< the congestion window held data back in this window
    bool pace_waiting = false;    ///< the connection's timer is armed for `pace_at`
    /// The peer has been told of a reduction (RFC 3168 section 6.1.2): once `cwr_end` has been
    /// acknowledged, an ECE speaks of another mark.
    bool cwr_out = false;
    Seq cwr_end;

    // RACK (RFC 8985 section 5.2): of the segment sent last among those delivered.
    Instant rack_sent_at;
    Duration rack_rtt;
    Seq rack_end;
    Seq retransmitted_end;        ///< end of the highest octet sent again, SND.UNA at least
    Seq highest_delivered;        ///< RACK.fack

    // Tail loss probe (RFC 8985 section 7.2).
    Seq tlp_end;                  ///< SND.NXT when the probe went out
    uint32_t tlp_again = 0;       ///< bytes that the probe sent a second time

    // Proportional rate reduction (RFC 9937 section 6), bytes.
    uint32_t prr_delivered = 0;
    uint32_t prr_out = 0;
    uint32_t recover_in_flight = 0;  ///< RecoverFS

    Seq small_end;                ///< end of the last segment sent that was not full (Nagle)
    Seq snd_up;                   ///< the octet behind the urgent data (RFC 6093 section 4)
    uint32_t reno_sacked = 0;     ///< bytes that duplicate ACKs stand for, where there is no SACK
    uint32_t max_in_flight = 0;   ///< in the window of data that ends at `usage_end`
    Seq usage_end;

    Instant cork_due = Instant::never();  ///< until when a corked partial segment waits
    Instant pace_at;              ///< nothing paced leaves before (pacing.h)
    Instant syn_sent_at;          ///< when our SYN last went out
    Instant first_retransmit;     ///< when the present series of timeouts (or probes) began

    // Delivery rate (draft-cheng-iccrg-delivery-rate-estimation).
    Instant delivered_at;
    Instant first_sent_at;
    uint64_t app_limited_until = 0;  ///< value of `delivered` up to which samples are limited
};

/// What the sender has learned of its path. Worth keeping where it differs from what every
/// connection begins with.
struct Path {
    explicit Path(Seq snd_una)
        : recover(snd_una), undo_from(snd_una), reordering_round(snd_una) {}

    congestion::Control control;
    uint64_t lost = 0;            ///< bytes marked lost, each time
    uint32_t total_retrans = 0;   ///< segments sent again
    uint32_t dsack_dups = 0;      ///< segments that the peer has reported as duplicates

    Seq recover;                  ///< what was sent when the last recovery began (RFC 6582)
    bool at_recover = false;      ///< SND.UNA is at `recover`, not beyond it (RFC 6582)

    bool undo_possible = false;   ///< `prior_cwnd` may be restored (RFC 4015)
    bool retransmits_stamped = false;  ///< `first_retransmit_ts` is set
    Seq undo_from;                ///< SND.UNA when the window was reduced
    uint32_t prior_cwnd = 0;      ///< what an undo restores
    uint32_t prior_ssthresh = 0;
    int32_t undo_retransmitted = 0;  ///< bytes sent again since and not reported as duplicates
    uint32_t first_retransmit_ts = 0;  ///< timestamp on the first of them (RFC 3522)

    bool reordering_seen = false;    ///< RACK.reordering_seen
    uint8_t reordering_steps = 1;    ///< RACK.reo_wnd_mult (RFC 8985 section 6.2)
    uint8_t reordering_persist = 0;  ///< recoveries until it falls back
    bool rate_app_limited = false;   ///< of `delivery_rate`'s sample
    Seq reordering_round;
    /// The last sample that counted, in `rate_unit` bytes a second: a word for 2 Tbit/s.
    uint32_t delivery_rate = 0;
    static constexpr uint64_t rate_unit = 64;
};

/// Borrowed from the core's pool by a SYN or the first byte queued. Given back when everything has
/// been acknowledged and the path has shown nothing: an idle connection that never met a loss holds
/// none. Changed by `lib/tcp` alone.
struct Sending : Flight, Path {
    Sending(SentRanges::Ranges& ranges, Seq snd_una)
        : Flight(snd_una), Path(snd_una), sent(ranges) {}

    SendQueue queue;
    SentRanges sent;
};
static_assert(sizeof(Sending) <= 440);

}  // namespace millrace::tcp
