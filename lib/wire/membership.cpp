#include "wire/membership.h"

#include <algorithm>
#include <array>

namespace millrace::wire {

namespace {

constexpr uint8_t igmp_query = 0x11;
constexpr uint8_t igmp_v2_report = 0x16;
constexpr uint8_t igmp_leave = 0x17;
constexpr uint8_t igmp_v3_report = 0x22;
constexpr uint8_t mld_query = 130;
constexpr uint8_t mld_v1_report = 131;
constexpr uint8_t mld_done = 132;
constexpr uint8_t mld_v2_report = 143;

constexpr size_t igmp_size = 8;
constexpr size_t igmp_v3_query_size = 12;
constexpr size_t mld_size = 24;
constexpr size_t mld_v2_query_size = 28;

// Record types (RFC 3376 section 4.2.12); "exclude nothing" is to hear all sources.
constexpr uint8_t mode_is_exclude = 2;
constexpr uint8_t change_to_include = 3;
constexpr uint8_t change_to_exclude = 4;

uint8_t record_type(MembershipReport::Kind kind) {
    switch (kind) {
        case MembershipReport::Kind::present: return mode_is_exclude;
        case MembershipReport::Kind::joined: return change_to_exclude;
        case MembershipReport::Kind::left: return change_to_include;
    }
    return mode_is_exclude;
}

Address v4_group(uint8_t last) { return Address::v4(224, 0, 0, last); }
Address v6_group(uint8_t last) {
    const std::array<uint8_t, 16> bytes{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last};
    return Address::v6(bytes.data());
}

/// RFC 3376 section 4.1.1, in tenths of a second: large values are a mantissa and an exponent.
int64_t igmp_tenths(uint8_t code, bool old) {
    if (old && code == 0) return 100;  // IGMPv1 has no such field: 10 s
    if (old || code < 128) return code;
    return ((code & 0x0f) | 0x10) << (((code >> 4) & 7) + 3);
}

/// RFC 3810 section 5.1.3, in milliseconds.
int64_t mld_ms(uint16_t code, bool old) {
    if (old || code < 32768) return code;
    return ((code & 0x0fff) | 0x1000) << (((code >> 12) & 7) + 3);
}

}  // namespace

std::optional<MembershipQuery> MembershipQuery::parse(Family family,
                                                      std::span<const uint8_t> bytes) {
    const uint8_t* at = bytes.data();
    MembershipQuery query;
    if (family == Family::ipv4) {
        if (bytes.size() < igmp_size || at[0] != igmp_query) return std::nullopt;
        query.old = bytes.size() == igmp_size;
        if (!query.old && bytes.size() < igmp_v3_query_size) return std::nullopt;
        query.max_response = Duration::from_ms(100 * igmp_tenths(at[1], query.old));
        query.group = Address::v4(at + 4);
    } else {
        if (bytes.size() < mld_size || at[0] != mld_query) return std::nullopt;
        query.old = bytes.size() == mld_size;
        if (!query.old && bytes.size() < mld_v2_query_size) return std::nullopt;
        query.max_response = Duration::from_ms(mld_ms(load16(at + 4), query.old));
        query.group = Address::v6(at + 8);
    }
    if (!query.group.is_unspecified() && !query.group.is_multicast()) return std::nullopt;
    return query;
}

Address MembershipReport::destination() const {
    constexpr uint8_t all_routers = 2;
    constexpr uint8_t igmp_v3_routers = 22;
    constexpr uint8_t mld_v2_routers = 0x16;
    if (old && kind != Kind::left) return group;
    if (group.is_v4()) return v4_group(old ? all_routers : igmp_v3_routers);
    return v6_group(old ? all_routers : mld_v2_routers);
}

size_t MembershipReport::emit(uint8_t* at) const {
    std::fill_n(at, size_max, uint8_t{0});
    const bool v4 = group.is_v4();
    const size_t address_size = group.wire_size();
    if (old) {
        const size_t group_at = v4 ? 4 : 8;
        if (v4)
            at[0] = kind == Kind::left ? igmp_leave : igmp_v2_report;
        else
            at[0] = kind == Kind::left ? mld_done : mld_v1_report;
        std::copy_n(group.wire(), address_size, at + group_at);
        return group_at + address_size;
    }
    // One record without sources.
    at[0] = v4 ? igmp_v3_report : mld_v2_report;
    store16(at + 6, 1);
    at[8] = record_type(kind);
    std::copy_n(group.wire(), address_size, at + 12);
    return 12 + address_size;
}

void RouterAlert::emit(Family family, uint8_t* at) {
    constexpr std::array<uint8_t, 4> v4{0x94, 4, 0, 0};
    // Next header ICMPv6, eight bytes in all; the option (MLD), then two bytes of padding.
    constexpr std::array<uint8_t, 8> v6{58, 0, 5, 2, 0, 0, 1, 0};
    if (family == Family::ipv4)
        std::copy(v4.begin(), v4.end(), at);
    else
        std::copy(v6.begin(), v6.end(), at);
}

}  // namespace millrace::wire
