#include "runtime/frame_filter.h"

#include <optional>

#include "wire/arp.h"
#include "wire/ethernet.h"
#include "wire/ip.h"

namespace millrace::runtime {

namespace {

constexpr uint32_t udp_kind = 1U << static_cast<unsigned>(SocketKind::udp);
constexpr uint32_t all_kinds = (udp_kind << 1) - 1;

/// `::/0`, as a filter begins; unlike `0.0.0.0/0`, which is every IPv4 address.
bool is_any(const Prefix& prefix) { return prefix.length == 0 && prefix.address == Address(); }

}  // namespace

/// What a frame says of its two ends. Where it names no addresses there are no ports either.
struct FrameFilter::Ends {
    std::optional<Address> source, destination;
    uint16_t source_port = 0, destination_port = 0;
    wire::Protocol protocol = wire::Protocol::none;

    static Ends of(std::span<const uint8_t> head, size_t frame_size);
    void read_ip(std::span<const uint8_t> head, size_t size);
};

void FrameFilter::Ends::read_ip(std::span<const uint8_t> head, size_t size) {
    const auto ip = wire::Ip::parse(head, size, false);
    if (!ip) return;
    source = ip->source;
    destination = ip->destination;
    protocol = ip->protocol;
    const bool has_ports =
        protocol == wire::Protocol::tcp || protocol == wire::Protocol::udp;
    if (!has_ports || ip->fragment_offset != 0 || ip->payload_size < 4 ||
        head.size() < ip->header_size + size_t{4})
        return;
    source_port = wire::load16(&head[ip->header_size]);
    destination_port = wire::load16(&head[ip->header_size + size_t{2}]);
}

FrameFilter::Ends FrameFilter::Ends::of(std::span<const uint8_t> head, size_t frame_size) {
    Ends ends;
    const auto link = wire::Ethernet::parse(head);
    if (!link) return ends;
    const auto rest = head.subspan(link->size);
    switch (link->type) {
        case wire::EtherType::arp:
            if (const auto arp = wire::Arp::parse(rest)) {
                ends.source = arp->sender;
                ends.destination = arp->target;
            }
            break;
        case wire::EtherType::ipv4:
        case wire::EtherType::ipv6: ends.read_ip(rest, frame_size - link->size); break;
        default: break;
    }
    return ends;
}

FrameFilter::FrameFilter(const SocketFilter& filter)
    : wanted_(filter),
      tcp_((filter.kinds & all_kinds & ~udp_kind) != 0),
      udp_((filter.kinds & udp_kind) != 0),
      everything_(tcp_ && udp_ && filter.local_port == 0 && filter.remote_port == 0 &&
                  is_any(filter.local) && is_any(filter.remote)) {}

bool FrameFilter::admits(Direction direction, std::span<const uint8_t> head,
                         size_t frame_size) const {
    return everything_ || agrees(direction, Ends::of(head, frame_size));
}

bool FrameFilter::agrees(Direction direction, const Ends& ends) const {
    const bool received = direction == Direction::received;
    const auto& local = received ? ends.destination : ends.source;
    const auto& remote = received ? ends.source : ends.destination;
    const uint16_t local_port = received ? ends.destination_port : ends.source_port;
    const uint16_t remote_port = received ? ends.source_port : ends.destination_port;
    const auto lies_in = [](const Prefix& prefix, const std::optional<Address>& address) {
        return is_any(prefix) || (address && prefix.contains(*address));
    };
    // Both, or neither: frames of no socket, too, where nothing but addresses is asked.
    const bool kind = (tcp_ && udp_) || (tcp_ && ends.protocol == wire::Protocol::tcp) ||
                      (udp_ && ends.protocol == wire::Protocol::udp);
    return kind && (wanted_.local_port == 0 || wanted_.local_port == local_port) &&
           (wanted_.remote_port == 0 || wanted_.remote_port == remote_port) &&
           lies_in(wanted_.local, local) && lies_in(wanted_.remote, remote);
}

}  // namespace millrace::runtime
