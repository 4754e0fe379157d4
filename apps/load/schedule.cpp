#include "load/schedule.h"

#include <algorithm>
#include <cmath>

namespace millrace::apps {

Schedule::Schedule(std::vector<RatePiece> pieces, double share, double phase, Arrivals arrivals,
                   uint64_t seed)
    : pieces_(std::move(pieces)), arrivals_(arrivals), random_(seed), phase_(phase) {
    for (RatePiece& piece : pieces_) {
        piece.from *= share;
        piece.to *= share;
    }
}

void Schedule::begin(Instant start) {
    start_ = start;
    piece_ = 0;
    piece_start_s_ = piece_start_ = 0;
    position_ = arrivals_ == Arrivals::even ? phase_ : step();
    next_ = at(position_);
}

Instant Schedule::take() {
    const Instant now = next_;
    position_ += step();
    next_ = at(position_);
    return now;
}

double Schedule::step() {
    if (arrivals_ == Arrivals::even) return 1;
    return std::exponential_distribution<double>(1.0)(random_);
}

/// When the schedule comes to a position: positions only grow, and so do pieces.
Instant Schedule::at(double position) {
    for (; piece_ < pieces_.size(); ++piece_) {
        const RatePiece& piece = pieces_[piece_];
        const double amount = piece.seconds * (piece.from + piece.to) / 2;
        const double inside = position - piece_start_;
        if (inside < amount) {
            // inside = from t + slope t^2 / 2, solved for t without a difference of near equals.
            const double slope = (piece.to - piece.from) / piece.seconds;
            const double root = std::sqrt(
                std::max(piece.from * piece.from + 2 * slope * inside, 0.0));
            const double sum = piece.from + root;
            const double seconds = piece_start_s_ + (sum > 0 ? 2 * inside / sum : 0);
            return start_ + Duration::from_ns(std::llround(seconds * 1e9));
        }
        piece_start_ += amount;
        piece_start_s_ += piece.seconds;
    }
    return Instant::never();
}

}  // namespace millrace::apps
