#include "base/keyed_hash.h"

#include <bit>

#include <sodium.h>

namespace millrace {

uint64_t SecretHash::operator()(std::span<const uint8_t> bytes) const {
    static_assert(crypto_shorthash_KEYBYTES == sizeof(Key));
    std::array<uint8_t, crypto_shorthash_BYTES> out{};
    crypto_shorthash(out.data(), bytes.data(), bytes.size(), key_.data());
    return std::bit_cast<uint64_t>(out);
}

}  // namespace millrace
