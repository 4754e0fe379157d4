// What those who look into a runtime may ask it for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/core.h"

namespace millrace::api {

struct InspectedPort {
    std::string device;  ///< as the configuration names it
    uint16_t id = 0;     ///< as DPDK numbers it
    uint16_t mtu = 1500;

    /// By its device, by that without arguments, by the kernel's interface below it.
    bool is_called(std::string_view name) const;
};

/// Any thread, while the cores' mailboxes stand.
struct Inspected {
    uint16_t cores = 0;
    /// Runs a function on a core, in one of its next turns. False where its mailbox is full.
    std::function<bool(uint16_t core, std::function<void(runtime::Core&)>)> ask;
    std::function<std::vector<std::string>()> descriptions;  ///< of the ports, a line each
    std::vector<InspectedPort> ports;

    /// Waits until a core has run it. False where it does not turn, for seconds: then it will find
    /// nobody who still wants to know.
    bool on_core(uint16_t core, std::function<void(runtime::Core&)> what) const;
};

}  // namespace millrace::api
