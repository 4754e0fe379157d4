#include "ss/line.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

namespace millrace::apps {

namespace {

using Out = std::back_insert_iterator<std::string>;

/// An unspecified IPv6 address takes both families: "*"; so does one that there is not.
std::string end_text(const SocketAddress& end) {
    const std::string address = end.address == Address()   ? "*"
                                : end.address.is_v4()      ? end.address.to_string()
                                                           : "[" + end.address.to_string() + "]";
    return address + ":" + (end.port == 0 ? "*" : std::to_string(end.port));
}

std::string rate_text(double bits) {
    constexpr const char* units[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;
    for (; bits >= 1000 && unit + 1 < std::size(units); ++unit) bits /= 1000;
    return unit == 0 ? fmt::format("{:.0f}bps", bits)
                     : fmt::format("{:.1f}{}bps", bits, units[unit]);
}

/// Milliseconds with as many digits behind the point as `ss` shows.
std::string ms_text(uint32_t us) { return fmt::format("{:g}", us / 1000.0); }

bool is_shown_in_detail(const SocketRecord& r) { return r.kind == SocketKind::connection; }

void put_options(Out out, const SocketRecord& r) {
    if (r.timestamps) fmt::format_to(out, " ts");
    if (r.sack) fmt::format_to(out, " sack");
    if (r.ecn) fmt::format_to(out, " ecn");
    fmt::format_to(out, " {}", r.congestion_control());
    if (r.window_scaling) fmt::format_to(out, " wscale:{},{}", r.snd_wscale, r.rcv_wscale);
}

void put_sender(Out out, const SocketRecord& r) {
    const uint32_t mss = std::max(r.snd_mss, 1U);
    const auto segments = [mss](uint32_t bytes) { return (bytes + mss - 1) / mss; };
    const uint32_t window = std::max(r.cwnd / mss, 1U);  // whole segments, as Linux counts
    fmt::format_to(out, " cwnd:{}", window);
    if (r.ssthresh != UINT32_MAX) fmt::format_to(out, " ssthresh:{}", r.ssthresh / mss);
    if (r.bytes_acked != 0) fmt::format_to(out, " bytes_acked:{}", r.bytes_acked);
    if (r.rtt_us != 0)
        fmt::format_to(out, " send {}", rate_text(8.0 * window * mss * 1e6 / r.rtt_us));
    fmt::format_to(out, " lastsnd:{} lastrcv:{} lastack:{}", r.last_sent_ms, r.last_received_ms,
                   r.last_ack_ms);
    if (r.pacing_rate != 0)
        fmt::format_to(out, " pacing_rate {}", rate_text(static_cast<double>(r.pacing_rate) * 8));
    if (r.delivery_rate != 0)
        fmt::format_to(out, " delivery_rate {}",
                       rate_text(static_cast<double>(r.delivery_rate) * 8));
    if (r.delivery_app_limited) fmt::format_to(out, " app_limited");
    if (r.outstanding != 0) fmt::format_to(out, " unacked:{}", segments(r.outstanding));
    if (r.total_retrans != 0)
        fmt::format_to(out, " retrans:{}/{}", segments(r.retrans), r.total_retrans);
    if (r.lost != 0) fmt::format_to(out, " lost:{}", segments(r.lost));
    if (r.sacked != 0) fmt::format_to(out, " sacked:{}", segments(r.sacked));
    if (r.dsack_dups != 0) fmt::format_to(out, " dsack_dups:{}", r.dsack_dups);
}

std::string details(const SocketRecord& r) {
    std::string text = "\t";
    const Out out(text);
    put_options(out, r);
    fmt::format_to(out, " rto:{}", ms_text(r.rto_us));
    if (r.backoffs != 0) fmt::format_to(out, " backoff:{}", r.backoffs);
    if (r.rtt_us != 0) fmt::format_to(out, " rtt:{}/{}", ms_text(r.rtt_us), ms_text(r.rttvar_us));
    if (r.ato_us != 0) fmt::format_to(out, " ato:{}", ms_text(r.ato_us));
    fmt::format_to(out, " mss:{} pmtu:{} rcvmss:{} advmss:{}", r.snd_mss, r.path_mtu, r.rcv_mss,
                   r.advmss);
    put_sender(out, r);
    if (r.rcv_rtt_us != 0) fmt::format_to(out, " rcv_rtt:{}", ms_text(r.rcv_rtt_us));
    if (r.rcv_space != 0) fmt::format_to(out, " rcv_space:{}", r.rcv_space);
    fmt::format_to(out, " rcv_ssthresh:{}", r.rcv_wnd);
    if (r.unsent != 0) fmt::format_to(out, " notsent:{}", r.unsent);
    if (r.min_rtt_us != 0) fmt::format_to(out, " minrtt:{}", ms_text(r.min_rtt_us));
    if (r.snd_wnd != 0) fmt::format_to(out, " snd_wnd:{}", r.snd_wnd);
    return text;
}

}  // namespace

std::string timer_text(uint32_t ms) {
    std::string text;
    uint32_t seconds = ms / 1000;
    const uint32_t minutes = seconds / 60;
    uint32_t rest = ms % 1000;
    seconds %= 60;
    if (minutes != 0) {
        rest = 0;
        text += fmt::format("{}min", minutes);
        if (minutes > 9) seconds = 0;
    }
    if (seconds != 0) {
        if (seconds > 9) rest = 0;
        text += fmt::format("{}{}", seconds, rest != 0 ? "." : "sec");
    }
    if (rest != 0 || text.empty()) text += fmt::format("{:03}ms", rest);
    return text;
}

std::string heading(const LineOptions& options) {
    return fmt::format("{}{:<10} {:>6} {:>6} {:>28} {:>28}\n", options.kinds ? "Netid " : "",
                       "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port");
}

std::string line(const SocketRecord& r, const LineOptions& options) {
    std::string text =
        fmt::format("{}{:<10} {:>6} {:>6} {:>28} {:>28}",
                    !options.kinds                ? ""
                    : r.kind == SocketKind::udp ? "udp   "
                                                  : "tcp   ",
                    to_string(r.state), r.receive_queue, r.send_queue, end_text(r.local),
                    end_text(r.remote));
    if (options.timers && r.timer != SocketTimer::off)
        text += fmt::format(" timer:({},{},{})", to_string(r.timer), timer_text(r.timer_ms),
                            std::max(r.backoffs, r.probes));
    if (options.details && is_shown_in_detail(r)) text += "\n" + details(r);
    text += '\n';
    return text;
}

}  // namespace millrace::apps
