#include "tcp/output.h"

#include <algorithm>

#include "tcp/limits.h"
#include "tcp/timers.h"

namespace millrace::tcp {

using wire::Segment;
using wire::TcpFlags;

namespace {

uint32_t free_receive_space(const Connection& c) {
    return c.rcv_buf > c.rcv_used ? c.rcv_buf - c.rcv_used : 0;
}

/// Header of a segment at `seq`, with the options that every segment of this connection carries.
void start_plan(Env& env, Connection& c, TransmitPlan& plan, Seq seq, uint8_t flags) {
    plan = TransmitPlan();
    Segment& header = plan.header;
    header.source_port = c.key.local_port;
    header.destination_port = c.key.remote_port;
    header.seq = seq;
    header.flags = flags;
    plan.mss = c.snd_mss;
    if ((flags & TcpFlags::ack) != 0) {
        header.ack = c.rcv_nxt;
        header.window = advertise_window(env, c);
    }
    if (c.timestamps) {
        header.options.has_timestamps = true;
        header.options.ts_value = env.ms() + c.ts_offset;
        header.options.ts_echo = (flags & TcpFlags::ack) != 0 ? c.ts_recent : 0;
    }
}

void plan_syn(Env& env, Connection& c, TransmitPlan& plan) {
    const bool answer = c.state == State::syn_received;  // simultaneous open
    start_plan(env, c, plan, c.snd_una, TcpFlags::syn | (answer ? TcpFlags::ack : 0));
    wire::TcpOptions& options = plan.header.options;
    options.mss = c.link_mss;
    options.has_timestamps = answer ? c.timestamps : env.tunables.tcp_timestamps != 0;
    options.ts_value = env.ms() + c.ts_offset;
    options.ts_echo = answer ? c.ts_recent : 0;
    options.has_window_scale = answer ? c.window_scaling : env.tunables.tcp_window_scaling != 0;
    options.window_scale = window_shift(env.tunables);
    // The window of a SYN is never scaled (RFC 7323 section 2.2).
    plan.header.window = static_cast<uint16_t>(std::min<uint32_t>(c.rcv_buf, 65535));
    plan.retransmission = c.snd_max > c.snd_una;
}

/// An empty segment at SND.UNA - 1: the peer must answer it (Linux's form of the probe).
void plan_probe(Env& env, Connection& c, TransmitPlan& plan) {
    start_plan(env, c, plan, c.snd_una - 1, TcpFlags::ack);
    ++env.counters.tcp_zero_window_probes;
}

/// How many bytes from `offset` of the queue may go now. Sender's silly-window avoidance
/// (RFC 9293 section 3.8.6.2.1) with Nagle (RFC 1122 section 4.2.3.4).
uint32_t sendable(const Connection& c, uint32_t offset) {
    const uint32_t window = std::min(c.snd_wnd, c.congestion.window());
    if (window <= offset) return 0;
    const uint32_t queued = c.send_queue.size() - offset;
    const uint32_t usable = std::min(window - offset, TransmitPlan::size_max);
    if (queued > usable) {
        // Whole segments only, unless the window is smaller than one ever was.
        const uint32_t whole = usable - usable % c.snd_mss;
        if (whole > 0) return whole;
        // What is sent again goes as far as the window reaches, however little that is.
        if (c.snd_nxt != c.snd_max) return usable;
        // A probe is due: the override timeout of section 3.8.6.2.1, what fits goes.
        return c.probe_due || 2 * usable >= c.max_snd_wnd ? usable : 0;
    }
    if (queued % c.snd_mss == 0 || c.no_delay || c.in_flight() == 0 || c.fin_queued ||
        c.snd_nxt != c.snd_max)
        return queued;
    return queued - queued % c.snd_mss;  // Nagle holds the last, partial segment back
}

/// New data, or what is sent again after going back to SND.UNA.
bool plan_data(Env& env, Connection& c, TransmitPlan& plan) {
    if (!is_synchronised(c.state)) return false;
    const bool data_state = may_send(c.state) || c.fin_queued;
    if (!data_state || c.fin_acked) return false;
    const uint32_t offset = distance(c.snd_una, c.snd_nxt);
    if (offset > c.send_queue.size()) return false;  // the FIN is out
    const uint32_t size = sendable(c, offset);
    const bool last = offset + size == c.send_queue.size();
    const bool fin = last && c.fin_queued && (size > 0 || c.snd_wnd > 0 || offset == 0);
    if (size == 0 && !fin) return false;
    start_plan(env, c, plan, c.snd_nxt, TcpFlags::ack);
    plan.offset = offset;
    plan.payload_size = size;
    if (size > 0) plan.payload = c.send_queue.seek(offset);
    if (fin) plan.header.flags |= TcpFlags::fin;
    if (last && size > 0) plan.header.flags |= TcpFlags::psh;  // MUST-61
    plan.retransmission = c.snd_nxt < c.snd_max;
    plan.moves_next = true;
    c.probe_due = false;
    return true;
}

/// One segment at SND.UNA, which duplicate ACKs say is lost.
bool plan_retransmission(Env& env, Connection& c, TransmitPlan& plan) {
    c.retransmit_due = false;
    if (c.in_flight() == 0) return false;
    const uint32_t size = std::min<uint32_t>(c.send_queue.size(), c.snd_mss);
    start_plan(env, c, plan, c.snd_una, TcpFlags::ack);
    plan.payload_size = size;
    if (size > 0) plan.payload = c.send_queue.seek(0);
    if (size == c.send_queue.size() && c.fin_sent()) plan.header.flags |= TcpFlags::fin;
    plan.retransmission = true;
    return true;
}

/// What every segment with an ACK settles.
void ack_sent(Connection& c) {
    c.ack_now = false;
    c.ack_delayed = false;
    c.delayed_ack_due = Instant::never();
    c.rcv_unacked = 0;
    c.last_ack_sent = c.rcv_nxt;
}

}  // namespace

uint16_t advertise_window(Env&, Connection& c) {
    const Seq edge = max(c.rcv_adv, c.rcv_nxt);
    const uint32_t offered = distance(c.rcv_nxt, edge);
    uint32_t window = free_receive_space(c);
    // Receiver's silly-window avoidance: the edge moves by a segment or half the buffer at least.
    const uint32_t step = std::min<uint32_t>(c.rcv_buf / 2, c.rcv_mss);
    if (window < offered + step) window = offered;
    const uint32_t window_max = uint32_t{65535} << c.rcv_wind_shift;
    window = std::min(window, window_max);
    // Rounded up where rounding down would take back what was offered (SHLD-14).
    const uint32_t unit = uint32_t{1} << c.rcv_wind_shift;
    uint32_t field = window >> c.rcv_wind_shift;
    if ((field << c.rcv_wind_shift) < offered && field < 65535 && window % unit != 0) ++field;
    // What rounding up seems to offer is not counted as offered, or the edge would creep.
    c.rcv_adv = max(edge, c.rcv_nxt + std::min(field << c.rcv_wind_shift, window));
    return static_cast<uint16_t>(field);
}

void maybe_update_window(Env& env, Connection& c) {
    if (!may_receive(c.state)) return;
    const uint32_t offered = distance(c.rcv_nxt, max(c.rcv_adv, c.rcv_nxt));
    const uint32_t space = free_receive_space(c);
    // Linux and BSD: two segments, or half of the buffer, whichever comes first.
    const uint32_t step = std::min<uint32_t>(c.rcv_buf / 2, 2U * c.rcv_mss);
    if (space < offered + step) return;
    // A sender with half a buffer still open needs no extra segment to tell him.
    if (offered >= c.rcv_buf / 2) return;
    c.ack_now = true;
    env.mark_dirty(c);
}

bool next_plan(Env& env, Connection& c, TransmitPlan& plan) {
    if (c.rst_due) {
        c.rst_due = false;
        start_plan(env, c, plan, c.snd_max, TcpFlags::rst | TcpFlags::ack);
        plan.header.options = {};
        return true;
    }
    if (c.state == State::closed) return false;
    if (c.syn_due) {
        c.syn_due = false;
        plan_syn(env, c, plan);
        return true;
    }
    if (c.acks_owed > 0) {
        --c.acks_owed;
        start_plan(env, c, plan, c.snd_max, TcpFlags::ack);
        return true;
    }
    if (c.retransmit_due && plan_retransmission(env, c, plan)) return true;
    if (plan_data(env, c, plan)) return true;
    if (c.probe_due) {
        c.probe_due = false;
        plan_probe(env, c, plan);
        return true;
    }
    if (c.ack_now) {
        start_plan(env, c, plan, c.snd_max, TcpFlags::ack);
        return true;
    }
    // Something waits for a window that nothing in flight will open: probe in time.
    if (c.in_flight() == 0 && !c.send_queue.empty() && c.retransmit_at == Instant::never())
        restart_retransmit_timer(env, c);
    return false;
}

void sent(Env& env, Connection& c, const TransmitPlan& plan, uint32_t payload_size,
          const buf::Cursor& after) {
    const Segment& header = plan.header;
    if (header.has_ack()) ack_sent(c);
    if (header.rst()) ++env.counters.tcp_out_rsts;
    if (plan.retransmission)
        env.counters.tcp_retrans_segs += 1 + (payload_size > 0 ? (payload_size - 1) / plan.mss : 0);
    env.counters.payload_sent += payload_size;
    const bool fin = header.fin() && payload_size == plan.payload_size;
    const uint32_t length = payload_size + (fin ? 1 : 0) + (header.syn() ? 1 : 0);
    if (length == 0) return;
    const Seq end = header.seq + length;
    if (!plan.retransmission && !c.timing_rtt) {
        c.timing_rtt = true;
        c.rtt_seq = end;
        c.rtt_started = env.now;
    }
    if (plan.moves_next) {
        c.snd_nxt = end;
        if (payload_size > 0) c.send_queue.remember(after, plan.offset + payload_size);
    }
    if (header.syn()) c.snd_nxt = end;
    c.snd_max = max(c.snd_max, end);
    if (c.retransmit_at == Instant::never()) {
        c.retransmit_at = env.now + rto(env, c);
        arm_timer(env, c);
    }
}

}  // namespace millrace::tcp
