#include "load/histogram.h"

#include <algorithm>
#include <cmath>

namespace millrace::apps {

Histogram& Histogram::operator+=(const Histogram& other) {
    if (other.count_ == 0) return *this;
    for (size_t i = index_of(other.min_); i <= index_of(other.max_); ++i)
        buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
    return *this;
}

void Histogram::clear() {
    if (count_ == 0) return;
    std::fill(buckets_.begin() + static_cast<ptrdiff_t>(index_of(min_)),
              buckets_.begin() + static_cast<ptrdiff_t>(index_of(max_)) + 1, 0);
    count_ = 0;
    sum_ = 0;
    min_ = UINT64_MAX;
    max_ = 0;
}

uint64_t Histogram::end_of(size_t index) {
    if (index < 2 * half) return index;
    const unsigned shift = static_cast<unsigned>(index >> half_bits) - 1;
    const uint64_t mantissa = (index & (half - 1)) + half;
    return ((mantissa + 1) << shift) - 1;
}

Duration Histogram::percentile(double fraction) const {
    if (count_ == 0) return {};
    // Rounded up: nine of ten are not 91 %. What the product itself has been rounded up by is
    // taken off first.
    const double rank = fraction * static_cast<double>(count_) * (1 - 1e-12);
    const auto wanted = std::max<uint64_t>(static_cast<uint64_t>(std::ceil(rank)), 1);
    uint64_t seen = 0;
    for (size_t i = index_of(min_); i <= index_of(max_); ++i) {
        seen += buckets_[i];
        if (seen < wanted) continue;
        // Nothing was longer than the longest, nor shorter than the shortest.
        return Duration::from_ns(static_cast<int64_t>(std::min(end_of(i), max_)));
    }
    return max();
}

}  // namespace millrace::apps
