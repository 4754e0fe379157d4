// The routing table of a host: longest prefix first.
#pragma once

#include <optional>
#include <vector>

#include "ip/addresses.h"

namespace millrace::ip {

struct NextHop {
    uint16_t interface = 0;
    Address address;  ///< the gateway, or the destination itself where it is on the link
};

/// Built at start from the interfaces, then read only. A look-up walks the prefixes, longest
/// first: a host has a handful, and a connection looks up once.
class Routes {
public:
    Routes(const std::vector<Interface>& interfaces, const LocalAddresses& addresses);

    /// Nothing where no route leads there. Our own addresses lead to the loopback interface.
    std::optional<NextHop> find(const Address& destination) const;
    /// The same by one interface alone; our own addresses lead to the loopback all the same.
    std::optional<NextHop> find(const Address& destination, uint16_t interface) const;
    /// The address from which to speak to `destination` (RFC 9293 MUST-44, RFC 6724 in short: on
    /// the outgoing interface, the same network first, then the same scope).
    std::optional<LocalIndex> source_for(const Address& destination) const;

private:
    struct Row {
        Prefix prefix;
        uint16_t interface;
        Address gateway;  // unspecified: on the link
    };
    void add(const Row& row);
    std::optional<NextHop> find_among(const Address& destination,
                                      std::optional<uint16_t> interface) const;

    std::vector<Row> rows_;
    const std::vector<Interface>& interfaces_;
    const LocalAddresses& addresses_;
    std::optional<uint16_t> loopback_;
};

}  // namespace millrace::ip
