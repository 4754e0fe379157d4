#include "ip/groups.h"

#include <algorithm>

namespace millrace::ip {

using wire::MembershipReport;

namespace {

/// Everybody is in these: nobody tells (RFC 3376 section 6, RFC 3810 section 6), nor does what
/// does not leave the host.
bool is_told(const Address& group) {
    if (group.is_v4()) return group != Address::v4(224, 0, 0, 1);
    const uint8_t scope = group.bytes()[1] & 0x0f;
    constexpr uint8_t link_local = 2;
    const auto& bytes = group.bytes();
    const bool all_nodes = std::all_of(bytes.begin() + 2, bytes.end() - 1,
                                       [](uint8_t byte) { return byte == 0; }) &&
                           bytes[15] == 1;
    return scope >= link_local && !(scope == link_local && all_nodes);
}

}  // namespace

bool Groups::has(uint16_t interface, const Address& group) const {
    if (interface == loopback_)
        return std::ranges::any_of(groups_, [&](const auto& entry) {
            return entry.first.group == group && entry.second.cores != 0;
        });
    const auto found = groups_.find({interface, group});
    return found != groups_.end() && found->second.cores != 0;
}

Duration Groups::within(Duration time) {
    return Duration::from_ns(static_cast<int64_t>(
        random_.below(static_cast<uint64_t>(std::max<int64_t>(time.ns(), 1)))));
}

void Groups::arm(Group& group, Instant at) {
    group.due = std::min(group.due, at);
    next_ = std::min(next_, group.due);
}

void Groups::announce(const Key& key, Group& group, Instant now) {
    if (key.interface == loopback_ || !is_told(key.group)) return;
    group.reports = robustness;
    arm(group, now);
}

bool Groups::join(uint16_t interface, const Address& group, Instant now, bool& first) {
    const Key key{interface, group};
    auto found = groups_.find(key);
    if (found == groups_.end()) {
        if (groups_.size() == groups_max) return false;
        found = groups_.emplace(key, Group()).first;
    }
    Group& entry = found->second;
    const bool fresh = entry.cores == 0;
    first = entry.sockets++ == 0;
    entry.cores |= uint64_t{1} << core_;
    if (fresh) announce(key, entry, now);
    return true;
}

void Groups::leave(uint16_t interface, const Address& group, Instant now, bool& last) {
    const auto found = groups_.find({interface, group});
    Group& entry = found->second;
    last = --entry.sockets == 0;
    if (!last) return;
    entry.cores &= ~(uint64_t{1} << core_);
    if (entry.cores != 0) return;
    entry.due = Instant::never();
    announce(found->first, entry, now);
    if (entry.due == Instant::never()) groups_.erase(found);
}

void Groups::learn(uint16_t interface, const Address& group, uint16_t core, bool member) {
    const uint64_t bit = uint64_t{1} << core;
    const Key key{interface, group};
    if (member) {
        if (groups_.size() < groups_max || groups_.contains(key)) groups_[key].cores |= bit;
        return;
    }
    const auto found = groups_.find(key);
    if (found == groups_.end()) return;
    found->second.cores &= ~bit;
    if (found->second.cores == 0 && found->second.reports == 0) groups_.erase(found);
}

/// RFC 3376 section 5.2, less its gathering: each group answers at a moment of its own.
void Groups::on_query(uint16_t interface, Family family, const wire::MembershipQuery& query,
                      Instant now) {
    if (query.old) on_old_querier(interface, family, now);
    for (auto& [key, entry] : groups_) {
        if (key.interface != interface || key.group.family() != family || entry.cores == 0 ||
            !is_told(key.group))
            continue;
        if (query.group.is_unspecified() || query.group == key.group)
            arm(entry, now + within(query.max_response));
    }
}

void Groups::run(Instant now, GroupActions& actions) {
    next_ = Instant::never();
    for (auto at = groups_.begin(); at != groups_.end();) {
        auto& [key, entry] = *at;
        if (entry.due <= now) {
            const bool gone = entry.cores == 0;
            MembershipReport report{.group = key.group};
            if (entry.reports > 0)
                report.kind = gone ? MembershipReport::Kind::left : MembershipReport::Kind::joined;
            const auto old = old_until_.find({key.interface, key.group.family()});
            report.old = old != old_until_.end() && now < old->second;
            actions.send_report(key.interface, report);
            entry.due = Instant::never();
            if (entry.reports > 0) --entry.reports;
            if (entry.reports > 0) entry.due = now + within(unsolicited_interval);
            if (gone && entry.due == Instant::never()) {
                at = groups_.erase(at);
                continue;
            }
        }
        next_ = std::min(next_, entry.due);
        ++at;
    }
}

}  // namespace millrace::ip
