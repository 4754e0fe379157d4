// Reading and writing network byte order at any alignment.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace millrace::wire {

template <typename Integer>
Integer load_be(const uint8_t* at) {
    Integer value;
    std::memcpy(&value, at, sizeof(value));
    if constexpr (sizeof(Integer) > 1 && std::endian::native == std::endian::little)
        value = std::byteswap(value);
    return value;
}
inline uint16_t load16(const uint8_t* at) { return load_be<uint16_t>(at); }
inline uint32_t load32(const uint8_t* at) { return load_be<uint32_t>(at); }

template <typename Integer>
void store_be(uint8_t* at, Integer value) {
    if constexpr (sizeof(Integer) > 1 && std::endian::native == std::endian::little)
        value = std::byteswap(value);
    std::memcpy(at, &value, sizeof(value));
}
inline void store16(uint8_t* at, uint16_t value) { store_be(at, value); }
inline void store32(uint8_t* at, uint32_t value) { store_be(at, value); }

}  // namespace millrace::wire
