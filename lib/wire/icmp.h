// ICMP (RFC 792), ICMPv6 (RFC 4443) and Neighbour Discovery (RFC 4861).
#pragma once

#include <optional>
#include <span>

#include <millrace/address.h>

#include "wire/ethernet.h"

namespace millrace::wire {

/// What both ICMP versions share: type, code, checksum and four bytes that the type explains.
struct Icmp {
    static constexpr size_t size = 8;
    static constexpr size_t checksum_offset = 2;

    uint8_t type = 0;
    uint8_t code = 0;
    uint32_t rest = 0;

    static std::optional<Icmp> parse(std::span<const uint8_t> bytes) {
        if (bytes.size() < size) return std::nullopt;
        return Icmp{bytes[0], bytes[1], load32(bytes.data() + 4)};
    }
    /// Writes `size` bytes, checksum zero.
    void emit(uint8_t* at) const {
        at[0] = type;
        at[1] = code;
        store16(at + 2, 0);
        store32(at + 4, rest);
    }
};

namespace icmp4 {
constexpr uint8_t echo_reply = 0;
constexpr uint8_t destination_unreachable = 3;
constexpr uint8_t source_quench = 4;
constexpr uint8_t echo_request = 8;
constexpr uint8_t time_exceeded = 11;
constexpr uint8_t parameter_problem = 12;
constexpr uint8_t code_port_unreachable = 3;
constexpr uint8_t code_fragmentation_needed = 4;
/// What an error means to a connection: Linux's errno, 0 where it means nothing.
int error_of(uint8_t type, uint8_t code);
/// A connected datagram socket is told of it without having asked (Linux's "fatal").
bool is_hard(uint8_t type, uint8_t code);
}  // namespace icmp4

namespace icmp6 {
constexpr uint8_t destination_unreachable = 1;
constexpr uint8_t packet_too_big = 2;
constexpr uint8_t time_exceeded = 3;
constexpr uint8_t parameter_problem = 4;
constexpr uint8_t echo_request = 128;
constexpr uint8_t echo_reply = 129;
constexpr uint8_t multicast_listener_query = 130;
constexpr uint8_t neighbour_solicitation = 135;
constexpr uint8_t neighbour_advertisement = 136;
constexpr uint8_t code_port_unreachable = 4;
/// As for ICMP above.
int error_of(uint8_t type, uint8_t code);
bool is_hard(uint8_t type, uint8_t code);
}  // namespace icmp6

/// A neighbour solicitation or advertisement with the one option that matters to a host.
struct Ndp {
    static constexpr size_t size = 24;              // without options
    static constexpr size_t size_with_option = 32;  // with one link-layer address
    static constexpr uint8_t hop_limit = 255;       // RFC 4861 section 7.1: not from off-link
    static constexpr uint32_t flag_solicited = 0x40000000;
    static constexpr uint32_t flag_override = 0x20000000;

    bool is_advertisement = false;
    uint32_t flags = 0;
    Address target;
    std::optional<MacAddress> link_address;  ///< source's in a solicitation, else target's

    /// `bytes` starts at the ICMPv6 header. Nothing where it is too short or an option is bad.
    static std::optional<Ndp> parse(std::span<const uint8_t> bytes);
    /// Writes `size_with_option` bytes (`size` without `link_address`), checksum zero.
    size_t emit(uint8_t* at) const;
};

/// ff02::1:ffXX:XXXX, to which a solicitation for `target` goes (RFC 4291 section 2.7.1).
Address solicited_node(const Address& target);
/// Of IPv6: interface-local, or of the scope that is reserved (RFC 4291 section 2.7).
bool stays_on_host(const Address& group);
/// 33:33 and the last four bytes (RFC 2464 section 7), or 01:00:5e and 23 bits (RFC 1112).
MacAddress multicast_mac(const Address& group);

}  // namespace millrace::wire
