#include "api/telemetry.h"

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include <rte_telemetry.h>

namespace millrace::api {

namespace {

static_assert(observe::Counters::size <= RTE_TEL_MAX_DICT_ENTRIES);

/// Of this process, by number.
struct Registry {
    std::mutex mutex;
    std::map<int, std::shared_ptr<Summaries>> runtimes;
    int next = 0;

    std::shared_ptr<Summaries> find(int number) {
        const std::lock_guard lock(mutex);
        const auto found = runtimes.find(number);
        return found == runtimes.end() ? nullptr : found->second;
    }
};

/// DPDK 22.11 hands its callbacks nothing of ours. It lasts for ever, since DPDK's threads and
/// runtimes that lie about as globals may come by when the process ends.
Registry& registry() {
    static Registry& only = *new Registry;
    return only;
}

/// "RUNTIME" or "RUNTIME,CORE", as DPDK's own commands take a device and its queue.
struct Parameters {
    int runtime = -1;
    std::optional<uint16_t> core;

    bool read(const char* text) {
        if (text == nullptr) return false;
        const char* const end = text + std::strlen(text);
        const auto first = std::from_chars(text, end, runtime);
        if (first.ec != std::errc() || runtime < 0) return false;
        if (first.ptr == end) return true;
        if (*first.ptr != ',') return false;
        uint16_t number = 0;
        const auto second = std::from_chars(first.ptr + 1, end, number);
        core = number;
        return second.ec == std::errc() && second.ptr == end;
    }
};

/// Runs `fill`, which answers 0 or an errno. DPDK wants it below zero, and no exception.
template <typename Fill>
int answer(Fill&& fill) {
    try {
        return -std::abs(fill());
    } catch (...) {
        return -ENOMEM;
    }
}

/// `fill(summaries, parameters)`, for the runtime that is asked.
template <typename Fill>
int answer(const char* text, Fill&& fill) {
    return answer([&] {
        Parameters parameters;
        if (!parameters.read(text)) return EINVAL;
        const auto asked = registry().find(parameters.runtime);
        return asked == nullptr ? ENODEV : fill(*asked, parameters);
    });
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
    return answer(text, [data](Summaries& asked, const Parameters& parameters) {
        Numbers numbers;
        const int status = asked.take(parameters.core, numbers);
        return status == 0 ? put(data, numbers) : status;
    });
}

int answer_list(const char*, const char*, rte_tel_data* data) {
    return answer([data] {
        Registry& all = registry();
        const std::lock_guard lock(all.mutex);
        int status = rte_tel_data_start_array(data, RTE_TEL_INT_VAL);
        for (const auto& [number, summaries] : all.runtimes)
            if (status == 0) status = rte_tel_data_add_array_int(data, number);
        return status;
    });
}

int put_description(rte_tel_data* data, uint16_t cores, const std::vector<InspectedPort>& ports) {
    rte_tel_data* devices = rte_tel_data_alloc();
    if (devices == nullptr) return ENOMEM;
    int status = rte_tel_data_start_array(devices, RTE_TEL_STRING_VAL);
    // What is too long is cut, as it says: a name in part is a name still.
    for (const InspectedPort& port : ports)
        if (status == 0 || status == E2BIG)
            status = rte_tel_data_add_array_string(devices, port.device.c_str());
    status = rte_tel_data_start_dict(data);
    if (status == 0) status = rte_tel_data_add_dict_int(data, "cores", cores);
    if (status == 0) status = rte_tel_data_add_dict_container(data, "ports", devices, 0);
    if (status != 0) rte_tel_data_free(devices);
    return status;
}

int answer_info(const char*, const char* text, rte_tel_data* data) {
    return answer(text, [data](Summaries& asked, const Parameters& parameters) {
        if (parameters.core) return EINVAL;
        int status = 0;
        const int there = asked.describe([&](uint16_t cores, const auto& ports) {
            status = put_description(data, cores, ports);
        });
        return there == 0 ? status : there;
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

template <typename Take>
int Summaries::on_cores(std::optional<uint16_t> core, Take&& take) {
    const std::lock_guard lock(mutex_);
    if (closed_ || core.value_or(0) >= inspected_.cores) return ENODEV;
    const uint16_t first = core.value_or(0);
    const auto end = static_cast<uint16_t>(core ? first + 1 : inspected_.cores);
    for (uint16_t i = first; i < end; ++i) {
        const auto step = [&](runtime::Core& asked) {
            take(asked.stack());
            return true;
        };
        switch (inspected_.on_core(i, step, stop_.fd())) {
            case Inspected::Outcome::answered: break;
            case Inspected::Outcome::silent: return ETIMEDOUT;
            case Inspected::Outcome::busy: return EBUSY;
            case Inspected::Outcome::unwanted: return ENODEV;
        }
    }
    return 0;
}

int Summaries::take(std::optional<uint16_t> core, observe::Counters& counters) {
    return on_cores(core, [&](stack::Stack& stack) { counters += stack.counters(); });
}

int Summaries::take(std::optional<uint16_t> core, Levels& levels) {
    return on_cores(core, [&](stack::Stack& stack) { levels += Levels::of(stack); });
}

void Summaries::close() {
    stop_.raise();
    const std::lock_guard lock(mutex_);
    closed_ = true;
}

Telemetry::Telemetry(Inspected inspected)
    : summaries_(std::make_shared<Summaries>(std::move(inspected))) {
    register_commands();
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    number_ = all.next++;
    all.runtimes.emplace(number_, summaries_);
}

Telemetry::~Telemetry() {
    Registry& all = registry();
    {
        const std::lock_guard lock(all.mutex);
        all.runtimes.erase(number_);
    }
    summaries_->close();
}

}  // namespace millrace::api
