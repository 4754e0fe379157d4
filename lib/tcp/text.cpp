// Seventh and eighth step of RFC 9293 section 3.10.7.4: the segment's text and its FIN.
#include <algorithm>
#include <cerrno>

#include "tcp/delayed_ack.h"
#include "tcp/ecn.h"
#include "tcp/ingress.h"
#include "tcp/limits.h"
#include "tcp/receive_queue.h"
#include "tcp/receive_window.h"
#include "tcp/timers.h"

namespace millrace::tcp {

using observe::Drop;
using wire::Segment;

namespace {

void count(Env& env, const Reassembly::Copies& copies) {
    env.counters.payload_copied += copies.bytes;
    env.counters.tcp_rcv_collapsed += copies.given_up;
}

/// In-order data reaches the application's queue, with what it makes contiguous.
void accept_in_order(Env& env, Connection& c, const Segment& segment, BufferChain payload) {
    Receiving& r = *c.receiving;
    const auto arrived = static_cast<uint32_t>(payload.size());
    const size_t before = r.queue.size();
    size_t pinned = buf::pinned_bytes(payload);
    if (r.reassembly != nullptr) {
        Reassembly::Copies copies{env.buffers};
        const auto merged = r.reassembly->merge(c.rcv_nxt, std::move(payload), r.queue, copies);
        c.rcv_nxt = merged.next;
        pinned = merged.pinned;
        count(env, copies);
        if (r.reassembly->empty()) release_reassembly(env, c);
        c.ack_now = true;  // a hole was filled, wholly or in part (RFC 5681 section 4.2)
        env.mark_dirty(c);
    } else {
        r.queue.append(std::move(payload));
        c.rcv_nxt += arrived;
    }
    const auto taken = static_cast<uint32_t>(r.queue.size() - before);
    c.rcv_used += taken;
    r.pinned += static_cast<uint32_t>(pinned);
    env.counters.payload_received += taken;
    env.notify(c, Event::readable);
    measure_receive_rtt(env, c, segment);
    schedule_ack(env, c, segment);
}

void keep_out_of_order(Env& env, Connection& c, Seq seq, BufferChain payload) {
    Reassembly*& held = c.receiving->reassembly;
    if (held == nullptr) {
        held = env.reassemblies.take(env.ranges, c);
        if (held == nullptr) {
            env.counters.drop(Drop::tcp_reassembly_full);
            ++env.counters.tcp_ofo_drop;
            return;
        }
        env.reassembling.push_back(*held);
    }
    // Charged by buffer, not by payload: one-byte segments pin whole buffers (attack case 41).
    Reassembly::Copies copies{env.buffers, !env.payload_low};
    const auto outcome = held->insert(seq, std::move(payload), receive_limit(c), copies);
    count(env, copies);
    switch (outcome) {
        case Reassembly::Outcome::kept: ++env.counters.tcp_ofo_queue; break;
        case Reassembly::Outcome::duplicate: break;
        case Reassembly::Outcome::dropped:
            if (env.ranges.in_use() == env.ranges.limit()) ++env.counters.pool_dry_reassembly;
            env.counters.drop(Drop::tcp_reassembly_full);
            ++env.counters.tcp_ofo_drop;
            break;
    }
}

}  // namespace

namespace steps {

void process_text(Env& env, Connection& c, const Segment& segment, BufferChain payload) {
    if (!may_receive(c.state)) {
        env.counters.drop(Drop::tcp_state);  // data after the peer's FIN
        return;
    }
    if (c.reading_stopped) {
        // Nobody will ever read this: say so, as Linux does (RFC 9293 section 3.6.1, SHLD-3).
        ++env.counters.tcp_abort_on_data;
        c.rst_due = true;
        finish(env, c, ECONNRESET);
        return;
    }
    borrow_receiving(env, c);
    if (c.ecn) ecn::on_text(env, c, segment);
    const Seq end = segment.seq + static_cast<uint32_t>(payload.size());
    const bool in_order = segment.seq == c.rcv_nxt;
    if (!make_receive_room(env, c, segment.seq, payload)) {
        // Told what we have, the peer sends it again: the window that was offered stands.
        if (!in_order) ++env.counters.tcp_ofo_drop;
        c.ack_now = true;
        env.mark_dirty(c);
        return;
    }
    if (in_order) {
        accept_in_order(env, c, segment, std::move(payload));
        return;
    }
    const Reassembly* held = c.reassembly();
    const wire::SackBlock duplicate =
        held == nullptr ? wire::SackBlock() : held->held(segment.seq, end);
    keep_out_of_order(env, c, segment.seq, std::move(payload));
    // At once, one for each segment: the peer's fast retransmit counts them (RFC 5681 section 4.2).
    enter_quick_acks(c, quick_acks_disorder);
    acknowledge_at_once(env, c, duplicate);
}

void check_fin(Env& env, Connection& c, const Segment& segment) {
    // An end that the stream has passed was none, and the FIN that is next in order is it whatever
    // was said before: one that was forged must not shut the peer's own out.
    if (c.fin_pending && c.receiving->fin_seq < c.rcv_nxt) c.fin_pending = false;
    if (segment.fin() && !c.fin_received) {
        const Seq at = segment.end() - 1;
        if (at == c.rcv_nxt || (!c.fin_pending && at > c.rcv_nxt)) {
            c.fin_pending = true;
            borrow_receiving(env, c).fin_seq = at;
        }
    }
    if (!c.fin_pending) return;
    if (c.receiving->fin_seq != c.rcv_nxt) {  // data before it is missing
        // Out of order as text may be, and acknowledged as that is (RFC 9293 MAY-13); text that
        // came with it has been already.
        if (segment.fin() && segment.payload_size == 0) acknowledge_at_once(env, c, {});
        return;
    }
    c.fin_pending = false;
    c.fin_received = true;
    c.rcv_nxt += 1;
    acknowledge_fin(env, c);
    release_reassembly(env, c);  // what lies behind the end belongs to nothing
    env.notify(c, Event::readable);  // the end of the stream is something to read
    switch (c.state) {
        case State::established: set_state(env, c, State::close_wait); break;
        case State::fin_wait_1:
            // Our FIN may have been acknowledged by this very segment; then ACK processing has
            // moved us to FIN-WAIT-2 already.
            set_state(env, c, State::closing);
            break;
        case State::fin_wait_2: set_state(env, c, State::time_wait); break;
        default: break;
    }
}

}  // namespace steps

}  // namespace millrace::tcp
