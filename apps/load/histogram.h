// Latencies in the buckets of an HdrHistogram with three significant digits.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include <millrace/time.h>

namespace millrace::apps {

/// Counts durations from 0 to an hour, in nanoseconds: the first 2048 values have a bucket each,
/// then 1024 buckets share each power of two. So a bucket is never wider than a thousandth of what
/// it holds; merging adds bucket by bucket and loses nothing. The layout is that of HdrHistogram
/// (lowest discernible value 1, three digits), whose tools read what `hdr_log.h` writes.
/// Cost: 264 KiB; counting touches one bucket and a line beside it.
class Histogram {
public:
    /// Longer ones count as this long, shorter ones than nothing as nothing.
    static constexpr Duration longest = Duration::from_s(3600);

    Histogram() : buckets_(index_of(ns_max) + 1) {}

    void add(Duration value) {
        const uint64_t ns = clamp(value);
        ++buckets_[index_of(ns)];
        ++count_;
        sum_ += static_cast<double>(ns);
        if (ns < min_) min_ = ns;
        if (ns > max_) max_ = ns;
    }
    Histogram& operator+=(const Histogram& other);
    /// As new. Cost: by the buckets between the least and the greatest value.
    void clear();

    uint64_t count() const { return count_; }
    /// Exact, as are the mean and the greatest. Of nothing: zero.
    Duration min() const { return Duration::from_ns(static_cast<int64_t>(count_ ? min_ : 0)); }
    Duration max() const { return Duration::from_ns(static_cast<int64_t>(max_)); }
    Duration mean() const {
        return Duration::from_ns(
            count_ ? static_cast<int64_t>(sum_ / static_cast<double>(count_)) : 0);
    }
    /// The smallest value that at least `fraction` of all values do not exceed, rounded up to its
    /// bucket's end; zero if there are none.
    Duration percentile(double fraction) const;

    /// From bucket 0 to that of the greatest value.
    std::span<const uint64_t> buckets() const {
        return {buckets_.data(), count_ ? index_of(max_) + 1 : 0};
    }
    /// The greatest value that falls into a bucket, in nanoseconds.
    static uint64_t end_of(size_t index);

private:
    static constexpr unsigned half_bits = 10;  // 1024 buckets for each power of two
    static constexpr uint64_t half = uint64_t{1} << half_bits;

    static constexpr size_t index_of(uint64_t ns) {
        if (ns < 2 * half) return ns;
        const auto shift = static_cast<unsigned>(std::bit_width(ns)) - half_bits - 1;
        return (size_t{shift} << half_bits) + (ns >> shift);
    }
    static constexpr uint64_t ns_max = static_cast<uint64_t>(longest.ns());
    static uint64_t clamp(Duration value) {
        if (value.ns() <= 0) return 0;
        return value > longest ? ns_max : static_cast<uint64_t>(value.ns());
    }

    std::vector<uint64_t> buckets_;
    uint64_t count_ = 0;
    uint64_t min_ = UINT64_MAX;
    uint64_t max_ = 0;
    double sum_ = 0;
};

}  // namespace millrace::apps
