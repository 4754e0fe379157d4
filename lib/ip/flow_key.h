// What tells one conversation from another: the key of the tables of connections and of sockets.
#pragma once

#include <cstdint>

#include <millrace/address.h>

namespace millrace::ip {

/// A four-tuple and its protocol. The local address is an index into `LocalAddresses`, the same on
/// every core. Ports in host byte order. No padding: it is hashed as bytes.
struct FlowKey {
    Address remote;
    uint16_t remote_port = 0;
    uint16_t local_port = 0;
    uint16_t local = 0;
    uint16_t protocol = 0;  ///< 0: TCP; else as IP has it

    bool operator==(const FlowKey&) const = default;
    template <typename Node>
    bool matches(const Node& node) const {
        return node.key == *this;
    }
};
static_assert(sizeof(FlowKey) == 24);

}  // namespace millrace::ip
