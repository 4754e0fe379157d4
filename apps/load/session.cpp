#include "load/session.h"

namespace millrace::apps {

Session::Session(SessionOwner& owner)
    : owner_(owner), asked_(owner.plan().pipeline), timer_([this] { expired(); }) {}

void Session::push(const Asked& request) {
    asked_[(first_ + count_) % asked_.size()] = request;
    ++count_;
    ++owner_.figures().asked;
}

void Session::pop() {
    first_ = (first_ + 1) % asked_.size();
    --count_;
}

void Session::answered(size_t index, int status) {
    Figures& figures = owner_.figures();
    const Plan& plan = owner_.plan();
    const Asked& request = asked(index);
    const Instant at = now();
    useful = true;
    ++figures.completed;
    figures.request.add(at - request.intended);
    if (plan.is_open_loop()) figures.uncorrected.add(at - request.begun);
    if (!plan.speaks_http() || plan.mode == Mode::handshakes) return;
    // What HTTP does not know counts as 0.
    const auto slot = static_cast<size_t>(status);
    ++figures.statuses[slot < figures.statuses.size() ? slot : 0];
    if (plan.status != 0 && status != plan.status) figures.count(LoadError::status);
}

void Session::count_failure(LoadError error) {
    Figures& figures = owner_.figures();
    figures.unanswered += count_;
    for (size_t i = 0; i < std::max<size_t>(count_, 1); ++i) figures.count(error);
}

void Session::think() {
    thinking_ = true;
    const auto ns = static_cast<int64_t>(owner_.plan().think_ms * 1e6);
    (void)timer_.start(owner_.stack(), Duration::from_ns(ns));
}

/// The timer is not moved by each request: when it fires, it looks how long the oldest has waited.
void Session::watch() {
    if (thinking_ || timer_.is_running() || owner_.plan().timeout == 0) return;
    const auto ns = static_cast<int64_t>(owner_.plan().timeout * 1e9);
    (void)timer_.start(owner_.stack(), Duration::from_ns(ns));
}

void Session::expired() {
    if (std::exchange(thinking_, false)) {
        if (has_room()) ask(now());
        return;
    }
    if (owner_.plan().timeout == 0) return;
    const auto limit = Duration::from_ns(static_cast<int64_t>(owner_.plan().timeout * 1e9));
    while (waiting_since() != Instant::never()) {
        const Duration waited = now() - waiting_since();
        if (waited < limit) {
            (void)timer_.start(owner_.stack(), limit - waited);
            return;
        }
        on_timeout();
    }
}

}  // namespace millrace::apps
