// The Internet checksum (RFC 1071).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <millrace/address.h>

namespace millrace::wire {

/// A partial one's complement sum, folded only at the end. Sums 64 bits at a time in host order:
/// the sum is the same whatever the byte order, once folded and stored (RFC 1071 section 2 (B)).
class Checksum {
public:
    constexpr Checksum() = default;

    /// Adds a word of the bytes as it stands in memory, at an even offset.
    Checksum& add_word(uint64_t word) {
        sum_ += word;
        sum_ += sum_ < word ? 1 : 0;  // end-around carry
        return *this;
    }
    /// Adds bytes that start at an even offset of what is summed.
    Checksum& add(const void* bytes, size_t size);
    /// The same of so many, a multiple of 4: headers, without a loop that must find its end.
    template <size_t Size>
    Checksum& add_fixed(const void* bytes) {
        static_assert(Size % 4 == 0);
        std::array<uint32_t, Size / 4> words;
        std::memcpy(words.data(), bytes, Size);
        uint64_t sum = 0;
        for (const uint32_t word : words) sum += word;
        return add_word(sum);
    }
    /// Adds bytes that start at offset `offset` of what is summed, which may be odd.
    Checksum& add_at(size_t offset, const void* bytes, size_t size);
    Checksum& add(const Checksum& other) { return add_word(other.sum_); }
    /// The pseudo-header of RFC 9293 section 3.1 and RFC 8200 section 8.1; `length` is that of the
    /// upper layer's header and payload, in bytes.
    Checksum& add_pseudo_header(const Address& source, const Address& destination,
                                uint8_t protocol, uint32_t length) {
        if (source.is_v4())
            add_fixed<4>(source.wire()).add_fixed<4>(destination.wire());
        else
            add_fixed<16>(source.wire()).add_fixed<16>(destination.wire());
        // Two numbers of 32 bits in network order, the protocol's being the second.
        return add_word(uint64_t{std::byteswap(length)} + (uint64_t{protocol} << 24));
    }

    /// What goes into the header's field, as it stands in memory (already in network order).
    uint16_t finish() const { return static_cast<uint16_t>(~folded()); }
    /// Over a region that includes its checksum field: true if that is right.
    bool is_valid() const { return folded() == 0xffff; }
    /// The folded sum, not complemented.
    uint16_t folded() const {
        uint64_t sum = (sum_ & 0xffffffff) + (sum_ >> 32);
        sum = (sum & 0xffff) + (sum >> 16);  // 33 bits; now 18
        sum = (sum & 0xffff) + (sum >> 16);
        return static_cast<uint16_t>((sum & 0xffff) + (sum >> 16));
    }

private:
    uint64_t sum_ = 0;
};

/// Replaces the 16-bit word `from` by `to` under a checksum field (RFC 1624 equation 3). All three
/// as they stand in memory.
uint16_t update_checksum(uint16_t checksum, uint16_t from, uint16_t to);

}  // namespace millrace::wire
