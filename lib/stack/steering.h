// Which core owns a tuple: the same answer from the NIC's RSS and from software.
#pragma once

#include <cstdint>
#include <span>

#include <millrace/address.h>

namespace millrace::stack {

/// Toeplitz (DPDK's thash) over the tuple as received, then an indirection table that spreads over
/// the cores. Read only; a copy on every core.
class Steering {
public:
    static constexpr size_t table_size = 128;

    explicit Steering(uint16_t cores) : cores_(cores) {}

    uint16_t cores() const { return cores_; }
    /// Source and destination as in a received frame.
    uint16_t owner(const Address& source, const Address& destination, uint16_t source_port,
                   uint16_t destination_port) const;
    /// The same for what has no ports yet: fragments, which are put together on one core.
    uint16_t owner(const Address& source, const Address& destination) const;
    /// What a NIC is to be told so that it agrees.
    static std::span<const uint8_t> key();
    uint16_t table_entry(size_t index) const { return static_cast<uint16_t>(index % cores_); }

private:
    uint16_t cores_;
};

}  // namespace millrace::stack
