#include "api/turnstile.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace millrace::api {

thread_local Turnstile::Presence Turnstile::presence_;
thread_local Turnstile* Turnstile::visited_ = nullptr;

void Turnstile::Presence::end() {
    const auto was = std::exchange(at, nullptr);
    if (was == nullptr) return;
    const std::lock_guard lock(was->mutex_);
    --was->at_work_;
    was->changed_.notify_all();
}

void Turnstile::leave() { presence_.end(); }

Turnstile::Visit::Visit(Turnstile* turnstile) : turnstile_(turnstile), before_(visited_) {
    if (turnstile_ == nullptr || turnstile_ == before_) return;
    const bool arrives = !turnstile_->is_driver() && presence_.at.get() != turnstile_;
    if (arrives) leave();
    turnstile_->mutex_.lock();
    visited_ = turnstile_;
    if (!arrives) return;
    presence_.at = turnstile_->shared_from_this();
    ++turnstile_->at_work_;
}

Turnstile::Visit::~Visit() {
    if (turnstile_ == nullptr || turnstile_ == before_) return;
    visited_ = before_;
    turnstile_->mutex_.unlock();
}

bool Turnstile::wait(Context& context, Instant until, const std::function<bool()>& done) {
    Waiter waiter{.context = &context, .done = &done, .until = until};
    waiters_.push_back(&waiter);
    --at_work_;
    changed_.notify_all();
    changed_.wait(mutex_, [&] { return waiter.let_go; });
    return waiter.in_time;
}

void Turnstile::settle() {
    changed_.wait(mutex_, [&] { return at_work_ == 0; });
}

void Turnstile::serve(Instant now) {
    const std::vector<Waiter*> waiting = waiters_;
    for (Waiter* const waiter : waiting) {
        bool done = false;
        {
            const Context::StandIn stand_in(*waiter->context);
            done = (*waiter->done)();
        }
        if (!done && now < waiter->until) continue;
        std::erase(waiters_, waiter);
        waiter->in_time = done;
        waiter->let_go = true;
        ++at_work_;  // in the waiter's stead: nobody is to see it gone before it is back
        changed_.notify_all();
        settle();
    }
}

Instant Turnstile::next_deadline() const {
    Instant next = Instant::never();
    for (const Waiter* waiter : waiters_) next = std::min(next, waiter->until);
    return next;
}

bool Turnstile::await_waiter(const Context& context) {
    constexpr auto patience = std::chrono::seconds(10);
    return changed_.wait_for(mutex_, patience, [&] {
        return at_work_ == 0 && std::ranges::any_of(waiters_, [&](const Waiter* waiter) {
                   return waiter->context == &context;
               });
    });
}

}  // namespace millrace::api
