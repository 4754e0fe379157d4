#include "api/inspected.h"

#include <poll.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <thread>

namespace millrace::api {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// A core that has not turned for so long does not turn.
constexpr auto core_patience = 2s;
// How soon it is seen that a core has answered; it is not to make a system call for us.
constexpr timespec glance{.tv_sec = 0, .tv_nsec = 100'000};

/// A question to a core, and its answer; lives as long as either side does.
struct Question {
    enum class State : uint8_t { waiting, running, answered, failed, given_up };

    Inspected::Step step;
    std::function<bool(std::function<void(runtime::Core&)>)> ask;
    std::atomic<State> state{State::waiting};
    std::atomic<uint64_t> steps{0};

    /// On the core.
    void run(runtime::Core& core, const std::shared_ptr<Question>& self) {
        State expected = State::waiting;
        if (!state.compare_exchange_strong(expected, State::running)) return;
        const State now = take_step(core);
        steps.fetch_add(1);
        state.store(now);
        expected = State::waiting;
        if (now == State::waiting && !post(self))
            state.compare_exchange_strong(expected, State::failed);
    }
    /// A core goes on where there is no memory for a question.
    State take_step(runtime::Core& core) const {
        try {
            return step(core) ? State::answered : State::waiting;
        } catch (const std::bad_alloc&) {
            return State::failed;
        }
    }
    static bool post(const std::shared_ptr<Question>& self) {
        try {
            return self->ask([self](runtime::Core& core) { self->run(core, self); });
        } catch (const std::bad_alloc&) {
            return false;
        }
    }
    /// Afterwards no step runs. False: it is over already.
    bool give_up() {
        for (;;) {
            State expected = State::waiting;
            if (state.compare_exchange_strong(expected, State::given_up)) return true;
            if (expected != State::running) return false;
            std::this_thread::yield();
        }
    }
};

/// Within a glance.
bool is_readable(int fd) {
    pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
    return ppoll(&waiting, 1, &glance, nullptr) > 0;
}

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

Levels Levels::of(stack::Stack& stack) {
    const stack::Stack::Population p = stack.population();
    return {{p.connections, p.half_open, p.time_wait, p.listeners, p.udp_sockets, p.datagrams,
             p.neighbours, p.fragments, p.reassembly_ranges, p.sent_ranges,
             stack.pools().available(), stack.pools().capacity()}};
}

Levels& Levels::operator+=(const Levels& other) {
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] += other.numbers[i];
    return *this;
}

Inspected::Outcome Inspected::on_core(uint16_t core, Step step, int stop) const {
    const auto question = std::make_shared<Question>();
    question->step = std::move(step);
    question->ask = [this, core](std::function<void(runtime::Core&)> what) {
        return ask(core, std::move(what));
    };
    if (!Question::post(question)) return Outcome::busy;
    uint64_t steps = 0;
    auto progress = Clock::now();
    for (;;) {
        const Question::State state = question->state.load();
        if (state == Question::State::answered) return Outcome::answered;
        if (state == Question::State::failed) return Outcome::busy;
        const bool stopped = is_readable(stop);
        if (const uint64_t now = question->steps.load(); now != steps) {
            steps = now;
            progress = Clock::now();
        }
        const bool silent = Clock::now() - progress > core_patience;
        if ((stopped || silent) && question->give_up())
            return stopped ? Outcome::unwanted : Outcome::silent;
    }
}

}  // namespace millrace::api
