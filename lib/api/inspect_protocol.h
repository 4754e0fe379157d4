// What an inspector and an inspection say to each other over a Unix stream socket. Both are of one
// build: values go as they lie in memory, and a greeting of another build is refused.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <millrace/inspect.h>

namespace millrace::api {

enum class InspectCommand : uint16_t {
    about,     ///< text: program, cores, ports
    list,      ///< records
    counters,  ///< text: core, name and value, a line each
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
    bool received = false;
    bool sent = false;
};
static_assert(std::is_trivially_copyable_v<CaptureRequest>);

struct InspectRequest {
    static constexpr std::array<char, 8> magic_value{'m', 'r', 'i', 'n', 's', 'p', '0', '2'};
    std::array<char, 8> magic = magic_value;
    uint32_t record_size = sizeof(SocketRecord);
    InspectCommand command = InspectCommand::about;
    SocketFilter filter;
    uint32_t one_in = 0;  ///< of `follow`
    CaptureRequest capture;
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
    enum class Kind : uint32_t { records, text, story, events, capture, counts, failure, end };
    Kind kind = Kind::end;
    uint32_t size = 0;  ///< bytes that follow
    static constexpr uint32_t size_max = 1 << 20;
};

/// Where the sockets of this user's programs are: made where `make` says so. Empty where it cannot
/// be. /run/millrace for root, else XDG_RUNTIME_DIR/millrace, else /tmp/millrace-UID.
std::string inspect_directory(bool make);

/// All of it; false where the other side is gone or takes longer than the socket's timeout.
bool send_all(int fd, const void* data, size_t size);
bool receive_all(int fd, void* data, size_t size);

}  // namespace millrace::api
