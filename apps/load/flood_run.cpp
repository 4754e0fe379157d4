#include "load/flood_run.h"

#include <algorithm>

#include "common/program.h"
#include "common/say.h"

namespace millrace::apps {

int run_flood(Runtime& runtime, const FloodOptions& options, double duration, bool quiet,
              const std::function<bool()>& ended) {
    if (runtime.cores() != 1) return fail({"--mode flood runs on one core"});
    Stack& stack = runtime.core(0);
    stack.poll_once();
    Flood source(stack, options);
    const Instant start = stack.now();
    FloodCounters before;
    for (double end = 0; duration == 0 || end < duration;) {
        end = duration == 0 ? end + 1 : std::min(end + 1, duration);
        while ((stack.now() - start).seconds() < end) {
            source.burst(stack.now());
            stack.poll_once();
        }
        const FloodCounters now = source.counters(stack.now());
        const FloodCounters interval = now - before;
        if (!quiet)
            say("{:4.1f} s  {:>10} segments  {:>6} honest, {} established in time\n", end,
                interval.segments, interval.honest_attempted, interval.honest_in_time);
        std::fflush(stdout);
        before = now;
        if (ended()) break;
    }
    // Those who came last have as much time as the others.
    const Instant end = stack.now();
    while (source.is_waiting() && stack.now() - end <= Flood::honest_patience) stack.poll_once();
    before = source.counters(stack.now());
    say("{} segments; {} honest attempts: {} established within {} s, {} later or not yet, "
        "{} failed\n",
        before.segments, before.honest_attempted, before.honest_in_time,
        Flood::honest_patience.ms() / 1000, before.honest_late, before.honest_failed);
    return said(before.segments > 0 && before.honest_failed + before.honest_late == 0 ? 0 : 1);
}

}  // namespace millrace::apps
