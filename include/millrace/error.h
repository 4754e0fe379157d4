// Errors: what a call answers when it cannot do what it was asked.
//
// Purpose: two kinds. `Errno` is the answer of a call on a running stack: one of Linux's errno
// values, cheap to make and to compare. `Failure` is the answer of a start-up call (configuration,
// EAL, ports): a sentence for a person that names cause and remedy, with an errno beside it.
// Nothing in Millrace throws, prints or exits across its API.
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>

namespace millrace {

/// An errno value with a type. `Errno{ECONNREFUSED}`; zero does not occur in an error.
struct Errno {
    int value = 0;  ///< as Linux numbers them
    /// The same value.
    constexpr bool operator==(const Errno&) const = default;
    /// With the bare constant: `result.error() == EAGAIN`.
    constexpr bool operator==(int other) const { return value == other; }
    /// The C library's sentence for the value, untranslated. Unlike `strerror` from any thread.
    const char* message() const {
        const char* text = ::strerrordesc_np(value);
        return text != nullptr ? text : "unknown error";
    }
};

/// The answer of a call on a running stack.
template <typename T>
using Result = std::expected<T, Errno>;

/// For `return error(EINVAL);` where a `Result` is due; `value` is not 0.
inline std::unexpected<Errno> error(int value) { return std::unexpected(Errno{value}); }

/// Why something could not be started: cause and remedy, in one or two sentences.
struct Failure {
    std::string what;  ///< for a person, in English
    int code = 0;      ///< errno where one applies, else 0
};

/// The answer of a start-up call.
template <typename T>
using Started = std::expected<T, Failure>;

/// Likewise where a `Started` is due.
inline std::unexpected<Failure> failure(std::string what, int code = 0) {
    return std::unexpected(Failure{std::move(what), code});
}

}  // namespace millrace
