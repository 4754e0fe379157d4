// RFC 9293 section 3.10.7.3: a segment arrives in SYN-SENT.
#include <algorithm>
#include <cerrno>

#include "tcp/ecn.h"
#include "tcp/ingress.h"
#include "tcp/limits.h"
#include "tcp/timers.h"
#include "tcp/receive_window.h"
#include "tcp/trace.h"

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;

namespace steps {

Verdict syn_sent(Env& env, Connection& c, Segment& segment, BufferChain payload) {
    // First, check the ACK bit.
    const bool acceptable_ack =
        segment.has_ack() && segment.ack > c.snd_una && segment.ack <= c.snd_nxt;
    if (segment.has_ack() && !acceptable_ack) {
        env.counters.drop(Drop::tcp_bad_ack);
        return segment.rst() ? Verdict::done : Verdict::reset;
    }
    // Second, check the RST bit.
    if (segment.rst()) {
        if (acceptable_ack) {
            ++env.counters.tcp_attempt_fails;
            finish(env, c, ECONNREFUSED);
        } else {
            env.counters.drop(Drop::tcp_no_ack);
        }
        return Verdict::done;
    }
    // Fourth, check the SYN bit. A FIN beside it makes no sense in any state (attack case 9).
    if (!segment.syn() || segment.fin()) {
        env.counters.drop(segment.fin() ? Drop::tcp_bad_flags : Drop::tcp_state);
        return Verdict::done;
    }
    c.rcv_nxt = segment.seq + 1;
    c.rcv_adv = c.rcv_nxt + syn_window(c);  // what our SYN has said
    c.last_ack_sent = c.rcv_nxt;
    adopt_options(env, c, segment.options, segment.window);
    ecn::on_peer_syn(c, segment);
    trace::opened(env, c, segment.seq, segment.window, env.now);
    c.snd_wl1 = segment.seq;
    if (!segment.has_ack()) {
        // Simultaneous open: our SYN goes again, now with an ACK (MUST-10).
        set_state(env, c, State::syn_received);
        c.syn_due = true;
        env.mark_dirty(c);
        return Verdict::done;
    }
    // Karn: which of several SYNs was answered, only the timestamp says.
    std::optional<Duration> rtt = env.now - c.sending->syn_sent_at;
    if (c.backoffs != 0)
        rtt = c.timestamps ? timestamp_rtt(env.ms() + c.ts_offset, segment.options.ts_echo)
                           : std::nullopt;
    begin_estimates(env, c, rtt, c.backoffs);
    c.snd_una = segment.ack;
    established(env, c);
    c.ack_now = true;
    // Data on a SYN-ACK may be used now that the connection is established (attack case 26).
    segment.seq = segment.seq + 1;
    if (!payload.empty()) process_text(env, c, segment, std::move(payload));
    return Verdict::done;
}

}  // namespace steps

}  // namespace millrace::tcp
