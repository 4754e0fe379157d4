// What a generator counts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "load/histogram.h"

namespace millrace::apps {

/// What went wrong, by kind.
enum class LoadError : uint8_t {
    refused,       ///< nobody listens
    reset,         ///< the peer aborted
    timed_out,     ///< TCP gave up, or the answer did not come within the plan's `timeout`
    unreachable,   ///< no way there
    closed_early,  ///< the peer closed with an answer missing
    bad_answer,    ///< not what the protocol has, or not what was sent (echo)
    status,        ///< HTTP: another one than was expected
    bad_tls,       ///< TLS failed: its protocol, or a certificate
    no_port,       ///< every tuple was in use
    no_memory,     ///< no connection or buffer was left
    lost,          ///< a datagram without an answer
};
constexpr size_t load_error_count = 11;
std::string_view name_of(LoadError error);

/// One core's figures over some time; those of several cores or times add up without loss.
struct Figures {
    uint64_t attempted = 0;         ///< connections
    uint64_t established = 0;
    uint64_t closed = 0;            ///< established, and over
    uint64_t asked = 0;             ///< requests that were sent
    uint64_t completed = 0;         ///< requests that were answered, well or with another status
    uint64_t unanswered = 0;        ///< requests that were sent and failed
    uint64_t unsent = 0;            ///< of the schedule, never begun for want of a connection
    uint64_t skipped = 0;           ///< of the schedule, never begun by the generator's own fault
    uint64_t handshakes = 0;        ///< of TLS, that were completed
    uint64_t resumed = 0;           ///< of these, by a session from before
    uint64_t bytes_out = 0;         ///< given to the stack; TCP payload
    uint64_t bytes_in = 0;          ///< taken from it
    std::array<uint64_t, load_error_count> errors{};
    std::array<uint64_t, 600> statuses{};  ///< answers of HTTP by status, below 600

    Histogram connect;              ///< from the intended time to established
    Histogram handshake;            ///< from established to the end of TLS's handshake
    Histogram first_byte;           ///< from the request to the answer's first byte
    Histogram request;              ///< from the intended time to the answer's last byte
    Histogram uncorrected;          ///< from the time at which it was sent to the last byte
    Histogram lag;                  ///< from the intended time to that at which the schedule was
                                    ///< looked at: what the generator itself was late by

    void count(LoadError error) { ++errors[static_cast<size_t>(error)]; }
    uint64_t errors_total() const;
    Figures& operator+=(const Figures& other);
    /// The histograms alone.
    void add_latencies(const Figures& other);
    void clear();
};

}  // namespace millrace::apps
