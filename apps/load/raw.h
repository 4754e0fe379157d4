// The generator's own protocol, raw: a request says how long it is and what is wanted back.
//
//      0               4               8               12
//     +---------------+---------------+---------------+-----
//     | request size  | answer size   | flags         | filling
//     +---------------+---------------+---------------+-----
//
// Numbers are big endian, the request's size includes its header; the answer is filling alone. The
// filling is the same everywhere: that of its place in the request or answer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace millrace::apps {

struct RawHeader {
    static constexpr size_t size = 12;
    static constexpr uint32_t size_max = 1 << 30;
    enum Flags : uint32_t {
        last = 1,         ///< the server closes behind its answer
        stream_up = 2,    ///< what follows has no end but the connection's
        stream_down = 4,  ///< nor has the answer
    };

    uint32_t request = 0;
    uint32_t answer = 0;
    uint32_t flags = 0;

    std::array<std::byte, size> emit() const {
        std::array<std::byte, size> bytes{};
        put(bytes.data(), request);
        put(bytes.data() + 4, answer);
        put(bytes.data() + 8, flags);
        return bytes;
    }
    static RawHeader parse(std::span<const std::byte, size> bytes) {
        return {get(bytes.data()), get(bytes.data() + 4), get(bytes.data() + 8)};
    }
    /// Sizes in range, known flags only.
    bool is_sane() const {
        return request >= size && request <= size_max && answer <= size_max &&
               flags <= (last | stream_up | stream_down);
    }

private:
    static void put(std::byte* at, uint32_t value) {
        for (int i = 0; i < 4; ++i) at[i] = static_cast<std::byte>(value >> (24 - 8 * i));
    }
    static uint32_t get(const std::byte* at) {
        uint32_t value = 0;
        for (int i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(at[i]);
        return value;
    }
};

/// What messages are filled with: `filling()` holds so much of it, and it begins anew behind that.
constexpr size_t filling_size = 65536 - 1;  // odd, so that a shifted copy is not the same
std::span<const std::byte> filling();

/// A datagram's number stands at its beginning.
constexpr uint32_t datagram_size_min = 8;
constexpr uint32_t datagram_size_max = 65507;

}  // namespace millrace::apps
