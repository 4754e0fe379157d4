#include "wire/ip.h"

#include <algorithm>

#include "wire/checksum.h"

namespace millrace::wire {

namespace {

constexpr uint8_t v6_hop_by_hop = 0;
constexpr uint8_t v6_routing = 43;
constexpr uint8_t v6_fragment = 44;
constexpr uint8_t v6_destination_options = 60;
// More extension headers than any honest sender uses; bounds the walk.
constexpr int v6_extensions_max = 8;

constexpr uint16_t flag_dont_fragment = 0x4000;
constexpr uint16_t flag_more_fragments = 0x2000;
constexpr uint16_t mask_fragment_offset = 0x1fff;

}  // namespace

std::optional<IpError> Ip::parse_into(Ip& ip, std::span<const uint8_t> bytes, size_t frame_size,
                                      bool verify_checksum) {
    if (bytes.empty()) return IpError::truncated;
    switch (bytes[0] >> 4) {
        case 4: return parse_v4(ip, bytes, frame_size, verify_checksum);
        case 6: return parse_v6(ip, bytes, frame_size);
        default: return IpError::bad_version;
    }
}

std::optional<IpError> Ip::parse_v4(Ip& ip, std::span<const uint8_t> bytes, size_t frame_size,
                                    bool verify_checksum) {
    if (bytes.size() < v4_size) return IpError::truncated;
    const uint8_t* at = bytes.data();
    ip = Ip();
    ip.header_size = static_cast<uint16_t>((at[0] & 0x0f) * 4);
    const uint16_t total = load16(at + 2);
    if (ip.header_size < v4_size || ip.header_size > bytes.size() || total < ip.header_size ||
        total > frame_size)
        return IpError::bad_length;
    if (verify_checksum) {
        Checksum sum;
        sum.add_fixed<v4_size>(at);
        if (ip.header_size > v4_size) sum.add(at + v4_size, ip.header_size - v4_size);
        if (!sum.is_valid()) return IpError::bad_checksum;
    }
    ip.tos = at[1];
    ip.identification = load16(at + 4);
    const uint16_t flags = load16(at + 6);
    ip.dont_fragment = (flags & flag_dont_fragment) != 0;
    ip.more_fragments = (flags & flag_more_fragments) != 0;
    ip.fragment_offset = (flags & mask_fragment_offset) * 8U;
    ip.ttl = at[8];
    ip.protocol = static_cast<Protocol>(at[9]);
    ip.source = Address::v4(at + 12);
    ip.destination = Address::v4(at + 16);
    ip.payload_size = total - ip.header_size;  // options are skipped, not understood (MUST-50)
    return std::nullopt;
}

std::optional<IpError> Ip::parse_v6(Ip& ip, std::span<const uint8_t> bytes, size_t frame_size) {
    if (bytes.size() < v6_size) return IpError::truncated;
    const uint8_t* at = bytes.data();
    ip = Ip();
    const size_t total = v6_size + load16(at + 4);
    if (total > frame_size) return IpError::bad_length;
    ip.tos = static_cast<uint8_t>(load16(at) >> 4);
    ip.flow_label = load32(at) & 0xfffff;
    ip.ttl = at[7];
    ip.source = Address::v6(at + 8);
    ip.destination = Address::v6(at + 24);
    // A v4-mapped address on the wire would be taken for IPv4 everywhere behind (RFC 4038 section
    // 4.2 says why nobody honest sends it).
    if (ip.source.is_v4() || ip.destination.is_v4())
        return IpError::mapped_address;

    const size_t visible = std::min({bytes.size(), total, max_header_size});
    uint8_t next = at[6];
    size_t next_at = 6;
    size_t offset = v6_size;
    for (int i = 0;; ++i) {
        size_t size = 0;
        if (next == v6_hop_by_hop || next == v6_destination_options || next == v6_routing) {
            if (offset + 8 > visible) return IpError::bad_extension;
            // A routing header with segments left asks us to forward, which a host does not do.
            if (next == v6_routing && at[offset + 3] != 0)
                return IpError::bad_extension;
            size = (at[offset + 1] + size_t{1}) * 8;
        } else if (next == v6_fragment) {
            if (offset + fragment_header_size > visible || ip.fragment_header_at != 0)
                return IpError::bad_extension;
            const uint16_t field = load16(at + offset + 2);
            ip.fragment_offset = field & 0xfff8;
            ip.more_fragments = (field & 1) != 0;
            ip.identification = load32(at + offset + 4);
            ip.fragment_header_at = static_cast<uint16_t>(offset);
            ip.next_header_at = static_cast<uint16_t>(next_at);
            size = fragment_header_size;
        } else {
            break;
        }
        if (i == v6_extensions_max || offset + size > visible)
            return IpError::bad_extension;
        next_at = offset;
        next = at[offset];
        offset += size;
        // What follows a later fragment's header is data, whatever it looks like.
        if (ip.fragment_offset != 0) break;
    }
    ip.protocol = static_cast<Protocol>(next);
    ip.header_size = static_cast<uint16_t>(offset);
    ip.payload_size = static_cast<uint32_t>(total - offset);
    return std::nullopt;
}

/// Word by word, and summed as it is written: to read it back at once would wait for the stores.
void Ip::emit_v4(uint8_t* at, bool with_checksum) const {
    const uint32_t flags = (dont_fragment ? flag_dont_fragment : 0) |
                           (more_fragments ? flag_more_fragments : 0) | fragment_offset / 8;
    const uint32_t first = 0x45000000U | uint32_t{tos} << 16 |
                           ((v4_size + payload_size) & 0xffff);
    const uint32_t second = (identification & 0xffff) << 16 | flags;
    const uint32_t third = uint32_t{ttl} << 24 | uint32_t{static_cast<uint8_t>(protocol)} << 16;
    uint32_t from;
    uint32_t to;
    std::memcpy(&from, source.wire(), 4);
    std::memcpy(&to, destination.wire(), 4);
    Checksum sum;
    for (const uint32_t word : {first, second, third}) sum.add_word(std::byteswap(word));
    sum.add_word(from).add_word(to);
    const uint16_t checksum = with_checksum ? std::byteswap(sum.finish()) : uint16_t{0};
    store32(at, first);
    store32(at + 4, second);
    store32(at + 8, third | checksum);
    std::memcpy(at + 12, &from, 4);
    std::memcpy(at + 16, &to, 4);
}

void Ip::emit_v6(uint8_t* at) const {
    store32(at, 0x60000000U | static_cast<uint32_t>(tos) << 20 | flow_label);
    store16(at + 4, static_cast<uint16_t>(payload_size));
    at[6] = is_fragment() ? v6_fragment : static_cast<uint8_t>(protocol);
    at[7] = ttl;
    std::memcpy(at + 8, source.wire(), 16);
    std::memcpy(at + 24, destination.wire(), 16);
}

void Ip::emit_fragment_header(uint8_t* at) const {
    at[0] = static_cast<uint8_t>(protocol);
    at[1] = 0;
    store16(at + 2, static_cast<uint16_t>(fragment_offset | (more_fragments ? 1 : 0)));
    store32(at + 4, identification);
}

void Ip::emit_v4_with_options(uint8_t* at, size_t options_size) const {
    Ip whole = *this;
    whole.payload_size += static_cast<uint32_t>(options_size);
    whole.emit(at, false);
    const size_t header_size_with_options = v4_size + options_size;
    at[0] = static_cast<uint8_t>(0x40 | header_size_with_options / 4);
    const uint16_t checksum = Checksum().add(at, header_size_with_options).finish();
    std::memcpy(at + 10, &checksum, 2);
}

}  // namespace millrace::wire
