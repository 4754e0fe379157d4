#include "wire/checksum.h"

#include <bit>
#include <cstring>

namespace millrace::wire {

namespace {

// The low and high halves of each word go to sums of their own, so that no carry is lost without
// an addition with carry, and the compiler may use vector instructions.
uint64_t sum_words(const uint8_t* at, size_t words) {
    uint64_t low = 0;
    uint64_t high = 0;
    for (size_t i = 0; i < words; ++i) {
        uint64_t word;
        std::memcpy(&word, at + i * sizeof(word), sizeof(word));
        low += word & 0xffffffff;
        high += word >> 32;
    }
    const uint64_t sum = low + high;  // fewer than 2^31 words: cannot overflow
    return sum;
}

}  // namespace

Checksum& Checksum::add(const void* bytes, size_t size) {
    const auto* at = static_cast<const uint8_t*>(bytes);
    const size_t words = size / 8;
    add_word(sum_words(at, words));
    uint64_t rest = 0;
    if (size % 8 != 0) std::memcpy(&rest, at + words * 8, size % 8);
    return add_word((rest & 0xffffffff) + (rest >> 32));
}

Checksum& Checksum::add_at(size_t offset, const void* bytes, size_t size) {
    Checksum part;
    part.add(bytes, size);
    const uint16_t folded = part.folded();
    return add_word((offset & 1) != 0 ? std::byteswap(folded) : folded);
}

Checksum& Checksum::add_pseudo_header(const Address& source, const Address& destination,
                                      uint8_t protocol, uint32_t length) {
    add(source.wire(), source.wire_size());
    add(destination.wire(), destination.wire_size());
    const uint32_t length_be = std::byteswap(length);
    add(&length_be, sizeof(length_be));
    const std::array<uint8_t, 2> zero_and_protocol{0, protocol};
    return add(zero_and_protocol.data(), zero_and_protocol.size());
}

uint16_t Checksum::folded() const {
    uint64_t sum = (sum_ & 0xffffffff) + (sum_ >> 32);
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(sum);
}

uint16_t update_checksum(uint16_t checksum, uint16_t from, uint16_t to) {
    uint32_t sum = static_cast<uint16_t>(~checksum);
    sum += static_cast<uint16_t>(~from);
    sum += to;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

}  // namespace millrace::wire
