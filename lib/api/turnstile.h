// How several threads use one test's network: one at a time, in an order that is always the same.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <millrace/error.h>
#include <millrace/time.h>

#include "api/context.h"

namespace millrace::api {

/// The driver, the thread that made it, moves the time. Others visit between its calls; one that
/// waits in a call is let go by the driver when what it waits for is there, and the driver goes on
/// when it waits again or has left. So nothing depends on how fast threads are.
class Turnstile : public std::enable_shared_from_this<Turnstile> {
public:
    /// Within one, no other thread is at work. May be nested. Null: nothing to share.
    class Visit {
    public:
        explicit Visit(Turnstile* turnstile);
        ~Visit();
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;

    private:
        Turnstile* const turnstile_;
        Turnstile* const before_;  ///< in which the thread was already
    };

    bool is_driver() const { return driver_ == std::this_thread::get_id(); }

    // --- within a visit of another thread than the driver
    /// Returns when the driver has found `done` (true) or that it is `until`.
    bool wait(Context& context, Instant until, const std::function<bool()>& done);

    // --- within a visit of the driver
    /// Waits until no other thread is at work between two calls.
    void settle();
    /// Lets go who has waited long enough, one after the other.
    void serve(Instant now);
    /// The earliest at which somebody has waited long enough.
    Instant next_deadline() const;
    /// Waits, for some seconds of real time, until a thread waits in a call of this context.
    bool await_waiter(const Context& context);

    /// The calling thread has nothing more to do here; any thread.
    static void leave();

private:
    struct Waiter {
        Context* context;
        const std::function<bool()>* done;
        Instant until;
        bool let_go = false;
        bool in_time = false;
    };
    /// In which network the calling thread is at work, besides the driver.
    struct Presence {
        std::shared_ptr<Turnstile> at;
        ~Presence() { end(); }
        void end();
    };
    static thread_local Presence presence_;
    static thread_local Turnstile* visited_;  ///< the one that the calling thread is within

    const std::thread::id driver_ = std::this_thread::get_id();
    std::mutex mutex_;
    std::condition_variable_any changed_;
    unsigned at_work_ = 0;          ///< threads between calls, or in one and not waiting
    std::vector<Waiter*> waiters_;  ///< in the order in which they began
};

}  // namespace millrace::api
