// Random numbers: secrets from the system, and sequences that a seed replays.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace millrace {

/// Fills `bytes` from the system's cryptographic source (libsodium over getrandom).
void fill_random(std::span<uint8_t> bytes);

/// A fast generator (xoshiro256**) whose whole sequence follows from its seed. For impairments,
/// for tests and, seeded from `fill_random`, for choices that need spread but no secrecy. Not
/// thread-safe; owned by whoever holds it.
class Random {
public:
    explicit Random(uint64_t seed);
    /// Seeded from the system's source.
    static Random from_system();

    uint64_t next();
    /// Uniform in [0, bound); `bound` at least 1.
    uint64_t below(uint64_t bound);
    /// True with probability `numerator` / `denominator`.
    bool chance(uint64_t numerator, uint64_t denominator) { return below(denominator) < numerator; }
    void fill(std::span<uint8_t> bytes);

private:
    std::array<uint64_t, 4> state_;
};

}  // namespace millrace
