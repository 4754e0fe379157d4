// IPv4 (RFC 791) and IPv6 (RFC 8200) headers, as one value.
#pragma once

#include <expected>
#include <optional>
#include <span>

#include <millrace/address.h>

#include "wire/bytes.h"

namespace millrace::wire {

enum class Protocol : uint8_t {
    hop_by_hop = 0,
    icmp = 1,
    igmp = 2,
    tcp = 6,
    udp = 17,
    icmpv6 = 58,
    none = 59
};

/// Why an IP header was refused; each has a drop counter of its own.
enum class IpError : uint8_t {
    truncated,       ///< the frame ends within the header
    bad_version,     ///< not what the EtherType said
    bad_length,      ///< header or total length impossible for the frame
    bad_checksum,    ///< IPv4 header checksum wrong
    bad_extension,   ///< IPv6 extension header malformed, or too many
    mapped_address,  ///< an IPv4-mapped address in an IPv6 header
};

/// The values of an IP header, both families. `header_size` includes options and those extension
/// headers that were walked.
struct Ip {
    static constexpr size_t v4_size = 20;
    static constexpr size_t v6_size = 40;
    static constexpr size_t fragment_header_size = 8;
    static constexpr size_t max_header_size = 256;  ///< the most that `parse` asks to see

    Address source;
    Address destination;
    Protocol protocol{};
    uint8_t ttl = 64;            ///< hop limit in IPv6
    uint8_t tos = 0;             ///< DSCP and ECN; traffic class in IPv6
    bool dont_fragment = true;   ///< IPv4 only; implied in IPv6
    uint16_t header_size = 0;    ///< bytes before the upper layer
    uint32_t payload_size = 0;   ///< bytes of the upper layer
    uint32_t identification = 0; ///< IPv4's 16 bits, or those of IPv6's fragment header
    uint32_t flow_label = 0;     ///< IPv6 only, 20 bits
    uint32_t fragment_offset = 0;///< bytes
    bool more_fragments = false;
    uint16_t fragment_header_at = 0; ///< IPv6: offset of the fragment header, 0 if there is none
    uint16_t next_header_at = 0;     ///< IPv6: offset of the field that names the fragment header

    bool is_fragment() const { return more_fragments || fragment_offset != 0; }
    /// IPv6: bytes of extension headers behind the fragment header, which `parse` has walked. They
    /// belong to what was fragmented.
    uint32_t fragmented_headers_size() const {
        if (fragment_header_at == 0) return 0;
        return header_size - (fragment_header_at + uint32_t{fragment_header_size});
    }

    /// `bytes` starts at the IP header and covers at least the frame's first
    /// `min(frame_size, max_header_size)` bytes; `frame_size` is what the frame holds from there.
    static std::expected<Ip, IpError> parse(std::span<const uint8_t> bytes, size_t frame_size,
                                            bool verify_checksum) {
        Ip ip;
        if (const auto wrong = parse_into(ip, bytes, frame_size, verify_checksum))
            return std::unexpected(*wrong);
        return ip;
    }
    /// The same to where the values are wanted: what is wrong, or nothing.
    static std::optional<IpError> parse_into(Ip& ip, std::span<const uint8_t> bytes,
                                             size_t frame_size, bool verify_checksum);
    static constexpr size_t size_for(Family family) {
        return family == Family::ipv4 ? v4_size : v6_size;
    }
    /// Writes `size_for(family)` bytes from addresses, protocol, ttl, tos, payload_size,
    /// identification, flow_label and the fragment fields. In an IPv6 fragment, what follows is its
    /// fragment header. The IPv4 checksum is left zero where hardware fills it in.
    void emit(uint8_t* at, bool with_checksum) const {
        if (source.is_v4())
            emit_v4(at, with_checksum);
        else
            emit_v6(at);
    }
    /// IPv6: writes the `fragment_header_size` bytes that `payload_size` includes, from protocol,
    /// identification and the fragment fields.
    void emit_fragment_header(uint8_t* at) const;
    /// The same as `emit`, of a header whose IPv4 options, so many bytes, are there behind it.
    void emit_v4_with_options(uint8_t* at, size_t options_size) const;

private:
    void emit_v4(uint8_t* at, bool with_checksum) const;
    void emit_v6(uint8_t* at) const;
    static std::optional<IpError> parse_v4(Ip& ip, std::span<const uint8_t> bytes,
                                           size_t frame_size, bool verify_checksum);
    static std::optional<IpError> parse_v6(Ip& ip, std::span<const uint8_t> bytes,
                                           size_t frame_size);
};

}  // namespace millrace::wire
