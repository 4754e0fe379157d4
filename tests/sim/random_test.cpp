// Random conversations, one from each seed. What was once found is in corpus.txt.
//
//     MILLRACE_SIM_SEED=N      plays that seed alone
//     MILLRACE_SIM_TRACE=1     prints every frame of it
//     MILLRACE_SIM_FIRST=N     the first seed (1)
//     MILLRACE_SIM_COUNT=N     how many (2000; 200 under a sanitizer)
//     MILLRACE_SIM_STORM=1     each with 10 % loss, reordering and duplication on top
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "sim/world.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace millrace::testing {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t count_default = 200;
#else
constexpr uint64_t count_default = 2000;
#endif
constexpr uint64_t block_size = 100;
constexpr unsigned seed_limit_s = 120;  // of real time, on a busy machine: a seed takes 50 ms

uint64_t from_environment(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

const uint64_t only_seed = from_environment("MILLRACE_SIM_SEED", 0);
const bool trace = from_environment("MILLRACE_SIM_TRACE", 0) != 0;
const uint64_t first = only_seed != 0 ? only_seed : from_environment("MILLRACE_SIM_FIRST", 1);
const uint64_t count = only_seed != 0 ? 1 : from_environment("MILLRACE_SIM_COUNT", count_default);

const bool storms = from_environment("MILLRACE_SIM_STORM", 0) != 0;

/// A crash has to name its seed, too: written without a call that a signal handler may not make.
std::array<char, 64> replay_line{};
void say_seed() {
    [[maybe_unused]] const auto written =
        write(STDERR_FILENO, replay_line.data(), std::strlen(replay_line.data()));
}
void on_crash(int signal) {
    say_seed();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void remember_seed(uint64_t seed, bool storm) {
    std::snprintf(replay_line.data(), replay_line.size(), "\nreplay: %sMILLRACE_SIM_SEED=%llu\n",
                  storm ? "MILLRACE_SIM_STORM=1 " : "", static_cast<unsigned long long>(seed));
    static const bool installed = [] {
        std::signal(SIGABRT, on_crash);
        std::signal(SIGALRM, on_crash);
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_set_death_callback(say_seed);
#else
        std::signal(SIGSEGV, on_crash);
#endif
        return true;
    }();
    (void)installed;
}

/// What the seeds met, over the whole run.
struct Totals {
    uint64_t seeds = 0, connections_ends = 0, in_order = 0, vain = 0, frames = 0, bytes = 0;
    uint64_t rto = 0, fast_retransmit = 0, tlp = 0, undo = 0, persist = 0, reneging = 0;
    uint64_t marked = 0, resets = 0, timeouts = 0, dry = 0;

    void add(const Outcome& o) {
        const observe::Counters& c = o.counters;
        ++seeds;
        connections_ends += o.ends;
        in_order += o.in_order;
        vain += o.waited_in_vain;
        frames += o.fates[static_cast<size_t>(sim::Fate::sent)];
        bytes += c.payload_received;
        rto += c.tcp_timeouts > 0;
        fast_retransmit += c.tcp_fast_retrans > 0;
        tlp += c.tcp_loss_probes > 0;
        undo += c.tcp_full_undo + c.tcp_partial_undo + c.tcp_dsack_undo + c.tcp_loss_undo +
                    c.tcp_spurious_rtos > 0;
        persist += c.tcp_zero_window_probes > 0;
        reneging += c.tcp_sack_reneging > 0;
        marked += c.tcp_delivered_ce > 0;
        resets += c.tcp_out_rsts > 0;
        timeouts += c.tcp_abort_on_timeout > 0 || o.timed_out > 0;
        dry += c.drops(observe::Drop::no_buffer) > 0;
    }
};

class Report : public ::testing::Environment {
public:
    void TearDown() override {
        if (totals.seeds == 0) return;
        std::printf("simulation: %lu seeds from %lu; met RTO %lu, fast retransmit %lu, TLP %lu, "
                    "undo %lu, persist %lu, reneging %lu, congestion mark %lu, reset %lu, "
                    "timeout %lu, dry pool %lu; %lu of %lu ends in order, %lu waited in vain; "
                    "%lu frames, %lu bytes\n",
                    totals.seeds, first, totals.rto, totals.fast_retransmit, totals.tlp,
                    totals.undo, totals.persist, totals.reneging, totals.marked, totals.resets,
                    totals.timeouts, totals.dry, totals.in_order, totals.connections_ends,
                    totals.vain, totals.frames, totals.bytes);
    }
    static Totals totals;
};
Totals Report::totals;
[[maybe_unused]] ::testing::Environment* const report =
    ::testing::AddGlobalTestEnvironment(new Report);

bool met_any(const Outcome& outcome) {
    return std::accumulate(outcome.fates.begin() + 1, outcome.fates.end(), uint64_t{0}) > 0;
}

/// Until it calms down at the end, a tenth of all frames is lost and many come late or twice.
void raise_storm(Scenario& scenario) {
    for (size_t i = 0; i + 1 < scenario.weather.size(); ++i) {
        for (sim::Impairments& impairments : scenario.weather[i].from) {
            impairments.loss_ppm = std::max(impairments.loss_ppm, 100'000U);
            impairments.duplicate_ppm = std::max(impairments.duplicate_ppm, 10'000U);
            if (impairments.reorder_ppm >= 20'000) continue;
            impairments.reorder_ppm = 20'000;
            impairments.reorder_by = impairments.delay;
        }
    }
}

/// Plays a seed. Where its few frames have all come through unharmed, again with every second lost.
void play(uint64_t seed, bool storm = storms) {
    remember_seed(seed, storm);
    alarm(seed_limit_s);
    Scenario scenario = make_scenario(seed);
    if (storm) raise_storm(scenario);
    for (const sim::NodeOptions& node : scenario.nodes) {
        const auto valid = validate(node.config);
        ASSERT_TRUE(valid) << valid.error().what;
    }
    Outcome outcome = World(scenario, trace).run();
    if (!met_any(outcome)) {
        for (Weather& weather : scenario.weather)
            for (sim::Impairments& impairments : weather.from)
                if (&weather != &scenario.weather.back()) impairments.lose_every = 2;
        outcome = World(scenario, trace).run();
        if (!met_any(outcome)) outcome.failures.push_back("met no impairment");
    }
    if (!outcome.large_failed && outcome.moved < 65'536)
        outcome.failures.push_back("moved less than 64 KiB");
    Report::totals.add(outcome);
    if (trace)
        for (const std::string& line : outcome.trace) std::puts(line.c_str());
    if (outcome.failures.empty()) return;
    std::string text;
    for (const std::string& failure : outcome.failures) text += failure + "\n";
    ADD_FAILURE() << text << scenario.describe() << "replay: "
                  << (storm ? "MILLRACE_SIM_STORM=1 " : "") << "MILLRACE_SIM_SEED=" << seed
                  << " (MILLRACE_SIM_TRACE=1 prints the frames)";
}

class Random : public ::testing::TestWithParam<uint64_t> {};

/// A block of seeds; its name says which.
TEST_P(Random, seeds) {
    const uint64_t end = std::min(GetParam() + block_size, first + count);
    for (uint64_t seed = GetParam(); seed < end; ++seed) {
        play(seed);
        if (HasFailure() && GTEST_FLAG_GET(fail_fast)) return;
    }
}
INSTANTIATE_TEST_SUITE_P(Simulation, Random, ::testing::Range(first, first + count, block_size),
                         [](const auto& block) { return "from_" + std::to_string(block.param); });

TEST(Storm, a_tenth_lost_with_reordering_and_duplication) {
    if (only_seed != 0) return;
    for (uint64_t seed = first; seed < first + count / 20; ++seed) play(seed, true);
}

TEST(Corpus, seeds_that_once_failed) {
    if (only_seed != 0) return;
    std::ifstream corpus(MILLRACE_SIM_CORPUS);
    ASSERT_TRUE(corpus.is_open()) << MILLRACE_SIM_CORPUS;
    for (std::string line; std::getline(corpus, line);) {
        const bool storm = line.starts_with("storm ");
        uint64_t seed = 0;
        if (std::istringstream(storm ? line.substr(6) : line) >> seed) play(seed, storm);
    }
}

TEST(Replay, same_seed_same_frames) {
    if (only_seed != 0) return;
    for (const uint64_t seed : {first, first + 1}) {
        const Scenario scenario = make_scenario(seed);
        World one(scenario, true), two(scenario, true);
        EXPECT_EQ(one.run().trace, two.run().trace);
    }
}

}  // namespace
}  // namespace millrace::testing
