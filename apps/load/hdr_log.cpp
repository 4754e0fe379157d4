#include "load/hdr_log.h"

#include <zlib.h>

#include <cerrno>
#include <chrono>
#include <utility>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sodium.h>

#include "common/say.h"

namespace millrace::apps {

namespace {

// HdrHistogram's EncodableHistogram: version 2, with a word size of one byte in the cookies.
constexpr uint32_t v2_cookie = 0x1c849303 | 0x10;
constexpr uint32_t v2_compressed_cookie = 0x1c849304 | 0x10;

void append(std::vector<uint8_t>& out, uint64_t value, unsigned bytes) {
    for (unsigned shift = bytes * 8; shift > 0; shift -= 8)
        out.push_back(static_cast<uint8_t>(value >> (shift - 8)));
}

/// LEB128 as HdrHistogram has it: seven bits a byte, all eight in the ninth; signs in the lowest
/// bit (ZigZag).
void append_zigzag(std::vector<uint8_t>& out, int64_t value) {
    auto rest = (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
    for (int i = 0; i < 8 && rest >= 0x80; ++i) {
        out.push_back(static_cast<uint8_t>(rest | 0x80));
        rest >>= 7;
    }
    out.push_back(static_cast<uint8_t>(rest));
}

/// Counts in their order; a run of zeroes as its length, negative.
std::vector<uint8_t> counts_of(const Histogram& histogram) {
    std::vector<uint8_t> out;
    int64_t zeroes = 0;
    for (const uint64_t count : histogram.buckets()) {
        if (count == 0) {
            ++zeroes;
            continue;
        }
        if (zeroes > 0) append_zigzag(out, -std::exchange(zeroes, 0));
        append_zigzag(out, static_cast<int64_t>(count));
    }
    return out;
}

}  // namespace

std::string hdr_encoded(const Histogram& histogram) {
    const std::vector<uint8_t> counts = counts_of(histogram);
    std::vector<uint8_t> plain;
    append(plain, v2_cookie, 4);
    append(plain, counts.size(), 4);
    append(plain, 0, 4);  // normalizing index offset
    append(plain, 3, 4);  // significant digits
    append(plain, 1, 8);  // lowest discernible value
    append(plain, static_cast<uint64_t>(Histogram::longest.ns()), 8);
    append(plain, std::bit_cast<uint64_t>(1.0), 8);  // from integers to values
    plain.insert(plain.end(), counts.begin(), counts.end());

    std::vector<uint8_t> packed(compressBound(plain.size()));
    uLongf size = packed.size();
    if (compress(packed.data(), &size, plain.data(), plain.size()) != Z_OK) return {};
    packed.resize(size);
    std::vector<uint8_t> whole;
    append(whole, v2_compressed_cookie, 4);
    append(whole, size, 4);
    whole.insert(whole.end(), packed.begin(), packed.end());

    std::string text(sodium_base64_encoded_len(whole.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
    sodium_bin2base64(text.data(), text.size(), whole.data(), whole.size(),
                      sodium_base64_VARIANT_ORIGINAL);
    text.pop_back();  // the terminating zero
    return text;
}

Result<std::unique_ptr<HdrLog>> HdrLog::create(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) return std::unexpected(Errno{errno});
    return std::unique_ptr<HdrLog>(new HdrLog(file));
}

/// Of the instant from which intervals count, known when the first is over.
void HdrLog::begin(double ago) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const double since = std::chrono::duration<double>(now).count() - ago;
    say_to(file_,
           "#[Histogram log format version 1.3]\n"
           "#[StartTime: {:.3f} (seconds since epoch), {:%FT%TZ}]\n"
           "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
           "\"Interval_Compressed_Histogram\"\n",
           since, fmt::gmtime(static_cast<std::time_t>(since)));
    begun_ = true;
}

HdrLog::~HdrLog() { close(); }

void HdrLog::add(std::string_view tag, double start, double seconds, const Histogram& histogram) {
    if (file_ == nullptr || histogram.count() == 0) return;
    if (!begun_) begin(start + seconds);
    // The greatest value in milliseconds, as HdrHistogram's processors expect of nanoseconds.
    say_to(file_, "Tag={},{:.3f},{:.3f},{:.3f},{}\n", tag, start, seconds,
           static_cast<double>(histogram.max().ns()) / 1e6, hdr_encoded(histogram));
}

bool HdrLog::close() {
    if (file_ == nullptr) return !failed_;
    if (!begun_) begin(0);
    failed_ = std::ferror(file_) != 0;
    if (std::fclose(std::exchange(file_, nullptr)) != 0) failed_ = true;
    return !failed_;
}

}  // namespace millrace::apps
