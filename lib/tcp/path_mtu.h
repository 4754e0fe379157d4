// How large a segment the path carries: what ICMP says (RFC 1191, RFC 8201), and what the path
// shows itself where nobody says anything (RFC 4821).
#pragma once

#include <cstdint>

#include <millrace/time.h>

#include "base/seq.h"

namespace millrace::tcp {

struct Connection;
struct Env;

/// A search for the path's MTU between what is known to pass and what is known or assumed not to
/// (RFC 4821 section 7.3). Borrowed from the core's pool from when a connection begins to probe
/// until its end. MTUs, not segment sizes: bytes of an IP packet.
struct MtuProbing {
    uint16_t low = 0;        ///< passes; full segments are of this size
    uint16_t high = 0;       ///< nothing larger is worth a try
    uint16_t size = 0;       ///< of the probe that is out, 0: none
    Seq begin;               ///< what it carries
    Seq end;
    Instant started;         ///< of this search; `tcp_probe_interval`
};

/// The options of both SYNs are known: what a full segment carries, probed for where
/// `tcp_mtu_probing` is 2.
void begin_path_mtu(Env& env, Connection& c);
/// ICMP says so, of something in flight. What was sent too large goes again at once, and without
/// congestion having been found (Linux's tcp_simple_retransmit). Believed until `expires`. False
/// where that is no news.
bool on_packet_too_big(Env& env, Connection& c, uint16_t mtu, Instant expires);
/// What was learned from ICMP is too old to be believed (RFC 1191 section 6.3).
void forget_stale_path_mtu(Env& env, Connection& c);
/// `tcp_retries1` timeouts: perhaps what is large vanishes without a word (RFC 4821 section 7.7).
/// Before the timeout's own work: that counts in the new segment size.
void on_black_hole_suspected(Env& env, Connection& c);

/// Payload of the probe that should go out now instead of other new data; 0: none. It has to wait
/// for the congestion window, as other new data has to wait for it.
uint32_t probe_size(Env& env, Connection& c);
/// A probe of `payload` bytes has gone out at `begin`.
void probe_sent(Connection& c, Seq begin, uint32_t payload);
/// SND.UNA has advanced: perhaps beyond the probe.
void check_probe_delivered(Env& env, Connection& c);
/// What has been found lost is the probe alone: then that is no congestion (RFC 4821 section 7.5),
/// and it goes again in smaller pieces. False where more is lost.
bool take_lost_probe(Env& env, Connection& c);

/// The largest IP packet that is sent now, bytes.
uint16_t effective_mtu(const Connection& c);

}  // namespace millrace::tcp
