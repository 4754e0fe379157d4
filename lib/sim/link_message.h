// ARP and neighbour discovery, as a station speaks them that is not one of our stacks.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include <millrace/address.h>

#include "wire/ethernet.h"

namespace millrace::sim {

struct Station {
    Address address;
    wire::MacAddress mac;
};

/// A frame in which `from` tells `to` its link address: as the answer to a question, or with a
/// question of its own.
std::vector<uint8_t> link_message(const Station& from, const Station& to, bool answer);

/// What a frame says about link addresses.
struct LinkMessage {
    bool is_question;
    Address asker;   ///< who sent it
    Address target;  ///< whose link address it is about
};
/// Nothing where the frame is about something else.
std::optional<LinkMessage> parse_link_message(std::span<const uint8_t> frame);

}  // namespace millrace::sim
