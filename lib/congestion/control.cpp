#include "congestion/control.h"

#include <array>

#include "base/assert.h"

namespace millrace::congestion {
namespace {

constexpr std::array<std::string_view, 4> names{"reno", "cubic", "dctcp", "bbr"};

/// Calls `f` with the algorithm itself, borrowed or not.
template <typename State, typename F>
decltype(auto) with(State& state, F&& f) {
    return std::visit(
        [&f](auto& held) -> decltype(auto) {
            if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(held)>>)
                return f(*held);
            else
                return f(held);
        },
        state);
}

/// `window` each `srtt`, times `percent`.
uint64_t rate(uint32_t window, Duration srtt, uint64_t percent) {
    // 2^30 * 200 * 10^7 stays below 2^63.
    const auto us = static_cast<uint64_t>(std::max<int64_t>(srtt.us(), 1));
    return uint64_t{window} * percent * 10'000 / us;
}

}  // namespace

std::string_view name(Algorithm algorithm) { return names[static_cast<size_t>(algorithm)]; }

std::optional<Algorithm> algorithm_named(std::string_view name) {
    for (size_t i = 0; i < names.size(); ++i)
        if (names[i] == name) return static_cast<Algorithm>(i);
    return std::nullopt;
}

bool Control::begin(Algorithm algorithm, Window& window, Instant now, Pool<Bbr>& bbrs) {
    MILLRACE_DEBUG_ASSERT(!controls_recovery());
    bool as_asked = true;
    switch (algorithm) {
        case Algorithm::reno: state_.emplace<Reno>(); break;
        case Algorithm::cubic: state_.emplace<Cubic>(); break;
        case Algorithm::dctcp: state_.emplace<Dctcp>(); break;
        case Algorithm::bbr:
            if (Bbr* borrowed = bbrs.take()) {
                state_.emplace<Bbr*>(borrowed);
            } else {
                state_.emplace<Reno>();
                as_asked = false;
            }
            break;
    }
    with(state_, [&](auto& a) { a.begin(window, now); });
    return as_asked;
}

void Control::release(Pool<Bbr>& bbrs) {
    if (Bbr** borrowed = std::get_if<Bbr*>(&state_)) bbrs.give_back(*borrowed);
    state_.emplace<Reno>();
}

void Control::on_ack(Window& window, const Ack& ack) {
    with(state_, [&](auto& a) { a.on_ack(window, ack); });
}
uint32_t Control::ssthresh(Window& window, const Ack& ack) {
    return with(state_, [&](auto& a) { return a.ssthresh(window, ack); });
}
void Control::on_timeout(Window& window, const Ack& ack) {
    with(state_, [&](auto& a) { a.on_timeout(window, ack); });
}
void Control::undo(Window& window) {
    with(state_, [&](auto& a) { a.undo(window); });
}
void Control::on_ecn(Window& window, const Ack& ack) {
    with(state_, [&](auto& a) { a.on_ecn(window, ack); });
}
void Control::on_idle(Window& window, Duration idle, Duration rto, Instant now) {
    with(state_, [&](auto& a) { a.on_idle(window, idle, rto, now); });
}
void Control::on_recovery_exit(Window& window, const Ack& ack) {
    with(state_, [&](auto& a) { a.on_recovery_exit(window, ack); });
}

bool Control::is_fresh() const {
    return with(state_, [](const auto& a) { return a.is_fresh(); });
}

uint64_t Control::pacing_rate(const Window& window, Duration srtt, bool wanted) const {
    if (const Bbr* b = bbr()) return b->pacing_rate();
    return idle_pacing_rate(window, srtt, wanted);
}

uint64_t Control::idle_pacing_rate(const Window& window, Duration srtt, bool wanted) {
    if (!wanted || srtt <= Duration()) return 0;
    // Linux's tcp_pacing_ss_ratio and tcp_pacing_ca_ratio; like Linux, the slower one begins at
    // half of ssthresh, before slow start overshoots it.
    return rate(window.cwnd, srtt, window.cwnd < window.ssthresh / 2 ? 200 : 120);
}

uint32_t Control::send_quantum(const Window& window, uint64_t rate) {
    return congestion::send_quantum(rate, window.mss);
}

bool Control::in_hystart_css() const { return cubic() != nullptr && cubic()->in_hystart_css(); }

const Bbr* Control::bbr() const {
    const auto* borrowed = std::get_if<Bbr*>(&state_);
    return borrowed == nullptr ? nullptr : *borrowed;
}

}  // namespace millrace::congestion
