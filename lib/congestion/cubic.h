// CUBIC (RFC 9438), with HyStart++ (RFC 9406) in the first slow start.
//
// The window follows W(t) = C (t - K)^3 + W_max, t being the time spent growing since the last
// reduction, so that its growth does not depend on the round trip. Everything is in bytes and
// microseconds: C is 0.4 segments per second cubed.
//
// An ACK in congestion avoidance costs one 128-bit division; the cube root is taken once a
// reduction. Owned by one core, inside its connection: 56 bytes, which is why times are 32 bits.
#pragma once

#include <cstdint>

#include "congestion/hystart.h"
#include "congestion/window.h"

namespace millrace::congestion {

class Cubic {
public:
    void begin(Window& window, Instant now);
    void on_ack(Window& window, const Ack& ack);
    uint32_t ssthresh(Window& window, const Ack& ack);
    void on_timeout(Window& window, const Ack& ack);
    void undo(Window& window);
    void on_ecn(Window&, const Ack&) {}
    void on_idle(Window& window, Duration idle, Duration rto, Instant now);
    void on_recovery_exit(Window&, const Ack&) {}

    bool is_fresh() const {
        return w_max_ == 0 && !in_epoch() && hystart_.active() && !hystart_.in_css();
    }

    bool in_hystart_css() const { return hystart_.in_css(); }
    uint32_t w_max() const { return w_max_; }
    /// Time from the start of this epoch until the curve is back at W_max (RFC 9438 equation 2).
    Duration k() const { return Duration::from_us(k_us_); }
    uint32_t w_est() const { return w_est_; }

private:
    bool in_epoch() const { return w_est_ != 0; }
    void begin_epoch(const Window& window);
    void avoid(Window& window, const Ack& ack, uint32_t acked);
    /// W_cubic at `t_us` into the epoch; not below zero, at most `Window::max_size`.
    uint32_t curve(uint64_t t_us, uint16_t mss) const;
    void follow_curve(Window& window, uint64_t t_us, uint32_t acked);
    void follow_reno(Window& window, uint32_t cwnd, uint32_t acked);

    uint32_t w_max_ = 0;       // the plateau; zero: none known
    uint32_t cwnd_prior_ = 0;  // cwnd before the last reduction
    uint32_t w_est_ = 0;       // what Reno would have by now; zero: no epoch has begun
    uint32_t t_us_ = 0;        // time spent growing in this epoch
    uint32_t k_us_ = 0;        // from the start of the epoch to the plateau
    uint32_t last_us_ = 0;     // the clock's low bits at the last ACK
    uint32_t carry_ = 0;       // growth left over, in parts of 1/cwnd byte
    uint32_t est_credit_ = 0;  // bytes acknowledged towards W_est's next segment
    uint32_t undo_w_max_ = 0;
    HyStart hystart_;
};
static_assert(sizeof(Cubic) <= 56);

/// The integer part of the cube root.
uint32_t cube_root(unsigned __int128 x);

}  // namespace millrace::congestion
