// UDP (RFC 768).
#pragma once

#include <optional>
#include <span>

#include "wire/bytes.h"

namespace millrace::wire {

struct Udp {
    static constexpr size_t size = 8;

    uint16_t source_port = 0;
    uint16_t destination_port = 0;
    uint16_t length = 0;       ///< header and payload, bytes
    bool has_checksum = false; ///< zero on the wire means none (IPv4 only)

    /// `available` is the IP payload's size; nothing where the header or its length does not fit.
    static std::optional<Udp> parse(std::span<const uint8_t> bytes, size_t available) {
        if (bytes.size() < size) return std::nullopt;
        const Udp udp{load16(bytes.data()), load16(bytes.data() + 2), load16(bytes.data() + 4),
                      load16(bytes.data() + 6) != 0};
        if (udp.length < size || udp.length > available) return std::nullopt;
        return udp;
    }
    /// Writes `size` bytes, checksum zero.
    void emit(uint8_t* at) const {
        store16(at, source_port);
        store16(at + 2, destination_port);
        store16(at + 4, length);
        store16(at + 6, 0);
    }
};

}  // namespace millrace::wire
