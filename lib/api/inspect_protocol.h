// What an inspector and an inspection say to each other over a Unix stream socket. Both are of one
// build: values go as they lie in memory, and a greeting of another build is refused.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <millrace/inspect.h>

namespace millrace::api {

enum class InspectCommand : uint16_t {
    about,     ///< text: program, cores, ports
    list,      ///< records
    counters,  ///< text: whose, name and value, a line each
    abort,     ///< text: how many connections
    drops,     ///< text: core, reason, count and what it means, a line each
    stories,   ///< of each a `StoryHead`, then its events
    follow,    ///< nothing
    capture,   ///< pieces of pcapng, then `CaptureCounts`; ends when the asking side shuts down
};

/// `CaptureOptions` but the filter.
struct CaptureRequest {
    std::array<char, 64> port{};
    uint64_t count = 0;
    uint32_t snaplen = 0;
    uint32_t waiting = 0;
    uint8_t received = 0;
    uint8_t sent = 0;
};
static_assert(std::is_trivially_copyable_v<CaptureRequest>);

struct InspectRequest {
    static constexpr std::array<char, 8> magic_value{'m', 'r', 'i', 'n', 's', 'p', '0', '3'};
    std::array<char, 8> magic = magic_value;
    uint32_t record_size = sizeof(SocketRecord);
    InspectCommand command = InspectCommand::about;
    SocketFilter filter;
    uint32_t one_in = 0;  ///< of `follow`
    CaptureRequest capture;

    /// Of this build, and nothing in it that this build would not say.
    bool is_valid() const;
};

/// A story without its events, which follow.
struct StoryHead {
    SocketAddress local;
    SocketAddress remote;
    uint16_t core = 0;
    StoryKind kind = StoryKind::recorded;
    bool whole = false;
    uint32_t left_out = 0;
};
static_assert(std::is_trivially_copyable_v<StoryHead>);

struct InspectReply {
    /// `wait`: nothing yet, but something goes on.
    enum class Kind : uint32_t {
        records,
        text,
        story,
        events,
        capture,
        counts,
        wait,
        failure,
        end
    };
    Kind kind = Kind::end;
    uint32_t size = 0;  ///< bytes that follow
    static constexpr uint32_t size_max = 1 << 20;
};

/// Where a program of this user has its socket: made, if need be. The first that can be of
/// systemd's RUNTIME_DIRECTORY, /run/millrace (root), XDG_RUNTIME_DIR/millrace,
/// /run/user/UID/millrace and /tmp/millrace-UID. Empty where none can.
std::string inspect_directory();
/// Where those that this user may look into have theirs: for root, everybody's.
std::vector<std::string> inspected_directories();
/// "1234.0": of process 1234, its first runtime. Other files may lie beside them.
bool is_inspect_name(std::string_view name);

}  // namespace millrace::api
