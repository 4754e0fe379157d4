#include "wire/tcp.h"

#include <algorithm>

namespace millrace::wire {

namespace {

enum Kind : uint8_t {
    end_of_list = 0,
    no_operation = 1,
    maximum_segment_size = 2,
    window_scale = 3,
    sack_permitted = 4,
    sack = 5,
    timestamps = 8,
};

void parse_sack(const uint8_t* at, size_t size, TcpOptions& out) {
    // A length other than 8n + 2 carries no blocks that one could trust (CVE-2021-31889).
    if (size < 10 || (size - 2) % 8 != 0) return;
    out.sack_count =
        static_cast<uint8_t>(std::min((size - 2) / 8, TcpOptions::sack_blocks_max));
    for (size_t i = 0; i < out.sack_count; ++i)
        out.sack[i] = {Seq(load32(at + 2 + i * 8)), Seq(load32(at + 6 + i * 8))};
}

void parse_option(const uint8_t* at, size_t size, bool on_syn, TcpOptions& out) {
    switch (at[0]) {
        case maximum_segment_size:
            if (on_syn && size == 4) out.mss = std::max<uint16_t>(load16(at + 2), 1);
            break;
        case window_scale:
            if (on_syn && size == 3) {
                out.has_window_scale = true;
                out.window_scale = std::min(at[2], TcpOptions::window_scale_max);
            }
            break;
        case sack_permitted:
            if (on_syn && size == 2) out.sack_permitted = true;
            break;
        case sack: parse_sack(at, size, out); break;
        case timestamps:
            if (size == 10) {
                out.has_timestamps = true;
                out.ts_value = load32(at + 2);
                out.ts_echo = load32(at + 6);
            }
            break;
        default: break;  // unknown, but it has a length: skipped (MUST-6)
    }
}

// Options with the padding before them, 4 bytes at a time (RFC 7323 appendix A).
constexpr uint32_t nop_nop = no_operation << 24 | no_operation << 16;
static_assert(TcpOptions::padded_timestamps == (nop_nop | timestamps << 8 | 10));

/// Writes words one behind the other, and sums them.
class Writer {
public:
    Writer(uint8_t* at, Checksum& sum) : at_(at), sum_(sum) {}
    Writer& put(uint32_t word) {
        store32(at_, word);
        sum_.add_word(std::byteswap(word));
        at_ += 4;
        return *this;
    }

private:
    uint8_t* at_;
    Checksum& sum_;
};

}  // namespace

bool TcpOptions::parse(std::span<const uint8_t> bytes, bool on_syn, TcpOptions& out) {
    // The layout of nearly every segment of an established connection (RFC 7323 appendix A).
    if (bytes.size() == timestamps_size && load32(bytes.data()) == padded_timestamps) {
        parse_option(bytes.data() + 2, 10, on_syn, out);
        return true;
    }
    size_t at = 0;
    while (at < bytes.size()) {
        const uint8_t kind = bytes[at];
        if (kind == end_of_list) return true;
        if (kind == no_operation) {
            ++at;
            continue;
        }
        if (at + 1 >= bytes.size()) return false;
        const size_t size = bytes[at + 1];
        if (size < 2 || at + size > bytes.size()) return false;
        parse_option(bytes.data() + at, size, on_syn, out);
        at += size;
    }
    return true;
}

/// On a SYN: MSS, SACK-permitted, timestamps, window scale, as Linux has them; NOPs stand in for
/// what is absent.
void TcpOptions::emit(uint8_t* at, bool on_syn, Checksum& sum) const {
    Writer writer(at, sum);
    if (on_syn && mss != 0) writer.put(maximum_segment_size << 24 | 4 << 16 | mss);
    constexpr uint32_t permitted = Kind::sack_permitted << 8 | 2;
    if (has_timestamps) {
        const bool both = on_syn && sack_permitted;
        writer.put(both ? permitted << 16 | (padded_timestamps & 0xffff) : padded_timestamps);
        writer.put(ts_value).put(ts_echo);
    } else if (on_syn && sack_permitted) {
        writer.put(nop_nop | permitted);
    }
    if (on_syn) {
        if (has_window_scale)
            writer.put(no_operation << 24 | Kind::window_scale << 16 | 3 << 8 | window_scale);
        return;
    }
    if (sack_count == 0) return;
    writer.put(nop_nop | Kind::sack << 8 | static_cast<uint32_t>(2 + 8 * sack_count));
    for (size_t i = 0; i < sack_count; ++i)
        writer.put(sack[i].begin.value()).put(sack[i].end.value());
}

std::optional<TcpError> Segment::parse_into(Segment& segment, std::span<const uint8_t> bytes,
                                            size_t size) {
    if (bytes.size() < min_header_size) return TcpError::truncated;
    const uint8_t* at = bytes.data();
    segment = Segment();
    segment.header_size = static_cast<uint8_t>((at[12] >> 4) * 4);
    if (segment.header_size < min_header_size || segment.header_size > bytes.size() ||
        segment.header_size > size)
        return TcpError::bad_data_offset;
    segment.source_port = load16(at);
    segment.destination_port = load16(at + 2);
    segment.seq = Seq(load32(at + 4));
    segment.ack = Seq(load32(at + 8));
    segment.flags = at[13];
    segment.window = load16(at + 14);
    segment.urgent = load16(at + 18);
    segment.payload_size = static_cast<uint32_t>(size - segment.header_size);
    const auto options = bytes.subspan(min_header_size, segment.header_size - min_header_size);
    if (!TcpOptions::parse(options, segment.syn(), segment.options))
        return TcpError::bad_option;
    return std::nullopt;
}

size_t Segment::emit(uint8_t* at, Checksum& sum) const {
    const size_t size = emitted_size();
    Writer(at, sum)
        .put(uint32_t{source_port} << 16 | destination_port)
        .put(seq.value())
        .put(ack.value())
        .put(static_cast<uint32_t>(size / 4) << 28 | uint32_t{flags} << 16 | window)
        .put(urgent);
    options.emit(at + min_header_size, syn(), sum);
    return size;
}

}  // namespace millrace::wire
