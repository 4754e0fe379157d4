// IP addresses of either family, prefixes, and the address-port pairs of sockets.
//
// Purpose: one type for IPv4 and IPv6, so that only the two ends of the stack (classify, emit)
// branch on the family. An IPv4 address is held in its v4-mapped form (RFC 4291 section 2.5.5.2).
// Plain values of 16 bytes in network byte order: any thread, comparing costs two word compares.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <millrace/error.h>

namespace millrace {

/// The version of IP that an address belongs to.
enum class Family : uint8_t { ipv4, ipv6 };

/// An IPv4 or an IPv6 address.
class Address {
public:
    /// The IPv6 unspecified address `::`.
    constexpr Address() = default;
    /// From the four numbers of a dotted quad.
    static constexpr Address v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
        Address address;
        address.bytes_[10] = 0xff;
        address.bytes_[11] = 0xff;
        address.bytes_[12] = a;
        address.bytes_[13] = b;
        address.bytes_[14] = c;
        address.bytes_[15] = d;
        return address;
    }
    /// From 4 bytes in network order, as they stand in a header.
    static Address v4(const void* four_bytes) {
        Address address = v4(0, 0, 0, 0);
        std::memcpy(&address.bytes_[12], four_bytes, 4);
        return address;
    }
    /// From 16 bytes in network order, as they stand in a header.
    static Address v6(const void* sixteen_bytes) {
        Address address;
        std::memcpy(address.bytes_.data(), sixteen_bytes, 16);
        return address;
    }
    /// The unspecified address of a family: 0.0.0.0 or `::`.
    static constexpr Address any(Family family) {
        return family == Family::ipv4 ? v4(0, 0, 0, 0) : Address();
    }
    /// Dotted quad or RFC 4291 text; EINVAL for anything else.
    static Result<Address> parse(std::string_view text);

    /// Of IPv4; so is every address in v4-mapped form, wherever it came from.
    bool is_v4() const {
        static constexpr std::array<uint8_t, 4> mapped{0, 0, 0xff, 0xff};
        return word<uint64_t>(0) == 0 && word<uint32_t>(8) == std::bit_cast<uint32_t>(mapped);
    }
    /// As `is_v4` has it.
    Family family() const { return is_v4() ? Family::ipv4 : Family::ipv6; }
    /// The address as it stands in a header: 4 or 16 bytes.
    const uint8_t* wire() const { return is_v4() ? &bytes_[12] : bytes_.data(); }
    /// How many bytes `wire` gives.
    size_t wire_size() const { return is_v4() ? 4 : 16; }
    /// All 16 bytes in network order, an IPv4 address in its v4-mapped form.
    const std::array<uint8_t, 16>& bytes() const { return bytes_; }

    /// 0.0.0.0 or `::`.
    bool is_unspecified() const { return *this == any(family()); }
    /// 224.0.0.0/4 or ff00::/8.
    bool is_multicast() const { return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }
    /// 255.255.255.255; a subnet's own broadcast address is known to its interface only.
    bool is_limited_broadcast() const { return *this == v4(255, 255, 255, 255); }
    /// 127.0.0.0/8 or ::1.
    bool is_loopback() const;
    /// 169.254.0.0/16 or fe80::/10.
    bool is_link_local() const;

    /// The text of RFC 5952 (or a dotted quad).
    std::string to_string() const;

    /// All 16 bytes are the same.
    constexpr bool operator==(const Address& other) const {
        if consteval {
            return bytes_ == other.bytes_;
        }
        return word<uint64_t>(0) == other.word<uint64_t>(0) &&
               word<uint64_t>(8) == other.word<uint64_t>(8);
    }
    /// By the bytes; the IPv4 addresses lie together.
    constexpr auto operator<=>(const Address&) const = default;

private:
    template <typename Word>
    Word word(size_t at) const {
        Word word;
        std::memcpy(&word, &bytes_[at], sizeof(word));
        return word;
    }

    alignas(8) std::array<uint8_t, 16> bytes_{};
};

/// An address and how many of its leading bits name the network.
struct Prefix {
    Address address;     ///< may have bits set behind the prefix, as a host has
    uint8_t length = 0;  ///< bits, 0 to 32 or 0 to 128 by the family

    /// "10.0.0.0/24"; EINVAL where the text is no prefix or the length exceeds the family's bits.
    static Result<Prefix> parse(std::string_view text);
    /// Whether `other` lies in the network; false for one of the other family.
    bool contains(const Address& other) const;
    /// The all-ones address of an IPv4 network of at most 30 bits; else the unspecified address.
    Address broadcast() const;
    /// As `parse` reads it.
    std::string to_string() const;
    /// Host bits count, too: 10.0.0.1/24 is not 10.0.0.0/24.
    bool operator==(const Prefix&) const = default;
};

/// One end of a connection. The port is in host byte order.
struct SocketAddress {
    Address address;    ///< unspecified: any
    uint16_t port = 0;  ///< 0: none, or any

    /// "192.0.2.1:80" or "[2001:db8::1]:80"; EINVAL for anything else.
    static Result<SocketAddress> parse(std::string_view text);
    /// As `parse` reads it.
    std::string to_string() const;
    /// The same address and the same port.
    bool operator==(const SocketAddress&) const = default;
};

}  // namespace millrace
