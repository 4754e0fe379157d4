#include "sim/wire_oracle.h"

#include <fmt/format.h>

#include "wire/checksum.h"

namespace millrace::testing {

using wire::Protocol;
using wire::Segment;

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

void WireOracle::on_syn(Direction& d, Direction& peer, const Segment& segment) {
    if (d.syn && d.iss != segment.seq) {
        const bool muddled = segment.has_ack();  // frames of the old attempt are still under way
        d = {};
        if (!muddled) peer = {};
        d.muddled = peer.muddled = muddled;
    }
    if (!d.syn) d.sent_end = segment.seq + 1;
    d.syn = true;
    d.iss = segment.seq;
    d.options = segment.options;
}

void WireOracle::on_sent(std::span<const uint8_t> frame) {
    frame_ = frame;
    std::string problem;
    const auto parsed = parse(frame, problem);
    if (!problem.empty()) complain("sends " + problem);
    if (!parsed) return;
    const Segment& segment = parsed->segment;
    Direction& d = direction(*parsed);
    Direction& peer = reverse(*parsed);
    if (segment.syn()) on_syn(d, peer, segment);
    if (segment.rst() || d.muddled || peer.muddled) return;
    if (!d.syn) return complain("sends without a SYN");
    if (segment.has_ack()) check_ack(d, peer, segment);
    check_data(d, peer, segment);
    check_options(d, peer, segment);
}

void WireOracle::check_ack(Direction& d, const Direction& peer, const Segment& segment) {
    if (!peer.arrived_end || segment.ack > *peer.arrived_end)
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
        if (d.last_timestamp &&
            static_cast<int32_t>(options.ts_value - *d.last_timestamp) < 0)
            complain("turns its timestamp back");
        d.last_timestamp = options.ts_value;
    }
    if (options.sack_count > 0 && !(d.options.sack_permitted && peer.options.sack_permitted))
        complain("has SACK blocks nobody agreed to");
    // RFC 6691: the limit is without options, what is sent is less by them.
    const uint32_t mss = peer.options.mss != 0 ? peer.options.mss : 536;
    if (segment.payload_size > 0 &&
        segment.payload_size + segment.header_size - Segment::min_header_size > mss)
        complain("exceeds the peer's MSS");
}

void WireOracle::on_arrived(std::span<const uint8_t> frame, Instant now) {
    std::string problem;
    const auto parsed = parse(frame, problem);
    if (!parsed) return;  // damaged on its way: it does not count
    const Segment& segment = parsed->segment;
    Direction& d = direction(*parsed);
    Direction& peer = reverse(*parsed);
    if (segment.rst()) return;
    if (!d.arrived_end || segment.end() > *d.arrived_end) d.arrived_end = segment.end();
    if (segment.fin()) d.fin_arrived = true;
    if (!segment.has_ack()) return;
    const Seq edge = right_edge(d, peer, segment);
    if (!d.offered_arrived || edge > *d.offered_arrived) d.offered_arrived = edge;
    if (!peer.acked || segment.ack > *peer.acked) {
        peer.acked = segment.ack;
        peer.progress = now;
    }
}

Instant WireOracle::last_progress(const SocketAddress& local, const SocketAddress& remote) const {
    const auto found = directions_.find({{local.address, local.port},
                                         {remote.address, remote.port}});
    return found == directions_.end() ? Instant() : found->second.progress;
}

}  // namespace millrace::testing
