#include "wire/checksum.h"

#include <bit>
#include <cstring>

namespace millrace::wire {

namespace {

// A vector register's worth, whatever its width is on this processor.
using Vector = uint64_t __attribute__((vector_size(32)));

template <typename Word>
Word load(const uint8_t* at) {
    Word word;
    std::memcpy(&word, at, sizeof(word));
    return word;
}

// The low and high halves of a word are added apart, so that no carry is lost.
uint64_t halves(uint64_t word) { return (word & 0xffffffff) + (word >> 32); }

// The last bytes, fewer than a word.
uint64_t load_rest(const uint8_t* at, size_t size) {
    uint64_t word = 0;
    unsigned shift = 0;
    if ((size & 4) != 0) {
        word = load<uint32_t>(at);
        at += 4;
        shift = 32;
    }
    if ((size & 2) != 0) {
        word |= uint64_t{load<uint16_t>(at)} << shift;
        at += 2;
        shift += 16;
    }
    if ((size & 1) != 0) word |= uint64_t{*at} << shift;
    return word;
}

}  // namespace

Checksum& Checksum::add(const void* bytes, size_t size) {
    static_assert(std::endian::native == std::endian::little, "the last bytes are loaded so");
    const auto* at = static_cast<const uint8_t*>(bytes);
    const uint8_t* end = at + size;
    uint64_t sum = 0;
    if (size >= sizeof(Vector)) {
        Vector low{}, high{};  // fewer than 2^31 words: neither overflows
        do {
            Vector words;
            std::memcpy(&words, at, sizeof(words));
            low += words & 0xffffffff;
            high += words >> 32;
            at += sizeof(Vector);
        } while (end - at >= static_cast<ptrdiff_t>(sizeof(Vector)));
        low += high;
        sum = low[0] + low[1] + low[2] + low[3];
    }
    for (; end - at >= 8; at += 8) sum += halves(load<uint64_t>(at));
    sum += halves(load_rest(at, static_cast<size_t>(end - at)));
    return add_word(sum);
}

Checksum& Checksum::add_at(size_t offset, const void* bytes, size_t size) {
    if ((offset & 1) == 0) return add(bytes, size);
    return add_word(std::byteswap(Checksum().add(bytes, size).folded()));
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
