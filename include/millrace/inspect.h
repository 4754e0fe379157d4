// What `ss` shows: the sockets of a stack as plain values.
//
// Purpose: to see every connection of a running program, from within (`Stack::sockets`) or from
// another process (`Inspection`, which `millrace-ss` is made of).
// Owner: a record is a copy that belongs to nobody; any thread. An `Inspection` belongs to one
// thread at a time.
// Cost: the owning core copies a bounded number of records a turn of its loop; nothing stands still
// while millions are listed. What is there from the beginning of a listing to its end is in it,
// once or, where its table grew meanwhile, twice; what comes or goes meanwhile may be.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <millrace/address.h>
#include <millrace/error.h>
#include <millrace/story.h>

namespace millrace::api {
class Channel;
}

namespace millrace {

/// Which of a stack's tables a socket stands in.
enum class SocketKind : uint8_t {
    listener,    ///< waits for connections
    half_open,   ///< a connection in SYN-RECEIVED that a listener has been asked for
    connection,  ///< an established one, or one that ends
    time_wait,   ///< with orphans in FIN-WAIT-2 that only wait for the peer's FIN
    udp,         ///< a datagram socket that is bound
};

/// In Linux's numbers (<netinet/tcp.h>). A UDP socket is `established` with a peer, else `closed`.
enum class SocketState : uint8_t {
    established = 1,  ///< ESTAB
    syn_sent,         ///< SYN-SENT
    syn_received,     ///< SYN-RECV
    fin_wait_1,       ///< FIN-WAIT-1
    fin_wait_2,       ///< FIN-WAIT-2
    time_wait,        ///< TIME-WAIT
    closed,           ///< UNCONN
    close_wait,       ///< CLOSE-WAIT
    last_ack,         ///< LAST-ACK
    listen,           ///< LISTEN
    closing,          ///< CLOSING
};
/// As `ss` prints it: "ESTAB", "TIME-WAIT".
std::string_view to_string(SocketState state);

/// What a socket waits for, by the names that `ss` has.
enum class SocketTimer : uint8_t {
    off,        ///< none is armed
    on,         ///< a retransmission, a loss probe or reordering
    keepalive,  ///< a keep-alive probe
    timewait,   ///< the end of TIME-WAIT or FIN-WAIT-2
    persist,    ///< a probe of a closed window
};
/// "on", "keepalive"; "off" for none.
std::string_view to_string(SocketTimer timer);

/// One socket at one moment. Sizes in bytes, times in the unit that their name ends with; what a
/// kind has not is 0.
struct SocketRecord {
    SocketAddress local;         ///< of a listener, the address may be unspecified
    SocketAddress remote;        ///< unspecified: none
    SocketKind kind = SocketKind::connection;      ///< what else there is depends on it
    SocketState state = SocketState::closed;       ///< as `ss` has it
    SocketTimer timer = SocketTimer::off;          ///< the one that fires first
    uint8_t backoffs = 0;        ///< timeouts in a row
    uint8_t probes = 0;          ///< of a window or keep-alive, that nobody has answered
    uint16_t core = 0;           ///< whose it is
    bool orphan = false;         ///< the application has closed it
    uint64_t id = 0;             ///< tells those of one core apart
    /// Received and not consumed; of a listener: connections that wait to be accepted.
    uint32_t receive_queue = 0;
    /// To be sent or not acknowledged, SYN and FIN counted as in Linux; of a listener: its backlog.
    uint32_t send_queue = 0;
    uint32_t timer_ms = 0;       ///< until it fires

    bool timestamps = false;     ///< agreed on (RFC 7323)
    bool sack = false;           ///< likewise (RFC 2018)
    bool ecn = false;            ///< likewise (RFC 3168)
    bool window_scaling = false; ///< likewise (RFC 7323)
    bool corked = false;         ///< TCP_CORK
    bool no_delay = false;       ///< TCP_NODELAY
    uint8_t snd_wscale = 0;      ///< shift of the windows that the peer advertises
    uint8_t rcv_wscale = 0;      ///< of those that it is told
    uint8_t algorithm = 0;       ///< of congestion control; `congestion_control` names it
    uint8_t recovery = 0;        ///< Linux's ca_state: 0 open, disorder, cwr, recovery, 4 loss

    uint32_t rto_us = 0;         ///< retransmission timeout (RFC 6298), backed off
    uint32_t rtt_us = 0;         ///< smoothed; 0 before the first sample
    uint32_t rttvar_us = 0;      ///< its variation
    uint32_t min_rtt_us = 0;     ///< the least of the last minutes
    uint32_t ato_us = 0;         ///< how long an ACK may wait
    uint32_t snd_mss = 0;        ///< payload of a full segment
    uint32_t rcv_mss = 0;        ///< of the peer's, as far as one was seen
    uint32_t advmss = 0;         ///< as the peer was told, options subtracted
    uint32_t path_mtu = 0;       ///< largest IP packet that is sent
    uint32_t cwnd = 0;           ///< congestion window
    uint32_t ssthresh = 0;       ///< slow start below it; ~0: none yet
    uint32_t snd_wnd = 0;        ///< the peer's window
    uint32_t rcv_wnd = 0;        ///< what the peer may still send
    uint32_t outstanding = 0;    ///< sent and not acknowledged
    uint32_t unsent = 0;         ///< of `send_queue`, not sent yet
    uint32_t sacked = 0;         ///< of `outstanding`, known to have arrived
    uint32_t lost = 0;           ///< of `outstanding`, taken for lost
    uint32_t retrans = 0;        ///< of `outstanding`, sent again and in flight
    uint32_t total_retrans = 0;  ///< segments sent again
    uint32_t dsack_dups = 0;     ///< segments that the peer has had twice
    uint32_t rcv_rtt_us = 0;     ///< round trip as the receiver measures it
    uint32_t rcv_space = 0;      ///< that the application took in one of those
    uint32_t last_sent_ms = 0;   ///< so long ago data was sent
    uint32_t last_received_ms = 0;  ///< so long ago data came
    uint32_t last_ack_ms = 0;    ///< so long ago any acceptable segment came
    uint64_t bytes_acked = 0;    ///< by the peer
    uint64_t bytes_lost = 0;     ///< taken for lost, each time
    uint64_t pacing_rate = 0;    ///< bytes a second; 0: not paced
    uint64_t max_pacing_rate = 0;  ///< likewise; ~0: no cap
    /// Bytes a second that arrived, by the last ACK that left something to be acknowledged
    /// (draft-cheng-iccrg-delivery-rate-estimation; Linux's rule for which samples count), to 64
    /// bytes; 0: none yet. May be forgotten where everything has been acknowledged: not in Linux.
    uint64_t delivery_rate = 0;
    bool delivery_app_limited = false;  ///< its sample began from rest, or had too little to send

    /// "cubic"; empty where there is none.
    std::string_view congestion_control() const;
};
static_assert(std::is_trivially_copyable_v<SocketRecord>);

/// Which sockets: all that agree with every part.
struct SocketFilter {
    uint32_t kinds = ~0U;    ///< bit i: `SocketKind` i
    uint32_t states = ~0U;   ///< bit i: `SocketState` i
    uint16_t local_port = 0;   ///< 0: any
    uint16_t remote_port = 0;  ///< 0: any
    Prefix local;              ///< the local address is in it; ::/0: any
    Prefix remote;             ///< likewise the remote one

    /// Whether the record is one of those.
    bool admits(const SocketRecord& record) const;
};

/// How far a listing has come; made by default at its beginning.
struct SocketCursor {
    uint8_t table = 0;    ///< which comes next; `end`: none
    uint64_t bucket = 0;  ///< where in it
    static constexpr uint8_t end = 255;  ///< behind the last

    /// Everything has been listed.
    bool at_end() const { return table == end; }
};

/// Which frames of a running program a capture takes, and how much of each.
struct CaptureOptions {
    /// By the tuple that a frame carries, local being this program's side: ports of TCP and UDP
    /// (so no fragment but the first), addresses of IP and ARP; TCP alone or UDP alone by `kinds`.
    /// `states` is of no account: a frame has none. By default all frames, malformed ones, too.
    SocketFilter filter;
    /// A port by its number, its device ("net_tap0,iface=mr0" or "net_tap0") or the kernel's
    /// interface below it ("mr0"), at most 63 bytes; empty: all. What stays within the stack (the
    /// loopback interface) passes no port and is not captured.
    std::string port;
    bool received = true;      ///< as the driver hands them over
    bool sent = true;          ///< as the driver gets them: what the port fills in is not there yet
    uint32_t snaplen = 65535;  ///< bytes of each frame; 1..65535
    uint64_t count = 0;        ///< ends with so many frames; 0: when it is told
    /// Copies that may wait for the writer, of each core: what exceeds them is dropped and counted.
    /// Each takes `snaplen` bytes or what a frame of the ports has, if that is less. A power of
    /// two, 64..65536.
    uint32_t waiting = 4096;
};

/// What a capture has seen.
struct CaptureCounts {
    uint64_t seen = 0;      ///< frames of its ports and directions
    uint64_t captured = 0;  ///< written
    /// Admitted by the filter, and lost because the writer was too slow. What is admitted was
    /// written or dropped, but where `count` ended the capture.
    uint64_t dropped = 0;
};

/// A look into a running program of this user's, or of anybody's for root: every runtime answers at
/// a Unix socket of its own, up to 16 at a time, unless `inspect.enabled` is false. Calls wait for
/// the answer, seconds at the most where a core does not turn, and say in words what is wrong. A
/// failed call ends the inspection.
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
    /// A line each: "core", its number, name and count since the start; "port", its device, name
    /// and count; "level", the core's number, name and how many there are now (of connections, of
    /// free buffers).
    Started<std::string> counters();
    /// Why frames and connections were dropped, a line each: core, reason, count, and what the
    /// reason means.
    Started<std::string> drops();
    /// Resets the connections that the filter admits, as Linux's `ss -K`; their applications are
    /// told ECONNABORTED. Answers how many.
    Started<uint64_t> abort(const SocketFilter& filter);
    /// Calls `visit` for what is known of each connection whose two ends the filter admits, of
    /// those that are over, too, the oldest first; up to 64 that are there now and have no
    /// beginning in the record any more.
    Started<void> stories(const SocketFilter& filter,
                          const std::function<void(const Story&)>& visit);
    /// From now on every `one_in`-th connection that begins and whose two ends the filter admits is
    /// kept whole, up to 2048 events of it; of each core the last 64. 0: none any more, and those
    /// so far are forgotten.
    Started<void> follow(const SocketFilter& filter, uint32_t one_in);
    /// Captures frames, up to four captures at a time in a runtime: hands `take` a pcapng file of
    /// nanoseconds piece by piece, each of whole blocks, and several times a second an empty piece
    /// where nothing comes. Where `take` answers false, or the program ends, the capture does:
    /// `take` then gets what is left and the statistics. A slow `take` costs frames, which are
    /// counted, and never stops a core; a core copies at most what the options let wait. This ends
    /// the inspection.
    Started<CaptureCounts> capture(const CaptureOptions& options,
                                   const std::function<bool(std::span<const std::byte>)>& take);

private:
    explicit Inspection(std::unique_ptr<api::Channel> there);
    std::unique_ptr<api::Channel> there_;
};

}  // namespace millrace
