// Multicast groups that this host is in, and when it says so (RFC 3376, RFC 3810: a host that
// takes all sources).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include <millrace/address.h>
#include <millrace/time.h>

#include "base/random.h"
#include "wire/membership.h"

namespace millrace::ip {

/// What the groups want from the stack.
class GroupActions {
public:
    virtual void send_report(uint16_t interface, const wire::MembershipReport& report) = 0;

protected:
    ~GroupActions() = default;
};

/// One core's view of all cores' groups: each is told of the others', so that whoever gets a
/// router's question can answer it. The core on which a group is joined first, or left last, says
/// so to the routers. Bounded by `groups_max`.
class Groups {
public:
    static constexpr size_t groups_max = 4096;
    /// RFC 3376 section 8.1 and 8.11: what may get lost goes twice, within a second.
    static constexpr int robustness = 2;
    static constexpr Duration unsolicited_interval = Duration::from_s(1);
    /// Section 8.12: so long after an old router's question new reports are of no use.
    static constexpr Duration old_querier_timeout = Duration::from_s(260);

    Groups(uint16_t core, uint16_t loopback, uint64_t seed)
        : core_(core), loopback_(loopback), random_(seed) {}

    /// Some core of this host is in the group on this interface; by the loopback, on any.
    bool has(uint16_t interface, const Address& group) const;
    /// Another socket of this core is in it. False where there is no room.
    bool join(uint16_t interface, const Address& group, Instant now, bool& first);
    /// One socket less; `last`: none of this core is.
    void leave(uint16_t interface, const Address& group, Instant now, bool& last);
    /// Another core is in it, or no longer.
    void learn(uint16_t interface, const Address& group, uint16_t core, bool member);

    void on_query(uint16_t interface, Family family, const wire::MembershipQuery& query,
                  Instant now);
    /// An old router is there: it is spoken to in its own words for a while.
    void on_old_querier(uint16_t interface, Family family, Instant now) {
        old_until_[{interface, family}] = now + old_querier_timeout;
    }
    /// Sends what is due.
    void run(Instant now, GroupActions& actions);
    Instant next_deadline() const { return next_; }
    size_t size() const { return groups_.size(); }

private:
    struct Key {
        uint16_t interface;
        Address group;
        auto operator<=>(const Key&) const = default;
    };
    struct Group {
        uint64_t cores = 0;    // bit i: core i is in it
        uint32_t sockets = 0;  // of this core
        int reports = 0;       // still to be sent without a question
        Instant due = Instant::never();
    };
    void arm(Group& group, Instant at);
    void announce(const Key& key, Group& group, Instant now);
    Duration within(Duration time);

    const uint16_t core_;
    const uint16_t loopback_;
    Random random_;
    std::map<Key, Group> groups_;
    std::map<std::pair<uint16_t, Family>, Instant> old_until_;
    Instant next_ = Instant::never();
};

}  // namespace millrace::ip
