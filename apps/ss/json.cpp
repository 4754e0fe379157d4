#include "ss/json.h"

namespace millrace::apps {

nlohmann::ordered_json to_json(const SocketRecord& r) {
    nlohmann::ordered_json json{
        {"netid", r.kind == SocketKind::udp ? "udp" : "tcp"},
        {"state", to_string(r.state)},
        {"recv_q", r.receive_queue},
        {"send_q", r.send_queue},
        {"local", r.local.to_string()},
        {"peer", r.remote.to_string()},
        {"core", r.core},
        {"id", r.id},
        {"timer", to_string(r.timer)},
        {"timer_ms", r.timer_ms},
    };
    if (r.kind != SocketKind::connection) return json;
    json.update({
        {"orphan", r.orphan},
        {"ts", r.timestamps},
        {"sack", r.sack},
        {"ecn", r.ecn},
        {"congestion_control", r.congestion_control()},
        {"ca_state", r.recovery},
        {"snd_wscale", r.snd_wscale},
        {"rcv_wscale", r.rcv_wscale},
        {"rto_us", r.rto_us},
        {"backoff", r.backoffs},
        {"probes", r.probes},
        {"rtt_us", r.rtt_us},
        {"rttvar_us", r.rttvar_us},
        {"minrtt_us", r.min_rtt_us},
        {"ato_us", r.ato_us},
        {"mss", r.snd_mss},
        {"rcvmss", r.rcv_mss},
        {"advmss", r.advmss},
        {"pmtu", r.path_mtu},
        {"cwnd", r.cwnd},
        {"ssthresh", r.ssthresh},
        {"snd_wnd", r.snd_wnd},
        {"rcv_wnd", r.rcv_wnd},
        {"unacked", r.outstanding},
        {"notsent", r.unsent},
        {"sacked", r.sacked},
        {"lost", r.lost},
        {"retrans", r.retrans},
        {"total_retrans", r.total_retrans},
        {"dsack_dups", r.dsack_dups},
        {"rcv_rtt_us", r.rcv_rtt_us},
        {"rcv_space", r.rcv_space},
        {"lastsnd_ms", r.last_sent_ms},
        {"lastrcv_ms", r.last_received_ms},
        {"lastack_ms", r.last_ack_ms},
        {"bytes_acked", r.bytes_acked},
        {"bytes_lost", r.bytes_lost},
        {"pacing_rate", r.pacing_rate},
        {"delivery_rate", r.delivery_rate},
        {"app_limited", r.delivery_app_limited},
    });
    return json;
}

}  // namespace millrace::apps
