// A whole random conversation of several stacks, drawn from one seed: who there is, what the links
// do to frames, what the applications do. Plain values; `World` plays them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/network.h"

namespace millrace::testing {

/// What one end of a connection does.
struct EndPlan {
    uint32_t bytes = 0;          ///< to be sent
    bool echo = false;           ///< sends back what it receives, by ownership, instead
    uint32_t piece_max = 65536;  ///< written in pieces of random size up to this
    bool zero_copy = false;      ///< pieces refer to a region instead of being copied
    uint32_t pauses = 0;         ///< how often it thinks between two pieces
    Duration pause_max;
    std::optional<uint32_t> stall_at;  ///< reads nothing for `stall_for` after so many bytes
    Duration stall_for;
    Duration consume_after;      ///< keeps what it has read for so long; the window waits
    bool no_delay = false;
    uint32_t reneges = 0;        ///< how often it drops what it has selectively acknowledged

    /// How it ends when nothing goes wrong. One side at most waits for the other's end.
    enum class Ending : uint8_t {
        shutdown,         ///< half-closes when everything is written, closes at the peer's end
        close_when_sent,  ///< closes at once when everything is written
        close_at_end,     ///< closes when the peer has closed
    } ending = Ending::shutdown;
    bool wait_for_closed = false;  ///< lets the stack report the end instead of closing at it

    /// What it does instead after `violence_at` bytes of both directions, or `violence_after`.
    enum class Violence : uint8_t { none, abort, close, close_unread } violence = Violence::none;
    uint32_t violence_at = 0;
    Duration violence_after;
};

enum class Opening : uint8_t { listener, closed_port, simultaneous };

struct ConnectionPlan {
    Opening opening = Opening::listener;
    uint8_t client = 0;  ///< index of the node; may be the server's own
    uint8_t server = 0;
    uint16_t client_core = 0;
    Family family = Family::ipv4;
    uint16_t client_port = 0;  ///< 0: the stack chooses
    uint16_t server_port = 80;
    Duration at;
    EndPlan client_end;
    EndPlan server_end;
};

struct ListenerPlan {
    uint8_t node = 0;
    uint16_t port = 80;
    std::optional<uint16_t> core;  ///< none: one on each core
    uint32_t backlog = 128;
    Duration accepts_from;         ///< accepts nobody before
    std::optional<Duration> closes_at;
};

/// What the way from each node to the others is like from `at` on.
struct Weather {
    Duration at;
    std::vector<sim::Impairments> from;
};

/// What happens to one frame on the wire, whatever the weather.
struct FrameFate {
    enum class Kind : uint8_t { none, lost, twice, late, damaged } kind = Kind::none;
    Duration by;      ///< late, or the second time
    uint16_t at = 0;  ///< the bit that is flipped, counted round the frame
};

struct Scenario {
    uint64_t seed = 0;
    Instant start;
    std::vector<sim::NodeOptions> nodes;
    std::vector<ListenerPlan> listeners;
    std::vector<ConnectionPlan> connections;
    std::vector<Weather> weather;  ///< the last entry is calm, or cuts somebody off for good
    bool cut = false;
    std::vector<FrameFate> fates;  ///< of the first frames, while the weather is not settled

    Duration settled_at() const { return weather.back().at; }
    static Address address(uint8_t node, Family family);
    std::string describe() const;
};

/// Where the choices of a story come from.
class Draws {
public:
    /// In [0, bound); `bound` at least 1.
    virtual uint64_t below(uint64_t bound) = 0;

protected:
    ~Draws() = default;
};

Scenario make_scenario(uint64_t seed);
/// One of two nodes and few, short connections, for who plays millions; with a fate for each of the
/// first frames.
Scenario make_small_scenario(Draws& draws);

}  // namespace millrace::testing
