// The Internet checksum (RFC 1071).
#pragma once

#include <cstddef>
#include <cstdint>

#include <millrace/address.h>

namespace millrace::wire {

/// A partial one's complement sum, folded only at the end. Sums 64 bits at a time in host order:
/// the sum is the same whatever the byte order, once folded and stored (RFC 1071 section 2 (B)).
class Checksum {
public:
    constexpr Checksum() = default;

    /// Adds bytes that start at an even offset of what is summed.
    Checksum& add(const void* bytes, size_t size);
    /// Adds bytes that start at offset `offset` of what is summed, which may be odd.
    Checksum& add_at(size_t offset, const void* bytes, size_t size);
    Checksum& add(const Checksum& other) { return add_word(other.folded()); }
    /// The pseudo-header of RFC 9293 section 3.1 and RFC 8200 section 8.1; `length` is that of the
    /// upper layer's header and payload, in bytes.
    Checksum& add_pseudo_header(const Address& source, const Address& destination,
                                uint8_t protocol, uint32_t length);

    /// What goes into the header's field, as it stands in memory (already in network order).
    uint16_t finish() const { return static_cast<uint16_t>(~folded()); }
    /// Over a region that includes its checksum field: true if that is right.
    bool is_valid() const { return folded() == 0xffff; }
    /// The folded sum, not complemented.
    uint16_t folded() const;

private:
    Checksum& add_word(uint64_t word) {
        sum_ += word;
        sum_ += sum_ < word ? 1 : 0;  // end-around carry
        return *this;
    }
    uint64_t sum_ = 0;
};

/// Replaces the 16-bit word `from` by `to` under a checksum field (RFC 1624 equation 3). All three
/// as they stand in memory.
uint16_t update_checksum(uint16_t checksum, uint16_t from, uint16_t to);

}  // namespace millrace::wire
