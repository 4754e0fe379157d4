// What every program does the same way: options, configuration, signals, failures.
#pragma once

#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include <millrace/millrace.h>

namespace millrace::apps {

/// Options that all programs have.
struct CommonOptions {
    std::string config_path;
    bool verbose = false;

    void add_to(CLI::App& app);
};

/// Blocks SIGINT and SIGTERM in this thread and all that it starts; `wait` takes them. Before EAL
/// makes threads of its own. Who reads what the program says may go: no SIGPIPE.
class Signals {
public:
    Signals();
    /// Waits at most `seconds`; the signal that asked for the end, 0 if none did.
    int wait(double seconds) const;
};

/// How servers end. SIGTERM: gracefully, in `--drain` seconds at the most; SIGINT: at once, as by
/// `--drain 0`. A second signal of either kind ends the wait.
struct DrainOption {
    /// Exit status where connections had to be reset, though they were to have had time.
    static constexpr int status_reset = 3;

    double seconds = 10;

    void add_to(CLI::App& app);
    /// Ends what `runtime` serves, `by` a signal; `begin` is told on each core. Progress goes to
    /// standard error. The exit status: 0, or `status_reset`.
    int end(Runtime& runtime, const Signals& signals, int by,
            std::function<void(Stack&)> begin) const;
};

/// Prints cause and remedy on standard error; answers the exit status.
int fail(const Failure& failure);

/// Reads the configuration and makes the runtime; the port lines go to standard error.
Started<std::unique_ptr<Runtime>> start(const CommonOptions& options);
Started<std::unique_ptr<Runtime>> start(const Config& config);

/// Asks every core for a value, on its own thread, and waits for all of them. What `question`
/// refers to must live as long as the loops do.
template <typename Value>
std::vector<Value> ask_cores(Runtime& runtime, const std::function<Value(Stack&)>& question) {
    std::vector<std::future<Value>> answers;
    for (uint16_t core = 0; core < runtime.cores(); ++core) {
        auto promise = std::make_shared<std::promise<Value>>();
        auto answer = promise->get_future();
        const auto ask = [promise, question](Stack& stack) { promise->set_value(question(stack)); };
        // A full mailbox is read in the core's next turn.
        while (!runtime.submit(core, ask)) std::this_thread::yield();
        answers.push_back(std::move(answer));
    }
    std::vector<Value> values;
    for (auto& answer : answers) values.push_back(answer.get());
    return values;
}

/// A counter of one core's stack; 0 where there is none of that name.
inline uint64_t counter(const Stack& stack, std::string_view name) {
    uint64_t found = 0;
    stack.counters([&](std::string_view of, uint64_t value) {
        if (of == name) found = value;
    });
    return found;
}

}  // namespace millrace::apps
