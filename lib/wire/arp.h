// ARP for IPv4 over Ethernet (RFC 826).
#pragma once

#include <optional>
#include <span>

#include <millrace/address.h>

#include "wire/ethernet.h"

namespace millrace::wire {

struct Arp {
    static constexpr size_t size = 28;
    enum class Operation : uint16_t { request = 1, reply = 2 };

    Operation operation = Operation::request;
    MacAddress sender_mac;
    Address sender;
    MacAddress target_mac;
    Address target;

    /// Nothing where the bytes are short, not IPv4 over Ethernet, or another operation.
    static std::optional<Arp> parse(std::span<const uint8_t> bytes);
    /// Writes `size` bytes.
    void emit(uint8_t* at) const;
};

}  // namespace millrace::wire
