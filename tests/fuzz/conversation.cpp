// Whole conversations: the bytes are the choices of a story of the simulation (who opens what, sends,
// reads, stalls, shuts, closes and aborts when; tunables; weather; what becomes of each of the first
// frames), which is held against all that the simulation is held against.
#include <algorithm>
#include <cstdio>

#include "fuzz/fuzz.h"
#include "sim/world.h"

namespace millrace::fuzz {
namespace {

/// A choice for each few bytes; behind their end the middle one: neither violence nor bad weather.
class Choices final : public testing::Draws {
public:
    explicit Choices(Input& in) : in_(in) {}
    uint64_t below(uint64_t bound) override {
        if (bound == 1) return 0;
        return in_.empty() ? bound / 2 : in_.below(bound);
    }

private:
    Input& in_;
};

testing::Scenario story(const uint8_t* data, size_t size) {
    Input in(data, size);
    Choices choices(in);
    testing::Scenario scenario = testing::make_small_scenario(choices);
    for (size_t i = 0; i < scenario.nodes.size(); ++i) {
        // Where the story has small pools, they run dry.
        const bool small = scenario.nodes[i].pools.header < 256;
        scenario.nodes[i].lent_pools = {&pools(i, small ? 64 : 512)};
        // Without a limit two that disagree may answer each other until one of them forgets, as the
        // configuration says; with the least the story is over before.
        uint32_t& limit = scenario.nodes[i].config.tcp.tcp_invalid_ratelimit;
        limit = std::max(limit, 1U);
        // Its memory is cleared for each input.
        scenario.nodes[i].config.recorder = {.events = 1024, .ends = 8};
    }
    return scenario;
}

}  // namespace
}  // namespace millrace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace millrace;
    const testing::Scenario scenario = fuzz::story(data, size);
    const auto failures = testing::World(scenario, false).run().failures;
    if (!failures.empty()) {
        for (const std::string& line : testing::World(scenario, true).run().trace)
            std::fprintf(stderr, "%s\n", line.c_str());
        std::fprintf(stderr, "%s", scenario.describe().c_str());
        for (const std::string& failure : failures) std::fprintf(stderr, "%s\n", failure.c_str());
        fuzz::fail("the conversation went wrong");
    }
    fuzz::expect_all_buffers_back();
    return 0;
}
