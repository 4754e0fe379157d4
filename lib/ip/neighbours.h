// Link addresses of next hops: what ARP (RFC 826) and Neighbour Discovery (RFC 4861) find out.
#pragma once

#include <cstdint>
#include <vector>

#include <boost/intrusive/list.hpp>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "buf/frame.h"
#include "ip/interface.h"
#include "observe/counters.h"
#include "time/wheel.h"

namespace millrace::ip {

/// RFC 4861 section 7.3.2's states, as far as a host needs them; ARP uses the same.
enum class NeighbourState : uint8_t {
    incomplete,  ///< asked, no answer yet; frames wait
    reachable,   ///< confirmed within `neighbour_reachable_s`
    stale,       ///< known, but not confirmed lately; used, and asked again when used
    probe,       ///< used while being asked again
    failed,      ///< no answer; the next frame starts anew
    permanent,   ///< said to be there by the configuration: never asked, never changed
};

struct Neighbour : HashNode {
    Address address;
    uint16_t interface = 0;
    NeighbourState state = NeighbourState::incomplete;
    uint8_t tries = 0;
    bool wanted = false;  ///< a connection sends by way of it: should it fail, that is told
    bool untold = false;  ///< it has failed, and the connections have not been told yet
    wire::MacAddress mac;
    uint16_t generation = 0;  ///< changes when the entry gets another address
    time::WheelEntry timer;
    std::vector<buf::Frame> waiting;

    bool usable() const {
        return state != NeighbourState::incomplete && state != NeighbourState::failed;
    }
};

/// A reference that outlives the entry: checked by generation at each use. 8 bytes, for a
/// connection to keep instead of a look-up per segment.
struct NeighbourRef {
    uint32_t index = UINT32_MAX;
    uint16_t generation = 0;
    uint16_t interface = 0;
};

/// What the table wants from the stack. Owned by one core, as the table is.
class NeighbourActions {
public:
    /// Ask for the link address: by broadcast or multicast, or by unicast of a `known` one.
    virtual void solicit(const Neighbour& neighbour, bool unicast) = 0;
    /// The frame's link address is known now: it goes out.
    virtual void forward(uint16_t interface, buf::Frame frame) = 0;
    /// No answer came: the connections that send by way of it should know (EHOSTUNREACH). Not
    /// called where none does: what answers to forged sources must cost no search for them.
    virtual void unreachable(const Neighbour& neighbour) = 0;

protected:
    ~NeighbourActions() = default;
};

/// One core's table. Sans-IO: what it decides goes through `NeighbourActions`. Bounded by
/// `neighbour_max`; a new entry takes the place of the oldest that nobody waits for.
class Neighbours {
public:
    Neighbours(const IpTunables& tunables, uint64_t seed, time::Wheel& wheel,
               observe::Counters& counters, NeighbourActions& actions, uint8_t timer_kind);

    /// The entry for a next hop, made if there is none. Null where the table is full of entries
    /// that frames wait for.
    Neighbour* get(uint16_t interface, const Address& address, Instant now);
    Neighbour* find(uint16_t interface, const Address& address) const;
    NeighbourRef reference(const Neighbour& neighbour) const;
    /// Null where the entry has been given to another address since.
    Neighbour* resolve(const NeighbourRef& reference);

    /// Nothing comes back by way of this neighbour: it is asked again when it is used next.
    void doubt(const NeighbourRef& reference);
    static void doubt(Neighbour& neighbour);

    /// Sends `frame` to a neighbour: its Ethernet destination is written here. Waits if it must.
    void send(Neighbour& neighbour, buf::Frame frame, Instant now);
    /// Somebody said where `address` is. `confirmed`: in answer to our question. Not `override`: a
    /// link address that is known stays, though in doubt. True if that changed anything.
    bool learn(uint16_t interface, const Address& address, const wire::MacAddress& mac,
               bool confirmed, bool create, Instant now, bool override = true);
    /// Somebody is there from the start, for good or until he is asked. Before any traffic.
    void place(uint16_t interface, const NeighbourConfig& neighbour, Instant now);
    /// An entry's timer fired.
    void on_timer(time::WheelEntry& entry, Instant now);

    size_t size() const { return table_.size(); }
    /// Frames that wait for a link address.
    size_t waiting() const { return waiting_; }

    /// Frames that may wait in all: a flood towards silent neighbours must not pin the pools.
    static constexpr size_t waiting_max = 512;

private:
    struct Key {
        uint16_t interface;
        const Address& address;
        bool matches(const Neighbour& n) const {
            return n.interface == interface && n.address == address;
        }
    };
    uint32_t hash(const Address& address) const { return hash_(address.bytes()); }
    void ask(Neighbour& neighbour, Instant now);
    void use(Neighbour& neighbour, Instant now);
    void fail(Neighbour& neighbour);
    Neighbour* recycle();

    const IpTunables& tunables_;
    TableHash hash_;
    time::Wheel& wheel_;
    observe::Counters& counters_;
    NeighbourActions& actions_;
    uint8_t timer_kind_;
    std::vector<Neighbour> entries_;
    size_t waiting_ = 0;  // frames, over all entries
    size_t used_ = 0;     // entries handed out at least once
    size_t victim_ = 0;   // where the search for an entry to recycle goes on
    HashTable<Neighbour> table_;
};

}  // namespace millrace::ip
