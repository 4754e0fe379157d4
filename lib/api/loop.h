// Who turns a context's stack, and what its waiting calls do meanwhile.
#pragma once

#include <functional>

#include <millrace/error.h>
#include <millrace/time.h>

#include "stack/stack.h"

namespace millrace::api {

class Turnstile;

/// The loop of one context's stack: a runtime's core, or a host of a test's network. Used on the
/// context's thread. Within a turn (a callback of the native API), none begins.
class Loop {
public:
    virtual ~Loop() = default;

    /// From each receive queue in a turn.
    static constexpr uint32_t usual_bursts = 4;
    /// One turn. True if there was anything to do.
    virtual bool turn(stack::Application& application, uint32_t bursts) = 0;
    /// Turns until `done`, for at most `limit` (zero: without end). False: the time is over.
    /// EDEADLK within a turn, or where nothing will ever happen.
    virtual Result<bool> wait(stack::Application& application, Duration limit,
                              const std::function<bool()>& done) = 0;
    virtual bool is_turning() const = 0;

    virtual Instant now() const = 0;
    virtual Instant next_deadline() = 0;
    virtual int wakeup_fd() const = 0;
    virtual bool prepare_sleep() = 0;
    /// Where several threads share a loop, one after the other; null where they do not.
    virtual Turnstile* turnstile() { return nullptr; }
};

}  // namespace millrace::api
