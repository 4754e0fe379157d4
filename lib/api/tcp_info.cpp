// TCP_INFO: a connection in the terms of Linux's `struct tcp_info`. What is not measured here stays
// 0; include/millrace/README.md names it.
#include <linux/tcp.h>

#include <algorithm>

#include "api/option_value.h"
#include "api/stream_socket.h"
#include "tcp/describe.h"

namespace millrace::api {

namespace {

constexpr uint8_t linux_closed = 7;
constexpr uint8_t linux_listen = 10;
constexpr uint32_t linux_no_threshold = 0x7fffffff;

uint32_t segments(uint32_t bytes, const SocketRecord& r) {
    return (bytes + r.snd_mss - 1) / r.snd_mss;
}

void fill(tcp_info& info, const SocketRecord& r) {
    info.tcpi_state = static_cast<uint8_t>(r.state);
    info.tcpi_ca_state = r.recovery;
    info.tcpi_backoff = r.backoffs;
    info.tcpi_probes = r.probes;
    info.tcpi_retransmits = r.probes == 0 ? r.backoffs : 0;
    info.tcpi_options = static_cast<uint8_t>(
        (r.timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (r.sack ? TCPI_OPT_SACK : 0) |
        (r.window_scaling ? TCPI_OPT_WSCALE : 0) | (r.ecn ? TCPI_OPT_ECN : 0));
    info.tcpi_snd_wscale = r.snd_wscale & 15;
    info.tcpi_rcv_wscale = r.rcv_wscale & 15;
    info.tcpi_rto = r.rto_us;
    info.tcpi_rtt = r.rtt_us;
    info.tcpi_rttvar = r.rttvar_us;
    info.tcpi_min_rtt = r.min_rtt_us;
    info.tcpi_snd_mss = r.snd_mss;
    info.tcpi_pmtu = r.path_mtu;
    info.tcpi_last_data_sent = r.last_sent_ms;
    info.tcpi_last_data_recv = r.last_received_ms;
    info.tcpi_last_ack_recv = r.last_ack_ms;
    info.tcpi_pacing_rate = r.pacing_rate == 0 ? ~uint64_t{0} : r.pacing_rate;
    info.tcpi_max_pacing_rate = r.max_pacing_rate;
    info.tcpi_delivery_rate = r.delivery_rate;
    info.tcpi_delivery_rate_app_limited = r.delivery_app_limited ? 1 : 0;
    info.tcpi_snd_cwnd = std::max(r.cwnd / r.snd_mss, 1U);
    info.tcpi_snd_ssthresh = r.ssthresh == UINT32_MAX ? linux_no_threshold
                                                      : r.ssthresh / r.snd_mss;
    info.tcpi_unacked = segments(r.outstanding, r);
    info.tcpi_notsent_bytes = r.unsent;
    info.tcpi_snd_wnd = r.snd_wnd;
    info.tcpi_bytes_acked = r.bytes_acked;
    info.tcpi_sacked = segments(r.sacked, r);
    info.tcpi_lost = segments(r.lost, r);
    info.tcpi_retrans = segments(r.retrans, r);
    info.tcpi_total_retrans = r.total_retrans;
    info.tcpi_dsack_dups = r.dsack_dups;
    info.tcpi_rcv_mss = r.rcv_mss;
    info.tcpi_ato = r.ato_us;
    info.tcpi_rcv_ssthresh = r.rcv_wnd;
    info.tcpi_advmss = r.advmss;
    info.tcpi_rcv_rtt = r.rcv_rtt_us;
    info.tcpi_rcv_space = r.rcv_space;
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
        SocketRecord record;
        tcp::describe(stack().env(), *c, record);
        fill(info, record);
        info.tcpi_bytes_received = read_ + received_.size() + c->unread();
    }
    return write_option(info, value, size);
}

}  // namespace millrace::api
