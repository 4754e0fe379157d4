// One connection's congestion control, whichever it is.
//
// Purpose: the connection says what an ACK told it (`Ack`), the algorithm changes how much may be
// in flight (`Window`). The set is closed: four algorithms that satisfy `Controller`, in a variant,
// so that there is no table of functions and no allocation. The connection keeps loss detection,
// PRR and the saved window of an undo; here is only what differs from algorithm to algorithm.
//
// Owned by one core, inside its connection, which calls in this order for each ACK: `on_ecn`; on a
// loss or an ECE that begins a reduction `ssthresh`; then `on_ack`, outside recovery or where
// `controls_recovery`. A timeout is `ssthresh` and then `on_timeout`. Cost: a switch a call.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include <millrace/time.h>

#include "base/pool.h"
#include "congestion/bbr.h"
#include "congestion/cubic.h"
#include "congestion/dctcp.h"
#include "congestion/reno.h"
#include "congestion/window.h"

namespace millrace::congestion {

enum class Algorithm : uint8_t { reno, cubic, dctcp, bbr };

/// The names of Linux's `tcp_congestion_control`.
std::string_view name(Algorithm algorithm);
std::optional<Algorithm> algorithm_named(std::string_view name);

/// `Control::wants_ecn`, also where there is no state of the algorithm yet.
constexpr bool wants_ecn(Algorithm algorithm) { return algorithm == Algorithm::dctcp; }

/// What each algorithm offers; the comments are at `Control`.
template <typename T>
concept Controller = requires(T t, Window& window, const Ack& ack, Duration d, Instant now) {
    t.begin(window, now);
    t.on_ack(window, ack);
    { t.ssthresh(window, ack) } -> std::same_as<uint32_t>;
    t.on_timeout(window, ack);
    t.undo(window);
    t.on_ecn(window, ack);
    t.on_idle(window, d, d, now);
    t.on_recovery_exit(window, ack);
    { std::as_const(t).is_fresh() } -> std::same_as<bool>;
};
static_assert(Controller<Reno> && Controller<Cubic> && Controller<Dctcp> && Controller<Bbr>);

class Control {
public:
    /// Reno.
    Control() = default;
    // A copy would give the borrowed state back twice.
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;

    /// Begins `algorithm`; `window` has its initial size. BBR borrows its larger state from `bbrs`:
    /// false, and Reno begins instead, where that pool is dry. What was borrowed before has been
    /// released.
    bool begin(Algorithm algorithm, Window& window, Instant now, Pool<Bbr>& bbrs);
    /// Gives borrowed state back, before the connection dies or begins another algorithm; Reno
    /// after that.
    void release(Pool<Bbr>& bbrs);

    Algorithm algorithm() const { return static_cast<Algorithm>(state_.index()); }
    /// Nothing has been learned that a new beginning would not know again.
    bool is_fresh() const;
    /// True: `on_ack` is called in recovery, too, and sets cwnd there. False: PRR does.
    bool controls_recovery() const { return algorithm() == Algorithm::bbr; }
    /// The connection asks for ECN on its SYN and echoes each packet's mark (RFC 8257 section 3.2).
    bool wants_ecn() const { return congestion::wants_ecn(algorithm()); }

    /// After the scoreboard took the ACK, and outside fast recovery unless `controls_recovery`. In
    /// slow start after a timeout `ack.in_recovery` is set. The window grows only where
    /// `ack.window_limited`; call it for the other ACKs, too, they carry round trips and time.
    /// Losses belong to the ACK that revealed them; those that a timer finds go to `ssthresh`.
    void on_ack(Window& window, const Ack& ack);
    /// A loss or an ECE begins a reduction: what the window shall come down to, to be stored in
    /// `window.ssthresh`. Remembers what `undo` needs. `ack.ece` without `newly_lost` is a
    /// reduction for ECN; for a timeout neither is set.
    uint32_t ssthresh(Window& window, const Ack& ack);
    /// The first timeout of a series, after `ssthresh` and after `window.cwnd` has been set.
    void on_timeout(Window& window, const Ack& ack);
    /// The last reduction was for nothing: `window` has already been given back by the caller.
    void undo(Window& window);
    /// Each ACK of a connection that negotiated ECN, before anything else.
    void on_ecn(Window& window, const Ack& ack);
    /// Transmission starts again after `idle`, nothing being in flight. Taking the window down for
    /// the idle time is the caller's, before this, and not where `controls_recovery`: BBR restarts
    /// at the rate that it knows.
    void on_idle(Window& window, Duration idle, Duration rto, Instant now);
    /// Recovery, or what followed a timeout, is over.
    void on_recovery_exit(Window& window, const Ack& ack);

    /// Bytes per second, zero: not paced. BBR always says; the others only where pacing is
    /// `wanted`: Linux's 200 % of cwnd / srtt in slow start, 120 % after.
    uint64_t pacing_rate(const Window& window, Duration srtt, bool wanted) const;
    /// The same where nothing is being sent, and the algorithm has no state.
    static uint64_t idle_pacing_rate(const Window& window, Duration srtt, bool wanted);
    /// Bytes that may leave at once under that rate: a millisecond's, two segments at least and
    /// 64 KiB at most (draft-ietf-ccwg-bbr-06 section 5.6.3).
    static uint32_t send_quantum(const Window& window, uint64_t rate);

    // For tests and for what shows a connection's state.
    bool in_hystart_css() const;
    const Cubic* cubic() const { return std::get_if<Cubic>(&state_); }
    const Dctcp* dctcp() const { return std::get_if<Dctcp>(&state_); }
    const Bbr* bbr() const;

private:
    // In the order of `Algorithm`.
    std::variant<Reno, Cubic, Dctcp, Bbr*> state_;
};
static_assert(sizeof(Control) <= 64);

}  // namespace millrace::congestion
