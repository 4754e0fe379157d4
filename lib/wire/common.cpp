#include "wire/common.h"

#include "wire/ethernet.h"

namespace millrace::wire {

namespace {
constexpr size_t ip_at = Ethernet::untagged_size;
constexpr size_t tcp_at = ip_at + Ip::v4_size;
constexpr uint8_t version_and_size = 0x45;
constexpr uint16_t fragment_bits = 0x3fff;  // more fragments, and the offset
constexpr size_t with_timestamps = Segment::min_header_size + TcpOptions::timestamps_size;
constexpr uint8_t rare_flags = TcpFlags::syn | TcpFlags::rst | TcpFlags::urg;
}  // namespace

bool parse_common(std::span<const uint8_t> head, size_t frame_size, bool verify_checksum, Ip& ip,
                  Segment& segment) {
    if (head.size() < tcp_at + Segment::min_header_size) return false;
    const uint8_t* at = head.data() + ip_at;
    const uint8_t* tcp = head.data() + tcp_at;
    if (load16(at - 2) != static_cast<uint16_t>(EtherType::ipv4) || at[0] != version_and_size ||
        (load16(at + 6) & fragment_bits) != 0 || at[9] != static_cast<uint8_t>(Protocol::tcp))
        return false;
    const size_t total = load16(at + 2);
    const size_t header_size = size_t{tcp[12]} / 16 * 4;
    if (total > frame_size - ip_at || total < Ip::v4_size + header_size) return false;
    if (header_size != Segment::min_header_size &&
        (header_size != with_timestamps || head.size() < tcp_at + with_timestamps ||
         load32(tcp + Segment::min_header_size) != TcpOptions::padded_timestamps))
        return false;
    if ((tcp[13] & rare_flags) != 0) return false;
    if (verify_checksum && !Checksum().add_fixed<Ip::v4_size>(at).is_valid()) return false;

    ip = Ip();
    ip.header_size = Ip::v4_size;
    ip.tos = at[1];
    ip.identification = load16(at + 4);
    ip.dont_fragment = (at[6] & 0x40) != 0;
    ip.ttl = at[8];
    ip.protocol = Protocol::tcp;
    ip.source = Address::v4(at + 12);
    ip.destination = Address::v4(at + 16);
    ip.payload_size = static_cast<uint32_t>(total - Ip::v4_size);

    segment.source_port = load16(tcp);
    segment.destination_port = load16(tcp + 2);
    segment.seq = Seq(load32(tcp + 4));
    segment.ack = Seq(load32(tcp + 8));
    segment.header_size = static_cast<uint8_t>(header_size);
    segment.flags = tcp[13];
    segment.window = load16(tcp + 14);
    segment.urgent = load16(tcp + 18);
    segment.payload_size = static_cast<uint32_t>(ip.payload_size - header_size);
    segment.options = TcpOptions();
    if (header_size == with_timestamps) {
        segment.options.has_timestamps = true;
        segment.options.ts_value = load32(tcp + 24);
        segment.options.ts_echo = load32(tcp + 28);
    }
    return true;
}

}  // namespace millrace::wire
