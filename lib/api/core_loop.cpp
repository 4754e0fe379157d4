#include "api/core_loop.h"

#include <cerrno>

namespace millrace::api {

bool CoreLoop::turn(stack::Application& application, uint32_t bursts) {
    if (turning_) return false;
    turning_ = true;
    const bool busy = core_.turn(application, bursts);
    turning_ = false;
    return busy;
}

Result<bool> CoreLoop::wait(stack::Application& application, Duration limit,
                            const std::function<bool()>& done) {
    if (turning_) return error(EDEADLK);
    const Instant start = core_.now();
    while (!done()) {
        turn(application, usual_bursts);
        if (limit != Duration() && core_.now() - start >= limit) return done();
    }
    return true;
}

bool CoreLoop::prepare_sleep() {
    core_.mailbox().awake();
    if (core_.next_deadline() <= core_.now()) return false;
    return core_.mailbox().prepare_sleep();
}

}  // namespace millrace::api
