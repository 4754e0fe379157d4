#include "tcp/path_mtu.h"

#include <algorithm>

#include "ip/path_mtu.h"
#include "tcp/env.h"
#include "tcp/limits.h"
#include "tcp/recovery.h"
#include "tcp/timers.h"

namespace millrace::tcp {

namespace {

size_t headers_of(const Connection& c) { return header_size(c.key.remote.family()); }

/// Headers with the options that every data segment carries.
uint32_t overhead(const Connection& c) {
    return static_cast<uint32_t>(headers_of(c)) +
           (c.timestamps ? uint32_t{wire::TcpOptions::timestamps_size} : 0);
}

/// What a segment may carry over a path of `mtu`.
uint16_t mss_over(const Env& env, const Connection& c, uint32_t mtu) {
    return effective_mss(env.tunables, static_cast<uint16_t>(mtu - headers_of(c)), c.peer_mss,
                         c.key.remote.family(), c.timestamps);
}

/// Link and peer allow no larger packet, whatever the path.
uint16_t largest_mtu(const Env& env, const Connection& c) {
    const auto link = static_cast<uint32_t>(c.link_mss + headers_of(c));
    return static_cast<uint16_t>(mss_over(env, c, link) + overhead(c));
}

/// Full segments have another size from now on. The congestion window keeps its bytes: the same
/// amount of data is in the network, in other units.
void resize(Env& env, Connection& c) {
    c.snd_mss = mss_over(env, c, effective_mtu(c));
    c.window.mss = c.snd_mss;
    c.window.set(c.window.cwnd);
}

void borrow_probing(Env& env, Connection& c) {
    c.probing = env.mtu_probings.take();
    if (c.probing == nullptr) return;  // one for each connection: never dry
    c.probing->high = largest_mtu(env, c);
    c.probing->low = static_cast<uint16_t>(
        std::min(env.tunables.tcp_base_mss + overhead(c), uint32_t{c.probing->high}));
    c.probing->started = env.now;
}

/// What is marked lost goes again at once. Linux's state for it: nothing is known to be congested,
/// and nothing is taken back later.
void send_lost_again(Env& env, Connection& c) {
    Sending& s = *c.sending;
    if (!c.sack) limit_reno_sacked(c);
    s.undo_possible = false;
    set_recovery(env, c, Recovery::loss);
    s.recover = c.snd_nxt;
    s.frto = s.frto_new_data = false;
    s.tlp_out = s.tlp_due = false;
    if (s.timer_mode != TimerMode::reorder) restart_retransmit_timer(env, c);
    env.mark_dirty(c);
}

/// Ranges, not segments, are on record: one that is larger than a full segment was sent in
/// segments that were.
void mark_too_large_lost(Env& env, Connection& c) {
    if (c.sending == nullptr) return;
    SentRanges& sent = c.sending->sent;
    bool any = false;
    for (auto at = sent.by_time().begin(); at != sent.by_time().end();) {
        SentRange& range = *at++;
        if (range.size() <= c.snd_mss) continue;
        sent.mark_lost(range);
        any = true;
    }
    if (any) send_lost_again(env, c);
}

}  // namespace

uint16_t effective_mtu(const Connection& c) {
    uint32_t mtu = std::min<uint32_t>(static_cast<uint32_t>(c.link_mss + headers_of(c)),
                                      c.path_mtu);
    if (c.probing != nullptr) mtu = std::min<uint32_t>(mtu, c.probing->low);
    return static_cast<uint16_t>(mtu);
}

void begin_path_mtu(Env& env, Connection& c) {
    if (env.tunables.tcp_mtu_probing == 2) borrow_probing(env, c);
    c.snd_mss = mss_over(env, c, effective_mtu(c));
}

bool on_packet_too_big(Env& env, Connection& c, uint16_t mtu, Instant expires) {
    const uint16_t floored = std::max(mtu, ip::path_mtu_min(c.key.remote.family()));
    const auto link = static_cast<uint32_t>(c.link_mss + headers_of(c));
    if (floored >= std::min<uint32_t>(link, c.path_mtu)) return false;
    c.path_mtu = floored;
    c.path_mtu_expires_s = static_cast<uint32_t>(expires.ns() / 1'000'000'000);
    if (c.probing != nullptr) c.probing->high = std::min(c.probing->high, floored);
    // A SYN is never too large; what the connection begins with follows from `path_mtu`.
    if (c.state == State::syn_sent) return true;
    resize(env, c);
    mark_too_large_lost(env, c);
    return true;
}

void forget_stale_path_mtu(Env& env, Connection& c) {
    if (c.path_mtu == UINT16_MAX || env.s() < c.path_mtu_expires_s) return;
    c.path_mtu = UINT16_MAX;
    resize(env, c);
}

void on_black_hole_suspected(Env& env, Connection& c) {
    if (env.tunables.tcp_mtu_probing == 0) return;
    if (c.probing == nullptr) {
        borrow_probing(env, c);
    } else {
        // Even that does not pass: half of it, and half again with each further timeout.
        MtuProbing& probing = *c.probing;
        const uint32_t low = effective_mtu(c) - overhead(c);
        uint32_t mss = std::min(env.tunables.tcp_base_mss, low / 2);
        mss = std::max({mss, env.tunables.tcp_mtu_probe_floor, env.tunables.tcp_min_snd_mss});
        probing.low = static_cast<uint16_t>(std::min(mss, low) + overhead(c));
        probing.size = 0;
    }
    resize(env, c);
}

uint32_t probe_size(Env& env, Connection& c) {
    MtuProbing& probing = *c.probing;
    // SACK blocks change the size of headers; recovery and small windows have other worries.
    if (probing.size != 0 || c.recovery != Recovery::open || c.reassembly() != nullptr ||
        c.window.cwnd < mtu_probe_window_min * c.window.mss)
        return 0;
    const uint32_t high = std::min<uint32_t>(probing.high, c.path_mtu);
    if (high < probing.low + mtu_probe_threshold) {
        // The search is over. The path may become wider: look again after a while.
        if (env.now - probing.started < Duration::from_s(env.tunables.tcp_probe_interval)) return 0;
        probing.started = env.now;
        probing.high = largest_mtu(env, c);
        return 0;
    }
    const uint32_t payload = (high + probing.low) / 2 - overhead(c);
    const uint32_t needed = payload + mtu_probe_followers * c.snd_mss;
    const uint32_t unsent = c.queued() - std::min(c.queued(), distance(c.snd_una, c.snd_nxt));
    return std::min({unsent, c.snd_wnd, c.window.cwnd}) < needed ? 0 : payload;
}

void probe_sent(Connection& c, Seq begin, uint32_t payload) {
    c.probing->size = static_cast<uint16_t>(payload + overhead(c));
    c.probing->begin = begin;
    c.probing->end = begin + payload;
}

void check_probe_delivered(Env& env, Connection& c) {
    MtuProbing& probing = *c.probing;
    if (probing.size == 0 || c.snd_una < probing.end) return;
    ++env.counters.tcp_mtup_success;
    probing.low = std::max(probing.low, probing.size);
    probing.size = 0;
    resize(env, c);
}

bool take_lost_probe(Env& env, Connection& c) {
    MtuProbing& probing = *c.probing;
    SentRanges& sent = c.sending->sent;
    if (probing.size == 0 || c.snd_una != probing.begin) return false;
    const SentRange* first = sent.find(probing.begin);
    if (first == nullptr || !first->lost || sent.lost() > distance(probing.begin, probing.end))
        return false;
    // Without SACK only what a full segment would carry has been marked.
    for (Seq at = first->end; at < probing.end;) {
        SentRange& range = *sent.find(at);
        if (range.end > probing.end &&
            sent.split(range, probing.end, SentRanges::Purpose::transmission) == nullptr)
            return false;
        at = range.end;
        if (!range.lost && !range.sacked) sent.mark_lost(range);
    }
    ++env.counters.tcp_mtup_fail;
    probing.high = static_cast<uint16_t>(probing.size - 1);
    probing.size = 0;
    send_lost_again(env, c);
    return true;
}

}  // namespace millrace::tcp
