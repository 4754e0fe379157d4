// A runtime's numbers for threads that may outlive it. What they say of real cores is compared with
// millrace-nstat in tests/interop/seen.py.
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "api/telemetry.h"

namespace millrace::api {
namespace {

/// Two cores whose mailboxes take what they are asked, and that never turn.
struct Asleep {
    std::atomic<int> asked{0};
    bool full = false;
    Inspected inspected() {
        return {.cores = 2,
                .ask =
                    [this](uint16_t, std::function<void(runtime::Core&)>) {
                        ++asked;
                        return !full;
                    },
                .descriptions = {},
                .ports = {}};
    }
};

TEST(InspectSummaries, a_core_that_is_not_there_is_not_asked) {
    Asleep cores;
    Summaries summaries(cores.inspected());
    Levels levels;
    EXPECT_EQ(summaries.take(2, levels), ENODEV);
    EXPECT_EQ(cores.asked, 0);
}

TEST(InspectSummaries, a_full_mailbox_and_a_core_that_does_not_turn_are_told_apart) {
    Asleep cores;
    cores.full = true;
    Summaries busy(cores.inspected());
    observe::Counters counters;
    EXPECT_EQ(busy.take({}, counters), EBUSY);
    EXPECT_EQ(cores.asked, 1) << "the second is not asked in vain";
    cores.full = false;
    Summaries silent(cores.inspected());
    EXPECT_EQ(silent.take(1, counters), ETIMEDOUT);
}

/// Several ask, one of them waits for a core, the others for him. The end waits for none of their
/// patience, and nobody asks behind it.
TEST(InspectSummaries, the_end_sends_away_who_waits) {
    Asleep cores;
    Summaries summaries(cores.inspected());
    std::vector<std::thread> askers;
    std::array<int, 3> answers{};
    for (int& answer : answers)
        askers.emplace_back([&] {
            Levels levels;
            answer = summaries.take({}, levels);
        });
    while (cores.asked == 0) std::this_thread::yield();
    summaries.close();
    const int asked = cores.asked;
    for (std::thread& asker : askers) asker.join();
    EXPECT_EQ(answers, (std::array<int, 3>{ENODEV, ENODEV, ENODEV}));
    EXPECT_EQ(cores.asked, asked);
    EXPECT_EQ(summaries.describe([](uint16_t, const auto&) { FAIL(); }), ENODEV);
}

}  // namespace
}  // namespace millrace::api
