// The first pass over a burst: what is each frame, and is it well-formed?
#pragma once

#include <cstdint>

#include "buf/frame.h"
#include "ip/addresses.h"
#include "ip/groups.h"
#include "observe/counters.h"
#include "tcp/flow.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::stack {

enum class Kind : uint8_t { dropped, tcp, udp, icmp, igmp, fragment, arp };

/// A received frame and what its headers say. The frame still starts at its Ethernet header.
struct Classified {
    buf::Frame frame;
    Kind kind = Kind::dropped;
    bool settled = false;       ///< another core has decided that it stays here
    bool to_group = false;      ///< multicast or broadcast: the key names no address of ours
    bool link_group = false;    ///< the frame went to a link-layer broadcast or multicast address
    uint16_t interface = 0;
    uint16_t ip_at = 0;         ///< offset of the IP header
    uint16_t upper_at = 0;      ///< offset of what follows it
    uint16_t payload_at = 0;    ///< offset of TCP's or UDP's payload
    wire::MacAddress source_mac;
    wire::Ip ip;
    wire::Segment segment;
    tcp::FlowKey key;
    uint32_t hash = 0;
    tcp::Flow* flow = nullptr;  ///< what the second pass found: a hint
};

/// Everything malformed dies here, under one counter per reason; what passes has lengths that are
/// right and checksums that were verified, by the port where it said so, else here.
class Classifier {
public:
    Classifier(const std::vector<ip::Interface>& interfaces, const ip::LocalAddresses& addresses,
               const ip::Groups& groups, const TableHash& hash, observe::Counters& counters)
        : interfaces_(interfaces),
          addresses_(addresses),
          groups_(groups),
          hash_(hash),
          counters_(counters) {}

    /// Fills `out` from a received frame.
    void classify(uint16_t interface, buf::Frame frame, Classified& out) const;
    /// The same from the IP header on: for a datagram that has been put together. `out.ip_at` and
    /// `out.interface` are set.
    void classify_ip(Classified& out) const;

private:
    void drop(Classified& out, observe::Drop reason) const;
    bool classify_common(Classified& out) const;
    bool is_possible_peer(const Address& source) const;
    bool check_addresses(Classified& out) const;
    static bool may_be_anonymous(const Classified& out);
    bool takes_group(const Classified& out) const;
    void classify_tcp(Classified& out, std::span<const uint8_t> bytes) const;
    void classify_icmp(Classified& out) const;
    void classify_igmp(Classified& out) const;
    void set_key(Classified& out, uint16_t protocol, uint16_t source_port,
                 uint16_t destination_port) const;
    void classify_udp(Classified& out, std::span<const uint8_t> bytes) const;
    bool transport_checksum_ok(const Classified& out) const;

    const std::vector<ip::Interface>& interfaces_;
    const ip::LocalAddresses& addresses_;
    const ip::Groups& groups_;
    const TableHash& hash_;
    observe::Counters& counters_;
};

}  // namespace millrace::stack
