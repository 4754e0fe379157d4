// What an application has set on one connection, and few do.
#pragma once

#include <cstdint>

namespace millrace::tcp {

/// Borrowed from the core's pool by the first option that differs from the defaults here, kept
/// until the connection's end. Changed by `calls.cpp` alone.
struct Settings {
    /// As a `max_pacing_rate`: no cap (Linux's ~0).
    static constexpr uint64_t unpaced = ~uint64_t{0};

    uint64_t max_pacing_rate = unpaced;  ///< SO_MAX_PACING_RATE, bytes per second
    uint32_t not_sent_low_water = 0;     ///< TCP_NOTSENT_LOWAT, bytes; 0, here and below: the
                                         ///< tunable
    uint32_t user_timeout_ms = 0;        ///< TCP_USER_TIMEOUT; 0: off, `user_timeout_never`
    uint32_t window_clamp = UINT32_MAX;  ///< TCP_WINDOW_CLAMP, bytes
    uint16_t keepalive_idle_s = 0;       ///< TCP_KEEPIDLE
    uint16_t keepalive_interval_s = 0;   ///< TCP_KEEPINTVL
    int16_t linger2_s = 0;               ///< TCP_LINGER2; negative: not at all
    uint8_t keepalive_probes = 0;        ///< TCP_KEEPCNT
    uint8_t syn_retries = 0;             ///< TCP_SYNCNT
    uint8_t min_ttl = 0;                 ///< IP_MINTTL, IPV6_MINHOPCOUNT

    bool operator==(const Settings&) const = default;
};
static_assert(sizeof(Settings) <= 32);

/// Of connections that have none of their own.
inline constexpr Settings default_settings;

}  // namespace millrace::tcp
