// Reassembly of IP datagrams (RFC 815's idea, RFC 8200 section 4.5, RFC 5722), bounded.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/keyed_hash.h"
#include "buf/frame.h"
#include <millrace/config.h>

#include "observe/counters.h"
#include "wire/ip.h"

namespace millrace::ip {

/// One core's table of datagrams in the making: at most `ipfrag_max`, each of at most
/// `fragments_max` fragments, for at most `ipfrag_time`. Overlaps condemn the whole datagram
/// (RFC 5722; attack case 11): nobody honest sends them.
class FragmentTable {
public:
    static constexpr size_t fragments_max = 64;
    /// Receive buffers that all of them may pin (CVE-2018-5391): so many, or less of a small pool.
    static constexpr size_t buffers_max = 512;
    static constexpr size_t pool_share = 8;

    FragmentTable(const IpTunables& tunables, observe::Counters& counters, uint64_t seed,
                  size_t receive_buffers);

    /// Takes a fragment whose `frame` starts at the IP header. Answers the whole datagram, again
    /// starting at an IP header (without fragment header), when this was the missing piece.
    buf::Frame add(const wire::Ip& ip, buf::Frame frame, Instant now);
    /// Drops what has waited too long. Called in housekeeping.
    void expire(Instant now);
    size_t size() const { return used_; }

private:
    struct Piece {
        uint32_t begin;
        uint32_t end;
        buf::Frame frame;  // payload only; the first piece keeps its IP header
    };
    struct Datagram {
        bool in_use = false;
        Address source;
        Address destination;
        uint32_t identification = 0;
        wire::Protocol protocol{};  // IPv6: as the first fragment names it
        Instant expires;
        uint32_t total = 0;     // bytes of what was fragmented, once the last fragment is here
        uint32_t received = 0;  // of these so far
        uint16_t header_size = 0;  // of the first fragment, as kept
        uint32_t inner_headers = 0;  // bytes of that which count as fragmented
        uint8_t tos = 0;           // of the first fragment
        uint8_t ttl = UINT8_MAX;   // the least of all: who was further away than he may be, is
        uint8_t ecn_seen = 0;      // bit i: a fragment whose ECN field is i
        size_t buffers = 0;         // that the pieces pin
        std::vector<Piece> pieces;  // ordered by begin
    };

    Datagram* find_or_make(const wire::Ip& ip, Instant now);
    bool insert(Datagram& datagram, const wire::Ip& ip, buf::Frame frame);
    static bool settle_ecn(Datagram& datagram);
    static buf::Frame join(Datagram& datagram);
    void release(Datagram& datagram);

    const IpTunables& tunables_;
    observe::Counters& counters_;
    TableHash hash_;
    std::vector<Datagram> datagrams_;
    size_t used_ = 0;
    size_t buffers_limit_;
    size_t buffers_ = 0;
};

}  // namespace millrace::ip
