#include "tcp/receive_queue.h"

#include <algorithm>

namespace millrace::tcp {

namespace {

/// Connections that give up what they hold out of order in one round of `relieve`.
constexpr int relieved_at_once = 16;

/// A collapse must free a fourth of what is pinned, or its copies would not be worth it: so each
/// buffer that arrives pays for at most a few that are copied.
bool worthwhile(size_t pinned, size_t least) {
    return pinned > least && pinned - least > pinned / 4;
}

void collapse_queue(Env& env, Receiving& r) {
    const auto done = env.buffers.collapse(r.queue);
    env.counters.tcp_rcv_collapsed += done.buffers;
    env.counters.payload_copied += done.copied;
    r.pinned = static_cast<uint32_t>(buf::pinned_bytes(r.queue));
}

void collapse_reassembly(Env& env, Reassembly& held) {
    const auto done = held.collapse(env.buffers);
    env.counters.tcp_rcv_collapsed += done.buffers;
    env.counters.payload_copied += done.copied;
}

/// While receive buffers are short, queues hold none: each is copied once, and what comes later is
/// copied as it comes.
bool leave_receive_pool(Env& env, Connection& c, BufferChain& payload) {
    if (!c.queue_copied && !env.payload_low) {
        collapse_queue(env, *c.receiving);
        if (c.reassembly() != nullptr) collapse_reassembly(env, *c.reassembly());
        c.queue_copied = true;
    }
    BufferChain copy;
    if (!env.buffers.append_copy(copy, payload)) return false;
    env.counters.payload_copied += copy.size();
    payload = std::move(copy);
    return true;
}

void collapse_where_worthwhile(Env& env, Receiving& r) {
    if (worthwhile(r.pinned, buf::Pools::collapsed_bytes(r.queue.size(), 1)))
        collapse_queue(env, r);
    if (r.reassembly != nullptr &&
        worthwhile(r.reassembly->pinned(),
                   buf::Pools::collapsed_bytes(r.reassembly->bytes(), r.reassembly->ranges())))
        collapse_reassembly(env, *r.reassembly);
}

/// What lies highest will be needed last. It was never acknowledged: its sender has it still, and
/// forgets what our SACKs said of it (RFC 2018 section 8).
void prune(Env& env, Connection& c, Seq begin, size_t excess) {
    Reassembly* held = c.reassembly();
    if (held == nullptr) return;
    const size_t before = held->pinned();
    while (!held->empty() && before - held->pinned() < excess && held->prune_highest(begin))
        ++env.counters.tcp_ofo_pruned;
    if (held->empty()) release_reassembly(env, c);
}

}  // namespace

size_t receive_charge(const Connection& c) {
    if (c.receiving == nullptr) return 0;
    const Receiving& r = *c.receiving;
    return r.pinned + (r.reassembly == nullptr ? 0 : r.reassembly->pinned());
}

size_t receive_limit(const Connection& c) {
    return size_t{2} * std::max(c.rcv_buf, c.rcv_used + c.rcv_window());
}

bool make_receive_room(Env& env, Connection& c, Seq begin, BufferChain& payload) {
    if (env.receive_low) {
        // A connection with nothing in its queue is served from the reserve, as in Linux: its
        // application may be the one that reads.
        const bool first = begin == c.rcv_nxt && c.receiving->queue.empty();
        if ((env.payload_low && !first) || !leave_receive_pool(env, c, payload)) {
            env.counters.drop(observe::Drop::no_buffer);
            ++env.counters.tcp_rcv_q_drop;
            return false;
        }
    } else {
        c.queue_copied = false;
    }
    const size_t limit = receive_limit(c);
    const size_t more = buf::pinned_bytes(payload);
    if (receive_charge(c) + more <= limit) return true;
    if (!env.payload_low) collapse_where_worthwhile(env, *c.receiving);
    size_t charge = receive_charge(c) + more;
    if (charge <= limit) return true;
    prune(env, c, begin, charge - limit);
    charge = receive_charge(c) + more;
    // An empty queue takes one segment, in however many pieces it lies: what was offered arrives.
    if (charge <= limit || receive_charge(c) == 0) return true;
    ++env.counters.tcp_rcv_pruned;
    ++env.counters.tcp_rcv_q_drop;
    env.counters.drop(observe::Drop::tcp_receive_full);
    return false;
}

void relieve(Env& env) {
    for (int i = 0; i < relieved_at_once && !env.reassembling.empty(); ++i) {
        Reassembly& oldest = env.reassembling.front();
        Connection& owner = oldest.owner();
        env.counters.tcp_ofo_pruned += oldest.ranges();
        release_reassembly(env, owner);
        settle_receiving(env, owner);
    }
}

}  // namespace millrace::tcp
