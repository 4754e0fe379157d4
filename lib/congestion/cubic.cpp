#include "congestion/cubic.h"

#include <algorithm>

#include "congestion/growth.h"

namespace millrace::congestion {
namespace {

using Wide = unsigned __int128;

// C = 0.4 segments/s^3 (RFC 9438 section 5.1) as a fraction, for times in microseconds.
constexpr uint64_t c_numerator = 2;
constexpr uint64_t c_denominator = 5'000'000'000'000'000'000;

// By then the smallest segment's curve (8 bytes) has risen from nothing to the largest window
// twice over: 695 s to the plateau and 695 s beyond it.
constexpr uint64_t longest_epoch_us = 2'000'000'000;

/// beta_cubic = 0.7 (RFC 9438 section 4.6).
uint32_t reduced(uint32_t bytes) { return static_cast<uint32_t>(uint64_t{bytes} * 7 / 10); }
/// (1 + beta_cubic) / 2 (RFC 9438 section 4.7).
uint32_t released(uint32_t bytes) { return static_cast<uint32_t>(uint64_t{bytes} * 17 / 20); }

// Whoever is limited by the window hears something each round trip, however long the peer delays
// its ACKs (200 ms is Linux's most). A longer silence, behind a closed window, say, is not growth.
constexpr uint64_t longest_delayed_ack_us = 200'000;

uint64_t round_trip_us(const Ack& ack) {
    const Duration rtt = ack.srtt > Duration() ? ack.srtt : ack.rtt;
    return static_cast<uint64_t>(std::clamp<int64_t>(rtt.us(), 0, 100'000'000));
}

uint32_t low_us(Instant now) { return static_cast<uint32_t>(now.ns() / 1000); }

}  // namespace

uint32_t cube_root(Wide x) {
    uint32_t root = 0;
    for (uint32_t bit = 1U << 31; bit != 0; bit >>= 1) {
        const Wide candidate = root | bit;
        if (candidate * candidate * candidate <= x) root |= bit;
    }
    return root;
}

void Cubic::begin(Window&, Instant now) {
    *this = Cubic();
    last_us_ = low_us(now);
    hystart_.begin();
}

void Cubic::on_ack(Window& window, const Ack& ack) {
    // RFC 9438 section 4.2: t leaves out the periods in which the window could not grow (section
    // 5.8), so what passed before this ACK counts only where the window was the limit.
    const uint32_t now_us = low_us(ack.now);
    const uint64_t passed =
        std::min<uint64_t>(now_us - last_us_, round_trip_us(ack) + longest_delayed_ack_us);
    last_us_ = now_us;
    uint32_t acked = ack.acked;
    if (window.in_slow_start()) {
        if (hystart_.active() && hystart_.on_ack(ack)) window.ssthresh = window.cwnd;
    } else if (ack.window_limited && in_epoch()) {
        t_us_ = static_cast<uint32_t>(std::min(t_us_ + passed, longest_epoch_us));
    }
    if (!ack.window_limited) return;
    if (window.in_slow_start()) {
        acked = slow_start(window, hystart_.growth(acked));
        if (acked == 0) return;
    }
    if (!in_epoch()) begin_epoch(window);
    avoid(window, ack, acked);
}

/// A stage of congestion avoidance begins at the present window (RFC 9438 section 4.2).
void Cubic::begin_epoch(const Window& window) {
    w_est_ = window.cwnd;  // RFC 9438 section 4.3
    t_us_ = 0;
    carry_ = 0;
    est_credit_ = 0;
    if (window.cwnd < w_max_) {
        k_us_ = cube_root(Wide{w_max_ - window.cwnd} * c_denominator / (c_numerator * window.mss));
        return;
    }
    // There is no plateau to return to: after slow start, or beyond the old one (RFC 9438
    // sections 4.8 and 4.10). The convex part begins here.
    k_us_ = 0;
    w_max_ = window.cwnd;
}

uint32_t Cubic::curve(uint64_t t_us, uint16_t mss) const {
    const bool before = t_us < k_us_;
    const uint64_t away = before ? k_us_ - t_us : t_us - k_us_;
    // At most 2^31 microseconds away: below 2^93 for the cube, 2^108 in all.
    const Wide delta = Wide{away} * away * away * (c_numerator * mss) / c_denominator;
    if (before) return delta >= w_max_ ? 0 : w_max_ - static_cast<uint32_t>(delta);
    return static_cast<uint32_t>(std::min<Wide>(w_max_ + delta, Window::max_size));
}

void Cubic::avoid(Window& window, const Ack& ack, uint32_t acked) {
    // No ACK counts for more than a window, so that one that covers much earns a round trip's
    // growth at the most.
    const uint32_t counted = std::min(acked, window.cwnd);
    const uint32_t before = window.cwnd;
    follow_curve(window, t_us_ + round_trip_us(ack), counted);
    follow_reno(window, before, counted);
}

/// RFC 9438 sections 4.4 and 4.5: towards where the curve will be a round trip from now, by
/// (target - cwnd) / cwnd for each segment acknowledged.
void Cubic::follow_curve(Window& window, uint64_t t_us, uint32_t acked) {
    const uint32_t cwnd = window.cwnd;
    // RFC 9438 section 4.2: at most half as much again in a round trip.
    const uint32_t target = std::clamp(curve(t_us, window.mss), cwnd, cwnd + cwnd / 2);
    const uint64_t growth = uint64_t{acked} * (target - cwnd) + carry_;
    carry_ = static_cast<uint32_t>(growth % cwnd);
    window.grow(static_cast<uint32_t>(growth / cwnd));
}

/// RFC 9438 section 4.3: never behind what Reno would have, with the additive increase that makes
/// up for the smaller reduction: alpha = 3 (1 - beta) / (1 + beta) = 9/17.
void Cubic::follow_reno(Window& window, uint32_t cwnd, uint32_t acked) {
    // Having come back to where it was reduced, Reno would go on by a segment a round trip.
    const bool back = w_est_ >= cwnd_prior_;
    const auto needed = static_cast<uint32_t>(back ? cwnd : uint64_t{cwnd} * 17 / 9);
    const uint64_t credit = uint64_t{est_credit_} + acked;
    if (credit < needed) {
        est_credit_ = static_cast<uint32_t>(credit);
    } else {
        est_credit_ = static_cast<uint32_t>(credit - needed);
        w_est_ = std::min(w_est_ + window.mss, Window::max_size);
    }
    // Towards it by half a segment for each acknowledged at most, as Linux: the window may have
    // been taken down meanwhile, after an idle time or for not having been needed.
    if (window.cwnd < w_est_)
        window.set(std::min(w_est_, std::max(window.cwnd, cwnd + acked / 2)));
}

uint32_t Cubic::ssthresh(Window& window, const Ack&) {
    undo_w_max_ = w_max_;
    // RFC 9438 section 4.7, fast convergence: a plateau lower than the last one means that somebody
    // else wants a share, so release some more of it.
    w_max_ = window.cwnd < w_max_ ? released(window.cwnd) : window.cwnd;
    cwnd_prior_ = window.cwnd;
    w_est_ = 0;
    hystart_.end();
    return std::max(reduced(window.cwnd), 2U * window.mss);
}

/// RFC 9438 section 4.8: the first congestion avoidance after a timeout starts on a plateau.
void Cubic::on_timeout(Window&, const Ack&) {
    w_max_ = 0;
    w_est_ = 0;
}

/// RFC 9438 section 4.9. The epoch is not kept but begun anew at the window given back: below W_max
/// that is the same point of the same curve, beyond it the convex part starts over. HyStart++ stays
/// off: a slow start that goes on is a traditional one.
void Cubic::undo(Window&) {
    w_max_ = undo_w_max_;
    w_est_ = 0;
}

/// RFC 9438 section 4.2: the idle time is no part of t.
void Cubic::on_idle(Window&, Duration, Duration, Instant now) { last_us_ = low_us(now); }

}  // namespace millrace::congestion
