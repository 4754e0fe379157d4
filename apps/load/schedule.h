// When what is to happen: an open-loop schedule of so many a second, changing over time.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include <millrace/time.h>

namespace millrace::apps {

/// A stretch of time over which the rate goes evenly from one value to another.
struct RatePiece {
    double seconds = 0;  ///< of the last piece, it may be infinite
    double from = 0;     ///< a second
    double to = 0;       ///< a second
};

enum class Arrivals : uint8_t {
    even,     ///< one after the other, at equal distances while the rate is constant
    poisson,  ///< independent of each other, as from many users
};

/// The instants at which a generator intends to do something, whether or not it can keep up: what
/// is late is late by the difference. One core's; it draws from its own random numbers.
class Schedule {
public:
    Schedule() = default;
    /// `share` of the rates is this core's; `phase`, from 0 up to 1, keeps cores from acting at
    /// the same instants.
    Schedule(std::vector<RatePiece> pieces, double share, double phase, Arrivals arrivals,
             uint64_t seed);

    /// From now on it runs; `next` is `Instant::never()` before.
    void begin(Instant start);
    /// The instant of the next; `never` after the last.
    Instant next() const { return next_; }
    /// Takes that, and goes on to the one behind it.
    Instant take();
    /// Nothing follows any more.
    void end() { next_ = Instant::never(); }

private:
    Instant at(double position);
    double step();

    std::vector<RatePiece> pieces_;
    Arrivals arrivals_ = Arrivals::even;
    std::mt19937_64 random_;
    Instant start_;
    Instant next_ = Instant::never();
    double phase_ = 0;
    double position_ = 0;      ///< of `next_`, counted in things to do
    size_t piece_ = 0;         ///< that `position_` is in
    double piece_start_s_ = 0; ///< when it begins
    double piece_start_ = 0;   ///< at which position
};

}  // namespace millrace::apps
