// A closed-loop load generator on the native API: N connections, as fast as they are answered.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <millrace/millrace.h>

#include "load/histogram.h"

namespace millrace::apps {

enum class LoadMode : uint8_t { http, echo, flood };

struct LoadOptions {
    LoadMode mode = LoadMode::http;
    SocketAddress target{Address::v4(10, 77, 0, 1), 80};
    uint32_t connections = 64;             ///< in all, spread over the cores
    uint64_t requests_per_connection = 0;  ///< then it is closed and opened anew; 0: kept for ever
    std::string path = "/body";            ///< HTTP: what is asked for
    uint32_t size = 64;                    ///< echo: bytes of a message
    std::optional<std::string> output;     ///< HTTP: one request; the body goes to this file
};

/// What went wrong, by kind.
enum class LoadError : uint8_t { refused, reset, timed_out, unreachable, closed_early, bad_answer,
                                 status, no_port };
constexpr size_t load_error_count = 8;
std::string_view name(LoadError error);

/// One core's figures; copies travel, sums add.
struct LoadCounters {
    uint64_t attempted = 0;    ///< connections
    uint64_t established = 0;
    uint64_t requests = 0;     ///< completed
    uint64_t bytes = 0;        ///< of answers, headers included
    std::array<uint64_t, load_error_count> errors{};
    Histogram latency;         ///< of a whole request

    uint64_t errors_total() const;
    LoadCounters& operator+=(const LoadCounters& other);
};

class LoadConnection;

/// One core's generator; lives on its core's thread. Must outlive the stack's last turn.
class Generator {
public:
    /// `share` connections of the whole are this core's.
    Generator(Stack& stack, const LoadOptions& options, uint32_t share);
    ~Generator();

    /// Opens connections, at most `opening_max` unanswered at a time.
    void start();
    /// No new request or connection is begun; what is open is closed.
    void stop();
    /// Figures since the last call, for the line a second.
    LoadCounters take_interval();
    const LoadCounters& total() const { return total_; }
    bool done() const { return done_; }

private:
    friend class LoadConnection;
    static constexpr uint32_t opening_max = 256;
    void count(const std::function<void(LoadCounters&)>& what) {
        what(total_);
        what(interval_);
    }
    void failed(LoadError error);
    void opened_or_failed();

    Stack& stack_;
    const LoadOptions options_;
    std::string request_;
    size_t next_ = 0;        ///< connections that have been told to open
    uint32_t opening_ = 0;   ///< of these, how many have no answer yet
    bool stopping_ = false;
    bool done_ = false;  ///< with `output`: the file is complete
    LoadCounters total_;
    LoadCounters interval_;
    std::vector<std::unique_ptr<LoadConnection>> connections_;
};

}  // namespace millrace::apps
