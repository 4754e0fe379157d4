// Behind the public handles: one core's stack, its loop, and the thread that owns them.
#pragma once

#include <atomic>

#include <millrace/stack.h>

#include "stack/stack.h"

namespace millrace::runtime {
class Core;
}

namespace millrace::api {

/// Drives one stack for the public API and turns its events into the handlers' calls. Owned by
/// whoever hosts the stack; used on the owner's thread, except where it says otherwise.
class Context final : public stack::Application {
public:
    /// `core` is null where something else than a runtime hosts the stack (a simulation).
    Context(stack::Stack& stack, runtime::Core* core)
        : stack_(stack), core_(core), facade_(*this) {}

    stack::Stack& stack() { return stack_; }
    runtime::Core* core() { return core_; }
    Stack& facade() { return facade_; }

    /// The calling thread runs this stack from now on; false if another does.
    bool own();
    /// 0, or EPERM on a thread that does not own it. Before anybody does, everybody may.
    int check_thread() const;

    void on_events(tcp::Connection& connection, uint8_t events) override;
    void on_acceptable(tcp::Listener& listener) override;

private:
    stack::Stack& stack_;
    runtime::Core* core_;
    Stack facade_;
    std::atomic<const void*> owner_{nullptr};
};

}  // namespace millrace::api
