// A frame in one line, as tcpdump would say it.
#include <fmt/format.h>

#include "sim/network.h"
#include "wire/arp.h"

namespace millrace::sim {

namespace {

std::string describe_tcp(const wire::Ip& ip, const wire::Segment& segment) {
    std::string flags;
    for (const auto& [bit, letter] :
         {std::pair{wire::TcpFlags::syn, 'S'}, {wire::TcpFlags::fin, 'F'},
          {wire::TcpFlags::rst, 'R'}, {wire::TcpFlags::psh, 'P'}, {wire::TcpFlags::urg, 'U'},
          {wire::TcpFlags::ack, '.'}})
        if (segment.has(bit)) flags += letter;
    std::string line = fmt::format(
        "{} > {} {} seq {} ack {} win {} len {}",
        SocketAddress{ip.source, segment.source_port}.to_string(),
        SocketAddress{ip.destination, segment.destination_port}.to_string(), flags,
        segment.seq.value(), segment.ack.value(), segment.window, segment.payload_size);
    if (segment.options.mss != 0) line += fmt::format(" mss {}", segment.options.mss);
    if (segment.options.has_window_scale)
        line += fmt::format(" wscale {}", segment.options.window_scale);
    if (segment.options.has_timestamps)
        line += fmt::format(" ts {} ecr {}", segment.options.ts_value, segment.options.ts_echo);
    if (segment.options.sack_permitted) line += " sackOK";
    for (size_t i = 0; i < segment.options.sack_count; ++i)
        line += fmt::format(" sack {}-{}", segment.options.sack[i].begin.value(),
                            segment.options.sack[i].end.value());
    return line;
}

}  // namespace

std::string describe(std::span<const uint8_t> frame) {
    const auto ethernet = wire::Ethernet::parse(frame);
    if (!ethernet) return "(short)";
    const auto rest = frame.subspan(ethernet->size);
    if (ethernet->type == wire::EtherType::arp) {
        const auto arp = wire::Arp::parse(rest);
        if (!arp) return "arp (bad)";
        return fmt::format("arp {} {} tell {}",
                           arp->operation == wire::Arp::Operation::request ? "who-has" : "is-at",
                           arp->target.to_string(), arp->sender.to_string());
    }
    const auto ip = wire::Ip::parse(rest, rest.size(), false);
    if (!ip) return "(not ip)";
    const auto upper = rest.subspan(ip->header_size, ip->payload_size);
    if (ip->protocol == wire::Protocol::tcp && !ip->is_fragment())
        if (const auto segment = wire::Segment::parse(upper, upper.size()))
            return describe_tcp(*ip, *segment);
    return fmt::format("{} > {} proto {} len {}", ip->source.to_string(),
                       ip->destination.to_string(), static_cast<int>(ip->protocol),
                       ip->payload_size);
}

}  // namespace millrace::sim
