// One connection's state: RFC 9293's transmission control block.
#pragma once

#include <algorithm>
#include <cstdint>

#include <boost/intrusive/slist.hpp>

#include <millrace/time.h>

#include "base/seq.h"
#include "congestion/control.h"
#include "ip/neighbours.h"
#include "tcp/flow.h"
#include "tcp/path_mtu.h"
#include "tcp/receiving.h"
#include "tcp/rtt.h"
#include "tcp/sending.h"
#include "tcp/settings.h"
#include "tcp/state.h"
#include "time/wheel.h"

namespace millrace::tcp {

class Reassembly;

/// The kinds of wheel entries in a stack; a wheel has one owner, so they are numbered together.
enum TimerKind : uint8_t {
    timer_connection = 1,
    timer_half_open = 2,
    timer_neighbour = 3,
    timer_application = 4,
};

/// What happened that the application has not been told yet; a set.
struct Event {
    static constexpr uint8_t connected = 1;
    static constexpr uint8_t readable = 2;
    static constexpr uint8_t writable = 4;
    static constexpr uint8_t closed = 8;
    static constexpr uint8_t soft_error = 16;  ///< `Connection::soft_error` says which
    static constexpr uint8_t urgent = 32;
};

/// Singly linked membership in a list of connections; 8 bytes, null when in none.
template <typename Tag>
using ListHook = boost::intrusive::slist_base_hook<
    boost::intrusive::tag<Tag>, boost::intrusive::link_mode<boost::intrusive::safe_link>>;
using DirtyHook = ListHook<struct DirtyTag>;
using ReadyHook = ListHook<struct ReadyTag>;

/// Owned by one core, from its pool. Lives from connect() or the third ACK until it is closed *and*
/// the application has let go of it. Members are written by `lib/tcp` alone and bear RFC 9293's
/// names (section 3.3.1); the rest of the stack reads them.
struct Connection : Flow, DirtyHook, ReadyHook {
    explicit Connection(const FlowKey& flow_key) : Flow(FlowKind::connection, flow_key) {}

    State state = State::closed;
    uint8_t events = 0;          ///< `Event` bits not delivered yet
    uint8_t error = 0;           ///< errno of the end, 0: in good order
    uint8_t soft_error = 0;      ///< errno of trouble that has not ended the connection
    uint8_t backoffs = 0;        ///< retransmission timeouts (or probes) in a row
    uint8_t probes_out = 0;      ///< window or keep-alive probes that nobody has answered yet
    uint8_t quick_acks = 0;      ///< how many more segments are acknowledged at once
    uint8_t rcv_dscp = 0;        ///< of the last segment that counted (MAY-9)
    uint8_t snd_wind_shift : 4 = 0;  ///< of windows that the peer advertises
    uint8_t rcv_wind_shift : 4 = 0;  ///< of windows that we advertise

    Recovery recovery : 3 = Recovery::open;
    congestion::Algorithm algorithm : 2 = congestion::Algorithm::reno;
    bool window_scaling : 1 = false;   ///< both sides sent the option on their SYN
    bool sack : 1 = false;             ///< likewise SACK-permitted
    bool ack_now : 1 = false;          ///< an ACK goes out this turn
    bool ack_delayed : 1 = false;      ///< an ACK is owed by `Receiving::delayed_ack_due`
    bool syn_due : 1 = false;          ///< our SYN (again) goes out this turn
    bool probe_due : 1 = false;        ///< a window probe goes out this turn
    bool keepalive_due : 1 = false;    ///< a keep-alive probe goes out this turn
    bool rst_due : 1 = false;          ///< a RST goes out this turn, then nothing more
    bool aborted : 1 = false;          ///< it has ended by a RST of ours
    bool fin_queued : 1 = false;       ///< the application has closed its side
    bool fin_received : 1 = false;     ///< RCV.NXT is beyond the peer's FIN
    bool fin_pending : 1 = false;      ///< a FIN waits behind missing data
    bool timed_out : 1 = false;        ///< a timeout or window probe, and no progress since
    bool no_delay : 1 = false;         ///< Nagle off (TCP_NODELAY)
    bool want_writable : 1 = false;    ///< the application met a full send buffer
    bool attached : 1 = true;          ///< the application holds a handle (or will accept one)
    bool in_table : 1 = false;         ///< in the flow table
    bool reading_stopped : 1 = false;  ///< nobody will read what comes now: a reset answers it
    bool syn_acked : 1 = false;        ///< our SYN has been acknowledged
    bool fin_acked : 1 = false;        ///< our FIN has been acknowledged
    bool starved : 1 = false;          ///< waits for packet buffers, in `Env::starved`
    bool report_errors : 1 = false;    ///< soft errors are told to the application (SHLD-20)
    bool delivered_close : 1 = false;  ///< the application has been told of the end
    bool keepalive : 1 = false;        ///< SO_KEEPALIVE
    bool orphan : 1 = false;           ///< counted in `Env::orphans`: not in FIN-WAIT-2
    bool ecn_asked : 1 = false;        ///< our SYN bore ECE and CWR (RFC 3168 section 6.1.1)
    bool ecn : 1 = false;              ///< both sides agreed on ECN
    bool ece : 1 = false;              ///< our ACKs bear ECE
    bool cwr_due : 1 = false;          ///< the next new segment bears CWR
    bool corked : 1 = false;           ///< TCP_CORK
    bool interactive : 1 = false;      ///< ACKs wait to be carried (Linux: pingpong mode)
    bool urgent_pending : 1 = false;   ///< RCV.UP is ahead of what the application has taken
    bool queue_copied : 1 = false;     ///< no receive buffer is in this connection's queues
    bool rcv_buf_locked : 1 = false;   ///< the application has set `rcv_buf`: no autotuning

    uint16_t snd_mss = 536;  ///< payload of a full segment, options subtracted
    uint16_t link_mss = 536; ///< what we advertise: the link's MTU less the headers
    uint16_t peer_mss = 0;   ///< as the peer offered it; 0: not at all
    uint16_t path_mtu = UINT16_MAX;  ///< what ICMP has said of the path; the largest: nothing
    uint16_t rcv_mss = 536;  ///< estimate of the peer's full segment, for the ACK policy
    uint16_t ato_ms = 0;     ///< how long an ACK may wait, ms; 0 before the first data
    uint16_t last_small_segment = 0;  ///< size of the last segment that was below `rcv_mss`

    Seq snd_una;             ///< oldest unacknowledged
    Seq snd_nxt;             ///< next new octet to be sent
    uint32_t snd_wnd = 0;    ///< peer's window, bytes
    /// SEG.SEQ of the last window update. SND.WL2 is not kept: what updated the window had an
    /// acceptable ACK, so that SND.WL2 =< SND.UNA =< SEG.ACK holds for all that may do so again.
    Seq snd_wl1;
    uint32_t max_snd_wnd = 0;
    Seq rcv_nxt;
    Seq rcv_adv;             ///< right edge of the window as last advertised; never moves left
    uint32_t rcv_used = 0;   ///< received in order, not `consumed` yet, bytes
    Seq last_ack_sent;
    uint32_t ts_recent = 0;
    uint32_t ts_offset = 0;
    uint32_t snd_buf = 0;    ///< limit of the send queue, bytes
    uint32_t rcv_buf = 0;    ///< limit of `rcv_used`, bytes; grows by autotuning
    uint32_t flow_label = 0; ///< IPv6: 20 bits, the same on every segment (RFC 6437)
    congestion::Window window;
    RttEstimator rtt;
    ip::NeighbourRef next_hop;
    uint64_t delivered = 0;  ///< bytes that have reached the peer

    // When what has happened: `Env::ms`, or seconds of the same clock.
    uint32_t last_received_ms = 0;  ///< of the last segment with an acceptable ACK
    uint32_t last_data_ms = 0;      ///< when data last came
    uint32_t last_sent_ms = 0;      ///< of a SYN, data or a FIN; 0: none yet
    uint32_t cwnd_used_ms = 0;      ///< when the window was last in full use, or taken down
    uint32_t cwnd_used = 0;         ///< the most in flight since then, bytes
    uint32_t last_invalid_ack_ms = 0;  ///< tcp_invalid_ratelimit; 0: none yet
    uint32_t ts_recent_s = 0;       ///< when `ts_recent` was taken, for PAWS after long idleness
    uint32_t path_mtu_expires_s = 0;  ///< until when `path_mtu` is believed

    Sending* sending = nullptr;      ///< while something is queued or in flight, or was learned
    Receiving* receiving = nullptr;  ///< borrowed while something waits to be read or acknowledged
    MtuProbing* probing = nullptr;   ///< borrowed by who probes the path's MTU (RFC 4821)
    Settings* own_settings = nullptr;  ///< borrowed by who has set what few set; see `settings`
    void* owner = nullptr;           ///< the application's side
    /// Armed at or before the earliest of all that this connection waits for (`arm_timer`).
    time::WheelEntry timer{timer_connection};
    /// Keep-alive and FIN-WAIT-2: not moved by traffic, looks again when it is reached.
    Instant slow_due = Instant::never();

    const Settings& settings() const {
        return own_settings == nullptr ? default_settings : *own_settings;
    }
    /// Bytes that the application can take now.
    uint32_t unread() const {
        return receiving == nullptr ? 0 : static_cast<uint32_t>(receiving->queue.size());
    }
    /// What is held out of order, null: nothing.
    Reassembly* reassembly() const {
        return receiving == nullptr ? nullptr : receiving->reassembly;
    }
    /// Octets sent and not acknowledged.
    uint32_t outstanding() const { return distance(snd_una, snd_nxt); }
    /// Bytes of the application's that are not acknowledged.
    uint32_t queued() const { return sending == nullptr ? 0 : sending->queue.size(); }
    /// What these count for against `snd_buf`: half of the buffers that they pin, where that is
    /// more. Queues are charged by buffer, here as in `receive_limit`.
    uint32_t send_charge() const {
        if (sending == nullptr) return 0;
        const size_t half = std::min<size_t>(sending->queue.pinned() / 2, UINT32_MAX);
        return std::max(sending->queue.size(), static_cast<uint32_t>(half));
    }
    /// Bytes of these that have not been sent yet.
    uint32_t unsent() const { return snd_nxt < data_end() ? distance(snd_nxt, data_end()) : 0; }
    /// Sequence number behind the last byte of the send queue (where a FIN would stand).
    Seq data_end() const { return snd_una + (syn_acked ? 0 : 1) + queued(); }
    bool fin_sent() const { return fin_queued && !fin_acked && snd_nxt > data_end(); }
    /// The send queue or a FIN holds what has not been sent yet.
    bool has_unsent() const {
        return snd_nxt < data_end() || (fin_queued && !fin_acked && !fin_sent());
    }
    /// RFC 6675's pipe: what is believed to be in the network now, bytes.
    uint32_t in_flight() const {
        if (sending == nullptr) return outstanding();
        const uint32_t gone =
            sending->sent.sacked() + sending->sent.lost() + sending->reno_sacked;
        return outstanding() > gone ? outstanding() - gone : 0;
    }
    /// What the peer may still send. RCV.NXT may be beyond the edge by a FIN.
    uint32_t rcv_window() const { return rcv_adv > rcv_nxt ? distance(rcv_nxt, rcv_adv) : 0; }
};

// DESIGN.md's budget: what only few connections need, or none that is idle, is in borrowed records.
static_assert(sizeof(Connection) <= 288);

using DirtyList = boost::intrusive::slist<Connection, boost::intrusive::base_hook<DirtyHook>,
                                          boost::intrusive::cache_last<true>,
                                          boost::intrusive::constant_time_size<false>>;
using ReadyList = boost::intrusive::slist<Connection, boost::intrusive::base_hook<ReadyHook>,
                                          boost::intrusive::cache_last<true>,
                                          boost::intrusive::constant_time_size<false>>;
/// Shares the hook with the ready list: who waits to be accepted is told nothing yet.
using AcceptQueue = boost::intrusive::slist<Connection, boost::intrusive::base_hook<ReadyHook>,
                                            boost::intrusive::cache_last<true>,
                                            boost::intrusive::constant_time_size<true>>;

}  // namespace millrace::tcp
