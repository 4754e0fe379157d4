// Durations and instants: 64-bit counts of nanoseconds with a type of their own.
//
// Purpose: no bare integer stands for a time anywhere in Millrace. An `Instant` counts from an
// arbitrary origin (the start of the process' clock, or zero on a virtual clock) and never runs
// backwards within one stack. Plain values: any thread, no errors, no cost beyond an integer's.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace millrace {

class Duration {
public:
    constexpr Duration() = default;
    static constexpr Duration from_ns(int64_t ns) { return Duration(ns); }
    static constexpr Duration from_us(int64_t us) { return Duration(us * 1000); }
    static constexpr Duration from_ms(int64_t ms) { return Duration(ms * 1'000'000); }
    static constexpr Duration from_s(int64_t s) { return Duration(s * 1'000'000'000); }
    static constexpr Duration max() { return Duration(std::numeric_limits<int64_t>::max()); }

    constexpr int64_t ns() const { return ns_; }
    constexpr int64_t us() const { return ns_ / 1000; }
    constexpr int64_t ms() const { return ns_ / 1'000'000; }
    constexpr double seconds() const { return static_cast<double>(ns_) / 1e9; }

    constexpr auto operator<=>(const Duration&) const = default;
    constexpr Duration operator+(Duration other) const { return Duration(ns_ + other.ns_); }
    constexpr Duration operator-(Duration other) const { return Duration(ns_ - other.ns_); }
    constexpr Duration operator-() const { return Duration(-ns_); }
    constexpr Duration operator*(int64_t factor) const { return Duration(ns_ * factor); }
    constexpr Duration operator/(int64_t divisor) const { return Duration(ns_ / divisor); }
    constexpr Duration& operator+=(Duration other) { return *this = *this + other; }

private:
    explicit constexpr Duration(int64_t ns) : ns_(ns) {}
    int64_t ns_ = 0;
};

class Instant {
public:
    constexpr Instant() = default;
    static constexpr Instant from_ns(int64_t ns) { return Instant(ns); }
    /// Later than any instant that a clock gives: "no deadline".
    static constexpr Instant never() { return Instant(std::numeric_limits<int64_t>::max()); }

    constexpr int64_t ns() const { return ns_; }

    constexpr auto operator<=>(const Instant&) const = default;
    constexpr Instant operator+(Duration d) const { return Instant(ns_ + d.ns()); }
    constexpr Instant operator-(Duration d) const { return Instant(ns_ - d.ns()); }
    constexpr Duration operator-(Instant other) const { return Duration::from_ns(ns_ - other.ns_); }

private:
    explicit constexpr Instant(int64_t ns) : ns_(ns) {}
    int64_t ns_ = 0;
};

namespace literals {
constexpr Duration operator""_ns(unsigned long long n) {
    return Duration::from_ns(static_cast<int64_t>(n));
}
constexpr Duration operator""_us(unsigned long long n) {
    return Duration::from_us(static_cast<int64_t>(n));
}
constexpr Duration operator""_ms(unsigned long long n) {
    return Duration::from_ms(static_cast<int64_t>(n));
}
constexpr Duration operator""_s(unsigned long long n) {
    return Duration::from_s(static_cast<int64_t>(n));
}
}  // namespace literals

}  // namespace millrace
