#include "tcp/recovery.h"

#include <algorithm>

#include "congestion/rate.h"
#include "tcp/ecn.h"
#include "tcp/limits.h"
#include "tcp/rack.h"

namespace millrace::tcp {

namespace {

bool in_reduction(const Connection& c) {
    return c.recovery == Recovery::cwr || c.recovery == Recovery::recovery;
}

/// In `undo_retransmitted`: nothing has been sent again yet.
constexpr int32_t undo_nothing_sent = -1;

/// What an undo would restore; the series of retransmissions begins with the next one.
void remember_for_undo(Connection& c) {
    Sending& s = *c.sending;
    s.prior_cwnd = c.window.cwnd;
    s.prior_ssthresh = c.window.ssthresh;
    s.undo_from = c.snd_una;
    s.undo_possible = true;
    // A duplicate of the probe's answers for the probe, not for what is sent again from now on.
    s.undo_retransmitted =
        s.tlp_out && s.tlp_again != 0 ? static_cast<int32_t>(s.tlp_again) : undo_nothing_sent;
    // What an earlier episode sent again and is not acknowledged yet would echo a timestamp from
    // before this one's first retransmission: the older stamp holds, as in Linux.
    if (s.retransmitted_end <= c.snd_una) s.retransmits_stamped = false;
}

/// RFC 9937 section 6.1; `work` is the ACK that began it.
void begin_reduction(Env& env, Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    // Not less than the window, as in Linux: what a small flight meets must not let a large one
    // grow.
    s.recover_in_flight = std::max({work.prior_in_flight, c.window.cwnd, uint32_t{c.window.mss}});
    s.prr_delivered = s.prr_out = 0;
    c.window.ssthresh = s.control.ssthresh(c.window, congestion_ack(env, c, work));
    s.tlp_out = false;
    ecn::on_reduction(c);
}

/// The window is what congestion control wanted it to come down to.
void end_reduction(Env& env, Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    if (!s.control.controls_recovery() && c.window.ssthresh != congestion::Window::unlimited)
        c.window.set(c.window.ssthresh);
    s.control.on_recovery_exit(c.window, congestion_ack(env, c, work));
    if (s.reordering_persist > 0) --s.reordering_persist;
    if (s.reordering_persist == 0) s.reordering_steps = 1;
}

/// The first segment in flight is lost, say duplicate ACKs (RFC 6582).
void mark_head_lost(Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    if (s.sent.empty()) return;
    SentRange& head = s.sent.front();
    if (head.lost || head.sacked) return;
    if (head.size() > c.window.mss &&
        s.sent.split(head, head.begin + c.window.mss, SentRanges::Purpose::transmission) == nullptr)
        return;
    note_lost(c, work, head);
    s.sent.mark_lost(head);
}

/// RFC 3522: the ACK echoes a timestamp from before the first retransmission.
bool answers_original(const Connection& c, const AckWork& work) {
    const Sending& s = *c.sending;
    return work.has_ts_echo && s.retransmits_stamped &&
           static_cast<int32_t>(work.ts_echo - s.first_retransmit_ts) < 0;
}

bool may_undo(const Connection& c, const AckWork& work) {
    const Sending& s = *c.sending;
    return s.undo_possible && (s.undo_retransmitted == 0 || answers_original(c, work));
}

/// `unmark`: what is taken for lost is in flight after all.
void undo(Connection& c, bool unmark) {
    Sending& s = *c.sending;
    if (unmark) s.sent.unmark_lost();
    c.window.set(std::max(c.window.cwnd, s.prior_cwnd));
    c.window.ssthresh = std::max(c.window.ssthresh, s.prior_ssthresh);
    s.control.undo(c.window);
    s.undo_possible = false;
    c.cwr_due = false;
}

Recovery open_or_disorder(const Sending& s) {
    return s.sent.sacked() > 0 || s.sent.lost() > 0 || s.duplicate_acks > 0 ? Recovery::disorder
                                                                            : Recovery::open;
}

void leave(Env& env, Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    set_recovery(env, c, open_or_disorder(s));
    s.frto = s.frto_new_data = false;
    s.at_recover = c.snd_una == s.recover && !work.past_recover;
}

/// Duplicates told that nothing was missing: the network reorders, and RACK learns that.
void undo_reordered(Env& env, Connection& c, bool unmark) {
    rack::note_reordering(env, c);
    undo(c, unmark);
}

void enter_recovery(Env& env, Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    ++(c.sack ? env.counters.tcp_sack_recovery : env.counters.tcp_reno_recovery);
    // Once a window of data (RFC 3168 section 6.1.2): a mark has brought it down already, unless by
    // DCTCP's small step (RFC 8257 section 3.5).
    if (c.recovery != Recovery::cwr || s.control.wants_ecn()) {
        remember_for_undo(c);
        begin_reduction(env, c, work);
    }
    s.recover = c.snd_nxt;
    set_recovery(env, c, Recovery::recovery);
    ++env.counters.tcp_fast_retrans;
}

/// The state after a timeout: is it spurious (RFC 5682 section 3.1), is it over?
void in_loss(Env& env, Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    s.frto_new_data = false;
    const bool recovered = c.snd_una >= s.recover;
    if (work.una_advanced && may_undo(c, work)) {
        ++env.counters.tcp_loss_undo;
        undo(c, true);
        leave(env, c, work);
        return;
    }
    if (s.frto) {
        // Step 3b: what was sent before the timeout and never again has arrived.
        // Without SACK, what a retransmission has filled the hole for was lost once.
        const bool original =
            work.original_delivered && (c.sack || !work.retransmitted_acked);
        if (original && s.undo_possible) {
            ++env.counters.tcp_spurious_rtos;
            undo(c, true);
            leave(env, c, work);
            return;
        }
        if (c.snd_nxt > s.recover) {
            if (work.sacked_new || work.duplicate) s.frto = false;  // step 3a: it was real
        } else if (work.una_advanced && !recovered) {
            // Step 2b: up to two new segments tell.
            s.recover = c.snd_nxt;
            if (c.snd_nxt < c.data_end() && c.snd_nxt < c.snd_una + c.snd_wnd) {
                s.frto_new_data = true;
                return;
            }
            s.frto = false;
        }
    }
    if (!recovered) return;
    if (may_undo(c, work)) {
        ++env.counters.tcp_loss_undo;
        undo(c, false);
    } else {
        s.control.on_recovery_exit(c.window, congestion_ack(env, c, work));
    }
    leave(env, c, work);
}

void in_recovery(Env& env, Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    if (c.snd_una >= s.recover) {
        if (may_undo(c, work)) {
            ++env.counters.tcp_full_undo;
            undo_reordered(env, c, false);
        } else {
            end_reduction(env, c, work);
        }
        s.reno_sacked = 0;
        leave(env, c, work);
        return;
    }
    if (c.sack && s.undo_possible && s.undo_retransmitted == 0) {
        ++env.counters.tcp_dsack_undo;
        undo_reordered(env, c, true);
        leave(env, c, work);
        return;
    }
    if (!work.una_advanced) return;
    if (answers_original(c, work) && s.undo_possible) {
        // A partial ACK of originals: what was marked lost is only late.
        ++env.counters.tcp_partial_undo;
        undo_reordered(env, c, true);
        leave(env, c, work);
        return;
    }
    if (!c.sack) mark_head_lost(c, work);  // RFC 6582 section 3.2 step 3
}

/// `ended`: a recovery is over with this ACK; what was sent in it and is lost begins another.
bool loss_found(const Connection& c, const AckWork& work, bool ended) {
    const Sending& s = *c.sending;
    if (c.sack) return work.lost > 0 || (ended && s.sent.lost() > 0);
    // RFC 6582 section 3.2 step 2: not again for duplicates that an earlier recovery caused.
    return s.duplicate_acks >= duplicate_acks_for_loss && !s.at_recover;
}

/// This ACK lets the window grow: it moves SND.UNA, or where the network is known to reorder it
/// tells of anything new (Linux's tcp_may_raise_cwnd).
bool raises_window(const Connection& c, const AckWork& work) {
    return work.una_advanced || (c.sending->reordering_seen && work.sacked_new);
}

/// The longer of the send and the ACK phase. Zero: shorter than the path can be, since two ACKs
/// came at once.
Duration sample_interval(const Env& env, const Connection& c, const AckWork& work) {
    const Duration interval = std::max(work.newest_sent_at - work.newest.first_sent_at,
                                       env.now - work.newest.delivered_at);
    return interval < c.rtt.min_rtt() ? Duration() : interval;
}

/// Bytes in flight for which no duplicate can stand, where there is no SACK. Behind a timeout that
/// is all that was in flight then, which goes again as the window allows: duplicates tell of new
/// data alone (RFC 5682 section 2.1 step 3; so does Linux). Else it is what is marked lost, and a
/// segment at the least: without a hole nobody would answer with duplicates.
uint32_t missing(const Connection& c) {
    const Sending& s = *c.sending;
    if (c.recovery == Recovery::loss) return distance(c.snd_una, max(c.snd_una, s.recover));
    return std::max(s.sent.lost(), uint32_t{c.window.mss});
}

/// A duplicate without SACK.
void count_arrival(Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    const uint32_t before = s.reno_sacked;
    s.reno_sacked += c.window.mss;
    limit_reno_sacked(c);
    if (s.reno_sacked > before) work.delivered += s.reno_sacked - before;
}

}  // namespace

void limit_reno_sacked(Connection& c) {
    const uint32_t most = c.outstanding() - std::min(c.outstanding(), missing(c));
    c.sending->reno_sacked = std::min(c.sending->reno_sacked, most);
}

void count_duplicates(Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    if (work.una_advanced)
        s.duplicate_acks = 0;
    else if ((c.sack ? work.sacked_new : work.duplicate) && s.duplicate_acks < UINT8_MAX)
        ++s.duplicate_acks;
    if (c.sack) return;
    if (work.duplicate) count_arrival(c, work);
    if (!work.una_advanced) return;
    // What is acknowledged now includes what duplicates stood for.
    const uint32_t stood_for =
        work.acked > c.window.mss ? std::min(s.reno_sacked, work.acked - c.window.mss) : 0;
    work.delivered -= std::min(work.delivered, stood_for);
    s.reno_sacked = c.recovery == Recovery::recovery ? s.reno_sacked - stood_for : 0;
    limit_reno_sacked(c);
}

void note_lost(Connection& c, AckWork& work, const SentRange& range) {
    Sending& s = *c.sending;
    const uint32_t size = range.size();
    work.lost += size;
    s.lost += size;
    work.loss = {.tx_in_flight = range.stamp.in_flight,
                 .lost = static_cast<uint32_t>(s.lost - range.stamp.lost),
                 .size = size,
                 .app_limited = range.stamp.app_limited};
}

bool is_window_limited(const Connection& c) {
    const Sending& s = *c.sending;
    return s.window_limited ||
           (c.window.in_slow_start() && c.window.cwnd < 2 * s.max_in_flight);
}

void take_rate_sample(const Env& env, Connection& c, const AckWork& work) {
    const auto delivered = static_cast<uint32_t>(c.delivered - work.newest.delivered);
    const uint64_t rate = congestion::rate_of(delivered, sample_interval(env, c, work));
    const auto units =
        static_cast<uint32_t>(std::min<uint64_t>(rate / Path::rate_unit, UINT32_MAX));
    Sending& s = *c.sending;
    // Where the application held back, the path could do so much at least (as in Linux).
    if (units == 0 || (work.newest.app_limited && units < s.delivery_rate)) return;
    s.delivery_rate = units;
    s.rate_app_limited = work.newest.app_limited;
}

congestion::Ack congestion_ack(Env& env, const Connection& c, const AckWork& work) {
    congestion::Ack ack;
    ack.now = env.now;
    ack.snd_una = c.snd_una;
    ack.snd_nxt = c.snd_nxt;
    // What fills a hole covers much that SACKs had told of: it counts once.
    ack.acked = raises_window(c, work) ? work.delivered : 0;
    ack.newly_delivered = work.delivered;
    ack.newly_lost = work.lost;
    ack.in_flight = c.in_flight();
    ack.prior_in_flight = work.prior_in_flight;
    ack.delivered = c.delivered;
    ack.lost = c.sending->lost;
    if (work.last_sent_at != Instant()) ack.rtt = env.now - work.last_sent_at;
    ack.srtt = c.rtt.srtt();
    ack.min_rtt = c.rtt.min_rtt();
    ack.window_limited = is_window_limited(c);
    ack.ece = work.ece;
    ack.selective_acks = c.sack;
    ack.loss = work.loss;
    ack.in_recovery = in_reduction(c) || c.recovery == Recovery::loss;
    // BBR alone has a model to feed.
    if (work.has_newest && c.sending->control.controls_recovery()) {
        const RateStamp& stamp = work.newest;
        ack.rate.prior_delivered = stamp.delivered;
        ack.rate.delivered = static_cast<uint32_t>(c.delivered - stamp.delivered);
        ack.rate.lost = static_cast<uint32_t>(c.sending->lost - stamp.lost);
        ack.rate.tx_in_flight = stamp.in_flight;
        ack.rate.interval = sample_interval(env, c, work);
        ack.rate.app_limited = stamp.app_limited;
        ack.rate.retransmitted = work.newest_retransmitted;
    }
    return ack;
}

void recover(Env& env, Connection& c, AckWork& work) {
    Sending& s = *c.sending;
    const Recovery before = c.recovery;
    switch (c.recovery) {
        case Recovery::loss:
            in_loss(env, c, work);
            if (c.recovery == Recovery::loss) return;
            break;
        case Recovery::recovery: in_recovery(env, c, work); break;
        case Recovery::cwr:
            if (c.snd_una >= s.recover) {
                end_reduction(env, c, work);
                leave(env, c, work);
            }
            break;
        case Recovery::open:
        case Recovery::disorder:
            if (work.dsack && may_undo(c, work)) {
                ++env.counters.tcp_dsack_undo;
                undo_reordered(env, c, false);
            }
            set_recovery(env, c, open_or_disorder(s));
            break;
    }
    const bool ended = before == Recovery::recovery || before == Recovery::loss;
    if (c.recovery == Recovery::recovery || !loss_found(c, work, ended)) return;
    if (!c.sack) mark_head_lost(c, work);
    if (s.sent.lost() == 0) return;
    if (c.probing != nullptr && take_lost_probe(env, c)) {
        s.lost -= work.lost;
        work.lost = 0;
        return;
    }
    enter_recovery(env, c, work);
}

void enter_loss(Env& env, Connection& c) {
    Sending& s = *c.sending;
    const bool from_recovery =
        c.recovery == Recovery::recovery || c.recovery == Recovery::loss;
    const bool new_reduction = c.recovery == Recovery::open || c.recovery == Recovery::disorder ||
                               c.snd_una >= s.recover ||
                               (c.recovery == Recovery::loss && !c.timed_out);
    AckWork work;
    work.prior_una = c.snd_una;
    work.prior_in_flight = c.in_flight();
    // What the peer says that it holds and does not acknowledge, it has dropped (RFC 2018 section
    // 8).
    if (!s.sent.empty() && s.sent.front().sacked) {
        ++env.counters.tcp_sack_reneging;
        s.sent.forget_sacked();
    }
    s.reno_sacked = 0;
    if (new_reduction) {
        remember_for_undo(c);
        c.window.ssthresh = s.control.ssthresh(c.window, congestion_ack(env, c, work));
        s.control.on_timeout(c.window, congestion_ack(env, c, work));
        ecn::on_reduction(c);
    }
    const uint32_t lost_before = s.sent.lost();
    // What went out less than a round trip ago may still arrive.
    s.sent.mark_all_lost(c.sack ? env.now - s.rack_rtt : env.now);
    s.lost += s.sent.lost() - std::min(s.sent.lost(), lost_before);
    set_recovery(env, c, Recovery::loss);
    s.recover = c.snd_nxt;
    c.window.set(c.in_flight() + c.window.mss);
    // RFC 5682 section 3.1 step 1: not where fast recovery has sent things again already.
    s.frto = env.tunables.tcp_frto != 0 && (!from_recovery || c.timed_out);
    s.frto_new_data = false;
    s.tlp_out = false;
}

void enter_cwr(Env& env, Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    if (c.recovery != Recovery::open && c.recovery != Recovery::disorder) return;
    s.undo_possible = false;
    s.recover = c.snd_nxt;
    begin_reduction(env, c, work);
    set_recovery(env, c, Recovery::cwr);
    if (c.outstanding() > 0) return;
    end_reduction(env, c, work);  // no ACK is to come that would end it
    leave(env, c, work);
}

void update_cwnd(Connection& c, const AckWork& work, const congestion::Ack& ack) {
    Sending& s = *c.sending;
    if (s.control.controls_recovery()) {
        s.control.on_ack(c.window, ack);
        return;
    }
    if (!in_reduction(c)) {
        if (raises_window(c, work)) s.control.on_ack(c.window, ack);
        return;
    }
    // RFC 9937 section 6.2: where nothing was delivered, what a timer has found lost goes again in
    // the room that it has left.
    const bool begins = s.prr_delivered == 0 && s.prr_out == 0;
    if (work.delivered == 0 && !begins) return;
    s.prr_delivered += work.delivered;
    const uint32_t in_flight = ack.in_flight;
    const uint32_t mss = c.window.mss;
    int64_t limit = 0;
    if (in_flight > c.window.ssthresh) {
        const uint64_t share = (uint64_t{s.prr_delivered} * c.window.ssthresh +
                                s.recover_in_flight - 1) / s.recover_in_flight;
        limit = static_cast<int64_t>(share) - s.prr_out;
    } else {
        limit = std::max<int64_t>(int64_t{s.prr_delivered} - s.prr_out, work.delivered);
        if (work.una_advanced && work.lost == 0) limit += mss;
        limit = std::min<int64_t>(limit, int64_t{c.window.ssthresh} - in_flight);
    }
    // The first retransmission goes out whatever the arithmetic says.
    limit = std::max<int64_t>(limit, s.prr_out == 0 ? mss : 0);
    c.window.set(in_flight + static_cast<uint32_t>(limit));
}

void on_probe_answered(Env& env, Connection& c, const AckWork& work) {
    Sending& s = *c.sending;
    if (!s.tlp_out || c.snd_una < s.tlp_end) return;
    if (s.tlp_again == 0 || work.dsack_of_probe) {
        s.tlp_out = false;  // new data, or both the original and the probe have arrived
    } else if (c.snd_una > s.tlp_end) {
        // Acknowledged without a sign of the duplicate: the probe repaired a loss.
        s.tlp_out = false;
        ++env.counters.tcp_loss_probe_recovery;
        AckWork probe;
        probe.prior_una = c.snd_una;
        probe.prior_in_flight = c.in_flight();
        enter_cwr(env, c, probe);
        if (c.recovery == Recovery::cwr) {
            end_reduction(env, c, work);
            leave(env, c, work);
        }
    } else if (!work.una_advanced && !work.sacked_new && work.plain) {
        s.tlp_out = false;  // the duplicate has arrived, and the peer says so without DSACK
    }
}

}  // namespace millrace::tcp
