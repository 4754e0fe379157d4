// What a virtual wire does to the packets of one direction.
//
// Purpose: the settings of a direction of a link, for tests (`testing.h`): delay, loss, reordering,
// duplication, damage, a rate with a queue. Plain values: any thread. What happens to which packet
// follows from the network's seed alone.
#pragma once

#include <cstdint>

#include <millrace/time.h>

namespace millrace {

/// The settings of one direction; chances in parts per million of frames. The default is a line
/// that loses nothing and knows no rate.
struct Impairments {
    Duration delay = Duration::from_us(50);  ///< after queue and transmitter
    Duration jitter;                 ///< added at random, uniform in [0, jitter]; reorders
    uint32_t loss_ppm = 0;           ///< each frame for itself
    uint32_t ack_loss_ppm = 0;       ///< likewise, of TCP segments without payload only
    uint32_t lose_every = 0;         ///< every n-th frame is lost; 0: none
    /// Bursts of loss (Gilbert and Elliott's chain of two states): the chance to enter a burst, to
    /// leave it, and to be lost while it lasts. Mean length: 10^6 / `burst_leave_ppm` frames.
    uint32_t burst_enter_ppm = 0;
    uint32_t burst_leave_ppm = 250'000;   ///< to leave it, with each frame
    uint32_t burst_loss_ppm = 1'000'000;  ///< to be lost in it
    /// Loss of the tail: of this share of flights the last `tail_frames` frames with TCP payload
    /// are lost. A flight ends when none follows for `tail_quiet`, which has to be shorter than
    /// `delay`: what has arrived by then cannot be lost any more.
    uint32_t tail_loss_ppm = 0;
    uint32_t tail_frames = 1;                     ///< of a flight, or all it has
    Duration tail_quiet = Duration::from_us(25);  ///< under `delay`
    uint32_t reorder_ppm = 0;        ///< held back by `reorder_by` more than the others
    Duration reorder_by;             ///< on top of delay and jitter
    uint32_t duplicate_ppm = 0;      ///< arrives twice
    uint32_t corrupt_ppm = 0;        ///< one bit flipped somewhere in the frame
    uint32_t truncate_ppm = 0;       ///< cut anywhere behind its first byte
    uint64_t bits_per_second = 0;    ///< of the frame's bytes as they are; 0: no limit
    /// The queue behind rate and pauses is drop-tail, by waiting time and, if not 0, by bytes
    /// (the frame in transmission included; an empty queue takes any frame).
    Duration queue_max = Duration::from_ms(100);
    uint32_t queue_bytes = 0;        ///< 0: by waiting time alone
    /// Frames that say they are capable of ECN are marked with CE where they meet more than these
    /// bytes in the queue; 0: never (RFC 3168 section 5).
    uint32_t mark_bytes = 0;
    uint32_t mtu = 0;                ///< longer IP packets vanish without a word; 0: none is
    /// The transmitter stands still for `pause_for`, each time after at most twice `pause_every`.
    Duration pause_every;
    Duration pause_for;              ///< 0: never
};

}  // namespace millrace
