#include "tcp/ecn.h"

#include <algorithm>

namespace millrace::tcp::ecn {

using wire::Segment;
using wire::TcpFlags;

namespace {

/// Linux's `tcp_ecn`.
constexpr uint32_t never = 0;
constexpr uint32_t ask_and_accept = 1;

void set_echo(Connection& c, bool on) {
    c.ece = on;
    c.ack_now = true;
}

/// RFC 8257 section 3.2: the echo follows the mark of each packet, so that the sender can count
/// marked bytes. What is owed for packets of the other kind goes out on its own.
void follow_mark(Env& env, Connection& c, bool marked) {
    if (c.ece == marked) return;
    if (c.receiving->unacked > 0) {
        acknowledge_at_once(env, c, {});
        c.receiving->unacked = 0;
    }
    set_echo(c, marked);
    env.mark_dirty(c);
}

}  // namespace

bool asks(const Env& env, const Connection& c) {
    return env.tunables.tcp_ecn == ask_and_accept || congestion::wants_ecn(c.algorithm);
}

bool agrees(const Env& env, const Segment& syn) {
    if (!is_setup_syn(syn)) return false;
    // What DCTCP needs it takes; its networks may mark SYNs, too.
    if (env.tunables.tcp_congestion_control == CongestionControl::dctcp) return true;
    // No honest SYN is ECN-capable itself (section 6.1.1): somebody on the path writes over the
    // field, and its marks would mean nothing. As Linux.
    return env.tunables.tcp_ecn != never && syn.ecn == not_ect;
}

uint8_t syn_flags(Env& env, Connection& c, bool again) {
    if (c.state == State::syn_received) return c.ecn ? TcpFlags::ece : 0;
    if (!again) {
        c.ecn_asked = asks(env, c);
    } else if (c.ecn_asked && env.tunables.tcp_ecn_fallback != 0) {
        // Section 6.1.1.1: there are middleboxes that swallow a SYN with these bits.
        c.ecn_asked = false;
        ++env.counters.ecn_fallbacks;
    }
    return c.ecn_asked ? TcpFlags::ece | TcpFlags::cwr : 0;
}

void on_peer_syn(Connection& c, const Segment& segment) {
    const bool agreed = segment.has_ack() ? is_setup_answer(segment) : is_setup_syn(segment);
    c.ecn = c.ecn_asked && agreed;
}

void on_text(Env& env, Connection& c, const Segment& segment) {
    const bool marked = segment.ecn == ce;
    if (congestion::wants_ecn(c.algorithm)) return follow_mark(env, c, marked);
    // Section 6.1.3: the echo lasts until the sender says that it has come down; a mark on that
    // very segment begins it anew.
    if (segment.has(TcpFlags::cwr)) {
        c.ece = false;
        c.ack_now = true;  // its window may be down to this segment
        env.mark_dirty(c);
    }
    if (!marked || c.ece) return;
    c.ece = true;
    c.quick_acks = std::max<uint8_t>(c.quick_acks, 2);  // as Linux: it should not be told late
}

void on_echo(Env& env, Connection& c, const AckWork& work) {
    if (work.prior_in_flight == 0 && !work.una_advanced) return;
    // Section 6.1.2: once a window of data. Until our CWR has arrived, what the peer echoes is the
    // mark that we know of.
    Sending& s = *c.sending;
    if (c.cwr_due || (s.cwr_out && c.snd_una < s.cwr_end)) return;
    enter_cwr(env, c, work);
}

void on_reduction(Connection& c) {
    if (!c.ecn) return;
    c.cwr_due = true;
    c.sending->cwr_out = false;
}

}  // namespace millrace::tcp::ecn
