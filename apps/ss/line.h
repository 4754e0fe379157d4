// A socket as `ss -tanoi` prints it.
#pragma once

#include <string>

#include <millrace/inspect.h>

namespace millrace::apps {

struct LineOptions {
    bool timers = false;   ///< -o
    bool details = false;  ///< -i
    bool kinds = false;    ///< a column for tcp or udp, where both are shown
};

/// The heading of the columns.
std::string heading(const LineOptions& options);
/// One socket, with a second line for its details.
std::string line(const SocketRecord& record, const LineOptions& options);
/// "1min59sec", "7.200ms", as `ss` has it.
std::string timer_text(uint32_t ms);

}  // namespace millrace::apps
