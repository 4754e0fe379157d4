// A burst on its way in: look up with prefetch, then deliver one frame after the other.
#include <bit>

#include "stack/stack.h"
#include "tcp/ingress.h"
#include "tcp/syn_cookies.h"
#include "tcp/trace.h"

namespace millrace::stack {

using observe::Drop;
using tcp::FlowKind;

namespace {

constexpr size_t cache_line = 64;

/// The lines of a connection behind its first one.
void prefetch_rest(const tcp::Flow& flow) {
    const auto* at = reinterpret_cast<const std::byte*>(&flow);
    for (size_t line = cache_line; line < sizeof(tcp::Connection); line += cache_line)
        __builtin_prefetch(at + line, 1);
}

}  // namespace

void Stack::receive(uint16_t interface, buf::FrameBatch& batch) {
    const size_t count = batch.size();
    counters_.frames_in += count;
    batch.prefetch();
    for (size_t i = 0; i < count; ++i) {
        burst_[i].settled = false;
        classifier_.classify(interface, batch.take(i), burst_[i]);
        if (burst_[i].kind == Kind::tcp) flows_.prefetch(burst_[i].hash);
    }
    batch.filled(0);
    // A fast link could take the whole reserve between two rounds of housekeeping.
    frames_unchecked_ += count;
    if (frames_unchecked_ >= pools_.receive_buffers() / 16) count_receive_buffers();
    deliver_burst(count);
}

void Stack::receive_handed_over(uint16_t interface, buf::Frame frame, bool settled) {
    burst_[0].settled = settled;
    classifier_.classify(interface, std::move(frame), burst_[0]);
    deliver_burst(1);
}

void Stack::receive_loopback() {
    if (loopback_.empty()) return;
    const auto interface = static_cast<uint16_t>(interfaces_.size() - 1);
    std::vector<buf::Frame> frames;
    frames.swap(loopback_);
    buf::FrameBatch batch;
    for (buf::Frame& frame : frames) {
        batch.push(std::move(frame));
        if (batch.full()) receive(interface, batch);
    }
    receive(interface, batch);
}

void Stack::deliver_burst(size_t count) {
    // Second pass: the bucket that was prefetched is there; what it points to may be far away.
    for (size_t i = 0; i < count; ++i)
        if (burst_[i].kind == Kind::tcp) flows_.prefetch_first(burst_[i].hash);
    // Third pass: its first cache line is there, to be compared with; the others follow.
    for (size_t i = 0; i < count; ++i) {
        Classified& in = burst_[i];
        if (in.kind != Kind::tcp) continue;
        in.flow = flows_.find(in.key, in.hash);
        if (in.flow != nullptr && in.flow->kind == FlowKind::connection) prefetch_rest(*in.flow);
    }
    // Fourth pass. Its hint is good only while no delivery has changed the table.
    const uint64_t changed = flows_changed_;
    for (size_t i = 0; i < count; ++i) {
        Classified& in = burst_[i];
        if (in.kind == Kind::tcp && changed != flows_changed_)
            in.flow = flows_.find(in.key, in.hash);
        deliver(in);
        in.frame = {};
    }
}

void Stack::deliver(Classified& in) {
    switch (in.kind) {
        case Kind::tcp: deliver_tcp(in); return;
        case Kind::icmp: on_icmp(in); return;
        case Kind::fragment: on_fragment(in); return;
        case Kind::arp: on_arp(in); return;
        case Kind::udp: deliver_udp(in); return;
        case Kind::igmp: on_igmp(in); return;
        case Kind::dropped: return;
    }
}

void Stack::deliver_tcp(Classified& in) {
    // What ended earlier in this burst is no obstacle to what its peer begins.
    if (in.flow != nullptr && in.flow->kind == FlowKind::connection &&
        static_cast<tcp::Connection&>(*in.flow).state == tcp::State::closed) {
        claim(in.flow->key, false);
        leave_table(static_cast<tcp::Connection&>(*in.flow));
        in.flow = nullptr;
    }
    if (in.flow != nullptr) {
        if (in.flow->kind == FlowKind::connection)
            deliver_connection(static_cast<tcp::Connection&>(*in.flow), in);
        else
            deliver_time_wait(static_cast<tcp::TimeWait&>(*in.flow), in);
        return;
    }
    if (deliver_half_open(in)) return;
    if (steer(in)) return;
    deliver_new(in);
}

/// RFC 5082: who is further away than he may be is not heard.
bool Stack::is_too_far(const Classified& in, uint8_t min_ttl) {
    if (in.ip.ttl >= min_ttl) return false;
    ++counters_.tcp_min_ttl_drop;
    counters_.drop(Drop::tcp_min_ttl);
    return true;
}

void Stack::deliver_connection(tcp::Connection& c, Classified& in) {
    if (is_too_far(in, c.settings().min_ttl)) return;
    BufferChain payload;
    if (in.segment.payload_size > 0) {
        in.frame.trim_front(in.payload_at);
        payload = std::move(in.frame).into_chain();
    }
    if (tcp::ingress(env_, c, in.segment, std::move(payload)) == tcp::Verdict::reset)
        reply_reset(in);
}

void Stack::deliver_time_wait(tcp::TimeWait& entry, Classified& in) {
    using tcp::TimeWaitVerdict;
    const TimeWaitVerdict verdict = tcp::on_segment(env_, entry, in.segment);
    if (verdict != TimeWaitVerdict::drop && verdict != TimeWaitVerdict::reopen) {
        recorder_.begin(&entry, env_.now, {in.ip.destination, in.segment.destination_port},
                        {in.ip.source, in.segment.source_port}, true);
        tcp::trace::in(env_, &entry, in.segment);
    }
    switch (verdict) {
        case TimeWaitVerdict::drop: return;
        case TimeWaitVerdict::remove: remove_time_wait(entry); return;
        case TimeWaitVerdict::reopen:
            if (const tcp::Listener* listener =
                    find_listener(in.ip.destination, in.segment.destination_port, in.hash)) {
                const Seq floor = tcp::beyond(entry);
                // Where the SYN will be dropped, its floor is kept for the next.
                if (!listener->accept_queue_full() && half_opens_.in_use() < half_opens_.limit()) {
                    ++counters_.tcp_time_wait_reopened;
                    remove_time_wait(entry);
                }
                deliver_new(in, floor);
                return;
            }
            break;
        case TimeWaitVerdict::fin:
            ++counters_.tcp_time_waits;
            if (becomes_reusable(entry)) port_maps_.give_back(entry.key);
            [[fallthrough]];
        case TimeWaitVerdict::restart:
            tcp::TimeWaitQueue::restart(entry, env_.now, two_msl());
            break;
        case TimeWaitVerdict::ack:
        case TimeWaitVerdict::reset: break;
    }
    Outgoing way{in.ip.destination, in.ip.source};
    way.tos = static_cast<uint8_t>(entry.dscp << 2);
    way.ttl = entry.ttl;
    wire::Segment answer = tcp::time_wait_ack(env_, entry, in.ip.destination);
    if (verdict == TimeWaitVerdict::reset) {
        answer.flags |= wire::TcpFlags::rst;
        ++counters_.tcp_out_rsts;
        remove_time_wait(entry);
    }
    tcp::trace::out(env_, &entry, answer, false, 1, 0);
    emit(way, answer, pools_.control_frame(), nullptr);
}

/// True if the tuple is half open and the segment is dealt with.
bool Stack::deliver_half_open(Classified& in) {
    using tcp::HalfOpenVerdict;
    tcp::HalfOpen* entry = half_open_table_.find(in.key, in.hash);
    if (entry == nullptr) return false;
    if (is_too_far(in, entry->listener->min_ttl(in.ip.source))) return true;
    switch (tcp::on_segment(env_, *entry, in.segment)) {
        case HalfOpenVerdict::drop: break;
        case HalfOpenVerdict::answer: due(*entry); break;
        case HalfOpenVerdict::complete: open_passively(*entry, entry, in); break;
        case HalfOpenVerdict::remove: remove_half_open(*entry); break;
        case HalfOpenVerdict::reset:
            // A later copy of a SYN that a cookie had answered made the entry: the cookie is good
            // all the same.
            if (tcp::takes_cookies(env_, *entry->listener) &&
                deliver_cookie(*entry->listener, in, entry))
                break;
            counters_.drop(Drop::tcp_bad_ack);
            reply_reset(in);
            break;
    }
    return true;
}

/// The third ACK of what `entry` tells; the connection takes the place of `waiting`, the tuple's
/// entry in the table, where there is one.
void Stack::open_passively(const tcp::HalfOpen& entry, tcp::HalfOpen* waiting, Classified& in) {
    const bool full = entry.listener->accept_queue_full();
    tcp::Connection* c = establish(entry, in);
    if (c != nullptr) {
        if (waiting != nullptr)
            make_way(*waiting);
        else
            claim(in.key, true);
        deliver_connection(*c, in);
    } else if (full && waiting != nullptr && config_.tcp.tcp_abort_on_overflow != 0) {
        remove_half_open(*waiting);
    }
}

/// The third ACK: the connection is established whether or not anyone has called accept. Null where
/// there is no room: the peer sends it again.
tcp::Connection* Stack::establish(const tcp::HalfOpen& entry, Classified& in) {
    tcp::Listener& listener = *entry.listener;
    if (listener.accept_queue_full()) {
        counters_.drop(Drop::tcp_accept_queue_full);
        ++counters_.tcp_listen_overflows;
        ++counters_.tcp_listen_drops;
        if (config_.tcp.tcp_abort_on_overflow != 0) reply_reset(in);
        return nullptr;
    }
    tcp::Connection* c = add_connection(entry.key, in.hash,
                                        {.reuse_address = listener.reuse_address,
                                         .reuse_port = listener.reuse_port});
    if (c == nullptr) return nullptr;
    listener.accept_queue.push_back(*c);
    tcp::complete(env_, entry, in.segment, *c, link_mss(in.ip.source));
    if (!listener.accept_event) {
        listener.accept_event = true;
        acceptable_.push_back(&listener);
    }
    return c;
}

/// Frames that reach the wrong core. True if another core has it now.
bool Stack::steer(Classified& in) {
    if (in.settled) return false;
    const auto core = elsewhere(in.key, in.hash);
    if (!core) return false;
    --counters_.tcp_in_segs;  // its owner counts it
    hand_to_owner(*core, in, in.key, in.hash);
    return true;
}

/// Which other core owns a tuple: who has claimed it, else who steering names. Asked even where the
/// port steers: it places by addresses alone what it finds no ports in (IPv6 extension headers),
/// and what was reassembled here came as fragments.
std::optional<uint16_t> Stack::elsewhere(const tcp::FlowKey& key, uint32_t hash) {
    if (steering_.cores() == 1) return std::nullopt;
    if (const Forward* forward = forwards_.find(key, hash)) return forward->core;
    const uint16_t owner = owner_of(key);
    return owner == core_ ? std::nullopt : std::optional(owner);
}

void Stack::hand_over(uint16_t core, Classified& in, bool settled) {
    ++counters_.frames_handed_over;
    if (!host_.hand_over(core, in.interface, std::move(in.frame), settled))
        counters_.drop(Drop::handover_full);
}

/// Who has claimed the tuple keeps it; who steering names may know better.
void Stack::hand_to_owner(uint16_t core, Classified& in, const tcp::FlowKey& key, uint32_t hash) {
    hand_over(core, in, forwards_.find(key, hash) != nullptr);
}

/// One of the cores that listen (or have a datagram socket) where this one does not; the same for
/// each frame of a tuple.
std::optional<uint16_t> Stack::listening_core(const Address& local, const tcp::FlowKey& key,
                                              uint32_t hash) const {
    const uint16_t port = key.local_port;
    const uint16_t protocol = key.protocol;
    for (const Listening& what :
         {Listening{local, port, false, protocol},
          Listening{Address::any(local.family()), port, false, protocol},
          Listening{Address(), port, false, protocol},
          Listening{Address(), port, true, protocol}}) {
        if (what.v6_only && local.is_v4()) continue;
        const auto found = directory_.find(what);
        if (found == directory_.end()) continue;
        uint64_t cores = found->second;
        for (auto skip = hash % static_cast<unsigned>(std::popcount(cores)); skip > 0; --skip)
            cores &= cores - 1;
        return static_cast<uint16_t>(std::countr_zero(cores));
    }
    return std::nullopt;
}

/// A segment of a tuple that nobody knows: for a listener, or for nobody.
void Stack::deliver_new(Classified& in, std::optional<Seq> isn_floor) {
    const wire::Segment& segment = in.segment;
    tcp::Listener* listener =
        find_listener(in.ip.destination, segment.destination_port, in.hash);
    // RFC 9293 section 3.10.7.2: first RST, second ACK, third SYN.
    if (segment.rst()) {
        counters_.drop(Drop::tcp_closed_rst);
        return;
    }
    if (listener != nullptr) {
        if (is_too_far(in, listener->min_ttl(in.ip.source))) return;
        if (segment.syn() && !segment.has_ack()) return deliver_syn(*listener, in, isn_floor);
        if (segment.has_ack() && !segment.syn() && tcp::takes_cookies(env_, *listener)) {
            if (deliver_cookie(*listener, in, nullptr)) return;
            counters_.drop(Drop::tcp_bad_cookie);
        } else {
            counters_.drop(Drop::tcp_state);
        }
        if (segment.has_ack()) reply_reset(in);
        return;  // "any other control or data-bearing segment must have an ACK ... drop it"
    }
    // Another core may listen: it gets the SYN and keeps the tuple. Not only the SYN: news of the
    // claim may still be under way.
    const auto core = in.settled ? std::nullopt
                                 : listening_core(in.ip.destination, in.key, in.hash);
    if (core) {
        --counters_.tcp_in_segs;  // its owner counts it
        return hand_over(*core, in, true);
    }
    counters_.drop(Drop::tcp_no_listener);
    reply_reset(in);
}

void Stack::deliver_syn(tcp::Listener& listener, Classified& in, std::optional<Seq> isn_floor) {
    if (listener.accept_queue_full()) {
        counters_.drop(Drop::tcp_accept_queue_full);
        ++counters_.tcp_listen_overflows;
        ++counters_.tcp_listen_drops;
        return;
    }
    // What reopens a TIME-WAIT needs an ISN beyond the old ones: no cookie and no bound but the
    // pool's, as in Linux.
    const bool only_cookies = config_.tcp.tcp_syncookies == 2 && !isn_floor;
    const bool full = !isn_floor && listener.half_open_full(config_.tcp);
    tcp::HalfOpen* entry =
        only_cookies || full ? nullptr : half_opens_.take(in.key, listener);
    if (entry == nullptr) {
        if (!only_cookies && !full) ++counters_.pool_dry_half_open;
        if (config_.tcp.tcp_syncookies != 0 && !isn_floor && answer_by_cookie(listener, in)) return;
        counters_.drop(Drop::tcp_backlog_full);
        ++counters_.tcp_req_q_full_drop;
        ++counters_.tcp_listen_drops;
        return;
    }
    tcp::begin(env_, *entry, in.segment, in.ip.destination, isn_floor);
    if (listener.save_syn != 0) save_syn(listener, in);
    half_open_table_.insert(*entry, in.hash);
    listener.half_open.push_back(*entry);
    ++listener.half_open_count;
    claim(in.key, true);
    due(*entry);
}

/// TCP_SAVE_SYN: the headers from IP's on, or with that of the link.
void Stack::save_syn(const tcp::Listener& listener, const Classified& in) {
    const size_t from = listener.save_syn == 1 ? in.ip_at : 0;
    in.frame.copy_out(from, saved_syns_.add(in.key, in.payload_at - from));
}

/// The answer remembers what no entry does; it is made of the SYN's own frame.
bool Stack::answer_by_cookie(tcp::Listener& listener, Classified& in) {
    tcp::HalfOpen entry(in.key, listener);
    const Address& local = in.ip.destination;
    const auto header =
        tcp::cookie_syn_ack(env_, entry, in.segment, local, link_mss(in.ip.source));
    if (!header) return false;
    if (listener.half_open_full(config_.tcp)) ++counters_.tcp_req_q_full_do_cookies;
    Outgoing way{local, in.ip.source};
    const auto& marks = listener.marks(in.ip.source);
    way.tos = static_cast<uint8_t>(marks.dscp << 2);
    way.ttl = marks.ttl;
    emit(way, *header, turn_round(in), nullptr);
    return true;
}

/// False where the ACK brings back no cookie of ours. `waiting`: the tuple's entry, if it has one.
bool Stack::deliver_cookie(tcp::Listener& listener, Classified& in, tcp::HalfOpen* waiting) {
    tcp::HalfOpen entry(in.key, listener);
    if (!tcp::restore_from_cookie(env_, entry, in.segment, in.ip.destination)) return false;
    open_passively(entry, waiting, in);
    return true;
}

/// The received frame as the one to answer in, where nobody else holds it: a flood is answered
/// without an allocation.
buf::Frame Stack::turn_round(Classified& in) {
    buf::Frame frame = std::move(in.frame);
    if (!frame || !frame.recycle()) frame = pools_.reply_frame();
    return frame;
}

/// RFC 9293 section 3.5.2: the reset that a segment for nobody earns.
void Stack::reply_reset(Classified& in) {
    const wire::Segment& segment = in.segment;
    if (segment.rst()) return;
    if (!resets_.take(config_.tcp.tcp_rst_ratelimit, env_.now)) {
        ++counters_.tcp_rsts_limited;
        return;
    }
    wire::Segment reset;
    reset.source_port = segment.destination_port;
    reset.destination_port = segment.source_port;
    if (segment.has_ack()) {
        reset.seq = segment.ack;
        reset.flags = wire::TcpFlags::rst;
    } else {
        reset.ack = segment.end();
        reset.flags = wire::TcpFlags::rst | wire::TcpFlags::ack;
    }
    ++counters_.tcp_out_rsts;
    Outgoing way{in.ip.destination, in.ip.source};
    way.answered = &in;
    emit(way, reset, turn_round(in), nullptr);
}

}  // namespace millrace::stack
