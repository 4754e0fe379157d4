// What the fuzz targets share: an input that becomes decisions, pools that last as long as the
// process, and how a target says that something is wrong.
//
// A target is a function from bytes to nothing, `LLVMFuzzerTestOneInput`: the same bytes do the
// same, whatever was played before. What it finds wrong ends the process, and libFuzzer keeps the
// bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "buf/pools.h"

namespace millrace::fuzz {

/// The bytes of an input, taken from the front as decisions; behind their end all are 0.
class Input {
public:
    Input(const uint8_t* data, size_t size) : rest_(data, size) {}

    bool empty() const { return rest_.empty(); }
    size_t size() const { return rest_.size(); }
    uint8_t byte() {
        if (rest_.empty()) return 0;
        const uint8_t value = rest_.front();
        rest_ = rest_.subspan(1);
        return value;
    }
    uint16_t word() {
        const uint8_t high = byte();
        return static_cast<uint16_t>(high << 8 | byte());
    }
    uint32_t dword() {
        const uint32_t high = word();
        return high << 16 | word();
    }
    bool flag() { return (byte() & 1) != 0; }
    /// In [0, bound), by as few bytes as say it; `bound` at least 1.
    uint64_t below(uint64_t bound) {
        uint64_t value = byte();
        for (uint64_t reach = 256; reach < bound && reach != 0; reach <<= 8)
            value = value << 8 | byte();
        return value % bound;
    }
    /// As likely small as large: up to 16 bits.
    uint32_t magnitude() {
        const int fewer = byte() % 16;
        return uint32_t{word()} >> fewer;
    }
    template <typename T>
    T pick(std::initializer_list<T> values) {
        return values.begin()[below(values.size())];
    }
    /// As many as there are.
    std::span<const uint8_t> bytes(size_t most) {
        const auto taken = rest_.first(std::min(most, rest_.size()));
        rest_ = rest_.subspan(taken.size());
        return taken;
    }
    std::span<const uint8_t> rest() { return bytes(rest_.size()); }

private:
    std::span<const uint8_t> rest_;
};

/// Something is wrong: ends the process.
[[noreturn]] void fail(std::string_view what);
inline void expect(bool right, std::string_view what) {
    if (!right) [[unlikely]]
        fail(what);
}

/// Pools that are made once, since that takes longer than most inputs; `which` tells several of
/// these sizes apart. All buffers are back at the end of each input.
buf::Pools& pools(size_t which = 0, uint32_t size = 512);
/// Nothing of any of these pools is out.
void expect_all_buffers_back();

}  // namespace millrace::fuzz
