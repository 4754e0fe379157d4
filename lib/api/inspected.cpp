#include "api/inspected.h"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace millrace::api {

namespace {

using namespace std::chrono_literals;

// A core that has not turned for so long does not turn.
constexpr auto core_patience = 2s;

/// A question to a core, and its answer; lives as long as either side does.
struct Question {
    std::mutex mutex;
    std::condition_variable answered;
    bool done = false;
    bool given_up = false;
};

}  // namespace

bool InspectedPort::is_called(std::string_view name) const {
    if (name == device || name == std::string_view(device).substr(0, device.find(',')))
        return true;
    constexpr std::string_view key = ",iface=";
    const size_t at = device.find(key);
    if (at == std::string::npos) return false;
    const std::string_view rest = std::string_view(device).substr(at + key.size());
    return name == rest.substr(0, rest.find(','));
}

bool Inspected::on_core(uint16_t core, std::function<void(runtime::Core&)> what) const {
    const auto question = std::make_shared<Question>();
    const bool posted = ask(core, [question, what = std::move(what)](runtime::Core& asked) {
        const std::lock_guard lock(question->mutex);
        if (!question->given_up) what(asked);
        question->done = true;
        question->answered.notify_one();
    });
    if (!posted) return false;
    std::unique_lock lock(question->mutex);
    if (question->answered.wait_for(lock, core_patience, [&] { return question->done; }))
        return true;
    question->given_up = true;
    return false;
}

}  // namespace millrace::api
