// Ethernet II with an optional IEEE 802.1Q tag.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "wire/bytes.h"

namespace millrace::wire {

struct MacAddress {
    std::array<uint8_t, 6> bytes{};

    static constexpr MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
    bool is_multicast() const { return (bytes[0] & 1) != 0; }  // broadcast included
    bool is_zero() const { return *this == MacAddress{}; }
    bool operator==(const MacAddress&) const = default;
    std::string to_string() const;
};

enum class EtherType : uint16_t { ipv4 = 0x0800, arp = 0x0806, vlan = 0x8100, ipv6 = 0x86dd };

/// The values of an Ethernet header.
struct Ethernet {
    static constexpr size_t untagged_size = 14;
    static constexpr size_t tagged_size = 18;

    MacAddress destination;
    MacAddress source;
    EtherType type{};
    uint16_t vlan = 0;  ///< VLAN identifier; 0: untagged (or priority-tagged)
    uint8_t size = untagged_size;

    /// Nothing where the frame ends within the header.
    static std::optional<Ethernet> parse(std::span<const uint8_t> bytes);
    static constexpr size_t size_for(uint16_t vlan) {
        return vlan != 0 ? tagged_size : untagged_size;
    }
    /// Writes `size_for(vlan)` bytes.
    void emit(uint8_t* at) const;
};

}  // namespace millrace::wire
