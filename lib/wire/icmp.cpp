#include "wire/icmp.h"

#include <array>
#include <cerrno>

namespace millrace::wire {

namespace {
constexpr uint8_t option_source_link_address = 1;
constexpr uint8_t option_target_link_address = 2;
}  // namespace

int icmp4::error_of(uint8_t type, uint8_t code) {
    // Linux's icmp_err_convert; code 4 is the path MTU's affair.
    constexpr std::array<int, 16> unreachable{
        ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT,  ECONNREFUSED, 0,           EOPNOTSUPP,
        ENETUNREACH, EHOSTDOWN,    ENONET,       ENETUNREACH,  EHOSTUNREACH, ENETUNREACH,
        EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH};
    if (type == destination_unreachable) return code < unreachable.size() ? unreachable[code] : 0;
    if (type == time_exceeded) return EHOSTUNREACH;
    return type == parameter_problem ? EPROTO : 0;
}

bool icmp4::is_hard(uint8_t type, uint8_t code) {
    if (type == parameter_problem) return true;
    if (type != destination_unreachable) return false;
    switch (code) {
        case 2:    // protocol
        case 3:    // port
        case 6:    // network unknown
        case 7:    // host unknown
        case 8:    // host isolated
        case 9:    // network prohibited
        case 10:   // host prohibited
        case 13:   // filtered
        case 14:   // precedence
        case 15: return true;
        default: return false;
    }
}

bool icmp6::is_hard(uint8_t type, uint8_t code) {
    if (type == parameter_problem) return true;
    return type == destination_unreachable && (code == 1 || (code >= 4 && code <= 6));
}

int icmp6::error_of(uint8_t type, uint8_t code) {
    // Linux's icmpv6_err_convert.
    constexpr std::array<int, 7> unreachable{ENETUNREACH,  EACCES, EHOSTUNREACH, EHOSTUNREACH,
                                             ECONNREFUSED, EACCES, EACCES};
    if (type == destination_unreachable)
        return code < unreachable.size() ? unreachable[code] : EPROTO;
    if (type == time_exceeded) return EHOSTUNREACH;
    return type == parameter_problem ? EPROTO : 0;
}

std::optional<Ndp> Ndp::parse(std::span<const uint8_t> bytes) {
    if (bytes.size() < size) return std::nullopt;
    Ndp ndp;
    ndp.is_advertisement = bytes[0] == icmp6::neighbour_advertisement;
    ndp.flags = load32(bytes.data() + 4);
    ndp.target = Address::v6(bytes.data() + 8);
    if (ndp.target.is_v4()) return std::nullopt;  // mapped: IPv4 is resolved by ARP
    const uint8_t wanted =
        ndp.is_advertisement ? option_target_link_address : option_source_link_address;
    for (size_t at = size; at < bytes.size();) {
        if (at + 2 > bytes.size()) return std::nullopt;
        const size_t option_size = bytes[at + 1] * size_t{8};
        // RFC 4861 section 4.6: a zero length makes the whole packet invalid.
        if (option_size == 0 || at + option_size > bytes.size()) return std::nullopt;
        if (bytes[at] == wanted) {
            ndp.link_address.emplace();
            std::memcpy(ndp.link_address->bytes.data(), bytes.data() + at + 2, 6);
        }
        at += option_size;
    }
    return ndp;
}

size_t Ndp::emit(uint8_t* at) const {
    at[0] = is_advertisement ? icmp6::neighbour_advertisement : icmp6::neighbour_solicitation;
    at[1] = 0;
    store16(at + 2, 0);
    store32(at + 4, flags);
    std::memcpy(at + 8, target.bytes().data(), 16);
    if (!link_address) return size;
    at[24] = is_advertisement ? option_target_link_address : option_source_link_address;
    at[25] = 1;
    std::memcpy(at + 26, link_address->bytes.data(), 6);
    return size_with_option;
}

Address solicited_node(const Address& target) {
    std::array<uint8_t, 16> bytes{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    std::memcpy(&bytes[13], &target.bytes()[13], 3);
    return Address::v6(bytes.data());
}

bool stays_on_host(const Address& group) {
    constexpr uint8_t interface_local = 1;
    return !group.is_v4() && (group.bytes()[1] & 0x0f) <= interface_local;
}

MacAddress multicast_mac(const Address& group) {
    const auto& b = group.bytes();
    if (group.is_v4())
        return {{0x01, 0x00, 0x5e, static_cast<uint8_t>(b[13] & 0x7f), b[14], b[15]}};
    return {{0x33, 0x33, b[12], b[13], b[14], b[15]}};
}

}  // namespace millrace::wire
