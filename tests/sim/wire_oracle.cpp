#include "sim/wire_oracle.h"

#include <algorithm>

#include <fmt/format.h>

#include "tcp/limits.h"
#include "wire/arp.h"
#include "wire/checksum.h"

namespace millrace::testing {

using wire::Protocol;
using wire::Segment;

namespace {
// The longest that an ACK may be delayed (lib/tcp/limits.h), and a tick or two of the wheel. An
// RTO's floor as Linux's lies above that, so that the retransmission does not hide a lost ACK.
constexpr Duration ack_delay_max = Duration::from_us(201'000);
// Between two questions for a next hop's address, as `node` in scenario.cpp draws it, and a tick or
// two of the wheel: what waits for the last answer is given up so long after the question.
constexpr Duration solicitation_interval_max = Duration::from_us(1'001'000);
// With fewer entries than that, not every connection finds room in TIME-WAIT.
constexpr uint32_t time_waits_enough = 100;

bool is_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }
}  // namespace

void WireOracle::complain(const std::string& what) {
    complain_(fmt::format("{}: {}", what, sim::describe(frame_)));
}

/// Nothing where it is no TCP segment; `problem` says what is wrong with it.
std::optional<WireOracle::Parsed> WireOracle::parse(std::span<const uint8_t> frame,
                                                    std::string& problem) {
    const auto ethernet = wire::Ethernet::parse(frame);
    if (!ethernet) {
        problem = "no Ethernet header";
        return std::nullopt;
    }
    if (ethernet->type == wire::EtherType::arp) return std::nullopt;
    const auto rest = frame.subspan(ethernet->size);
    const auto ip = wire::Ip::parse(rest, rest.size(), true);
    if (!ip) {
        problem = "a bad IP header";
        return std::nullopt;
    }
    if (ethernet->type != (ip->source.is_v4() ? wire::EtherType::ipv4 : wire::EtherType::ipv6)) {
        problem = "an EtherType that is not its packet's";
        return std::nullopt;
    }
    const auto upper = rest.subspan(ip->header_size, ip->payload_size);
    wire::Checksum sum;
    if (ip->protocol != Protocol::icmp)
        sum.add_pseudo_header(ip->source, ip->destination, static_cast<uint8_t>(ip->protocol),
                              ip->payload_size);
    if (!sum.add(upper.data(), upper.size()).is_valid()) {
        problem = "a bad checksum";
        return std::nullopt;
    }
    if (ip->protocol != Protocol::tcp) return std::nullopt;
    const auto segment = Segment::parse(upper, upper.size());
    if (!segment) {
        problem = "a bad TCP header";
        return std::nullopt;
    }
    return Parsed{*ip, *segment};
}

WireOracle::Direction& WireOracle::direction(const Parsed& p) {
    return directions_[{{p.ip.source, p.segment.source_port},
                        {p.ip.destination, p.segment.destination_port}}];
}

WireOracle::Direction& WireOracle::reverse(const Parsed& p) {
    return directions_[{{p.ip.destination, p.segment.destination_port},
                        {p.ip.source, p.segment.source_port}}];
}

/// Windows are scaled where both SYNs have said so, and never on a SYN (RFC 7323 section 2.2).
Seq WireOracle::right_edge(const Direction& d, const Direction& peer, const Segment& segment) {
    const bool scaled = !segment.syn() && d.options.has_window_scale &&
                        peer.options.has_window_scale;
    return segment.ack + (uint32_t{segment.window} << (scaled ? d.options.window_scale : 0));
}

void WireOracle::on_syn(Direction& d, Direction& peer, const Parsed& p, Instant now) {
    const Segment& segment = p.segment;
    // A cookie is the same for the same SYN: one that comes late begins what has ended once more.
    const bool has_ended = d.reset || (d.fin_sent && d.acked && *d.acked >= d.fin_end &&
                                       peer.fin_arrived) ||
                           may_have_given_up(d, tunables_of_(p.ip.source), now);
    if (d.syn && (d.iss != segment.seq || (segment.has_ack() && has_ended))) {
        const bool muddled = segment.has_ack();  // frames of the old attempt are still under way
        d = {};
        if (!muddled) peer = {};
        d.muddled = peer.muddled = muddled;
    }
    if (!d.syn) d.sent_end = segment.seq + 1;
    d.syn = true;
    d.iss = segment.seq;
    d.options = segment.options;
    if (segment.has_ack()) return;  // every SYN that arrives is answered by one
    const TcpTunables& t = tunables_of_(p.ip.source);
    if (++d.syns > 1 + t.tcp_syn_retries + t.tcp_syn_linear_timeouts)
        complain("repeats its SYN once too often");
}

/// Who has closed first and acknowledges the peer's FIN is in TIME-WAIT (RFC 9293 section 3.6),
/// once his own FIN has been acknowledged.
void WireOracle::on_fin(Direction& d, const Direction& peer, const Segment& segment) {
    if (segment.fin()) {
        if (!d.fin_sent) d.closed_first = !peer.fin_arrived;
        d.fin_sent = true;
        d.fin_end = segment.end();
    }
    if (d.time_wait_from == Instant::never() && d.closed_first && d.taken &&
        *d.taken >= d.fin_end && peer.fin_arrived && segment.ack == peer.fin_end)
        // The ACK may have waited for a next hop.
        d.time_wait_from = std::max(*peer.fin_arrived, d.progress);
}

void WireOracle::check_reset(const Direction& d, const Parsed& p, Instant now) {
    const TcpTunables& t = tunables_of_(p.ip.source);
    if (d.time_wait_from == Instant::never() || t.tcp_max_tw_buckets < time_waits_enough) return;
    if (now - d.time_wait_from < Duration::from_s(t.tcp_timewait_len))
        complain("resets what should be in TIME-WAIT");
}

std::optional<WireOracle::Sent> WireOracle::on_sent(std::span<const uint8_t> frame, Instant now) {
    frame_ = frame;
    std::string problem;
    const auto parsed = parse(frame, problem);
    if (!problem.empty()) complain("sends " + problem);
    if (!parsed) {
        note_solicitation(frame, now);
        return std::nullopt;
    }
    const Segment& segment = parsed->segment;
    const Sent sent{{parsed->ip.source, segment.source_port},
                    {parsed->ip.destination, segment.destination_port},
                    segment.payload_size,
                    segment.end(),
                    segment.options.sack_count > 0};
    Direction& d = direction(*parsed);
    Direction& peer = reverse(*parsed);
    if (segment.syn()) on_syn(d, peer, *parsed, now);
    if (segment.rst() && !d.muddled && !peer.muddled) check_reset(d, *parsed, now);
    if (segment.rst()) {
        d.ack_owed_since.reset();
        d.closed_first = false;  // aborted before TIME-WAIT, it does not get there
        d.reset = true;
    }
    // The RST that seemed to end it came ahead of RCV.NXT: something before it was thrown away.
    if (!segment.rst() && !segment.syn()) d.reset = false;
    if (segment.rst() || d.muddled || peer.muddled) return sent;
    if (!d.syn) {
        complain("sends without a SYN");
        return sent;
    }
    check_promptness(d, parsed->ip.source, now);
    if (segment.has_ack()) {
        d.synchronised = d.synchronised || !segment.syn();
        d.ack_owed_since.reset();
        check_ack(d, peer, segment);
        on_fin(d, peer, segment);
    }
    check_data(d, peer, segment);
    check_options(d, peer, segment);
    return sent;
}

void WireOracle::note_solicitation(std::span<const uint8_t> frame, Instant now) {
    const auto ethernet = wire::Ethernet::parse(frame);
    if (!ethernet) return;
    const auto rest = frame.subspan(ethernet->size);
    if (ethernet->type == wire::EtherType::arp) {
        if (const auto arp = wire::Arp::parse(rest)) solicited_[arp->sender] = now;
    } else if (const auto ip = wire::Ip::parse(rest, rest.size(), false)) {
        solicited_[ip->source] = now;
    }
}

bool WireOracle::had_no_next_hop(const Address& local, Instant since) const {
    const auto solicited = solicited_.find(local);
    return solicited != solicited_.end() &&
           solicited->second + solicitation_interval_max >= since;
}

/// RFC 9293 MUST-40, with the stack's own bound. An ACK may have to wait for the next hop's address.
void WireOracle::check_promptness(Direction& d, const Address& local, Instant now) {
    if (!d.ack_owed_since || now - *d.ack_owed_since <= ack_delay_max) return;
    if (had_no_next_hop(local, *d.ack_owed_since)) {
        d.ack_owed_since.reset();
        return;
    }
    complain(fmt::format("acknowledges what came {:.3f} s ago",
                         (now - *d.ack_owed_since).seconds()));
    d.ack_owed_since.reset();
}

/// What has come in order and is new has to be acknowledged. What PAWS may have thrown away earns
/// an ACK only as often as a rate limit allows.
void WireOracle::expect_ack(Direction& receiver, const Direction& sender, const Segment& segment,
                            Instant now) {
    const bool in_order = receiver.last_ack && segment.seq <= *receiver.last_ack &&
                          segment.end() > *receiver.last_ack;
    const bool old = segment.options.has_timestamps && sender.arrived_timestamp &&
                     is_before(segment.options.ts_value, *sender.arrived_timestamp);
    if (receiver.synchronised && in_order && !old && !segment.syn() && !receiver.ack_owed_since)
        receiver.ack_owed_since = now;
}

void WireOracle::check_ack(Direction& d, const Direction& peer, const Segment& segment) {
    if (!peer.arrived_next || segment.ack > *peer.arrived_next)
        return complain("acknowledges what has not arrived");
    if (d.last_ack && segment.ack < *d.last_ack) complain("takes an acknowledgment back");
    d.last_ack = segment.ack;
    const Seq edge = right_edge(d, peer, segment);
    // After the peer's FIN nothing is to come: windows mean nothing (TIME-WAIT answers with 0).
    // What the scale cannot say is rounded, one way and the other (RFC 7323 section 2.4).
    const uint32_t unit = uint32_t{1} << (d.options.has_window_scale ? d.options.window_scale : 0);
    // A SYN sent again cannot say more than it did (section 2.2).
    if (d.offered && edge + unit <= *d.offered && !peer.fin_arrived && !segment.syn())
        complain(fmt::format("moves its right edge left by {}", *d.offered - edge));
    if (!d.offered || edge > *d.offered) d.offered = edge;
    for (size_t i = 0; i < segment.options.sack_count; ++i) {
        const wire::SackBlock& block = segment.options.sack[i];
        // The first may repeat what was received twice (RFC 2883).
        const bool duplicate = i == 0 && (block.end <= segment.ack ||
                                          (segment.options.sack_count > 1 &&
                                           block.begin >= segment.options.sack[1].begin &&
                                           block.end <= segment.options.sack[1].end));
        if (block.end <= block.begin || block.end > *peer.arrived_end ||
            (block.begin < segment.ack && !duplicate))
            complain(fmt::format("selectively acknowledges nothing it can mean (block {})", i));
    }
}

void WireOracle::check_data(Direction& d, const Direction& peer, const Segment& segment) {
    if (segment.seq > d.sent_end)
        complain(fmt::format("leaves a gap of {}", segment.seq - d.sent_end));
    const Seq payload_end = segment.seq + segment.payload_size;
    if (segment.payload_size > 0) {
        const bool probe = segment.payload_size == 1 && peer.offered_arrived &&
                           segment.seq == *peer.offered_arrived;
        if (!peer.offered_arrived)
            complain("sends data before any window was offered");
        else if (payload_end > *peer.offered_arrived && !probe)
            complain(fmt::format("sends {} beyond the offered window",
                                 payload_end - *peer.offered_arrived));
    }
    d.sent_end = max(d.sent_end, segment.end());
}

void WireOracle::check_options(Direction& d, const Direction& peer, const Segment& segment) {
    const wire::TcpOptions& options = segment.options;
    if (segment.syn() || !peer.syn) return;
    const bool negotiated = d.options.has_timestamps && peer.options.has_timestamps;
    if (options.has_timestamps != negotiated)
        complain(negotiated ? "leaves out its timestamp" : "has a timestamp nobody agreed to");
    if (options.has_timestamps) {
        if (d.last_timestamp && is_before(options.ts_value, *d.last_timestamp))
            complain("turns its timestamp back");
        d.last_timestamp = options.ts_value;
        if (d.last_echo && is_before(options.ts_echo, *d.last_echo))
            complain("echoes an older timestamp than before");
        d.last_echo = options.ts_echo;
    }
    if (options.sack_count > 0 && !(d.options.sack_permitted && peer.options.sack_permitted))
        complain("has SACK blocks nobody agreed to");
    // RFC 6691: the limit is without options, what is sent is less by them.
    const uint32_t mss = peer.options.mss != 0 ? peer.options.mss : 536;
    if (segment.payload_size > 0 &&
        segment.payload_size + segment.header_size - Segment::min_header_size > mss)
        complain("exceeds the peer's MSS");
}

/// What is older than a timestamp that its receiver has echoed already has to be thrown away (RFC
/// 7323 section 5.3): it does not count.
void WireOracle::note_arrival(Direction& d, const Direction& receiver, const Segment& segment) {
    if (segment.options.has_timestamps && receiver.last_echo && !segment.syn() &&
        is_before(segment.options.ts_value, *receiver.last_echo))
        return;
    if (!d.arrived_end || segment.end() > *d.arrived_end) d.arrived_end = segment.end();
    if (segment.syn() && !d.arrived_next) d.arrived_next = segment.end();
    if (!d.arrived_next) return;
    if (segment.end() > *d.arrived_next) d.arrived_ahead.emplace_back(segment.seq, segment.end());
    const auto joins = [&](const auto& range) { return range.first <= *d.arrived_next; };
    while (true) {
        const auto range = std::ranges::find_if(d.arrived_ahead, joins);
        if (range == d.arrived_ahead.end()) return;
        d.arrived_next = max(*d.arrived_next, range->second);
        d.arrived_ahead.erase(range);
    }
}

/// What an application has let go of gives up in silence, sooner than what it holds (Linux's
/// tcp_orphan_retries, where 0 stands for 8). With the margin of `World::judge_error`.
bool WireOracle::may_have_given_up(const Direction& d, const TcpTunables& t, Instant now) {
    const uint32_t orphan = t.tcp_orphan_retries != 0 ? t.tcp_orphan_retries : 8;
    const uint32_t retries = std::min(t.tcp_retries2, orphan);
    return d.fin_sent && now - d.progress >= tcp::retries_duration(t, retries) / 2;
}

std::optional<std::pair<SocketAddress, SocketAddress>> WireOracle::on_arrived(
    std::span<const uint8_t> frame, Instant now) {
    std::string problem;
    const auto parsed = parse(frame, problem);
    if (!parsed) return std::nullopt;  // damaged on its way, or no TCP
    take_arrival(frame, *parsed, now);
    return std::pair{SocketAddress{parsed->ip.source, parsed->segment.source_port},
                     SocketAddress{parsed->ip.destination, parsed->segment.destination_port}};
}

void WireOracle::take_arrival(std::span<const uint8_t> frame, const Parsed& p, Instant now) {
    frame_ = frame;
    const Segment& segment = p.segment;
    Direction& d = direction(p);
    Direction& peer = reverse(p);
    if (segment.rst()) {
        // RFC 1337: it ends what is in TIME-WAIT, unless that is told not to listen; and what is
        // in CLOSING never gets there, whatever comes late.
        const bool ends = peer.time_wait_from != Instant::never()
                              ? tunables_of_(p.ip.destination).tcp_rfc1337 == 0
                              : segment.seq == peer.last_ack || segment.seq == d.arrived_next;
        if (!ends) return;
        peer.reset = true;
        peer.ack_owed_since.reset();
        peer.time_wait_from = Instant::never();
        peer.closed_first = false;
        return;
    }
    check_promptness(peer, p.ip.destination, now);
    if (!d.muddled && !peer.muddled) expect_ack(peer, d, segment, now);
    if (segment.options.has_timestamps &&
        !(d.arrived_timestamp && is_before(segment.options.ts_value, *d.arrived_timestamp)))
        d.arrived_timestamp = segment.options.ts_value;
    note_arrival(d, peer, segment);
    if (d.fin_sent && !d.fin_arrived && d.arrived_next && *d.arrived_next >= d.fin_end)
        d.fin_arrived = now;
    if (!segment.has_ack()) return;
    const Seq edge = right_edge(d, peer, segment);
    if (!d.offered_arrived || edge > *d.offered_arrived) d.offered_arrived = edge;
    if (!peer.acked || segment.ack > *peer.acked) peer.acked = segment.ack;
    // What lies before RCV.NXT is not acceptable, and its ACK is not taken; but for the SYN that comes
    // again with the first one, where both have opened (RFC 9293 figure 8).
    const bool opens = segment.syn() && !peer.taken;
    const bool acceptable = opens || !peer.last_ack ||
                            (segment.length() == 0 ? segment.seq >= *peer.last_ack
                                                   : segment.end() > *peer.last_ack);
    const bool gave_up = may_have_given_up(peer, tunables_of_(p.ip.destination), now);
    if (acceptable && (!peer.taken || segment.ack > *peer.taken)) {
        peer.taken = segment.ack;
        peer.progress = now;
    }
    // The ACK of its FIN, where it has acknowledged the other's already: 2MSL begin, unless it came
    // to nobody.
    if (acceptable && !gave_up && peer.time_wait_from == Instant::never() && peer.closed_first &&
        *peer.taken >= peer.fin_end && d.fin_sent && peer.last_ack == d.fin_end)
        peer.time_wait_from = now;
}

uint32_t WireOracle::syns(const SocketAddress& local, const SocketAddress& remote) const {
    const auto found = directions_.find({{local.address, local.port},
                                         {remote.address, remote.port}});
    return found == directions_.end() ? 0 : found->second.syns;
}

bool WireOracle::is_muddled(const SocketAddress& local, const SocketAddress& remote) const {
    const auto found = directions_.find({{local.address, local.port},
                                         {remote.address, remote.port}});
    return found != directions_.end() && found->second.muddled;
}

Instant WireOracle::last_progress(const SocketAddress& local, const SocketAddress& remote) const {
    const auto found = directions_.find({{local.address, local.port},
                                         {remote.address, remote.port}});
    return found == directions_.end() ? Instant() : found->second.progress;
}

}  // namespace millrace::testing
