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

/// A span of time, also a negative one; up to 292 years, and overflow is not checked.
class Duration {
public:
    /// Zero.
    constexpr Duration() = default;
    /// From nanoseconds.
    static constexpr Duration from_ns(int64_t ns) { return Duration(ns); }
    /// From microseconds.
    static constexpr Duration from_us(int64_t us) { return Duration(us * 1000); }
    /// From milliseconds.
    static constexpr Duration from_ms(int64_t ms) { return Duration(ms * 1'000'000); }
    /// From seconds.
    static constexpr Duration from_s(int64_t s) { return Duration(s * 1'000'000'000); }
    /// The longest.
    static constexpr Duration max() { return Duration(std::numeric_limits<int64_t>::max()); }

    /// Nanoseconds.
    constexpr int64_t ns() const { return ns_; }
    /// Microseconds, rounded towards zero.
    constexpr int64_t us() const { return ns_ / 1000; }
    /// Milliseconds, rounded towards zero.
    constexpr int64_t ms() const { return ns_ / 1'000'000; }
    /// Seconds and their fraction; for people, not to compute with.
    constexpr double seconds() const { return static_cast<double>(ns_) / 1e9; }

    /// The shorter is less; a negative one is less than zero.
    constexpr auto operator<=>(const Duration&) const = default;
    /// Sum.
    constexpr Duration operator+(Duration other) const { return Duration(ns_ + other.ns_); }
    /// Difference, negative where `other` is longer.
    constexpr Duration operator-(Duration other) const { return Duration(ns_ - other.ns_); }
    /// The same length, the other way.
    constexpr Duration operator-() const { return Duration(-ns_); }
    /// So many times.
    constexpr Duration operator*(int64_t factor) const { return Duration(ns_ * factor); }
    /// Rounded towards zero; not by 0.
    constexpr Duration operator/(int64_t divisor) const { return Duration(ns_ / divisor); }
    /// Sum, in place.
    constexpr Duration& operator+=(Duration other) { return *this = *this + other; }

private:
    explicit constexpr Duration(int64_t ns) : ns_(ns) {}
    int64_t ns_ = 0;
};

/// A point on the clock of a stack; those of different clocks do not compare.
class Instant {
public:
    /// The origin.
    constexpr Instant() = default;
    /// From nanoseconds since the origin.
    static constexpr Instant from_ns(int64_t ns) { return Instant(ns); }
    /// Later than any instant that a clock gives: "no deadline".
    static constexpr Instant never() { return Instant(std::numeric_limits<int64_t>::max()); }

    /// Nanoseconds since the origin.
    constexpr int64_t ns() const { return ns_; }

    /// The earlier is less.
    constexpr auto operator<=>(const Instant&) const = default;
    /// Later by `d`. Overflow is not checked: nothing is added to `never()`.
    constexpr Instant operator+(Duration d) const { return Instant(ns_ + d.ns()); }
    /// Earlier by `d`.
    constexpr Instant operator-(Duration d) const { return Instant(ns_ - d.ns()); }
    /// The time since `other`, negative where that is later.
    constexpr Duration operator-(Instant other) const { return Duration::from_ns(ns_ - other.ns_); }

private:
    explicit constexpr Instant(int64_t ns) : ns_(ns) {}
    int64_t ns_ = 0;
};

/// `using namespace millrace::literals;` lets times be written as `200_ms`.
namespace literals {
/// Nanoseconds.
constexpr Duration operator""_ns(unsigned long long n) {
    return Duration::from_ns(static_cast<int64_t>(n));
}
/// Microseconds.
constexpr Duration operator""_us(unsigned long long n) {
    return Duration::from_us(static_cast<int64_t>(n));
}
/// Milliseconds.
constexpr Duration operator""_ms(unsigned long long n) {
    return Duration::from_ms(static_cast<int64_t>(n));
}
/// Seconds.
constexpr Duration operator""_s(unsigned long long n) {
    return Duration::from_s(static_cast<int64_t>(n));
}
}  // namespace literals

}  // namespace millrace
