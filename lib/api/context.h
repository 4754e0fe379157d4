// Behind the public handles: one core's stack, its loop, and the thread that owns them.
#pragma once

#include <atomic>

#include <millrace/stack.h>

#include "api/loop.h"
#include "stack/stack.h"

namespace millrace::api {

/// Drives one stack for the public API and turns its events into the handlers' calls. Owned by
/// whoever hosts the stack; used on the owner's thread, except where it says otherwise.
class Context final : public stack::Application {
public:
    Context(stack::Stack& stack, Loop& loop) : stack_(stack), loop_(loop), facade_(*this) {}

    stack::Stack& stack() { return stack_; }
    Loop& loop() { return loop_; }
    Stack& facade() { return facade_; }
    static Context& of(Stack& stack) { return stack.context_; }

    /// The calling thread runs this stack from now on; false if another does.
    bool own();
    /// Between turns, time has passed for the stack only when it is told.
    void look_at_clock() {
        if (!loop_.is_turning()) stack_.set_time(loop_.now());
    }
    /// 0, or EPERM on a thread that does not own it. Before anybody does, everybody may.
    int check_thread() const;
    /// While it lives, the calling thread stands in for the owner, who waits for it.
    class StandIn {
    public:
        explicit StandIn(Context& context);
        ~StandIn() { context_.stand_in_.store(before_, std::memory_order_relaxed); }
        StandIn(const StandIn&) = delete;
        StandIn& operator=(const StandIn&) = delete;

    private:
        Context& context_;
        const void* before_;
    };

    void on_events(tcp::Connection& connection, uint8_t events) override;
    void on_acceptable(tcp::Listener& listener) override;
    void on_datagrams(udp::Endpoint& endpoint, uint8_t events) override;
    void on_timer(time::WheelEntry& entry) override;
    bool on_turn() override;
    void set_turn_handler(TurnHandler* handler) { turn_handler_ = handler; }
    /// A timer of the application's begins to run, or anew. EPERM.
    Result<void> start(time::WheelEntry& entry, Duration time);

private:
    stack::Stack& stack_;
    Loop& loop_;
    Stack facade_;
    TurnHandler* turn_handler_ = nullptr;
    std::atomic<const void*> owner_{nullptr};
    std::atomic<const void*> stand_in_{nullptr};
};

}  // namespace millrace::api
