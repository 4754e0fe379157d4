// TCP_INFO: a connection in the terms of Linux's `struct tcp_info`. What is not measured here stays
// 0; include/millrace/README.md names it.
#include <linux/tcp.h>

#include <algorithm>
#include <array>

#include "api/option_value.h"
#include "api/stream_socket.h"
#include "tcp/pacing.h"
#include "tcp/path_mtu.h"
#include "tcp/timers.h"

namespace millrace::api {

namespace {

using tcp::State;

uint8_t linux_state(State state) {
    // TCP_CLOSE, TCP_SYN_SENT, ... of <netinet/tcp.h>, which <linux/tcp.h> does not tolerate.
    constexpr std::array<uint8_t, tcp::state_count> numbers{7, 2, 3, 1, 4, 5, 8, 11, 9, 6};
    return numbers[static_cast<size_t>(state)];
}
constexpr uint8_t linux_closed = 7;
constexpr uint8_t linux_listen = 10;
constexpr uint32_t linux_no_threshold = 0x7fffffff;
constexpr uint32_t timestamps_size = 12;  // with their padding

uint32_t segments(uint32_t bytes, const tcp::Connection& c) {
    return (bytes + c.snd_mss - 1) / c.snd_mss;
}
uint32_t microseconds(Duration time) { return static_cast<uint32_t>(time.us()); }

void fill_sender(tcp_info& info, const tcp::Connection& c) {
    info.tcpi_snd_cwnd = std::max(c.window.cwnd / c.snd_mss, 1U);
    info.tcpi_snd_ssthresh = c.window.ssthresh == UINT32_MAX ? linux_no_threshold
                                                             : c.window.ssthresh / c.snd_mss;
    info.tcpi_unacked = segments(c.outstanding(), c);
    info.tcpi_notsent_bytes = c.unsent();
    info.tcpi_snd_wnd = c.snd_wnd;
    info.tcpi_bytes_acked = c.delivered;
    if (c.sending == nullptr) return;
    const tcp::Sending& s = *c.sending;
    info.tcpi_bytes_acked -= std::min<uint64_t>(s.sent.sacked(), c.delivered);
    info.tcpi_sacked = segments(s.sent.sacked() + s.reno_sacked, c);
    info.tcpi_lost = segments(s.sent.lost(), c);
    info.tcpi_total_retrans = s.total_retrans;
    info.tcpi_dsack_dups = s.dsack_dups;
}

void fill_receiver(tcp_info& info, const tcp::Connection& c) {
    info.tcpi_rcv_mss = c.rcv_mss;
    info.tcpi_ato = uint32_t{c.ato_ms} * 1000;
    info.tcpi_rcv_ssthresh = c.rcv_window();
    info.tcpi_advmss = c.link_mss - (c.timestamps ? timestamps_size : 0U);
    if (c.receiving == nullptr || c.receiving->tuning == nullptr) return;
    info.tcpi_rcv_rtt = c.receiving->tuning->rtt_us;
    info.tcpi_rcv_space = c.receiving->tuning->space;
}

void fill(tcp_info& info, tcp::Env& env, const tcp::Connection& c) {
    info.tcpi_state = linux_state(c.state);
    info.tcpi_ca_state = static_cast<uint8_t>(c.recovery);  // in the order of Linux's
    info.tcpi_backoff = c.backoffs;
    info.tcpi_probes = c.probes_out;
    info.tcpi_retransmits = c.probes_out == 0 ? c.backoffs : 0;
    info.tcpi_options = static_cast<uint8_t>(
        (c.timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (c.sack ? TCPI_OPT_SACK : 0) |
        (c.window_scaling ? TCPI_OPT_WSCALE : 0) | (c.ecn ? TCPI_OPT_ECN : 0));
    info.tcpi_snd_wscale = c.snd_wind_shift & 15;
    info.tcpi_rcv_wscale = c.rcv_wind_shift & 15;
    info.tcpi_rto = microseconds(tcp::rto(env, c));
    info.tcpi_rtt = microseconds(c.rtt.srtt());
    info.tcpi_rttvar = microseconds(c.rtt.rttvar());
    info.tcpi_min_rtt = microseconds(c.rtt.min_rtt());
    info.tcpi_snd_mss = c.snd_mss;
    info.tcpi_pmtu = tcp::effective_mtu(c);
    // Where there has been no data: since something was heard, the handshake at least.
    const auto since = [&](uint32_t ms) { return env.ms() - (ms != 0 ? ms : c.last_received_ms); };
    info.tcpi_last_data_sent = since(c.last_sent_ms);
    info.tcpi_last_data_recv = since(c.last_data_ms);
    info.tcpi_last_ack_recv = since(c.last_received_ms);
    const uint64_t paced = tcp::pacing::rate(env, c);
    info.tcpi_pacing_rate = paced == 0 ? ~uint64_t{0} : paced;
    info.tcpi_max_pacing_rate = c.settings().max_pacing_rate;
    fill_sender(info, c);
    fill_receiver(info, c);
}

}  // namespace

Result<void> StreamSocket::get_tcp_info(std::span<std::byte> value, socklen_t& size) const {
    tcp_info info{};
    info.tcpi_state = linux_closed;
    if (listener_ != nullptr) {
        info.tcpi_state = linux_listen;
        info.tcpi_unacked = static_cast<uint32_t>(listener_->accept_queue.size());
        info.tcpi_sacked = listener_->backlog;
    } else if (const tcp::Connection* c = tcb(); c != nullptr) {
        fill(info, stack().env(), *c);
        info.tcpi_bytes_received = read_ + received_.size() + c->unread();
    }
    return write_option(info, value, size);
}

}  // namespace millrace::api
