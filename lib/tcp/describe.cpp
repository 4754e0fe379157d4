#include "tcp/describe.h"

#include <algorithm>
#include <array>

#include "tcp/pacing.h"
#include "tcp/path_mtu.h"
#include "tcp/timers.h"

namespace millrace::tcp {

namespace {

// A look is to take microseconds: more are outstanding at once only where a window of megabytes is
// full of holes.
constexpr size_t ranges_looked_at = 1024;
constexpr uint32_t timestamps_size = wire::TcpOptions::timestamps_size;

uint32_t microseconds(Duration time) { return static_cast<uint32_t>(time.us()); }

void describe_sender(const Env& env, const Connection& c, SocketRecord& record) {
    record.algorithm = static_cast<uint8_t>(c.algorithm);
    record.recovery = static_cast<uint8_t>(c.recovery);  // in the order of Linux's
    record.cwnd = c.window.cwnd;
    record.ssthresh = c.window.ssthresh;
    record.snd_wnd = c.snd_wnd;
    if (c.state != State::closed) {
        // In octets of sequence space, as Linux: SYN and FIN count.
        const bool fin = c.fin_queued && !c.fin_acked;
        record.outstanding = c.outstanding();
        record.unsent = c.unsent() + (fin && !c.fin_sent() ? 1 : 0);
        record.send_queue = c.queued() + (c.syn_acked ? 0 : 1) + (fin ? 1 : 0);
    }
    record.bytes_acked = c.delivered;
    record.pacing_rate = pacing::rate(env, c);
    record.max_pacing_rate = c.settings().max_pacing_rate;
    if (c.sending == nullptr) return;
    const Sending& s = *c.sending;
    record.bytes_acked -= std::min<uint64_t>(s.sent.sacked(), c.delivered);
    record.bytes_lost = s.lost;
    record.sacked = s.sent.sacked() + s.reno_sacked;
    record.lost = s.sent.lost();
    if (s.total_retrans != 0) record.retrans = s.sent.again(ranges_looked_at);
    record.total_retrans = s.total_retrans;
    record.dsack_dups = s.dsack_dups;
    record.delivery_rate = s.delivery_rate * Path::rate_unit;
    record.delivery_app_limited = s.rate_app_limited;
}

void describe_receiver(const Connection& c, SocketRecord& record) {
    record.receive_queue = c.rcv_used;
    record.rcv_mss = c.rcv_mss;
    record.rcv_wnd = c.rcv_window();
    record.ato_us = uint32_t{c.ato_ms} * 1000;
    record.advmss = c.link_mss - (c.timestamps ? timestamps_size : 0U);
    if (c.receiving == nullptr || c.receiving->tuning == nullptr) return;
    record.rcv_rtt_us = c.receiving->tuning->rtt_us;
    record.rcv_space = c.receiving->tuning->space;
}

/// What `ss` names, as Linux does: retransmission before keep-alive.
void describe_timer(const Env& env, const Connection& c, SocketRecord& record) {
    Instant due = Instant::never();
    if (c.sending != nullptr && c.sending->retransmit_at != Instant::never()) {
        due = c.sending->retransmit_at;
        record.timer =
            c.sending->timer_mode == TimerMode::probe ? SocketTimer::persist : SocketTimer::on;
    } else if (c.slow_due != Instant::never()) {
        due = c.slow_due;
        record.timer =
            c.state == State::fin_wait_2 ? SocketTimer::timewait : SocketTimer::keepalive;
    }
    if (due != Instant::never())
        record.timer_ms = static_cast<uint32_t>(std::max<int64_t>((due - env.now).ms(), 0));
    record.backoffs = c.backoffs;
    record.probes = c.probes_out;
}

}  // namespace

SocketState public_state(State state) {
    constexpr std::array<SocketState, state_count> states{
        SocketState::closed,      SocketState::syn_sent,   SocketState::syn_received,
        SocketState::established, SocketState::fin_wait_1, SocketState::fin_wait_2,
        SocketState::close_wait,  SocketState::closing,    SocketState::last_ack,
        SocketState::time_wait};
    return states[static_cast<size_t>(state)];
}

void describe(const Env& env, const Connection& c, SocketRecord& record) {
    record.kind = SocketKind::connection;
    record.state = public_state(c.state);
    record.orphan = !c.attached;
    record.timestamps = c.timestamps;
    record.sack = c.sack;
    record.ecn = c.ecn;
    record.window_scaling = c.window_scaling;
    record.corked = c.corked;
    record.no_delay = c.no_delay;
    record.snd_wscale = c.snd_wind_shift & 15;
    record.rcv_wscale = c.rcv_wind_shift & 15;
    record.rto_us = microseconds(rto(env, c));
    record.rtt_us = microseconds(c.rtt.srtt());
    record.rttvar_us = microseconds(c.rtt.rttvar());
    record.min_rtt_us = microseconds(c.rtt.min_rtt());
    record.snd_mss = c.snd_mss;
    record.path_mtu = effective_mtu(c);
    // Where there has been no data: since something was heard, the handshake at least.
    const auto since = [&](uint32_t ms) { return env.ms() - (ms != 0 ? ms : c.last_received_ms); };
    record.last_sent_ms = since(c.last_sent_ms);
    record.last_received_ms = since(c.last_data_ms);
    record.last_ack_ms = since(c.last_received_ms);
    describe_sender(env, c, record);
    describe_receiver(c, record);
    describe_timer(env, c, record);
}

}  // namespace millrace::tcp

namespace millrace {

std::string_view SocketRecord::congestion_control() const {
    if (kind != SocketKind::connection) return {};
    return congestion::name(static_cast<congestion::Algorithm>(algorithm));
}

}  // namespace millrace
