// Which frames of a port somebody wants to see.
#pragma once

#include <cstdint>
#include <span>

#include <millrace/inspect.h>

namespace millrace::runtime {

/// Which way a frame goes, as its port sees it.
enum class Direction : uint8_t { received, sent };

/// What of a `SocketFilter` can be held against a single frame: local is the receiver of what was
/// received, and the sender of what is sent. Values; any thread.
class FrameFilter {
public:
    /// The most that `admits` looks at: link header, the longest IP header, two ports.
    static constexpr size_t head_max = 18 + 256 + 4;

    explicit FrameFilter(const SocketFilter& filter);

    /// `head` is the frame's first bytes, `head_max` of them or all `frame_size`. What cannot be
    /// read (malformed, of another protocol, ports in a fragment behind the first) agrees only
    /// with a filter that does not ask for it.
    bool admits(Direction direction, std::span<const uint8_t> head, size_t frame_size) const;

private:
    struct Ends;
    bool agrees(Direction direction, const Ends& ends) const;

    SocketFilter wanted_;
    bool tcp_;         ///< TCP is wanted
    bool udp_;         ///< UDP is
    bool everything_;  ///< nothing is asked
};

}  // namespace millrace::runtime
