#include "tcp/connection.h"

#include "base/assert.h"
#include "tcp/describe.h"
#include "tcp/env.h"
#include "tcp/pacing.h"

namespace millrace::tcp {

using congestion::Algorithm;
static_assert(static_cast<int>(Algorithm::reno) == static_cast<int>(CongestionControl::reno) &&
              static_cast<int>(Algorithm::cubic) == static_cast<int>(CongestionControl::cubic) &&
              static_cast<int>(Algorithm::dctcp) == static_cast<int>(CongestionControl::dctcp) &&
              static_cast<int>(Algorithm::bbr) == static_cast<int>(CongestionControl::bbr));

void set_state(Env& env, Connection& c, State to) {
    MILLRACE_ASSERT(is_legal(c.state, to));
    env.recorder.record(TraceKind::state, static_cast<uint8_t>(public_state(c.state)),
                        static_cast<uint16_t>(public_state(to)), &c, env.now);
    c.state = to;
}

void set_recovery(Env& env, Connection& c, Recovery to) {
    if (c.recovery == to) return;
    env.recorder.record(TraceKind::recovery, static_cast<uint8_t>(c.recovery),
                        static_cast<uint16_t>(to), &c, env.now);
    c.recovery = to;
}

void release_reassembly(Env& env, Connection& c) {
    if (c.reassembly() == nullptr) return;
    env.reassemblies.give_back(c.receiving->reassembly);
    c.receiving->reassembly = nullptr;
}

void report(Env& env, Connection& c, int error) {
    c.soft_error = static_cast<uint8_t>(error);
    if (c.report_errors && c.attached) env.notify(c, Event::soft_error);
}

namespace {

void give_back_sending(Env& env, Connection& c) {
    c.sending->control.release(env.bbrs);
    env.sendings.give_back(c.sending);
    c.sending = nullptr;
}

void release_receiving(Env& env, Connection& c) {
    Receiving& r = *c.receiving;
    release_reassembly(env, c);
    if (r.tuning != nullptr) env.tunings.give_back(r.tuning);
    r.tuning = nullptr;
    r.snapshots.clear_and_dispose([&](AckSnapshot* s) { env.snapshots.give_back(s); });
}

/// The path has shown something that a new beginning would not know. In slow start, that is never
/// what the window is: the window itself stays with the connection.
bool has_learned(const Connection& c) {
    const Path& path = *c.sending;
    return path.total_retrans != 0 || path.lost != 0 || path.dsack_dups != 0 ||
           path.reordering_seen || !c.window.in_slow_start() || !path.control.is_fresh();
}

}  // namespace

Sending& borrow_sending(Env& env, Connection& c) {
    if (c.sending != nullptr) return *c.sending;
    // Its marks within reach of sequence comparison: nothing has overtaken anything or been sent
    // again yet.
    c.sending = env.sendings.take(env.sent_ranges, c.snd_una);
    MILLRACE_ASSERT(c.sending != nullptr);
    begin_control(env, c, c.algorithm);
    return *c.sending;
}

bool is_at_rest(const Connection& c) {
    const Sending* s = c.sending;
    if (s == nullptr) return true;
    if (!s->queue.empty() || !s->sent.empty() || !c.syn_acked) return false;
    if (c.fin_queued && !c.fin_acked) return false;
    return c.recovery == Recovery::open || c.recovery == Recovery::disorder;
}

void settle_sending(Env& env, Connection& c) {
    Sending* s = c.sending;
    if (s == nullptr || !is_at_rest(c)) return;
    set_recovery(env, c, Recovery::open);
    // Small writes, each acknowledged before the next, keep to the rate, too.
    if (s->pace_at > env.now) return pacing::wait(env, c);
    if (!has_learned(c)) return give_back_sending(env, c);
    if (!s->begun) return;
    // Whether a probe that sent something again was needed will be seen by what comes next.
    const bool unjudged = s->tlp_out;
    static_cast<Flight&>(*s) = Flight(c.snd_una);
    s->tlp_out = unjudged;
    s->tlp_again = unjudged ? c.snd_mss : 0;
}

Receiving& borrow_receiving(Env& env, Connection& c) {
    if (c.receiving == nullptr) c.receiving = env.receivings.take();
    MILLRACE_ASSERT(c.receiving != nullptr);
    return *c.receiving;
}

void settle_receiving(Env& env, Connection& c) {
    const Receiving* r = c.receiving;
    if (r == nullptr || !r->queue.empty() || r->unacked != 0 || c.ack_delayed) return;
    if (r->reassembly != nullptr || r->tuning != nullptr || !r->snapshots.empty()) return;
    if (c.fin_pending || c.urgent_pending) return;
    env.receivings.give_back(c.receiving);
    c.receiving = nullptr;
}

Settings& own_settings(Env& env, Connection& c) {
    if (c.own_settings == nullptr) c.own_settings = env.settings.take();
    MILLRACE_ASSERT(c.own_settings != nullptr);
    return *c.own_settings;
}

bool begin_control(Env& env, Connection& c, Algorithm algorithm) {
    c.algorithm = algorithm;
    if (c.sending == nullptr) return true;
    congestion::Control& control = c.sending->control;
    control.release(env.bbrs);
    const bool as_asked = control.begin(algorithm, c.window, env.now, env.bbrs);
    c.algorithm = control.algorithm();
    return as_asked;
}

void release(Env& env, Connection& c) {
    if (c.sending != nullptr) give_back_sending(env, c);
    if (c.probing != nullptr) env.mtu_probings.give_back(c.probing);
    c.probing = nullptr;
    if (c.own_settings != nullptr) env.settings.give_back(c.own_settings);
    c.own_settings = nullptr;
    if (c.receiving == nullptr) return;
    release_receiving(env, c);
    env.receivings.give_back(c.receiving);
    c.receiving = nullptr;
}

void acknowledge_at_once(Env& env, Connection& c, const wire::SackBlock& dsack) {
    env.mark_dirty(c);
    AckSnapshot* snapshot = env.snapshots.take();
    if (snapshot == nullptr) {
        ++env.counters.pool_dry_snapshots;
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
        if (const Reassembly* held = c.reassembly()) held->sack_blocks(options);
        snapshot->sack_count = options.sack_count;
        snapshot->sack = options.sack;
    }
    borrow_receiving(env, c).snapshots.push_back(*snapshot);
}

void finish(Env& env, Connection& c, int error) {
    set_state(env, c, State::closed);
    env.recorder.record(TraceKind::ended, static_cast<uint8_t>(error), 0, &c, env.now);
    c.error = static_cast<uint8_t>(error);
    c.aborted = c.rst_due;
    c.slow_due = Instant::never();
    time::Wheel::cancel(c.timer);
    if (c.orphan) --env.orphans;
    c.orphan = false;
    c.ack_now = c.syn_due = c.probe_due = c.keepalive_due = false;
    c.ack_delayed = c.fin_pending = false;
    if (Sending* s = c.sending) {
        // How it went is still told; nothing more is sent.
        s->queue.clear();
        s->sent.clear();
        s->control.release(env.bbrs);
        static_cast<Flight&>(*s) = Flight(c.snd_una);
    }
    if (c.receiving != nullptr) {
        // What has come in good order may still be read, until the application has been told.
        release_receiving(env, c);
        c.receiving->unacked = 0;
        if (!c.attached) c.receiving->queue.clear();
        settle_receiving(env, c);
    }
    if (c.attached) env.notify(c, Event::closed);
    env.mark_dirty(c);  // egress sends what is due (a RST) and hands the remains to the stack
}

void arm_timer(Env& env, Connection& c) {
    Instant deadline = c.slow_due;
    if (c.ack_delayed) deadline = std::min(deadline, c.receiving->delayed_ack_due);
    if (const Sending* s = c.sending) {
        deadline = std::min(deadline, s->retransmit_at);
        if (s->pace_waiting) deadline = std::min(deadline, s->pace_at);
        if (c.corked) deadline = std::min(deadline, s->cork_due);
    }
    if (deadline == Instant::never()) return;
    if (!c.timer.is_armed() || deadline < c.timer.due()) env.wheel.arm(c.timer, deadline);
}

}  // namespace millrace::tcp
