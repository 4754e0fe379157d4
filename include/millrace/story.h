// What connections did: the events that a core's flight recorder keeps.
//
// Purpose: to tell afterwards why a connection ended as it did, from within a test or, through
// `Inspection::stories`, from another process (`millrace-ss --story`).
// Owner: copies that belong to nobody; any thread.
// Lifetime: a core keeps its last `recorder.events` events, whoever's they are; beyond those the
// ends of connections that ended badly, and whole stories where a filter asks for them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include <millrace/address.h>

namespace millrace {

/// What an event tells; the words of each are said beside it, others are 0.
enum class TraceKind : uint8_t {
    none,       ///< nothing has been written here
    remote,     ///< a connection begins; `address`, `detail`: the peer's port
    local,      ///< behind `remote`; `address`, `detail`: the local port, `what`: 1 where a
                ///< connection goes on in TIME-WAIT, 0 where it begins
    opened,     ///< the peer's SYN was taken: `seq` our ISN, `ack` the peer's, `window` of its SYN
                ///< unscaled, `length` payload of a full segment, `what` bits of `TraceOption`,
                ///< `detail`: shifts of window scaling, the peer's * 16 + ours
    in,         ///< a segment came: `what` its control bits, `length` of its payload
    out,        ///< likewise left; `detail`: payload of a full segment, several may have left
    out_again,  ///< likewise, with data or control bits that had been sent before
    sack_in,    ///< behind `in`: up to two SACK blocks, begin and end in the four words
    sack_out,   ///< behind `out`
    state,      ///< `what`: the state before, `detail` the state after, as `SocketState`
    recovery,   ///< `what` before, `detail` after: Linux's ca_state
    timer,      ///< `what`: a `TraceTimer` that was due
    call,       ///< `what`: a `TraceCall`, `length` its bytes
    ended,      ///< `what`: errno as the application is told, 0 in order
};
/// Of `TraceKind::opened`.
enum class TraceOption : uint8_t { timestamps = 1, sack = 2, window_scaling = 4, ecn = 8 };
/// Which deadline was due.
enum class TraceTimer : uint8_t {
    retransmission,  ///< RTO (RFC 6298)
    loss_probe,      ///< TLP (RFC 8985)
    reordering,      ///< RACK (RFC 8985)
    persist,         ///< a closed window is probed (RFC 9293 section 3.8.6.1)
    delayed_ack,     ///< an ACK waits no longer (RFC 1122 section 4.2.3.2)
    cork,            ///< TCP_CORK holds no longer
    keepalive,       ///< or the end of FIN-WAIT-2, which shares its timer
};
/// What the application asked for.
enum class TraceCall : uint8_t { connect, send, receive, shutdown, close, abort };

/// One event, 32 bytes.
struct TraceEvent {
    int64_t time_ns = 0;                 ///< of the core's own clock
    TraceKind kind = TraceKind::none;    ///< what it tells
    uint8_t what = 0;                    ///< as the kind has it
    uint16_t detail = 0;                 ///< likewise
    uint32_t connection = 0;             ///< tells those apart that were there at one time
    std::array<uint32_t, 4> words{};     ///< as the kind has them

    uint32_t seq() const { return words[0]; }     ///< of a segment
    uint32_t ack() const { return words[1]; }     ///< of a segment
    uint32_t window() const { return words[2]; }  ///< of a segment, as it stands in the header
    uint32_t length() const { return words[3]; }  ///< of a segment or call, bytes
    /// All of it.
    friend bool operator==(const TraceEvent&, const TraceEvent&) = default;
    /// Of `remote` and `local`.
    Address address() const { return Address::v6(words.data()); }
};
static_assert(sizeof(TraceEvent) == 32 && std::is_trivially_copyable_v<TraceEvent>);

/// Why a story was kept.
enum class StoryKind : uint8_t {
    recorded,  ///< the ring still has it
    ended,     ///< its connection ended with an error or a reset
    followed,  ///< a filter wanted it whole
};

/// What is known of one connection, in order of time.
struct Story {
    SocketAddress local;                     ///< its two ends
    SocketAddress remote;                    ///< likewise
    uint16_t core = 0;                       ///< whose it was
    StoryKind kind = StoryKind::recorded;    ///< where it comes from
    bool whole = false;                      ///< its beginning is there
    uint32_t left_out = 0;                   ///< events behind these for which there was no room
    std::vector<TraceEvent> events;          ///< behind `remote` and `local`
};

}  // namespace millrace
