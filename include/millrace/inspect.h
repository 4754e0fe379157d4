// What `ss` shows: the sockets of a stack as plain values.
//
// Purpose: to see every connection of a running program, from within (`Stack::sockets`) or from
// another process (`Inspection`, which `millrace-ss` is made of).
// Owner: a record is a copy that belongs to nobody; any thread. An `Inspection` belongs to one
// thread at a time.
// Cost: the owning core copies a bounded number of records a turn of its loop; nothing stands still
// while millions are listed. What is there from the beginning of a listing to its end is in it, once
// or, where its table grew meanwhile, twice; what comes or goes meanwhile may be.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <millrace/address.h>
#include <millrace/error.h>

namespace millrace {

/// Which of a stack's tables a socket stands in.
enum class SocketKind : uint8_t {
    listener,
    half_open,   ///< a connection in SYN-RECEIVED that a listener has been asked for
    connection,
    time_wait,   ///< with orphans in FIN-WAIT-2 that only wait for the peer's FIN
    udp,
};

/// In Linux's numbers (<netinet/tcp.h>). A UDP socket is `established` with a peer, else `closed`.
enum class SocketState : uint8_t {
    established = 1,
    syn_sent,
    syn_received,
    fin_wait_1,
    fin_wait_2,
    time_wait,
    closed,
    close_wait,
    last_ack,
    listen,
    closing,
};
/// As `ss` prints it: "ESTAB", "TIME-WAIT".
std::string_view to_string(SocketState state);

/// What a socket waits for, by the names that `ss` has.
enum class SocketTimer : uint8_t { off, on, keepalive, timewait, persist };
/// "on", "keepalive"; "off" for none.
std::string_view to_string(SocketTimer timer);

/// One socket at one moment. Sizes in bytes, times in the unit that their name ends with; what a
/// kind has not is 0.
struct SocketRecord {
    SocketAddress local;
    SocketAddress remote;        ///< unspecified: none
    SocketKind kind = SocketKind::connection;
    SocketState state = SocketState::closed;
    SocketTimer timer = SocketTimer::off;
    uint8_t backoffs = 0;        ///< timeouts in a row
    uint8_t probes = 0;          ///< of a window or keep-alive, that nobody has answered
    uint16_t core = 0;
    bool orphan = false;         ///< the application has closed it
    uint64_t id = 0;             ///< tells those of one core apart
    /// Received and not consumed; of a listener: connections that wait to be accepted.
    uint32_t receive_queue = 0;
    /// Sent or to be sent and not acknowledged; of a listener: its backlog.
    uint32_t send_queue = 0;
    uint32_t timer_ms = 0;       ///< until it fires

    // What both sides agreed on, and how it is used.
    bool timestamps = false, sack = false, ecn = false, window_scaling = false;
    bool corked = false, no_delay = false;
    uint8_t snd_wscale = 0, rcv_wscale = 0;
    uint8_t algorithm = 0;       ///< of congestion control; `congestion_control` names it
    uint8_t recovery = 0;        ///< Linux's ca_state: 0 open, disorder, cwr, recovery, 4 loss

    uint32_t rto_us = 0, rtt_us = 0, rttvar_us = 0, min_rtt_us = 0, ato_us = 0;
    uint32_t snd_mss = 0, rcv_mss = 0, advmss = 0, path_mtu = 0;
    uint32_t cwnd = 0;
    uint32_t ssthresh = 0;       ///< ~0: none yet
    uint32_t snd_wnd = 0, rcv_wnd = 0;
    uint32_t outstanding = 0;    ///< sent and not acknowledged
    uint32_t unsent = 0;
    uint32_t sacked = 0, lost = 0;
    uint32_t total_retrans = 0;  ///< segments
    uint32_t dsack_dups = 0;     ///< segments that the peer has had twice
    uint32_t rcv_rtt_us = 0, rcv_space = 0;
    uint32_t last_sent_ms = 0, last_received_ms = 0, last_ack_ms = 0;  ///< so long ago
    uint64_t bytes_acked = 0;
    uint64_t bytes_lost = 0;     ///< taken for lost, each time
    uint64_t pacing_rate = 0;      ///< bytes a second; 0: not paced
    uint64_t max_pacing_rate = 0;  ///< likewise; ~0: no cap

    /// "cubic"; empty where there is none.
    std::string_view congestion_control() const;
};
static_assert(std::is_trivially_copyable_v<SocketRecord>);

/// Which sockets: all that agree with every part.
struct SocketFilter {
    uint32_t kinds = ~0U;    ///< bit i: `SocketKind` i
    uint32_t states = ~0U;   ///< bit i: `SocketState` i
    uint16_t local_port = 0, remote_port = 0;  ///< 0: any
    /// Addresses in these; a length of 0 in the unspecified IPv6 address: any.
    Prefix local, remote;

    /// Whether the record is one of those.
    bool admits(const SocketRecord& record) const;
};

/// How far a listing has come; made by default at its beginning.
struct SocketCursor {
    uint8_t table = 0;    ///< which comes next; `end`: none
    uint64_t bucket = 0;
    static constexpr uint8_t end = 255;

    /// Everything has been listed.
    bool at_end() const { return table == end; }
};

/// A look into a running program of this user's: every runtime answers at a Unix socket of its own,
/// unless `inspect.enabled` is false. Calls wait for the answer, seconds at the most where a core
/// does not turn, and say in words what is wrong. A failed call ends the inspection.
class Inspection {
public:
    /// The sockets of the runtimes there are, by path; those of programs that ended without
    /// closing theirs are removed.
    static std::vector<std::string> running();
    /// Asks one of them.
    static Started<Inspection> open(const std::string& path);
    /// Another owner.
    Inspection(Inspection&& other) noexcept;
    Inspection& operator=(Inspection&&) = delete;
    ~Inspection();

    /// Program, process, cores and ports, a line each: name, then value.
    Started<std::string> about();
    /// Calls `visit` for each socket that the filter admits, in no order.
    Started<void> list(const SocketFilter& filter,
                       const std::function<void(const SocketRecord&)>& visit);
    /// All counters, a line each: core, name and value.
    Started<std::string> counters();
    /// Resets the connections that the filter admits, as Linux's `ss -K`; their applications are
    /// told ECONNABORTED. Answers how many.
    Started<uint64_t> abort(const SocketFilter& filter);

private:
    explicit Inspection(int fd) : fd_(fd) {}
    int fd_ = -1;
};

}  // namespace millrace
