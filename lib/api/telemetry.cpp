#include "api/telemetry.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>

#include <rte_telemetry.h>

namespace millrace::api {

namespace {

constexpr int all_cores = -1;

/// Of this process, by number. Who asks holds the lock until it has its answer.
struct Registry {
    std::mutex mutex;
    std::map<int, const Telemetry*> runtimes;
    int next = 0;
};

Registry& registry() {
    static Registry only;
    return only;
}

/// "RUNTIME" or "RUNTIME,CORE", as DPDK's own commands take a device and its queue.
struct Parameters {
    int runtime = -1;
    int core = all_cores;

    bool read(const char* text) {
        if (text == nullptr) return false;
        const char* const end = text + std::strlen(text);
        const auto first = std::from_chars(text, end, runtime);
        if (first.ec != std::errc() || runtime < 0) return false;
        if (first.ptr == end) return true;
        if (*first.ptr != ',') return false;
        const auto second = std::from_chars(first.ptr + 1, end, core);
        return second.ec == std::errc() && second.ptr == end && core >= 0;
    }
};

/// Runs `fill(telemetry, parameters)` for the runtime that is asked. No exception gets to DPDK.
template <typename Fill>
int answer(const char* text, Fill&& fill) {
    Parameters parameters;
    if (!parameters.read(text)) return -EINVAL;
    Registry& all = registry();
    try {
        const std::lock_guard lock(all.mutex);
        const auto found = all.runtimes.find(parameters.runtime);
        return found == all.runtimes.end() ? -ENODEV : fill(*found->second, parameters);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
}

/// A dictionary of what `numbers.for_each` names.
template <typename Numbers>
int put(rte_tel_data* data, const Numbers& numbers) {
    int status = rte_tel_data_start_dict(data);
    numbers.for_each([&](std::string_view name, uint64_t number) {
        if (status == 0)
            status = rte_tel_data_add_dict_u64(data, std::string(name).c_str(), number);
    });
    return status;
}

template <typename Numbers>
int answer_sum(const char* text, rte_tel_data* data) {
    return answer(text, [data](const Telemetry& asked, const Parameters& parameters) {
        Numbers numbers;
        const int status = asked.sum_up(parameters.core, numbers);
        return status == 0 ? put(data, numbers) : status;
    });
}

int answer_list(const char*, const char*, rte_tel_data* data) {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    int status = rte_tel_data_start_array(data, RTE_TEL_INT_VAL);
    for (const auto& [number, telemetry] : all.runtimes)
        if (status == 0) status = rte_tel_data_add_array_int(data, number);
    return status;
}

int answer_info(const char*, const char* text, rte_tel_data* data) {
    return answer(text, [data](const Telemetry& asked, const Parameters&) {
        const Inspected& inspected = asked.inspected();
        rte_tel_data* devices = rte_tel_data_alloc();
        if (devices == nullptr) return -ENOMEM;
        rte_tel_data_start_array(devices, RTE_TEL_STRING_VAL);
        // DPDK cuts what is too long, and says so; a name in part is a name still.
        for (const InspectedPort& port : inspected.ports)
            rte_tel_data_add_array_string(devices, port.device.c_str());
        rte_tel_data_start_dict(data);
        rte_tel_data_add_dict_int(data, "cores", inspected.cores);
        return rte_tel_data_add_dict_container(data, "ports", devices, 0);
    });
}

int answer_counters(const char*, const char* text, rte_tel_data* data) {
    return answer_sum<observe::Counters>(text, data);
}

int answer_levels(const char*, const char* text, rte_tel_data* data) {
    return answer_sum<Levels>(text, data);
}

/// Once a process: DPDK forgets no command.
void register_commands() {
    static const bool done = [] {
        rte_telemetry_register_cmd("/millrace/list", answer_list,
                                   "The runtimes of this process, by number. No parameters");
        rte_telemetry_register_cmd("/millrace/info", answer_info,
                                   "Cores and ports. Parameters: RUNTIME");
        rte_telemetry_register_cmd("/millrace/counters", answer_counters,
                                   "Counted since the start. Parameters: RUNTIME[,CORE]");
        rte_telemetry_register_cmd("/millrace/levels", answer_levels,
                                   "How many there are now. Parameters: RUNTIME[,CORE]");
        return true;
    }();
    static_cast<void>(done);
}

}  // namespace

Telemetry::Telemetry(Inspected inspected) : inspected_(std::move(inspected)) {
    register_commands();
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    number_ = all.next++;
    all.runtimes.emplace(number_, this);
}

/// Who is being answered stops waiting; behind the lock nobody is.
Telemetry::~Telemetry() {
    stop_.raise();
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    all.runtimes.erase(number_);
}

template <typename Take>
int Telemetry::on_cores(int core, Take&& take) const {
    if (core >= inspected_.cores) return -ENODEV;
    const int first = core == all_cores ? 0 : core;
    const int end = core == all_cores ? inspected_.cores : core + 1;
    for (int i = first; i < end; ++i) {
        const auto outcome = inspected_.on_core(
            static_cast<uint16_t>(i),
            [&](runtime::Core& asked) {
                take(asked.stack());
                return true;
            },
            stop_.fd());
        if (outcome == Inspected::Outcome::silent) return -ETIMEDOUT;
        if (outcome != Inspected::Outcome::answered) return -EBUSY;
    }
    return 0;
}

int Telemetry::sum_up(int core, observe::Counters& counters) const {
    return on_cores(core, [&](stack::Stack& stack) { counters += stack.counters(); });
}

int Telemetry::sum_up(int core, Levels& levels) const {
    return on_cores(core, [&](stack::Stack& stack) { levels += Levels::of(stack); });
}

}  // namespace millrace::api
