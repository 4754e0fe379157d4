#include "base/random.h"

#include <bit>
#include <cstring>

#include <sodium.h>

#include "base/assert.h"

namespace millrace {

void fill_random(std::span<uint8_t> bytes) {
    static const int initialised = sodium_init();  // thread-safe, and idempotent
    MILLRACE_ASSERT(initialised >= 0);
    randombytes_buf(bytes.data(), bytes.size());
}

Random::Random(uint64_t seed) {
    // SplitMix64 spreads a small seed over the whole state, which must not be all zero.
    for (uint64_t& word : state_) {
        seed += 0x9e3779b97f4a7c15;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        word = z ^ (z >> 31);
    }
}

Random Random::from_system() {
    std::array<uint8_t, 8> bytes{};
    fill_random(bytes);
    return Random(std::bit_cast<uint64_t>(bytes));
}

uint64_t Random::next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

uint64_t Random::below(uint64_t bound) {
    // Multiply-shift: the bias is under bound / 2^64, nothing for the bounds used here.
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
}

void Random::fill(std::span<uint8_t> bytes) {
    while (!bytes.empty()) {
        const uint64_t word = next();
        const size_t n = bytes.size() < sizeof(word) ? bytes.size() : sizeof(word);
        std::memcpy(bytes.data(), &word, n);
        bytes = bytes.subspan(n);
    }
}

}  // namespace millrace
