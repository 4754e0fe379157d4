#include "tcp/connection.h"

#include "base/assert.h"
#include "tcp/env.h"
#include "tcp/pacing.h"

namespace millrace::tcp {

using congestion::Algorithm;
static_assert(static_cast<int>(Algorithm::reno) == static_cast<int>(CongestionControl::reno) &&
              static_cast<int>(Algorithm::cubic) == static_cast<int>(CongestionControl::cubic) &&
              static_cast<int>(Algorithm::dctcp) == static_cast<int>(CongestionControl::dctcp) &&
              static_cast<int>(Algorithm::bbr) == static_cast<int>(CongestionControl::bbr));

void set_state(Connection& c, State to) {
    MILLRACE_ASSERT(is_legal(c.state, to));
    c.state = to;
}

void release_reassembly(Env& env, Connection& c) {
    if (c.reassembly == nullptr) return;
    env.reassemblies.give_back(c.reassembly);
    c.reassembly = nullptr;
}

void report(Env& env, Connection& c, int error) {
    c.soft_error = static_cast<uint8_t>(error);
    if (c.report_errors && c.attached) env.notify(c, Event::soft_error);
}

Sending* borrow_sending(Env& env, Connection& c) {
    if (c.sending != nullptr) return c.sending;
    c.sending = env.sendings.take(env.sent_ranges);
    // Within reach of sequence comparison: nothing has overtaken anything or been sent again yet.
    Sending* s = c.sending;
    if (s == nullptr) return nullptr;
    s->highest_delivered = s->small_end = s->retransmitted_end = s->tlp_end = c.snd_una;
    s->tlp_out = c.probe_unjudged;
    s->tlp_again = s->tlp_out ? c.snd_mss : 0;
    c.probe_unjudged = false;
    return s;
}

void settle_sending(Env& env, Connection& c) {
    Sending* s = c.sending;
    if (s == nullptr || !s->queue.empty() || !s->sent.empty()) return;
    if (c.fin_queued && !c.fin_acked) return;
    if (c.recovery == Recovery::disorder) c.recovery = Recovery::open;
    if (c.recovery != Recovery::open) return;
    // Small writes, each acknowledged before the next, keep to the rate, too.
    if (s->pace_at > env.now) return pacing::wait(env, c);
    // Whether a probe that sent something again was needed will be seen by what comes next.
    c.probe_unjudged = s->tlp_out;
    env.sendings.give_back(s);
    c.sending = nullptr;
}

bool begin_control(Env& env, Connection& c, Algorithm algorithm) {
    c.control.release(env.bbrs);
    return c.control.begin(algorithm, c.window, env.now, env.bbrs);
}

void release(Env& env, Connection& c) {
    if (c.sending != nullptr) env.sendings.give_back(c.sending);
    c.sending = nullptr;
    if (c.probing != nullptr) env.mtu_probings.give_back(c.probing);
    c.probing = nullptr;
    c.snapshots.clear_and_dispose([&](AckSnapshot* s) { env.snapshots.give_back(s); });
    release_reassembly(env, c);
    if (c.tuning != nullptr) env.tunings.give_back(c.tuning);
    c.tuning = nullptr;
    c.control.release(env.bbrs);
}

void acknowledge_at_once(Env& env, Connection& c, const wire::SackBlock& dsack) {
    env.mark_dirty(c);
    AckSnapshot* snapshot = env.snapshots.take();
    if (snapshot == nullptr) {
        c.ack_now = true;
        return;
    }
    snapshot->ack = c.rcv_nxt;
    snapshot->ece = c.ece;
    if (c.sack) {
        wire::TcpOptions options;
        options.has_timestamps = c.timestamps;
        if (dsack.begin != dsack.end && env.tunables.tcp_dsack != 0) {
            ++(dsack.begin < c.rcv_nxt ? env.counters.tcp_dsack_old_sent
                                       : env.counters.tcp_dsack_ofo_sent);
            options.sack[options.sack_count++] = dsack;
        }
        if (c.reassembly != nullptr) c.reassembly->sack_blocks(options);
        snapshot->sack_count = options.sack_count;
        snapshot->sack = options.sack;
    }
    c.snapshots.push_back(*snapshot);
}

void finish(Env& env, Connection& c, int error) {
    set_state(c, State::closed);
    c.error = static_cast<uint8_t>(error);
    c.retransmit_at = c.delayed_ack_due = Instant::never();
    time::Wheel::cancel(c.timer);
    time::Wheel::cancel(c.slow_timer);
    if (c.orphan) --env.orphans;
    c.orphan = false;
    release(env, c);
    if (error != 0 || !c.attached) c.receive_queue.clear();
    c.ack_now = c.syn_due = c.probe_due = c.keepalive_due = false;
    if (c.attached) env.notify(c, Event::closed);
    env.mark_dirty(c);  // egress sends what is due (a RST) and hands the remains to the stack
}

void arm_timer(Env& env, Connection& c) {
    Instant deadline = std::min(c.retransmit_at, c.delayed_ack_due);
    if (c.sending != nullptr && c.sending->pace_waiting)
        deadline = std::min(deadline, c.sending->pace_at);
    if (c.corked && c.sending != nullptr) deadline = std::min(deadline, c.sending->cork_due);
    if (deadline == Instant::never()) return;
    if (!c.timer.is_armed() || deadline < c.timer.due()) env.wheel.arm(c.timer, deadline);
}

}  // namespace millrace::tcp
