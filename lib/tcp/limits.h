// Constants of the protocol engine and the small formulas that several topics share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include <millrace/address.h>
#include <millrace/config.h>
#include <millrace/time.h>

#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::tcp {

/// Added to two round trips before a tail loss probe (RFC 8985 section 7.2: the peer's delays that
/// no sample has shown yet; Linux's TCP_TIMEOUT_MIN).
constexpr Duration probe_slack = Duration::from_ms(2);
/// Beyond this an echoed timestamp is taken for a stranger's, not for a round trip.
constexpr uint32_t timestamp_rtt_max_ms = 600'000;
/// Ranges that a scoreboard may have beyond one for each full segment in flight.
constexpr size_t sent_ranges_spare = 64;
/// One connection's scoreboard takes at most this fraction of the core's ranges that are free, but
/// a few in any case; and this fraction of all is kept for what is transmitted.
constexpr size_t sent_ranges_share = 8;
constexpr size_t sent_ranges_few = 8;
constexpr size_t sent_ranges_reserve = 8;
/// A range grows by later transmissions to so many bytes: as a plan (`TransmitPlan::size_max`).
constexpr uint32_t sent_range_max = 65536;
/// Segments that are acknowledged at once when a connection starts (Linux: TCP_MAX_QUICKACKS).
constexpr uint8_t quick_acks_initial = 16;
/// And after data that came out of order.
constexpr uint8_t quick_acks_disorder = 2;
/// Linux's TCP_DELACK_MIN and TCP_DELACK_MAX; well below the half second of RFC 9293 MUST-40.
constexpr Duration delayed_ack_min = Duration::from_ms(40);
constexpr Duration delayed_ack_max = Duration::from_ms(200);
/// Segments from this size on may be the peer's full ones, whatever PSH says; without PSH, from the
/// smaller one on (Linux: TCP_MSS_DEFAULT, TCP_MIN_MSS).
constexpr uint32_t rcv_mss_small = 536;
constexpr uint32_t rcv_mss_min = 88;
/// How long TCP_CORK holds a partial segment back at most.
constexpr Duration cork_max = Duration::from_ms(200);
/// The least that a send or receive buffer may be set to, bytes (Linux: tcp_rmem[0], tcp_wmem[0]).
constexpr uint32_t buffer_min = 4096;
/// One connection's receive buffer grows to at most this fraction of the core's receive buffers.
constexpr uint32_t receive_share = 8;
/// After 24 days of idleness a timestamp says nothing any more (RFC 7323 section 5.5).
constexpr Duration paws_idle_max = Duration::from_s(24 * 24 * 3600);
/// Three duplicate ACKs mean a loss (RFC 5681 section 3.2).
constexpr uint8_t duplicate_acks_for_loss = 3;
/// A user timeout that never comes.
constexpr uint32_t user_timeout_never = UINT32_MAX;
/// Linux's MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL, its MAX_TCP_KEEPCNT and MAX_TCP_SYNCNT.
constexpr int64_t keepalive_seconds_max = 32767;
constexpr uint32_t probes_max = 127;
/// Linux's TCP_FIN_TIMEOUT_MAX.
constexpr int64_t linger2_seconds_max = 120;
/// A timer met this late tells that the loop stood still, not that nobody has answered.
constexpr Duration stall_min = Duration::from_s(1);
/// Segments that the congestion window must hold before a path's MTU is probed, and those that
/// follow a probe at once, so that its loss shows (Linux; RFC 4821 section 7.4).
constexpr uint32_t mtu_probe_window_min = 11;
constexpr uint32_t mtu_probe_followers = duplicate_acks_for_loss + 1;
/// Where the search for the path's MTU is close enough, bytes (Linux's tcp_probe_threshold).
constexpr uint32_t mtu_probe_threshold = 8;
/// Linux's TCP_RTO_MAX-bounded model of `tcp_retries2`: with 15, at least 924.6 s.
Duration retries_duration(const TcpTunables& tunables, uint32_t retries);

/// The round trip that an echoed timestamp tells of (RFC 7323 section 4.1): a millisecond at least.
inline std::optional<Duration> timestamp_rtt(uint32_t clock, uint32_t echo) {
    const uint32_t ms = clock - echo;
    if (ms >= timestamp_rtt_max_ms) return std::nullopt;
    return Duration::from_ms(std::max(ms, 1U));
}

/// MSS that the peer is assumed to accept when it sent none (RFC 9293 MUST-15).
constexpr uint16_t default_mss(Family family) { return family == Family::ipv4 ? 536 : 1220; }

/// Bytes of IP and TCP header without options.
constexpr size_t header_size(Family family) {
    return wire::Ip::size_for(family) + wire::Segment::min_header_size;
}

/// RFC 9293 MUST-16: the smaller of the peer's limit and our link's, less the options that every
/// data segment carries. `link_mss` is the link's MTU less the headers without options.
inline uint16_t effective_mss(const TcpTunables& tunables, uint16_t link_mss, uint16_t peer_mss,
                              Family family, bool timestamps) {
    const uint32_t offered = peer_mss != 0 ? peer_mss : default_mss(family);
    // A tiny MSS is an attack on our work per byte (CVE-2019-11479): Linux's floor.
    const uint32_t clamped = std::max(offered, tunables.tcp_min_snd_mss);
    const uint32_t mss = std::min<uint32_t>(clamped, link_mss);
    const uint32_t options = timestamps ? wire::TcpOptions::timestamps_size : 0;
    return static_cast<uint16_t>(std::max(mss, options + 8) - options);
}

/// The scale that fits the largest receive buffer into 16 bits (RFC 7323 section 2.3).
inline uint8_t window_shift(const TcpTunables& tunables) {
    const uint32_t largest = std::max(tunables.tcp_rmem, tunables.tcp_rmem_max);
    uint8_t shift = 0;
    while ((largest >> shift) > 65535 && shift < wire::TcpOptions::window_scale_max)
        ++shift;
    return shift;
}

}  // namespace millrace::tcp
