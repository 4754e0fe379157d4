// A flood as a program runs it.
#pragma once

#include <functional>

#include "load/flood.h"

namespace millrace::apps {

/// Floods for so many seconds (0: until `ended` says so), with a line a second. Turns the runtime's
/// only loop on this thread. Answers the exit status.
int run_flood(Runtime& runtime, const FloodOptions& options, double duration, bool quiet,
              const std::function<bool()>& ended);

}  // namespace millrace::apps
