#include "tcp/connection.h"

#include "base/assert.h"
#include "tcp/env.h"

namespace millrace::tcp {

void set_state(Connection& c, State to) {
    MILLRACE_ASSERT(is_legal(c.state, to));
    c.state = to;
}

void release_reassembly(Env& env, Connection& c) {
    if (c.reassembly == nullptr) return;
    env.reassemblies.give_back(c.reassembly);
    c.reassembly = nullptr;
}

void finish(Env& env, Connection& c, int error) {
    set_state(c, State::closed);
    c.error = static_cast<uint8_t>(error);
    c.retransmit_at = c.delayed_ack_due = Instant::never();
    time::Wheel::cancel(c.timer);
    c.send_queue.clear();
    release_reassembly(env, c);
    if (error != 0 || !c.attached) c.receive_queue.clear();
    c.ack_now = c.retransmit_due = c.syn_due = c.probe_due = false;
    c.acks_owed = 0;
    if (c.attached) env.notify(c, Event::closed);
    env.mark_dirty(c);  // egress sends what is due (a RST) and hands the remains to the stack
}

void arm_timer(Env& env, Connection& c) {
    const Instant deadline = std::min(c.retransmit_at, c.delayed_ack_due);
    if (deadline == Instant::never()) return;
    if (!c.timer.is_armed() || deadline < c.timer.due()) env.wheel.arm(c.timer, deadline);
}

}  // namespace millrace::tcp
