#include "wire/ethernet.h"

#include <fmt/format.h>

namespace millrace::wire {

std::string MacAddress::to_string() const {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2],
                       bytes[3], bytes[4], bytes[5]);
}

std::optional<Ethernet> Ethernet::parse(std::span<const uint8_t> bytes) {
    if (bytes.size() < untagged_size) return std::nullopt;
    Ethernet header;
    std::memcpy(header.destination.bytes.data(), bytes.data(), 6);
    std::memcpy(header.source.bytes.data(), bytes.data() + 6, 6);
    header.type = static_cast<EtherType>(load16(bytes.data() + 12));
    if (header.type == EtherType::vlan) {
        if (bytes.size() < tagged_size) return std::nullopt;
        header.vlan = load16(bytes.data() + 14) & 0x0fff;
        header.type = static_cast<EtherType>(load16(bytes.data() + 16));
        header.size = tagged_size;
    }
    return header;
}

void Ethernet::emit(uint8_t* at) const {
    std::memcpy(at, destination.bytes.data(), 6);
    std::memcpy(at + 6, source.bytes.data(), 6);
    if (vlan != 0) {
        store16(at + 12, static_cast<uint16_t>(EtherType::vlan));
        store16(at + 14, vlan);
        store16(at + 16, static_cast<uint16_t>(type));
    } else {
        store16(at + 12, static_cast<uint16_t>(type));
    }
}

}  // namespace millrace::wire
