#include "stack/steering.h"

#include <array>

#include <rte_thash.h>

#include "wire/bytes.h"

namespace millrace::stack {

namespace {

// Two repeated bytes make the hash symmetric, so that a capture of either direction can be placed
// (Woo and Park 2012). It is no secret: who aims at one core gains nothing but that core's load.
constexpr auto rss_key = [] {
    std::array<uint8_t, 40> key{};
    for (size_t i = 0; i < key.size(); ++i) key[i] = i % 2 == 0 ? 0x6d : 0x5a;
    return key;
}();

/// Both addresses as 32-bit words in host order; answers how many.
uint32_t put_addresses(const Address& source, const Address& destination, uint32_t* words) {
    const auto size = static_cast<uint32_t>(source.wire_size() / 4);
    for (uint32_t i = 0; i < size; ++i) {
        words[i] = wire::load32(source.wire() + i * 4);
        words[size + i] = wire::load32(destination.wire() + i * 4);
    }
    return 2 * size;
}

}  // namespace

std::span<const uint8_t> Steering::key() { return rss_key; }

uint16_t Steering::owner(const Address& source, const Address& destination, uint16_t source_port,
                         uint16_t destination_port) const {
    if (cores_ == 1) return 0;
    std::array<uint32_t, 9> words{};
    const uint32_t size = put_addresses(source, destination, words.data());
    words[size] = static_cast<uint32_t>(source_port) << 16 | destination_port;
    return table_entry(rte_softrss(words.data(), size + 1, rss_key.data()) % table_size);
}

uint16_t Steering::owner(const Address& source, const Address& destination) const {
    if (cores_ == 1) return 0;
    std::array<uint32_t, 8> words{};
    const uint32_t size = put_addresses(source, destination, words.data());
    return table_entry(rte_softrss(words.data(), size, rss_key.data()) % table_size);
}

}  // namespace millrace::stack
