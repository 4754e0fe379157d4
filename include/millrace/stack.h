// The native API: one core's stack, its listeners and connections.
//
// Purpose: callbacks over zero-copy buffers, for servers and clients that run in the loop's own
// thread. The application derives handlers, listens or connects, and is told of events in its turn
// of the loop; what it sends leaves in the same turn.
//
// Owner: a `Stack` belongs to the thread that runs its loop (the one that calls `poll_once`, or the
// runtime's own). Calls from another thread that answer a `Result` answer EPERM and change nothing;
// the others of `Connection` and `Listener` answer what they do for nothing at all, an empty value.
// Those of `Stack` that only look at it do not check: they are for its own thread, but for
// `wakeup_fd` and `core`. `Runtime::submit` carries a function over.
// Lifetime: a `Connection` or `Listener` is a handle of two words. It is good until `on_closed` has
// returned, or until `close` or `abort` was called on it; the sanitizer build traps later use.
//
//     struct Echo final : millrace::ConnectionHandler, millrace::ListenHandler {
//         void on_acceptable(Listener listener) override {
//             while (auto c = listener.accept(*this)) {}
//         }
//         void on_readable(Connection c) override { ... }
//     };
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <millrace/address.h>
#include <millrace/buffer.h>
#include <millrace/error.h>
#include <millrace/inspect.h>
#include <millrace/time.h>

namespace millrace {

namespace api {
class Context;
class Sockets;
class StreamSocket;
}
namespace tcp {
struct Connection;
struct Listener;
}  // namespace tcp

class Connection;
class ConnectionHandler;
class Listener;
class Stack;
class TurnHandler;

/// Why a connection ended.
enum class CloseReason : uint8_t {
    closed,       ///< both sides closed in good order
    reset,        ///< the peer aborted (ECONNRESET, EPIPE)
    refused,      ///< nobody listens there (ECONNREFUSED)
    timed_out,    ///< no answer in time (ETIMEDOUT)
    unreachable,  ///< no way to the peer (EHOSTUNREACH, ENETUNREACH and what else ICMP says), or
                  ///< another core has the tuple that `connect` was given (EADDRNOTAVAIL)
};
/// In words, for people: "timed out".
std::string_view to_string(CloseReason reason);

/// What a connection is doing; a copy, for people and tools. Names as in Linux's tcp_info.
struct ConnectionInfo {
    std::string_view state;      ///< as `ss` names it: "ESTAB"; empty where there is none
    uint32_t snd_mss = 0;        ///< bytes
    uint32_t snd_cwnd = 0;       ///< bytes
    uint32_t snd_wnd = 0;        ///< bytes
    uint32_t rcv_wnd = 0;        ///< bytes
    uint32_t send_queued = 0;    ///< bytes not acknowledged yet
    uint32_t receive_queued = 0; ///< bytes not consumed yet
    Duration rtt;                ///< smoothed; 0 before the first sample
    uint8_t backoffs = 0;        ///< timeouts in a row
    std::string_view congestion_control;  ///< TCP_CONGESTION
    uint32_t snd_ssthresh = 0;   ///< bytes; ~0: none yet
    uint64_t pacing_rate = 0;    ///< bytes per second; 0: not paced
    uint64_t delivery_rate = 0;  ///< bytes per second, as `SocketRecord` in inspect.h has it
    uint32_t total_retrans = 0;  ///< segments sent again
    uint32_t in_flight = 0;      ///< bytes believed to be on their way
    uint64_t delivered = 0;      ///< bytes that have reached the peer
    uint64_t lost = 0;           ///< bytes taken for lost, each time
    bool ecn = false;            ///< both sides agreed on ECN
    uint32_t path_mtu = 0;       ///< largest IP packet that is sent, bytes
    uint8_t received_dscp = 0;   ///< of the segment that came last (RFC 9293 MAY-9)
};

/// When keep-alive probes go out; 0 stands for the tunable. Times count in whole seconds, rounded
/// up, to 32767.
struct Keepalive {
    Duration idle;        ///< silence before the first: TCP_KEEPIDLE, tcp_keepalive_time
    Duration interval;    ///< between them: TCP_KEEPINTVL, tcp_keepalive_intvl
    uint32_t probes = 0;  ///< unanswered ones that end it, to 127: TCP_KEEPCNT
};

/// A handle of a TCP connection; copies stand for the same one.
class Connection {
public:
    /// A null handle; every call on it answers EBADF.
    Connection() = default;
    /// Of the same connection, or both null.
    bool operator==(const Connection&) const = default;
    /// Not null; whether the connection still lives it does not say.
    explicit operator bool() const { return connection_ != nullptr; }

    /// Takes all that has arrived in order, without a copy; empty where there is nothing. The
    /// window opens only by `consumed`. O(1).
    BufferChain receive();
    /// The application is done with `bytes` of what it received; the window may open. EBADF, EPERM.
    Result<void> consumed(size_t bytes);
    /// The peer has closed its side and everything before that has been received.
    bool at_end() const;

    /// Takes `data` whole, without a copy, while the send buffer is not full; the buffer's limit
    /// may be exceeded by less than one chain, and buffers that hold little count for half of what
    /// they pin. Received data is copied while receive buffers are short. EAGAIN where it is full,
    /// no buffer is left for that or the handshake is not over (`on_writable` follows; `data` is
    /// left as it was), EPIPE after `shutdown`, else the connection's errno.
    Result<size_t> send(BufferChain& data);
    /// Likewise; `data` is taken whole, or left as it was.
    Result<size_t> send(Buffer&& data);
    /// Copies; answers how many bytes were taken. EAGAIN and the rest as above; ENOBUFS where no
    /// packet buffer is left.
    Result<size_t> send(std::span<const std::byte> data);
    /// Likewise.
    Result<size_t> send(std::string_view data);

    /// Sends a copy as urgent data (RFC 9293 section 3.8.5), of any length: the peer is told that
    /// urgent data is under way, and where it ends. For old protocols; new ones should not use
    /// it (RFC 6093). Answers and errors as above.
    Result<size_t> send_urgent(std::span<const std::byte> data);
    /// How many of the bytes that `receive` gives next are urgent, arrived or not. Ask before
    /// `receive`: urgent data comes in line with the rest (SO_OOBINLINE).
    uint32_t urgent_remaining() const;

    /// A FIN follows what has been sent; receiving goes on. ENOTCONN where it is not open.
    Result<void> shutdown();
    /// Lets go: what was sent still arrives, nothing more is told. Unread data makes it a reset.
    /// The handle is dead.
    Result<void> close();
    /// Resets at once. The handle is dead.
    Result<void> abort();

    /// TCP_NODELAY: small segments are not held back (RFC 9293 MUST-17).
    Result<void> set_no_delay(bool on);
    /// SO_KEEPALIVE, off by default: an idle connection is probed. Where nobody answers it ends
    /// with `timed_out` and a reset (RFC 9293 MUST-24 to MUST-29). EINVAL where a time is out of
    /// range.
    Result<void> set_keepalive(bool on, const Keepalive& times = {});
    /// TCP_USER_TIMEOUT, in milliseconds: how long a series of retransmissions (or the opening of
    /// it) may go unanswered, or the peer's window stay closed, before it ends with `timed_out`;
    /// counted as in Linux from the first retransmission or probe, from the SYN itself in an
    /// attempt. Stands in for tcp_retries2 (R2 of RFC 9293 section 3.8.3) and for the count of
    /// keep-alive probes. Zero: off. `Duration::max()`: R2 is infinite, and nothing ends it but the
    /// peer, ICMP or this side (MUST-21). EINVAL where it is negative or above 2^31 - 1 ms.
    Result<void> set_user_timeout(Duration timeout);
    /// TCP_SYNCNT: how often the SYN goes again, without the linear ones; 0: tcp_syn_retries.
    /// EINVAL above 127.
    Result<void> set_syn_retries(uint32_t retries);
    /// TCP_LINGER2: how long the peer may take after `close` to close its side, in whole seconds.
    /// Zero: tcp_fin_timeout; negative: no time, a reset follows. EINVAL above 120 s.
    Result<void> set_linger2(Duration time);
    /// TCP_CONGESTION: "reno", "cubic", "dctcp" or "bbr"; in mid-connection the window is kept.
    /// ENOENT for another name.
    Result<void> set_congestion_control(std::string_view name);
    /// SO_MAX_PACING_RATE: data leaves evenly, at most so many bytes per second; ~0 takes the cap
    /// away again. EINVAL for 0.
    Result<void> set_max_pacing_rate(uint64_t bytes_per_second);
    /// DSCP of what is sent from now on, 0..63; right after `connect` that includes the SYN. It
    /// reaches IP as it is (RFC 9293 MUST-48); changing it while data flows may reorder that.
    /// EINVAL.
    Result<void> set_dscp(uint8_t dscp);
    /// TTL or hop limit of what is sent from now on, 1..255 (MUST-49). EINVAL.
    Result<void> set_ttl(uint8_t ttl);
    /// `on_soft_error` is called from now on, or no longer (RFC 9293 SHLD-20); off at first, as
    /// Linux's IP_RECVERR.
    Result<void> set_soft_errors(bool on);
    /// TCP_CORK: no partial segment leaves, for at most 200 ms; off: what was held leaves. What is
    /// sent within one turn shares segments without it.
    Result<void> set_cork(bool on);
    /// TCP_QUICKACK: an ACK that is owed goes at once, and so do the next ones; off: ACKs wait, 40
    /// to 200 ms, for an answer to carry them. Not for ever: the connection goes on learning.
    Result<void> set_quick_ack(bool on);
    /// TCP_NOTSENT_LOWAT, bytes: with so much unsent the send buffer counts as full; `on_writable`
    /// comes below half of it. 0: tcp_notsent_lowat of the configuration.
    Result<void> set_not_sent_low_water_mark(uint32_t bytes);
    /// SO_SNDBUF, bytes that may wait for their acknowledgment; from 4096 to tcp_wmem_max. Answers
    /// what was set.
    Result<uint32_t> set_send_buffer(uint32_t bytes);
    /// SO_RCVBUF, bytes that may wait to be consumed; from 4096 to tcp_rmem_max. Answers what was
    /// set. Turns autotuning of this connection off; best set before there is traffic, since a
    /// window that was offered is not taken back.
    Result<uint32_t> set_receive_buffer(uint32_t bytes);
    /// Events go to another handler from now on.
    Result<void> set_handler(ConnectionHandler& handler);

    /// This side's end.
    SocketAddress local() const;
    /// The peer's end.
    SocketAddress remote() const;
    /// A copy of what it is doing now.
    ConnectionInfo info() const;
    /// SO_ERROR: in `on_closed`, the errno of its end; 0 where it was in good order, and before.
    int socket_error() const;
    /// For the application's own bookkeeping: the same for all handles of one connection, and
    /// unique among those that live on this stack.
    const void* id() const { return connection_; }

private:
    friend class api::Context;
    friend class api::StreamSocket;
    friend class Listener;
    friend class Stack;
    Connection(api::Context* context, tcp::Connection* connection)
        : context_(context), connection_(connection) {}
    int check() const;

    api::Context* context_ = nullptr;
    tcp::Connection* connection_ = nullptr;
};

/// A handle of a listener; copies stand for the same one.
class Listener {
public:
    /// A null handle; calls that answer a Result answer EBADF.
    Listener() = default;
    /// Not null; whether the listener still lives it does not say.
    explicit operator bool() const { return listener_ != nullptr; }

    /// The connection that has waited longest, or nothing (also on a thread that does not own the
    /// stack). It has been established and may have data, or have ended since: `on_closed` follows.
    std::optional<Connection> accept(ConnectionHandler& handler);
    /// Takes no more, for a graceful end: a SYN is answered as where nobody listens, by a reset.
    /// Handshakes under way go on, but for those that a SYN cookie remembers, and `accept` answers
    /// what they lead to; the port stays taken until `close`. EBADF, EPERM.
    Result<void> stop();
    /// Stops listening; connections that nobody has accepted are reset. The handle is dead.
    Result<void> close();
    /// What `listen` was given.
    SocketAddress local() const;
    /// DSCP of SYN-ACKs and of the connections that begin from now on, 0..63. EINVAL, EBADF,
    /// EPERM.
    Result<void> set_dscp(uint8_t dscp);
    /// TTL or hop limit likewise, 1..255. EINVAL, EBADF, EPERM.
    Result<void> set_ttl(uint8_t ttl);

private:
    friend class api::Context;
    friend class Stack;
    Listener(api::Context* context, tcp::Listener* listener)
        : context_(context), listener_(listener) {}

    api::Context* context_ = nullptr;
    tcp::Listener* listener_ = nullptr;
};

/// Told of one connection's (or many connections') events. Owned by the application; must outlive
/// the connections that it was given to.
class ConnectionHandler {
public:
    /// The library deletes no handler.
    virtual ~ConnectionHandler() = default;
    /// A `connect` has succeeded; not called for accepted connections.
    virtual void on_connected(Connection) {}
    /// Urgent data has been announced, or more of it: `urgent_remaining` says how much there is.
    /// The data itself comes by `on_readable`.
    virtual void on_urgent(Connection) {}
    /// There is something to `receive`: data, or the end of the stream (`at_end`).
    virtual void on_readable(Connection) {}
    /// After a send that took less than it was given, or EAGAIN: there is room again.
    virtual void on_writable(Connection) {}
    /// Something on the way to the peer is wrong and does not end the connection, say an ICMP
    /// error: the errno that it would be (RFC 9293 MUST-47). Only where `set_soft_errors` asked
    /// for it; of several in one turn of the loop the last.
    virtual void on_soft_error(Connection, int) {}
    /// It is over, and not by this side's `close` or `abort`. The handle is dead when this returns.
    /// After `closed` everything has been received; for any other reason, what had arrived can be
    /// received now, and never again (Linux keeps it, too; RFC 9293 section 3.10.7.4 does not).
    virtual void on_closed(Connection, CloseReason) {}
};

/// Told that connections wait to be accepted. Owned by the application; must outlive the listener.
class ListenHandler {
public:
    /// The library deletes no handler.
    virtual ~ListenHandler() = default;
    /// At least one connection waits. Those that are left are not announced again until another
    /// arrives.
    virtual void on_acceptable(Listener) = 0;
};

/// What the application does on its own account, in each turn of the loop: work through a schedule,
/// look at a queue of its own. Owned by the application; must outlive its stack, or be taken away.
class TurnHandler {
public:
    /// The library deletes no handler.
    virtual ~TurnHandler() = default;
    /// Called once a turn, behind its events; what is sent here leaves in the same turn. `now` is
    /// when the turn began. True where there was something to do: a loop that idles by its
    /// configuration does so after turns without anything. It is asked in turns alone: neither
    /// `next_deadline` nor a loop that sleeps (for `idle_sleep_us` at the most) knows what it will
    /// want next.
    virtual bool on_turn(Stack& stack, Instant now) = 0;
};

/// A TCP segment that belongs to no connection: what a generator floods with, what a test provokes
/// answers by.
struct RawSegment {
    SocketAddress source;       ///< need not be one of ours
    SocketAddress destination;  ///< of the same family
    uint32_t seq = 0;           ///< host byte order, like all numbers here
    uint32_t ack = 0;           ///< sent as it is, also without the flag
    uint8_t flags = 0;          ///< RFC 9293 section 3.1: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, ...
    uint16_t window = 65535;    ///< bytes, not scaled
    uint16_t mss = 0;           ///< the option, on a SYN; 0: without
};

/// Called with each counter's name (Linux's SNMP and TcpExt names, ours, and one per drop reason)
/// and value. Of a runtime's core, "CoreBusyCycles" and "CoreEmptyCycles" are TSC cycles of turns
/// with something to do and of those without; the former are divided into CoreReceiveCycles (taking
/// frames from ports), CoreIngressCycles, CoreTimerCycles, CoreApplicationCycles, CoreEgressCycles
/// and CoreTransmitCycles (giving them to ports).
using CounterVisitor = std::function<void(std::string_view, uint64_t)>;

/// One core's stack, as its application sees it.
class Stack {
public:
    /// For the library: programs have their stacks from `Runtime` or `testing.h`.
    explicit Stack(api::Context& context) : context_(context) {}
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;

    /// The sockets of this core that the filter admits, those in the next part of its tables, are
    /// appended to `records`. Ask until `cursor.at_end()`: each time a bounded part, some tens of
    /// microseconds.
    void sockets(SocketCursor& cursor, const SocketFilter& filter,
                 std::vector<SocketRecord>& records) const;

    /// Passive open. An unspecified IPv6 address takes both families. EADDRINUSE, EADDRNOTAVAIL,
    /// EINVAL (port 0), ENOBUFS, EPERM.
    Result<Listener> listen(const SocketAddress& local, ListenHandler& handler,
                            uint32_t backlog = 4096);
    /// Active open; `on_connected` or `on_closed` follows. `local` may name an address, a port,
    /// both or neither. ENETUNREACH, EADDRNOTAVAIL (the tuple is in use, or no port is left; one in
    /// TIME-WAIT with timestamps can be named, and is chosen as `tcp_tw_reuse` says), EINVAL,
    /// ENOBUFS, EPERM.
    Result<Connection> connect(const SocketAddress& remote, ConnectionHandler& handler,
                               const SocketAddress& local = {});
    /// Sends a segment as it stands, after what was sent before; it leaves in this turn, or the
    /// next. One for a destination without a known next hop may be dropped. EAGAIN while the port
    /// takes no more, ENOBUFS, ENETUNREACH, EINVAL (two families), EPERM.
    Result<void> send_raw(const RawSegment& segment);
    /// `Listener::stop` for every listener that there is, those of sockets among them: how a
    /// graceful end begins (`Runtime::drain` does the whole of it). EPERM.
    Result<void> stop_listening();
    /// How it ends: connections that are left are reset, handlers are told by `on_closed`
    /// (`unreachable`, ECONNABORTED), and what is half open is reset, too, all in this turn or the
    /// next. Answers how many connections there were. EPERM. Cost: a walk over all of them.
    Result<size_t> abort_all();
    /// Asked in every turn from now on; null: nobody is. EPERM.
    Result<void> set_turn_handler(TurnHandler* handler);
    /// A buffer that refers to a region's memory, at most `Buffer::max_size` bytes. EINVAL,
    /// ENOBUFS.
    Result<Buffer> buffer_from(const Region& region, size_t offset, size_t size);

    /// One turn of the loop, for a caller that owns it: at most `bursts` bursts of 64 frames from
    /// each receive queue. True if there was anything to do. The first call makes the calling
    /// thread the owner; on any other, nothing happens.
    bool poll_once(uint32_t bursts = 4);
    /// When `poll_once` is worth calling though nothing arrives; `Instant::never()` if not at all.
    Instant next_deadline();
    /// Readable when another core or thread has sent something to this one while it slept; for the
    /// caller's own epoll. Frames do not wake it: ports are polled.
    int wakeup_fd() const;
    /// Before the caller sleeps on `wakeup_fd`: false if it must not, since something waits.
    bool prepare_sleep();

    /// The loop's clock, now.
    Instant now() const;
    /// Its core's index in the runtime. Any thread.
    uint16_t core() const;
    /// Calls `visit` with every counter of this core.
    void counters(const CounterVisitor& visit) const;
    /// Connections, half-open and TIME-WAIT entries there are now.
    struct Population {
        size_t connections,  ///< orphans and those that `connect` has begun, too
            half_open,       ///< a SYN has come, the handshake is not over
            time_wait;       ///< with most of the orphans in FIN-WAIT-2
    };
    /// O(1).
    Population population() const;
    /// Packet buffers that lie in the pools now.
    size_t buffers_available() const;
    /// How many there are in all; never changes.
    size_t buffers_capacity() const;

private:
    friend class api::Context;
    friend class api::Sockets;
    api::Context& context_;
};

}  // namespace millrace
