// What those who look into a runtime may ask it for.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "port/port.h"
#include "runtime/core.h"

namespace millrace::api {

struct InspectedPort {
    std::string device;  ///< as the configuration names it
    uint16_t id = 0;     ///< as DPDK numbers it
    uint16_t mtu = 1500;
    std::function<port::PortCounters()> counters;

    /// By its device, by that without arguments, by the kernel's interface below it.
    bool is_called(std::string_view name) const;
};

/// How many there are now of what a core has.
struct Levels {
    static constexpr std::array<std::string_view, 12> names{
        "Connections", "HalfOpens", "TimeWaits",        "Listeners",  "UdpSockets",  "Datagrams",
        "Neighbours",  "Fragments", "ReassemblyRanges", "SentRanges", "BuffersFree", "Buffers"};
    std::array<uint64_t, names.size()> numbers{};

    /// On its core.
    static Levels of(stack::Stack& stack);
    Levels& operator+=(const Levels& other);
    /// Calls `visit(name, number)` for each.
    template <typename Visit>
    void for_each(Visit&& visit) const {
        for (size_t i = 0; i < names.size(); ++i) visit(names[i], numbers[i]);
    }
};

/// Any thread, while the cores' mailboxes stand.
struct Inspected {
    /// A part of an answer, taken on a core; false: once more in its next turn.
    using Step = std::function<bool(runtime::Core&)>;
    /// How a question has ended.
    enum class Outcome : uint8_t {
        answered,
        silent,    ///< the core has not turned for seconds
        busy,      ///< it had no memory for us, or its mailbox was full
        unwanted,  ///< nobody wants to know any more
    };

    uint16_t cores = 0;
    /// Runs a function on a core, in its next turn. False where its mailbox is full.
    std::function<bool(uint16_t core, std::function<void(runtime::Core&)>)> ask;
    std::function<std::vector<std::string>()> descriptions;  ///< of the ports, a line each
    std::vector<InspectedPort> ports;

    /// Runs `step` once a turn of the core until it answers true, or `stop` becomes readable. When
    /// this returns, no step runs or will run.
    Outcome on_core(uint16_t core, Step step, int stop) const;
};

}  // namespace millrace::api
