// Who is in which multicast group: IGMP (RFC 3376, RFC 2236) and MLD (RFC 3810, RFC 2710), as far
// as a host that takes all sources needs them.
#pragma once

#include <optional>
#include <span>

#include <millrace/address.h>
#include <millrace/time.h>

#include "wire/bytes.h"

namespace millrace::wire {

/// A router asks who is there.
struct MembershipQuery {
    Address group;          ///< unspecified: all
    Duration max_response;  ///< answers are spread over so long
    bool old = false;       ///< of IGMPv2 (or 1), of MLDv1: it understands no newer report

    /// The bytes of the message; nothing where it is too short or no query. Checksums are the
    /// caller's.
    static std::optional<MembershipQuery> parse(Family family, std::span<const uint8_t> bytes);
};

/// A host tells that it is there, or no longer.
struct MembershipReport {
    enum class Kind : uint8_t { present, joined, left };

    Address group;
    Kind kind = Kind::present;
    bool old = false;  ///< for a querier of IGMPv2 or MLDv1

    static constexpr size_t size_max = 28;
    static constexpr size_t checksum_offset = 2;
    /// Where it goes.
    Address destination() const;
    /// Writes at most `size_max` bytes, checksum zero; answers how many.
    size_t emit(uint8_t* at) const;
};

/// The option that makes routers look at what is not for them (RFC 2113, RFC 2711), to stand
/// between the IP header and the message; in IPv6 a hop-by-hop header.
struct RouterAlert {
    static constexpr size_t size_for(Family family) { return family == Family::ipv4 ? 4 : 8; }
    static void emit(Family family, uint8_t* at);
};

}  // namespace millrace::wire
