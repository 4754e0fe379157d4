// What an application has set on a socket. Every other option answers ENOPROTOOPT; the table of all
// of them is in include/millrace/README.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <millrace/stack.h>
#include <millrace/time.h>

#include "stack/bindings.h"

namespace millrace::api {

/// Kept from before there is a connection, and passed on by a listener to what it accepts.
struct StreamOptions {
    stack::BindOptions bind;               ///< SO_REUSEADDR, SO_REUSEPORT, IPV6_V6ONLY
    Duration receive_timeout;              ///< SO_RCVTIMEO; zero: none; negative: no waiting
    Duration send_timeout;                 ///< SO_SNDTIMEO, likewise
    std::optional<Duration> linger;        ///< SO_LINGER
    std::optional<uint32_t> send_buffer;     ///< SO_SNDBUF, bytes, as asked for
    std::optional<uint32_t> receive_buffer;  ///< SO_RCVBUF, likewise
    uint32_t receive_low_water = 1;        ///< SO_RCVLOWAT, bytes
    uint64_t max_pacing_rate = ~uint64_t{0};  ///< SO_MAX_PACING_RATE, bytes/s; ~0: no cap
    bool urgent_inline = false;            ///< SO_OOBINLINE
    bool keepalive = false;                ///< SO_KEEPALIVE
    Keepalive keepalive_times;             ///< TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
    bool no_delay = false;                 ///< TCP_NODELAY
    bool cork = false;                     ///< TCP_CORK
    bool quick_ack = true;                 ///< TCP_QUICKACK, before there is a connection
    std::string_view congestion_control;   ///< TCP_CONGESTION; empty: the tunable
    uint32_t user_timeout_ms = 0;          ///< TCP_USER_TIMEOUT; 0: off
    uint32_t not_sent_low_water = 0;       ///< TCP_NOTSENT_LOWAT, bytes; 0: the tunable
    uint16_t max_segment = 0;              ///< TCP_MAXSEG; 0: what the link carries
    uint8_t syn_retries = 0;               ///< TCP_SYNCNT; 0: the tunable
    int16_t linger2_s = 0;                 ///< TCP_LINGER2; 0: the tunable; negative: no time
    uint8_t tos = 0;                       ///< IP_TOS, without the two bits of ECN
    uint8_t traffic_class = 0;             ///< IPV6_TCLASS, likewise
    uint8_t ttl = 0;                       ///< IP_TTL; 0: the tunable
    uint8_t hops = 0;                      ///< IPV6_UNICAST_HOPS, likewise
    uint8_t min_ttl = 0;                   ///< IP_MINTTL
    uint8_t min_hops = 0;                  ///< IPV6_MINHOPCOUNT
    bool bind_without_port = false;        ///< IP_BIND_ADDRESS_NO_PORT
    uint8_t defer_accept = 0;              ///< TCP_DEFER_ACCEPT, in timeouts of a SYN-ACK
    uint8_t save_syn = 0;                  ///< TCP_SAVE_SYN, 0 to 2
    uint32_t window_clamp = 0;             ///< TCP_WINDOW_CLAMP, bytes; 0: none
    int mtu_discover = 1;                  ///< IP_MTU_DISCOVER: IP_PMTUDISC_WANT or _DO
};

}  // namespace millrace::api
