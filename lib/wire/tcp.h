// TCP headers and options (RFC 9293 section 3.1, RFC 7323, RFC 2018).
#pragma once

#include <array>
#include <expected>
#include <optional>
#include <span>

#include "base/seq.h"
#include "wire/bytes.h"
#include "wire/checksum.h"

namespace millrace::wire {

/// The control bits, as they stand in the header's 14th byte (and ECN's AE bit left out).
struct TcpFlags {
    static constexpr uint8_t fin = 0x01;
    static constexpr uint8_t syn = 0x02;
    static constexpr uint8_t rst = 0x04;
    static constexpr uint8_t psh = 0x08;
    static constexpr uint8_t ack = 0x10;
    static constexpr uint8_t urg = 0x20;
    static constexpr uint8_t ece = 0x40;
    static constexpr uint8_t cwr = 0x80;
};

struct SackBlock {
    Seq begin;
    Seq end;
};

/// The options that Millrace understands. Absent ones keep their defaults.
struct TcpOptions {
    static constexpr size_t max_size = 40;
    static constexpr uint8_t window_scale_max = 14;  // RFC 7323 section 2.3
    static constexpr size_t timestamps_size = 12;    // with the two NOPs before it
    /// These and the option's kind and length: how it begins (RFC 7323 appendix A).
    static constexpr uint32_t padded_timestamps = 0x0101080a;
    static constexpr size_t sack_blocks_max = 4;

    uint16_t mss = 0;  ///< 0: absent (an MSS of 0 on the wire is read as 1)
    uint8_t window_scale = 0;
    bool has_window_scale = false;
    bool sack_permitted = false;
    bool has_timestamps = false;
    uint8_t sack_count = 0;
    uint32_t ts_value = 0;
    uint32_t ts_echo = 0;
    std::array<SackBlock, sack_blocks_max> sack{};

    /// Parses what stands between the fixed header and the payload. False where an option's length
    /// is illegal (RFC 9293 MUST-7). Options that belong on a SYN are ignored elsewhere.
    static bool parse(std::span<const uint8_t> bytes, bool on_syn, TcpOptions& out);
    /// Bytes that `emit` writes.
    size_t size(bool on_syn) const {
        const size_t for_sack = sack_count != 0 ? 4 + 8 * size_t{sack_count} : 0;
        if (!on_syn) return (has_timestamps ? timestamps_size : 0) + for_sack;
        return (mss != 0 ? 4 : 0) +
               (has_timestamps ? timestamps_size : sack_permitted ? 4 : 0) +
               (has_window_scale ? 4 : 0);
    }
    /// Writes the options in Linux's order, `size` bytes, a multiple of 4, and adds them to `sum`.
    void emit(uint8_t* at, bool on_syn, Checksum& sum) const;
};

/// Why a TCP header was refused; each has a drop counter of its own.
enum class TcpError : uint8_t {
    truncated,        ///< the IP payload ends within the header
    bad_data_offset,  ///< under 5, or past the segment
    bad_option,       ///< an option with an illegal length
};

/// A parsed segment: values, no bytes. Its payload travels beside it.
struct Segment {
    static constexpr size_t min_header_size = 20;
    static constexpr size_t max_header_size = 60;

    uint16_t source_port = 0;
    uint16_t destination_port = 0;
    Seq seq;
    Seq ack;
    uint16_t window = 0;  ///< unscaled
    uint16_t urgent = 0;
    uint8_t flags = 0;
    uint8_t header_size = 0;
    uint8_t ecn = 0;       ///< the IP header's two ECN bits
    uint8_t dscp = 0;      ///< and its six others
    uint32_t payload_size = 0;
    TcpOptions options;

    bool has(uint8_t flag) const { return (flags & flag) != 0; }
    bool syn() const { return has(TcpFlags::syn); }
    bool fin() const { return has(TcpFlags::fin); }
    bool rst() const { return has(TcpFlags::rst); }
    bool has_ack() const { return has(TcpFlags::ack); }
    /// SEG.LEN of RFC 9293: payload, and one each for SYN and FIN.
    uint32_t length() const { return payload_size + (syn() ? 1 : 0) + (fin() ? 1 : 0); }
    /// The sequence number after the segment.
    Seq end() const { return seq + length(); }

    /// `bytes` covers the header and its options (or all there is); `size` is the IP payload's.
    static std::expected<Segment, TcpError> parse(std::span<const uint8_t> bytes, size_t size) {
        Segment segment;
        if (const auto wrong = parse_into(segment, bytes, size)) return std::unexpected(*wrong);
        return segment;
    }
    /// The same to where the values are wanted: what is wrong, or nothing.
    static std::optional<TcpError> parse_into(Segment& segment, std::span<const uint8_t> bytes,
                                              size_t size);
    /// Bytes that `emit` writes.
    size_t emitted_size() const { return min_header_size + options.size(syn()); }
    /// Writes header and options, checksum zero; answers the header's size. What was written is
    /// added to `sum`: to read it back at once would wait for the stores.
    size_t emit(uint8_t* at, Checksum& sum) const;
    size_t emit(uint8_t* at) const {
        Checksum unused;
        return emit(at, unused);
    }
};

constexpr size_t tcp_checksum_offset = 16;

}  // namespace millrace::wire
