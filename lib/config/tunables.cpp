#include "config/tunables.h"

#include <array>

namespace millrace::config {

namespace {

#define FIELD(Struct, name, min, max) \
    Field<Struct> { #name, &Struct::name, min, max }

constexpr uint32_t gib = 1U << 30;

constexpr std::array tcp{
    FIELD(TcpTunables, tcp_syn_retries, 1, 127),
    FIELD(TcpTunables, tcp_syn_linear_timeouts, 0, 127),
    FIELD(TcpTunables, tcp_synack_retries, 0, 127),
    FIELD(TcpTunables, tcp_retries1, 1, 63),
    FIELD(TcpTunables, tcp_retries2, 1, 63),
    FIELD(TcpTunables, tcp_orphan_retries, 0, 63),
    FIELD(TcpTunables, tcp_fin_timeout, 1, 3600),
    FIELD(TcpTunables, tcp_max_orphans, 0, 100'000'000),
    FIELD(TcpTunables, tcp_keepalive_time, 1, 32767),
    FIELD(TcpTunables, tcp_keepalive_intvl, 1, 32767),
    FIELD(TcpTunables, tcp_keepalive_probes, 1, 127),
    FIELD(TcpTunables, tcp_timewait_len, 1, 240),
    FIELD(TcpTunables, tcp_max_tw_buckets, 0, 100'000'000),
    FIELD(TcpTunables, tcp_tw_reuse, 0, 2),
    FIELD(TcpTunables, tcp_tw_reuse_delay, 0, 60'000),
    FIELD(TcpTunables, tcp_rfc1337, 0, 1),
    FIELD(TcpTunables, tcp_abort_on_overflow, 0, 1),
    FIELD(TcpTunables, tcp_max_syn_backlog, 1, 100'000'000),
    FIELD(TcpTunables, tcp_syncookies, 0, 2),
    FIELD(TcpTunables, somaxconn, 1, 16'777'216),
    FIELD(TcpTunables, tcp_timestamps, 0, 1),
    FIELD(TcpTunables, tcp_window_scaling, 0, 1),
    FIELD(TcpTunables, tcp_sack, 0, 1),
    FIELD(TcpTunables, tcp_dsack, 0, 1),
    FIELD(TcpTunables, tcp_early_retrans, 0, 4),
    FIELD(TcpTunables, tcp_frto, 0, 2),
    FIELD(TcpTunables, tcp_slow_start_after_idle, 0, 1),
    FIELD(TcpTunables, tcp_ecn, 0, 2),
    FIELD(TcpTunables, tcp_ecn_fallback, 0, 1),
    FIELD(TcpTunables, tcp_pacing, 0, 1),
    FIELD(TcpTunables, tcp_rmem, 4096, gib),
    FIELD(TcpTunables, tcp_rmem_max, 4096, gib),
    FIELD(TcpTunables, tcp_moderate_rcvbuf, 0, 1),
    FIELD(TcpTunables, tcp_wmem, 4096, gib),
    FIELD(TcpTunables, tcp_wmem_max, 4096, gib),
    FIELD(TcpTunables, tcp_notsent_lowat, 1, UINT32_MAX),
    FIELD(TcpTunables, tcp_invalid_ratelimit, 0, 60'000),
    FIELD(TcpTunables, tcp_rst_ratelimit, 0, 100'000'000),
    FIELD(TcpTunables, tcp_rto_min_us, 1000, 60'000'000),
    FIELD(TcpTunables, tcp_rto_max_ms, 1000, 120'000),
    FIELD(TcpTunables, tcp_min_snd_mss, 48, 536),
    FIELD(TcpTunables, tcp_mtu_probing, 0, 2),
    FIELD(TcpTunables, tcp_base_mss, 48, 65000),
    FIELD(TcpTunables, tcp_mtu_probe_floor, 48, 65000),
    FIELD(TcpTunables, tcp_probe_interval, 1, 86'400),
    FIELD(TcpTunables, initial_cwnd, 1, 1000),
    FIELD(TcpTunables, ip_local_port_range_min, 1, 65535),
    FIELD(TcpTunables, ip_local_port_range_max, 1, 65535),
    FIELD(TcpTunables, max_connections, 1, 100'000'000),
    FIELD(TcpTunables, max_half_open, 1, 100'000'000),
};

constexpr std::array ip{
    FIELD(IpTunables, ip_default_ttl, 1, 255),
    FIELD(IpTunables, neighbour_retries, 1, 20),
    FIELD(IpTunables, neighbour_retry_ms, 10, 60'000),
    FIELD(IpTunables, neighbour_reachable_s, 1, 3600),
    FIELD(IpTunables, neighbour_max, 16, 1'000'000),
    FIELD(IpTunables, neighbour_queue, 1, 64),
    FIELD(IpTunables, arp_notify, 0, 1),
    FIELD(IpTunables, ipfrag_time, 1, 300),
    FIELD(IpTunables, ipfrag_max, 0, 65536),
    FIELD(IpTunables, mtu_expires, 1, 86'400),
    FIELD(IpTunables, path_mtu_max, 1, 1'000'000),
    FIELD(IpTunables, icmp_msgs_per_sec, 0, 100'000'000),
    FIELD(IpTunables, igmp_max_memberships, 1, 1024),
    FIELD(IpTunables, max_udp_sockets, 1, 1'000'000),
    FIELD(IpTunables, rmem_default, 4096, gib),
    FIELD(IpTunables, rmem_max, 4096, gib),
    FIELD(IpTunables, wmem_default, 4096, gib),
    FIELD(IpTunables, wmem_max, 4096, gib),
};

constexpr std::array pools{
    FIELD(PoolConfig, receive, 512, 16'777'216),
    FIELD(PoolConfig, header, 512, 16'777'216),
    FIELD(PoolConfig, attach, 512, 16'777'216),
    FIELD(PoolConfig, payload, 512, 16'777'216),
};

constexpr std::array recorder{
    FIELD(RecorderConfig, events, 1024, recorder_events_max),
    FIELD(RecorderConfig, ends, 0, 65536),
};

}  // namespace

std::span<const Field<TcpTunables>> tcp_fields() { return tcp; }
std::span<const Field<IpTunables>> ip_fields() { return ip; }
std::span<const Field<PoolConfig>> pool_fields() { return pools; }
std::span<const Field<RecorderConfig>> recorder_fields() { return recorder; }

}  // namespace millrace::config
