#include "wire/arp.h"

namespace millrace::wire {

namespace {
constexpr uint16_t hardware_ethernet = 1;
}

std::optional<Arp> Arp::parse(std::span<const uint8_t> bytes) {
    if (bytes.size() < size) return std::nullopt;
    const uint8_t* at = bytes.data();
    const auto operation = static_cast<Operation>(load16(at + 6));
    if (load16(at) != hardware_ethernet ||
        load16(at + 2) != static_cast<uint16_t>(EtherType::ipv4) || at[4] != 6 || at[5] != 4 ||
        (operation != Operation::request && operation != Operation::reply))
        return std::nullopt;
    Arp arp;
    arp.operation = operation;
    std::memcpy(arp.sender_mac.bytes.data(), at + 8, 6);
    arp.sender = Address::v4(at + 14);
    std::memcpy(arp.target_mac.bytes.data(), at + 18, 6);
    arp.target = Address::v4(at + 24);
    return arp;
}

void Arp::emit(uint8_t* at) const {
    store16(at, hardware_ethernet);
    store16(at + 2, static_cast<uint16_t>(EtherType::ipv4));
    at[4] = 6;
    at[5] = 4;
    store16(at + 6, static_cast<uint16_t>(operation));
    std::memcpy(at + 8, sender_mac.bytes.data(), 6);
    std::memcpy(at + 14, sender.wire(), 4);
    std::memcpy(at + 18, target_mac.bytes.data(), 6);
    std::memcpy(at + 24, target.wire(), 4);
}

}  // namespace millrace::wire
