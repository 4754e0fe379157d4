// So many events a second, and nobody can count what others have used of them.
#pragma once

#include <cstdint>

#include <millrace/time.h>

#include "base/random.h"

namespace millrace {

/// Owned by one core. The limit of each second is lowered at random by up to an eighth: who probes
/// it from outside cannot tell whether somebody else has used a part (attack case 40).
class RateLimit {
public:
    explicit RateLimit(uint64_t seed) : random_(seed) {}

    /// True: there is room for one more in this second. `per_second` 0: no limit.
    bool take(uint32_t per_second, Instant now) {
        if (per_second == 0) return true;
        const int64_t second = now.ns() / 1'000'000'000;
        if (second != second_) {
            second_ = second;
            left_ = per_second - static_cast<uint32_t>(random_.below(per_second / 8 + 1));
        }
        if (left_ == 0) return false;
        --left_;
        return true;
    }

private:
    Random random_;
    int64_t second_ = -1;
    uint32_t left_ = 0;
};

}  // namespace millrace
