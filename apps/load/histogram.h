// Latencies, counted in buckets of at most 1/128 relative width.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include <millrace/time.h>

namespace millrace::apps {

/// Log-linear: 128 linear buckets for each power of two of nanoseconds, up to 64 s. Merging adds.
class Histogram {
public:
    void add(Duration value) {
        ++buckets_[index_of(value.ns() > 0 ? static_cast<uint64_t>(value.ns()) : 0)];
        ++count_;
        if (value > max_) max_ = value;
    }
    Histogram& operator+=(const Histogram& other) {
        for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
        count_ += other.count_;
        if (other.max_ > max_) max_ = other.max_;
        return *this;
    }
    uint64_t count() const { return count_; }
    Duration max() const { return max_; }
    /// The smallest value that at least `fraction` of all values do not exceed, rounded up to its
    /// bucket's end; zero if there are none.
    Duration percentile(double fraction) const {
        const double exact = fraction * static_cast<double>(count_);
        const auto wanted = static_cast<uint64_t>(std::ceil(exact));
        uint64_t seen = 0;
        for (size_t i = 0; i < buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen >= wanted && seen > 0) {
                const Duration end = Duration::from_ns(static_cast<int64_t>(end_of(i)));
                return end < max_ ? end : max_;
            }
        }
        return max_;
    }

private:
    static constexpr unsigned linear_bits = 7;
    static constexpr unsigned value_bits = 36;  // 68 s
    static constexpr size_t size = (value_bits - linear_bits + 1) << linear_bits;

    static size_t index_of(uint64_t value) {
        constexpr uint64_t value_max = (uint64_t{1} << value_bits) - 1;
        if (value > value_max) value = value_max;
        if (value < (1U << linear_bits)) return value;
        const auto shift = static_cast<unsigned>(std::bit_width(value)) - linear_bits - 1;
        return ((size_t{shift} + 1) << linear_bits) + (value >> shift) - (1U << linear_bits);
    }
    static uint64_t end_of(size_t index) {
        if (index < (1U << linear_bits)) return index;
        const size_t shift = (index >> linear_bits) - 1;
        const uint64_t mantissa = (index & ((1U << linear_bits) - 1)) + (1U << linear_bits);
        return ((mantissa + 1) << shift) - 1;
    }

    std::array<uint64_t, size> buckets_{};
    uint64_t count_ = 0;
    Duration max_;
};

}  // namespace millrace::apps
