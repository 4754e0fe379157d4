#include <millrace/timer.h>

#include <cerrno>
#include <memory>
#include <new>

#include "api/context.h"

namespace millrace {

namespace {

/// What a timer's bytes hold.
struct Entry : time::WheelEntry {
    explicit Entry(Timer& owner) : WheelEntry(tcp::timer_application), timer(owner) {}
    Timer& timer;
};

Entry& entry_in(std::byte* bytes) { return *std::launder(reinterpret_cast<Entry*>(bytes)); }

}  // namespace

Timer::Timer(std::function<void()> expired) : expired_(std::move(expired)) {
    static_assert(sizeof(Entry) <= sizeof(entry_) && alignof(Entry) <= alignof(void*));
    new (entry_) Entry(*this);
}

Timer::~Timer() {
    std::destroy_at(&entry_in(entry_));
    if (destroyed_ != nullptr) *destroyed_ = true;
}

/// The function is not the timer's while it runs: it may destroy that.
void Timer::expire() {
    bool destroyed = false;
    destroyed_ = &destroyed;
    auto function = std::move(expired_);
    function();
    if (destroyed) return;
    destroyed_ = nullptr;
    expired_ = std::move(function);
}

Result<void> Timer::start(Stack& stack, Duration time) {
    if (time < Duration() || (!expired_ && destroyed_ == nullptr)) return error(EINVAL);
    return api::Context::of(stack).start(entry_in(entry_), time);
}

void Timer::cancel() { time::Wheel::cancel(entry_in(entry_)); }

bool Timer::is_running() const {
    return entry_in(const_cast<std::byte*>(entry_)).is_armed();
}

namespace api {

Result<void> Context::start(time::WheelEntry& entry, Duration time) {
    if (const int wrong = check_thread()) return error(wrong);
    // A caller's own loop may have turned last long ago.
    const Instant now = loop_.now();
    const bool ever = time < Instant::never() - now;
    stack_.env().wheel.arm(entry, ever ? now + time : Instant::never());
    return {};
}

void Context::on_timer(time::WheelEntry& entry) {
    static_cast<Entry&>(entry).timer.expire();
}

}  // namespace api
}  // namespace millrace
