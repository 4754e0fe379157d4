// What a stack needs of whoever hosts it: a runtime over real ports, or a simulation.
#pragma once

#include <cstdint>
#include <variant>

#include "buf/frame.h"
#include "ip/addresses.h"
#include "tcp/flow.h"
#include "wire/ethernet.h"

namespace millrace::stack {

/// One core has learned where a next hop is; the others should know (many cores, one truth).
struct NeighbourNews {
    uint16_t interface;
    Address address;
    wire::MacAddress mac;
    bool confirmed;
    bool create;    ///< also where nobody has asked for it
    bool override;  ///< also where another link address is known
};
/// A core listens, or has a datagram socket there; or no longer does.
struct ListenerNews {
    Address address;
    uint16_t port;
    bool v6_only;
    uint16_t core;
    bool listening;
    uint16_t protocol = 0;  ///< as `FlowKey` has it
};
/// Frames of this tuple, which steering brings to the receiver, belong to `core` (or no longer do).
struct ForwardNews {
    tcp::FlowKey key;
    uint16_t core;
    bool forward;
};
/// The tuple that the receiver has claimed is somebody else's: his attempt must end.
struct ClaimRefused {
    tcp::FlowKey key;
};
/// A path carries no packet larger than this; cores differ in the connections that find out.
struct PathMtuNews {
    Address destination;
    uint16_t mtu;
    bool datagrams = false;  ///< of a datagram that met it: of no account for connections
};
/// A core is in a multicast group, or no longer.
struct GroupNews {
    uint16_t interface;
    Address group;
    uint16_t core;
    bool member;
};
/// A router that understands only the reports of IGMPv2 or MLDv1 has asked.
struct QuerierNews {
    uint16_t interface;
    Family family;
};
using Message = std::variant<NeighbourNews, ListenerNews, ForwardNews, ClaimRefused, PathMtuNews,
                             GroupNews, QuerierNews>;

/// Called by the stack from within its turn, on its own core.
class Host {
public:
    /// Sends what is in `batch` and leaves it empty; what the port does not take is dropped and
    /// counted by the host.
    virtual void transmit(uint16_t interface, buf::FrameBatch& batch) = 0;
    /// So much waits for the ports already that connections should rather wait themselves.
    virtual bool congested() const = 0;
    /// Gives a frame, as it was received, to another core's stack. `settled`: that core is to keep
    /// it, whatever steering says. False where its mailbox is full (the frame is dropped).
    virtual bool hand_over(uint16_t core, uint16_t interface, buf::Frame frame, bool settled) = 0;
    /// Tells one other core.
    virtual void tell(uint16_t core, const Message& message) = 0;

protected:
    ~Host() = default;
};

}  // namespace millrace::stack
