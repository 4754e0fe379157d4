// The configuration of a runtime: ports, addresses, routes, cores, pools, tunables.
//
// Purpose: small structs with defaults, filled by a program or read from TOML, handed down once at
// start and never changed. Tunables carry Linux's sysctl names and defaults; each field states its
// unit. `parse_config` and `load_config` refuse unknown keys and values out of range with file,
// line, field, value and range; `validate` checks what was filled in by hand.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <millrace/address.h>
#include <millrace/error.h>
#include <millrace/time.h>

namespace millrace {

/// Congestion control algorithms; in TOML "reno", "cubic", "dctcp" and "bbr".
enum class CongestionControl : uint8_t {
    reno,   ///< RFC 5681
    cubic,  ///< RFC 9438, slow start by HyStart++ (RFC 9406)
    dctcp,  ///< RFC 8257: for networks that mark with ECN
    bbr,    ///< version 3, paced
};

/// Tunables of TCP, under Linux's names less the leading "net.ipv4."; times are in the unit that
/// the comment says.
struct TcpTunables {
    uint32_t tcp_syn_retries = 6;            ///< SYN retransmissions before ETIMEDOUT; 1..127
    uint32_t tcp_syn_linear_timeouts = 4;    ///< of these, how many come without backoff; 0..127
    uint32_t tcp_synack_retries = 5;         ///< SYN-ACK retransmissions; 0..127
    uint32_t tcp_retries1 = 3;               ///< RTO backoffs before the path is doubted; 1..63
    uint32_t tcp_retries2 = 15;              ///< RTO backoffs before giving up; 1..63
    uint32_t tcp_orphan_retries = 0;         ///< the same after close(); 0 acts as 8; 0..63
    uint32_t tcp_fin_timeout = 60;           ///< seconds an orphan stays in FIN-WAIT-2; 1..3600
    uint32_t tcp_max_orphans = 32768;        ///< closed, not over; more are reset; 0..100000000
    uint32_t tcp_keepalive_time = 7200;      ///< seconds of silence before a probe; 1..32767
    uint32_t tcp_keepalive_intvl = 75;       ///< seconds between probes; 1..32767
    uint32_t tcp_keepalive_probes = 9;       ///< unanswered ones that end it; 1..127
    uint32_t tcp_timewait_len = 60;          ///< seconds of TIME-WAIT (2 MSL); 1..240
    uint32_t tcp_max_tw_buckets = 262144;    ///< TIME-WAIT entries per core; 0..100000000
    uint32_t tcp_tw_reuse = 2;               ///< connect() over TIME-WAIT: 2: loopback only; 0..2
    uint32_t tcp_tw_reuse_delay = 1000;      ///< ms that the entry must be old; 0..60000
    uint32_t tcp_rfc1337 = 1;                ///< 1: RST in TIME-WAIT is ignored; 0..1
    uint32_t tcp_abort_on_overflow = 0;      ///< 1: RST when the accept queue is full; 0..1
    uint32_t tcp_max_syn_backlog = 4096;     ///< half-open a listener, if no cookies; 1..100000000
    uint32_t tcp_syncookies = 1;             ///< 0: never, 1: for what exceeds it, 2: always; 0..2
    uint32_t somaxconn = 4096;               ///< cap on a listener's backlog; 1..16777216
    uint32_t tcp_timestamps = 1;             ///< 1: offer and accept timestamps; 0..1
    uint32_t tcp_window_scaling = 1;         ///< 1: offer and accept window scaling; 0..1
    uint32_t tcp_sack = 1;                   ///< 1: offer and accept SACK; 0..1
    uint32_t tcp_dsack = 1;                  ///< 1: report duplicates by SACK (RFC 2883); 0..1
    uint32_t tcp_early_retrans = 3;          ///< 0: no tail loss probes, 3: probes; 0..4
    uint32_t tcp_frto = 2;                   ///< 0: never look for spurious timeouts; 0..2
    uint32_t tcp_slow_start_after_idle = 1;  ///< 1: the window decays while idle; 0..1
    uint32_t tcp_ecn = 2;                    ///< 0: never, 1: ask and accept, 2: accept; 0..2
    uint32_t tcp_ecn_fallback = 1;           ///< 1: a SYN sent again asks for no ECN; 0..1
    uint32_t tcp_pacing = 0;                 ///< 1: pace whatever the algorithm is; 0..1
    CongestionControl tcp_congestion_control = CongestionControl::cubic;  ///< by Linux's name
    /// Receive buffer of a connection, bytes, at most an eighth of the core's receive buffers;
    /// 4096..2^30
    uint32_t tcp_rmem = 131072;
    uint32_t tcp_rmem_max = 33554432;        ///< what it may grow to, bytes; 4096..2^30
    uint32_t tcp_moderate_rcvbuf = 1;        ///< 1: the receive buffer grows by need; 0..1
    uint32_t tcp_wmem = 4194304;             ///< send buffer of a connection, bytes; 4096..2^30
    uint32_t tcp_wmem_max = 4194304;         ///< what it may be set to, bytes; 4096..2^30
    /// Unsent bytes from which on a connection is not writable; 4294967295: no such mark;
    /// 1..4294967295
    uint32_t tcp_notsent_lowat = UINT32_MAX;
    /// ms between ACKs to invalid segments; 0: no limit, so that two ends that disagree may answer
    /// each other until one of them forgets; 0..60000
    uint32_t tcp_invalid_ratelimit = 500;
    uint32_t tcp_rst_ratelimit = 10000;      ///< RSTs/s a core to strangers; 0: all; 0..100000000
    uint32_t tcp_rto_min_us = 200000;        ///< floor of the RTO, microseconds; 1000..60000000
    uint32_t tcp_rto_max_ms = 120000;        ///< ceiling of the RTO, ms; 1000..120000
    uint32_t tcp_min_snd_mss = 48;           ///< floor of the peer's MSS, bytes; 48..536
    uint32_t tcp_mtu_probing = 0;            ///< 1: probe after a black hole, 2: always; 0..2
    uint32_t tcp_base_mss = 1024;            ///< where probing begins, bytes; 48..65000
    uint32_t tcp_mtu_probe_floor = 48;       ///< smallest MSS after black holes; 48..65000
    uint32_t tcp_probe_interval = 600;       ///< s until a search is repeated; 1..86400
    uint32_t initial_cwnd = 10;              ///< segments (RFC 6928); 1..1000
    uint32_t ip_local_port_range_min = 32768;  ///< first ephemeral port; 1..65535
    uint32_t ip_local_port_range_max = 60999;  ///< last ephemeral port; 1..65535
    uint32_t max_connections = 65536;        ///< connections per core; 1..100000000
    uint32_t max_half_open = 16384;          ///< half-open entries per core; 1..100000000
};

/// Tunables of IP.
struct IpTunables {
    uint32_t ip_default_ttl = 64;           ///< TTL and hop limit; 1..255
    uint32_t neighbour_retries = 3;         ///< solicitations before a next hop fails; 1..20
    uint32_t neighbour_retry_ms = 1000;     ///< between them (RFC 4861 RetransTimer); 10..60000
    uint32_t neighbour_reachable_s = 30;    ///< before an entry in use is asked again; 1..3600
    uint32_t neighbour_max = 4096;          ///< entries per core; 16..1000000
    uint32_t neighbour_queue = 64;          ///< frames that wait for one next hop; 1..64
    /// 1: a runtime tells its links at start where its addresses are now, three times, a second
    /// apart, since it may have another link address than the program before it; 0..1
    uint32_t arp_notify = 1;
    uint32_t ipfrag_time = 30;              ///< seconds a datagram may take to arrive; 1..300
    uint32_t ipfrag_max = 256;              ///< datagrams in reassembly per core; 0..65536
    uint32_t mtu_expires = 600;             ///< s that ICMP's word on a path counts; 1..86400
    uint32_t path_mtu_max = 4096;           ///< paths remembered so, per core; 1..1000000
    uint32_t icmp_msgs_per_sec = 1000;      ///< errors/s a core sends; 0: all; 0..100000000
    uint32_t igmp_max_memberships = 20;     ///< groups that one socket may join; 1..1024
    uint32_t max_udp_sockets = 65536;       ///< per core; 1..1000000
    /// Bytes that may wait to be read from a datagram socket, 512 more for each datagram. More than
    /// Linux's: a turn of the loop brings hundreds of frames before anyone can read. 4096..2^30
    uint32_t rmem_default = 1048576;
    uint32_t rmem_max = 4194304;            ///< what it may be set to, bytes; 4096..2^30
    /// Bytes that a datagram socket may send in one turn of the loop, counted likewise; 4096..2^30
    uint32_t wmem_default = 212992;
    uint32_t wmem_max = 4194304;            ///< what it may be set to, bytes; 4096..2^30
};

/// A network behind a next hop; in TOML "10.0.0.0/8 via 192.0.2.254".
struct Route {
    Prefix destination;  ///< of length 0: the default route
    Address gateway;     ///< of the same family, in a subnet of the port; unspecified: on the link
};

/// Where somebody on a port's link is; in TOML "192.0.2.9 at 02:00:00:00:00:09".
struct NeighbourConfig {
    Address address;               ///< of a host, in a subnet of the port
    std::array<uint8_t, 6> mac{};  ///< of one station
    /// True, as in TOML: never asked, never changed, whatever the neighbour says. False: used at
    /// once, and asked again when it is.
    bool permanent = true;
};

/// A port, and who we are on its link.
struct PortConfig {
    /// A DPDK device: "net_tap0,iface=mr0", "net_memif0,...", a PCI address, or "ring:NAME:0" and
    /// "ring:NAME:1" for the two ends of a link within the process.
    std::string device;
    std::vector<Prefix> addresses;          ///< ours, each with the length of its subnet
    std::vector<Route> routes;              ///< "default" stands for 0.0.0.0/0 or ::/0
    std::vector<NeighbourConfig> neighbours;  ///< fewer than `neighbour_max`
    /// An interface of the kernel, "eth0", that the port stands in for: MAC, MTU, addresses, routes
    /// of the main table and neighbours (permanent and reachable ones) are as the kernel has them
    /// at start, in this process' network namespace; they must not be given beside it. The kernel
    /// keeps them, and has to be kept from answering (README). Empty: none.
    std::string adopt;
    std::string mac;                        ///< empty: the port's own, or one made up
    uint16_t mtu = 1500;                    ///< bytes of an IP packet; 576..16000
    uint16_t vlan = 0;                      ///< 802.1Q identifier, 0: untagged; 0..4094
    uint16_t receive_descriptors = 1024;    ///< per queue; 64..32768
    uint16_t transmit_descriptors = 1024;   ///< per queue; 64..32768
    /// Which cores poll this port; empty: all.
    std::vector<uint16_t> cores;
    bool software_checksums = false;        ///< use none of the port's checksum offloads
};

/// What a loop does while nothing comes; in TOML by these names.
enum class IdlePolicy : uint8_t {
    spin,   ///< poll on: lowest latency, a whole processor
    yield,  ///< after `idle_turns` empty turns give the processor away until the next turn
    sleep,  ///< after `idle_turns` empty turns sleep for `idle_sleep_us`, or until a timer is due
};

/// A loop with its stack; its number is its place in `Config::cores`.
struct CoreConfig {
    /// The CPU to which the loop is pinned; none: not pinned (a caller's own thread never is).
    std::optional<uint16_t> cpu;
    IdlePolicy idle = IdlePolicy::spin;  ///< of the threads that `run` starts
    uint32_t idle_turns = 1000;  ///< empty turns before yielding or sleeping; 1..1000000000
    uint32_t idle_sleep_us = 50;  ///< the most that a frame waits for a sleeper; 1..1000000
};

/// How many packet buffers there are.
struct PoolConfig {
    uint32_t receive = 8192;  ///< receive buffers per core and port that it polls; 512..16777216
    uint32_t header = 8192;   ///< frames to be sent, per core; 512..16777216
    uint32_t attach = 8192;   ///< references to kept payload, per core; 512..16777216
    uint32_t payload = 8192;  ///< buffers for copied-in payload, per core; 512..16777216
};

/// What DPDK's environment layer starts with: once a process, so the first runtime's counts.
struct EalConfig {
    uint32_t memory_mb = 0;      ///< for EAL; 0: what the pools need; 0..1048576
    bool huge_pages = true;      ///< false: never use them; true: when there are any
    /// True: other processes of DPDK may attach (`dpdk-dumpcap`, `dpdk-proc-info`): EAL's memory is
    /// files of hugetlbfs. Needs that mounted and enough huge pages free; else the start fails.
    /// Packet buffers cost more then: loops have no caches of their own in the pools.
    bool shared = false;
    /// True: DPDK's telemetry socket is there for this user (`dpdk-telemetry.py`, Telegraf), with
    /// "/millrace/..." beside DPDK's own commands. Of those, the ones that ask a device
    /// ("/ethdev/...") know nothing of a runtime that closes its ports meanwhile. One client at a
    /// time: DPDK 22.11 mixes up the parameters of several (it has them parsed by strtok).
    bool telemetry = false;
    /// What EAL calls its files by, and others find it by (`--file-prefix`): letters, digits, '_',
    /// '-' and '.', at most 32; empty: "millrace" and the process' number.
    std::string file_prefix;
    std::vector<std::string> arguments;  ///< passed through to rte_eal_init
};

/// Whether others may look in: `millrace-ss` and what else asks by `inspect.h`.
struct InspectConfig {
    bool enabled = true;  ///< a Unix socket for this user alone, and a thread that mostly sleeps
};

/// The flight recorder of each core (`story.h`).
struct RecorderConfig {
    uint32_t events = 16384;  ///< the last ones, 32 bytes each; a power of two, 1024..65536
    uint32_t ends = 64;       ///< connections that ended badly and are kept, 4 KiB each; 0..65536
};

/// All that a runtime is made from.
struct Config {
    std::vector<PortConfig> ports;  ///< at most 32; "port" in TOML
    std::vector<CoreConfig> cores = std::vector<CoreConfig>(1);  ///< 1..64; "core" in TOML
    PoolConfig pools;               ///< of every core
    TcpTunables tcp;                ///< of every core
    IpTunables ip;                  ///< of every core
    EalConfig eal;                  ///< of the process
    InspectConfig inspect;          ///< of the runtime
    RecorderConfig recorder;        ///< of every core
};

/// Reads TOML text; `name` stands for the file in what goes wrong.
Started<Config> parse_config(std::string_view text, std::string_view name);
/// Reads a TOML file.
Started<Config> load_config(const std::string& path);
/// Checks every range, and what the fields must be to each other.
Started<void> validate(const Config& config);

}  // namespace millrace
