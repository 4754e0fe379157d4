// Sequence numbers: 32 bits that wrap (RFC 9293 section 3.4).
#pragma once

#include <cstdint>

namespace millrace {

/// A TCP sequence number. Comparisons are modulo 2^32 and mean something only for numbers less
/// than 2^31 apart, which windows of at most 1 GiB (RFC 7323 section 2.3) guarantee.
class Seq {
public:
    constexpr Seq() = default;
    explicit constexpr Seq(uint32_t value) : value_(value) {}

    constexpr uint32_t value() const { return value_; }

    constexpr bool operator==(const Seq&) const = default;
    constexpr bool operator<(Seq other) const { return *this - other < 0; }
    constexpr bool operator<=(Seq other) const { return *this - other <= 0; }
    constexpr bool operator>(Seq other) const { return *this - other > 0; }
    constexpr bool operator>=(Seq other) const { return *this - other >= 0; }

    constexpr Seq operator+(uint32_t n) const { return Seq(value_ + n); }
    constexpr Seq operator-(uint32_t n) const { return Seq(value_ - n); }
    constexpr Seq& operator+=(uint32_t n) { return *this = *this + n; }
    /// Signed distance; negative where `this` lies before `other`.
    constexpr int32_t operator-(Seq other) const {
        return static_cast<int32_t>(value_ - other.value_);
    }

private:
    uint32_t value_ = 0;
};

/// Octets from `begin` to `end`, where the caller knows that `begin` does not lie behind `end`.
constexpr uint32_t distance(Seq begin, Seq end) { return static_cast<uint32_t>(end - begin); }

constexpr Seq max(Seq a, Seq b) { return a > b ? a : b; }
constexpr Seq min(Seq a, Seq b) { return a < b ? a : b; }

}  // namespace millrace
