// TCP's header and options: read as the library does and as RFC 9293 section 3.1 has it, and what
// was understood survives being written and read again.
#include <cstring>
#include <optional>
#include <vector>

#include "fuzz/fuzz.h"
#include "wire/tcp.h"

namespace millrace::fuzz {
namespace {

using wire::SackBlock;
using wire::Segment;
using wire::TcpOptions;

bool same(const TcpOptions& a, const TcpOptions& b) {
    for (size_t i = 0; i < a.sack_count; ++i)
        if (a.sack[i].begin != b.sack[i].begin || a.sack[i].end != b.sack[i].end) return false;
    return a.mss == b.mss && a.has_window_scale == b.has_window_scale &&
           a.window_scale == b.window_scale && a.sack_permitted == b.sack_permitted &&
           a.has_timestamps == b.has_timestamps && a.sack_count == b.sack_count &&
           a.ts_value == b.ts_value && a.ts_echo == b.ts_echo;
}

/// One option after the other, without a short cut. Nothing where a length is illegal.
std::optional<TcpOptions> by_the_book(std::span<const uint8_t> bytes, bool on_syn) {
    TcpOptions options;
    while (!bytes.empty() && bytes[0] != 0) {
        if (bytes[0] == 1) {
            bytes = bytes.subspan(1);
            continue;
        }
        if (bytes.size() < 2 || bytes[1] < 2 || bytes[1] > bytes.size()) return std::nullopt;
        const auto value = bytes.subspan(2, bytes[1] - 2U);
        const auto number = [&](size_t at) {
            return uint32_t{value[at]} << 24 | uint32_t{value[at + 1]} << 16 |
                   uint32_t{value[at + 2]} << 8 | value[at + 3];
        };
        if (bytes[0] == 2 && on_syn && value.size() == 2)
            options.mss = static_cast<uint16_t>(std::max(value[0] << 8 | value[1], 1));
        if (bytes[0] == 3 && on_syn && value.size() == 1) {
            options.has_window_scale = true;
            options.window_scale = std::min<uint8_t>(value[0], 14);
        }
        if (bytes[0] == 4 && on_syn && value.empty()) options.sack_permitted = true;
        if (bytes[0] == 5 && !value.empty() && value.size() % 8 == 0) {
            options.sack_count = 0;
            for (size_t at = 0; at < value.size() && options.sack_count < 4; at += 8)
                options.sack[options.sack_count++] = {Seq(number(at)), Seq(number(at + 4))};
        }
        if (bytes[0] == 8 && value.size() == 8) {
            options.has_timestamps = true;
            options.ts_value = number(0);
            options.ts_echo = number(4);
        }
        bytes = bytes.subspan(bytes[1]);
    }
    return options;
}

/// In as much memory as it says it takes.
std::vector<uint8_t> written(const TcpOptions& options, bool on_syn) {
    std::vector<uint8_t> bytes(options.size(on_syn));
    wire::Checksum sum;
    options.emit(bytes.data(), on_syn, sum);
    expect(bytes.size() % 4 == 0, "options end within a word");
    wire::Checksum again;
    again.add(bytes.data(), bytes.size());
    expect(sum.finish() == again.finish(), "what was summed is not what was written");
    return bytes;
}

void play_options(std::span<const uint8_t> bytes, bool on_syn) {
    bytes = bytes.first(std::min(bytes.size(), TcpOptions::max_size));
    TcpOptions read;
    const bool good = TcpOptions::parse(bytes, on_syn, read);
    const auto book = by_the_book(bytes, on_syn);
    expect(good == book.has_value(), "an illegal length is one to one of two readers alone");
    if (!good) return;
    expect(same(read, *book), "two readers understand different options");
    // On a SYN there is no SACK block to be written, elsewhere nothing that belongs on a SYN.
    if (on_syn) read.sack_count = 0;
    const std::vector<uint8_t> once = written(read, on_syn);
    expect(once.size() <= TcpOptions::max_size, "more options than a header holds");
    TcpOptions again;
    expect(TcpOptions::parse(once, on_syn, again), "its own options are illegal");
    expect(same(read, again), "its own options say something else");
}

void play_segment(std::span<const uint8_t> bytes, size_t size) {
    const auto read = Segment::parse(bytes, size);
    if (!read) return;
    expect(read->header_size + read->payload_size == size, "a segment has another size");
    Segment segment = *read;
    if (segment.syn()) segment.options.sack_count = 0;
    std::vector<uint8_t> once(segment.emitted_size());
    expect(segment.emit(once.data()) == once.size(), "a header has another size");
    const auto again = Segment::parse(once, once.size() + segment.payload_size);
    expect(again.has_value(), "its own header is malformed");
    expect(again->seq == segment.seq && again->ack == segment.ack &&
               again->flags == segment.flags && again->window == segment.window &&
               again->urgent == segment.urgent && again->source_port == segment.source_port &&
               again->destination_port == segment.destination_port &&
               again->payload_size == segment.payload_size &&
               same(again->options, segment.options),
           "its own header says something else");
}

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace::fuzz;
    Input in(data, size);
    const uint8_t what = in.byte();
    if ((what & 2) == 0) {
        play_options(in.rest(), (what & 1) != 0);
    } else {
        const size_t payload = what & 4 ? in.word() : 0;
        const auto bytes = in.bytes(millrace::wire::Segment::max_header_size);
        play_segment(bytes, bytes.size() + payload);
    }
    return 0;
}
