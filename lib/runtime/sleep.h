// How a poll loop gives its processor away for a while.
#pragma once

#include <sys/prctl.h>

#include <chrono>
#include <thread>

#include <millrace/time.h>

namespace millrace::runtime {

/// From now on the calling thread's sleeps end when they are asked to, not up to 50 us later.
inline void sleep_precisely() { prctl(PR_SET_TIMERSLACK, 1); }

/// No longer than that; not at all where the time has passed already.
inline void sleep_for(Duration time) {
    if (time > Duration()) std::this_thread::sleep_for(std::chrono::nanoseconds(time.ns()));
}

}  // namespace millrace::runtime
