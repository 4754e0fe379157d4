// Why a received frame or a connection attempt was dropped: a name and a sentence for each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace::observe {

// X(name, sentence)
#define MILLRACE_DROP_REASONS(X)                                                                   \
    X(ethernet_truncated, "the frame ends within its Ethernet header")                             \
    X(ethernet_other_destination, "the frame is for another station's address")                    \
    X(ethernet_unknown_type, "neither IPv4, IPv6 nor ARP")                                         \
    X(vlan_mismatch, "the VLAN tag is not the interface's")                                        \
    X(arp_malformed, "not a well-formed ARP request or reply for IPv4")                            \
    X(ip_truncated, "the frame ends within its IP header")                                         \
    X(ip_bad_version, "the IP version is not what the EtherType says")                             \
    X(ip_bad_length, "an IP header or total length that is impossible for the frame")              \
    X(ip_bad_checksum, "the IPv4 header checksum is wrong")                                        \
    X(ip_bad_extension, "an IPv6 extension header is malformed, or there are too many")            \
    X(ip_bad_source, "the source address cannot be a sender's (multicast, broadcast, our own)")    \
    X(ip_not_for_us, "the destination address is none of ours")                                    \
    X(ip_unknown_protocol, "the IP protocol is not served")                                        \
    X(fragment_bad, "a fragment that overlaps, is tiny or ends past 65535 bytes")                  \
    X(fragment_no_room, "the reassembly table is full")                                            \
    X(fragment_timeout, "the rest of the datagram did not come in time")                           \
    X(icmp_malformed, "an ICMP message that is too short or whose checksum is wrong")              \
    X(icmp_unhandled, "an ICMP message that a host may ignore")                                    \
    X(ndp_malformed, "a neighbour message that fails RFC 4861's validity checks")                  \
    X(tcp_truncated, "the IP payload ends within the TCP header")                                  \
    X(tcp_bad_data_offset, "the TCP data offset is under 5 or past the segment")                   \
    X(tcp_bad_option, "a TCP option has an illegal length")                                        \
    X(tcp_bad_checksum, "the TCP checksum is wrong")                                               \
    X(tcp_bad_flags, "a combination of control bits that no state accepts")                        \
    X(tcp_broadcast, "a TCP segment to or from a group address, or in a frame to one")             \
    X(tcp_no_listener, "a segment for a port on which nothing listens; answered with RST")         \
    X(tcp_closed_rst, "a RST for a connection that does not exist")                                \
    X(tcp_backlog_full, "a SYN while the half-open backlog is full")                               \
    X(tcp_bad_cookie, "an ACK for a listener under attack that brings no SYN cookie of ours back") \
    X(tcp_accept_queue_full, "a SYN or final ACK while the accept queue is full")                  \
    X(tcp_out_of_window, "no octet of the segment lies in the receive window")                     \
    X(tcp_paws, "the timestamp is older than the last one (RFC 7323 section 5)")                   \
    X(tcp_bad_echo, "a third ACK or a RST that echoes a time at which no SYN-ACK left (RFC 7323)") \
    X(tcp_bad_ack, "the acknowledgment is for data never sent or long acknowledged")               \
    X(tcp_no_ack, "a segment without ACK in a state that demands it")                              \
    X(tcp_challenge, "a SYN or RST in a synchronised state that RFC 5961 answers with an ACK")     \
    X(tcp_state, "nothing that the connection's state can use")                                    \
    X(tcp_reassembly_full, "out-of-order data beyond what the connection may hold")                \
    X(tcp_receive_full, "received data beyond the buffers that the connection may pin")            \
    X(tcp_min_ttl, "the TTL is below what the socket has set by IP_MINTTL (RFC 5082)")             \
    X(udp_malformed, "a UDP header or length that does not fit")                                   \
    X(udp_bad_checksum, "the UDP checksum is wrong")                                               \
    X(udp_no_socket, "a datagram for a port without a socket; answered by ICMP")                   \
    X(udp_receive_full, "a datagram for a socket whose receive buffer is full")                    \
    X(igmp_malformed, "an IGMP or MLD message that is too short or whose checksum is wrong")       \
    X(neighbour_unresolved, "the next hop's link address could not be found")                      \
    X(neighbour_queue_full, "too many frames wait for the next hop's link address")                \
    X(no_route, "no route leads to the destination")                                               \
    X(no_buffer, "a buffer pool is dry")                                                           \
    X(no_connection, "the connection pool is at its limit")                                        \
    X(handover_full, "the owning core's mailbox is full")                                          \
    X(transmit_full, "the port's transmit ring is full")

enum class Drop : uint8_t {
#define X(name, sentence) name,
    MILLRACE_DROP_REASONS(X)
#undef X
};

struct DropReason {
    std::string_view name;
    std::string_view sentence;
};

inline constexpr std::array drop_reasons{
#define X(name, sentence) DropReason{#name, sentence},
    MILLRACE_DROP_REASONS(X)
#undef X
};
inline constexpr size_t drop_count = drop_reasons.size();

}  // namespace millrace::observe
