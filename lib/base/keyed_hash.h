// Keyed hashes: one that an outsider cannot compute, one that is fast enough for every packet.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace millrace {

/// SipHash-2-4 (libsodium), a pseudo-random function: for sequence numbers, timestamp offsets,
/// port choice, cookies. About 40 ns.
class SecretHash {
public:
    using Key = std::array<uint8_t, 16>;
    explicit SecretHash(const Key& key) : key_(key) {}
    uint64_t operator()(std::span<const uint8_t> bytes) const;

private:
    Key key_;
};

/// XXH3 with a secret seed, inline: spreads tuples over table buckets so that a peer that does not
/// know the seed cannot aim at one bucket (attack case 61). Not for values that peers get to see.
class TableHash {
public:
    explicit TableHash(uint64_t seed) : seed_(seed) {}
    template <typename Bytes>
    uint32_t operator()(const Bytes& bytes) const {
        static_assert(std::has_unique_object_representations_v<Bytes>, "padding would be hashed");
        return static_cast<uint32_t>(XXH3_64bits_withSeed(&bytes, sizeof(bytes), seed_));
    }

private:
    uint64_t seed_;
};

}  // namespace millrace
