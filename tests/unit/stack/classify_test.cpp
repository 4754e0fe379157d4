// What a frame is and why it is not taken. tests/attack covers what a hostile TCP header may say.
#include "stack/classify.h"

#include <algorithm>
#include <array>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "buf/pools.h"
#include "wire/checksum.h"
#include "wire/common.h"
#include "wire/udp.h"

namespace millrace::stack {
namespace {

using buf::HardwareChecksum;
using observe::Drop;
using wire::Protocol;
using Bytes = std::vector<uint8_t>;

const wire::MacAddress our_mac{{2, 0, 0, 0, 0, 1}};
const wire::MacAddress peer_mac{{2, 0, 0, 0, 0, 9}};

std::vector<ip::Interface> interfaces() {
    ip::Interface plain;
    plain.mac = our_mac;
    // The last one is the broadcast address of the other's network.
    plain.addresses = {*Prefix::parse("10.0.0.1/24"), *Prefix::parse("fd00::1/64"),
                       *Prefix::parse("10.0.3.255/16"), *Prefix::parse("10.0.2.1/23")};
    ip::Interface tagged;
    tagged.mac = our_mac;
    tagged.vlan = 5;
    tagged.addresses = {*Prefix::parse("10.5.0.1/24")};
    ip::Interface loopback;
    loopback.loopback = true;
    return {plain, tagged, loopback};
}

class Classify : public ::testing::TestWithParam<Family> {
protected:
    static constexpr uint16_t plain = 0, tagged = 1, loopback = 2;
    static constexpr size_t no_checksum = 65536;  // beyond any frame

    bool v4() const { return GetParam() == Family::ipv4; }
    size_t ip_size() const { return wire::Ip::size_for(GetParam()); }
    Address us() const { return v4() ? Address::v4(10, 0, 0, 1) : *Address::parse("fd00::1"); }
    Address peer() const { return v4() ? Address::v4(10, 0, 0, 2) : *Address::parse("fd00::2"); }
    Protocol icmp() const { return v4() ? Protocol::icmp : Protocol::icmpv6; }

    /// A whole frame from the peer; the transport checksum at `checksum_at` is filled in.
    Bytes frame(Protocol protocol, const Bytes& upper, size_t checksum_at) const {
        wire::Ip ip;
        ip.source = peer();
        ip.destination = us();
        ip.protocol = protocol;
        ip.payload_size = static_cast<uint32_t>(upper.size());
        return frame(ip, upper, checksum_at);
    }
    Bytes frame(const wire::Ip& ip, Bytes upper, size_t checksum_at, uint16_t vlan = 0) const {
        if (checksum_at + 2 <= upper.size()) {
            wire::store16(&upper[checksum_at], 0);
            wire::Checksum sum;
            if (ip.protocol != Protocol::icmp && ip.protocol != Protocol::igmp)
                sum.add_pseudo_header(ip.source, ip.destination,
                                      static_cast<uint8_t>(ip.protocol), ip.payload_size);
            const uint16_t checksum = sum.add(upper.data(), upper.size()).finish();
            std::memcpy(&upper[checksum_at], &checksum, 2);
        }
        const wire::Ethernet ethernet{
            .destination = our_mac,
            .source = peer_mac,
            .type = ip.source.is_v4() ? wire::EtherType::ipv4 : wire::EtherType::ipv6,
            .vlan = vlan};
        Bytes bytes(wire::Ethernet::size_for(vlan) + wire::Ip::size_for(ip.source.family()));
        ethernet.emit(bytes.data());
        ip.emit(&bytes[wire::Ethernet::size_for(vlan)], true);
        bytes.insert(bytes.end(), upper.begin(), upper.end());
        return bytes;
    }
    static Bytes tcp_segment(size_t payload = 0) {
        wire::Segment segment;
        segment.source_port = 40000;
        segment.destination_port = 80;
        segment.seq = Seq(7);
        segment.flags = wire::TcpFlags::ack;
        Bytes bytes(20);
        segment.emit(bytes.data());
        for (size_t i = 0; i < payload; ++i) bytes.push_back(static_cast<uint8_t>(i + 1));
        return bytes;
    }
    Bytes tcp(size_t payload = 0) const {
        return frame(Protocol::tcp, tcp_segment(payload), wire::tcp_checksum_offset);
    }
    static Bytes udp_datagram(size_t payload = 4) {
        Bytes bytes(wire::Udp::size + payload, 0x11);
        wire::Udp{5000, 53, static_cast<uint16_t>(bytes.size())}.emit(bytes.data());
        return bytes;
    }
    Bytes udp(size_t payload = 4) const { return frame(Protocol::udp, udp_datagram(payload), 6); }
    Bytes echo(size_t payload = 8) const {
        Bytes bytes(8 + payload, 0x22);
        wire::Icmp{v4() ? wire::icmp4::echo_request : wire::icmp6::echo_request, 0, 1}.emit(
            bytes.data());
        return frame(icmp(), bytes, 2);
    }
    /// IPv4's header checksum, after a test has changed the header.
    static void repair_ip(Bytes& bytes) {
        wire::store16(&bytes[24], 0);
        const uint16_t sum = wire::Checksum().add(&bytes[14], (bytes[14] & 0xfU) * 4).finish();
        std::memcpy(&bytes[24], &sum, 2);
    }

    void run(const Bytes& bytes, uint16_t interface = plain, uint64_t hardware = 0) {
        buf::Frame in = pools_.received(bytes);
        ASSERT_TRUE(in);
        in.get()->ol_flags |= hardware;
        classifier_.classify(interface, std::move(in), out_);
    }
    void expect_kind(const Bytes& bytes, Kind kind, uint16_t interface = plain,
                     uint64_t hardware = 0) {
        const uint64_t before = counters_.drops_total();
        run(bytes, interface, hardware);
        EXPECT_EQ(out_.kind, kind);
        EXPECT_TRUE(out_.frame);
        EXPECT_EQ(counters_.drops_total(), before);
    }
    void expect_dropped(const Bytes& bytes, Drop reason, uint16_t interface = plain,
                        uint64_t hardware = 0) {
        const uint64_t before = counters_.drops(reason);
        const uint64_t all = counters_.drops_total();
        run(bytes, interface, hardware);
        EXPECT_EQ(out_.kind, Kind::dropped);
        EXPECT_FALSE(out_.frame) << "its buffer goes back at once";
        EXPECT_EQ(counters_.drops(reason), before + 1)
            << observe::drop_reasons[static_cast<size_t>(reason)].name;
        EXPECT_EQ(counters_.drops_total(), all + 1);
    }

    static std::string pool_name() {
        static int n = 0;
        return "classify" + std::to_string(n++);
    }
    buf::Pools pools_{std::move(*buf::Pools::create(
        pool_name(), {.receive = 512, .header = 512, .attach = 512, .payload = 512}))};
    const std::vector<ip::Interface> interfaces_ = interfaces();
    const ip::LocalAddresses addresses_{interfaces_, 1};
    const TableHash hash_{1};
    observe::Counters counters_;
    ip::Groups groups_{0, 99, 1};
    const Classifier classifier_{interfaces_, addresses_, groups_, hash_, counters_};
    Classified out_;
};
INSTANTIATE_TEST_SUITE_P(Frames, Classify, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(Classify, a_segment_is_told_with_its_offsets_its_key_and_its_hash) {
    out_.flow = reinterpret_cast<tcp::Flow*>(8);  // of an earlier burst
    expect_kind(tcp(10), Kind::tcp);
    EXPECT_EQ(out_.interface, plain);
    EXPECT_EQ(out_.ip_at, 14);
    EXPECT_EQ(out_.upper_at, 14 + ip_size());
    EXPECT_EQ(out_.payload_at, 14 + ip_size() + 20);
    EXPECT_EQ(out_.source_mac, peer_mac);
    EXPECT_EQ(out_.segment.payload_size, 10U);
    EXPECT_EQ(out_.segment.seq, Seq(7));
    EXPECT_EQ(out_.flow, nullptr);
    const tcp::FlowKey key{peer(), 40000, 80, *addresses_.find(us())};
    EXPECT_EQ(out_.key, key);
    EXPECT_EQ(out_.hash, hash_(key));
    EXPECT_EQ(counters_.tcp_in_segs, 1U);
}

TEST_P(Classify, ecn_comes_from_the_ip_header) {
    for (const uint8_t ecn : std::initializer_list<uint8_t>{0, 1, 2, 3}) {
        wire::Ip ip;
        ip.source = peer();
        ip.destination = us();
        ip.protocol = Protocol::tcp;
        ip.payload_size = 20;
        ip.tos = static_cast<uint8_t>(0xb8 | ecn);  // expedited forwarding beside it
        expect_kind(frame(ip, tcp_segment(), wire::tcp_checksum_offset), Kind::tcp);
        EXPECT_EQ(out_.segment.ecn, ecn);
    }
}

TEST_P(Classify, what_is_not_tcp_is_told_by_its_kind) {
    expect_kind(udp(), Kind::udp);
    expect_kind(echo(), Kind::icmp);
    EXPECT_EQ(out_.upper_at, 14 + ip_size());
    Bytes arp(60);
    wire::Ethernet{.destination = wire::MacAddress::broadcast(), .source = peer_mac,
                   .type = wire::EtherType::arp}.emit(arp.data());
    expect_kind(arp, Kind::arp);
    EXPECT_EQ(out_.frame.size(), 60U);
    EXPECT_EQ(counters_.tcp_in_segs, 0U);
}

TEST_P(Classify, a_fragment_is_not_looked_into) {
    if (v4()) {
        Bytes bytes = tcp(10);
        wire::store16(&bytes[20], 0x2000);  // more fragments
        bytes.back() ^= 1;                  // TCP's checksum is the whole datagram's affair
        repair_ip(bytes);
        expect_kind(bytes, Kind::fragment);
    } else {
        Bytes upper = tcp_segment(8);
        upper.insert(upper.begin(), {6, 0, 0, 1, 0, 0, 0, 1});  // fragment header: more, at 0
        Bytes bytes = frame(static_cast<Protocol>(44), upper, no_checksum);
        expect_kind(bytes, Kind::fragment);
        EXPECT_EQ(out_.upper_at, 14 + 40 + 8);
    }
    EXPECT_EQ(counters_.tcp_in_segs, 0U);
}

TEST_P(Classify, ethernet_padding_is_no_part_of_the_datagram) {
    Bytes bytes = tcp(3);
    const size_t size = bytes.size();
    bytes.resize(size + 30, 0xee);  // a trailer that would spoil the checksum
    expect_kind(bytes, Kind::tcp);
    EXPECT_EQ(out_.frame.size(), size);
    EXPECT_EQ(out_.segment.payload_size, 3U);
    bytes = udp(4);
    bytes.resize(bytes.size() + 100, 0xee);
    expect_kind(bytes, Kind::udp);
    EXPECT_EQ(out_.frame.size(), udp(4).size());
}

TEST_P(Classify, hardware_that_found_the_checksums_good_is_believed) {
    Bytes bytes = tcp(10);
    bytes.back() ^= 1;
    expect_dropped(bytes, Drop::tcp_bad_checksum);
    expect_dropped(bytes, Drop::tcp_bad_checksum, plain, RTE_MBUF_F_RX_IP_CKSUM_GOOD);
    expect_kind(bytes, Kind::tcp, plain, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
    bytes = udp();
    bytes.back() ^= 1;
    expect_dropped(bytes, Drop::udp_bad_checksum);
    expect_kind(bytes, Kind::udp, plain, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
    if (!v4()) return;
    bytes = tcp(10);
    bytes[24] ^= 1;
    expect_dropped(bytes, Drop::ip_bad_checksum);
    expect_dropped(bytes, Drop::ip_bad_checksum, plain, RTE_MBUF_F_RX_L4_CKSUM_GOOD);
    expect_kind(bytes, Kind::tcp, plain, RTE_MBUF_F_RX_IP_CKSUM_GOOD);
}

TEST_P(Classify, hardware_that_found_a_checksum_bad_is_believed_too) {
    expect_dropped(tcp(10), Drop::ip_bad_checksum, plain, RTE_MBUF_F_RX_IP_CKSUM_BAD);
    expect_dropped(tcp(10), Drop::tcp_bad_checksum, plain, RTE_MBUF_F_RX_L4_CKSUM_BAD);
    expect_dropped(udp(), Drop::udp_bad_checksum, plain, RTE_MBUF_F_RX_L4_CKSUM_BAD);
    expect_dropped(echo(), Drop::icmp_malformed, plain, RTE_MBUF_F_RX_L4_CKSUM_BAD);
}

TEST_P(Classify, hardware_that_says_nothing_or_none_leaves_it_to_us) {
    // "None": the field is not filled in, the data are known to be whole (a virtual machine's).
    // Who says so must still bear our sum here: nothing in Millrace sends such frames.
    for (const uint64_t flags : {uint64_t{0}, uint64_t{RTE_MBUF_F_RX_L4_CKSUM_NONE},
                                 uint64_t{RTE_MBUF_F_RX_IP_CKSUM_NONE}}) {
        expect_kind(tcp(10), Kind::tcp, plain, flags);
        Bytes bytes = tcp(10);
        bytes.back() ^= 1;
        expect_dropped(bytes, Drop::tcp_bad_checksum, plain, flags);
    }
}

TEST_P(Classify, the_vlan_must_be_the_interfaces) {
    const bool four = v4();
    wire::Ip ip;
    ip.source = four ? Address::v4(10, 5, 0, 2) : peer();
    ip.destination = four ? Address::v4(10, 5, 0, 1) : us();
    ip.protocol = Protocol::tcp;
    ip.payload_size = 20;
    const auto with = [&](uint16_t vlan) {
        return frame(ip, tcp_segment(), wire::tcp_checksum_offset, vlan);
    };
    expect_kind(with(5), Kind::tcp, tagged);
    EXPECT_EQ(out_.ip_at, 18);
    EXPECT_EQ(out_.upper_at, 18 + ip_size());
    expect_dropped(with(6), Drop::vlan_mismatch, tagged);
    expect_dropped(with(0), Drop::vlan_mismatch, tagged);
    expect_dropped(with(5), Drop::vlan_mismatch, plain);
    Bytes bytes = with(5);
    bytes[14] |= 0xe0;  // priority 7 is not the identifier's affair
    expect_kind(bytes, Kind::tcp, tagged);
    wire::store16(&bytes[14], 0xe000);  // a priority tag: of no VLAN (802.1Q section 9.6)
    expect_kind(bytes, Kind::tcp, plain);
    bytes.resize(17);
    expect_dropped(bytes, Drop::ethernet_truncated, tagged);
}

TEST_P(Classify, the_link_layer_refuses_other_stations_and_other_protocols) {
    Bytes bytes = tcp();
    bytes[5] ^= 1;
    expect_dropped(bytes, Drop::ethernet_other_destination);
    bytes = tcp();
    bytes[0] |= 1;  // a group: some of them are ours, but TCP has no business there
    expect_dropped(bytes, Drop::tcp_broadcast);
    bytes = tcp();
    wire::store16(&bytes[12], 0x8847);  // MPLS
    expect_dropped(bytes, Drop::ethernet_unknown_type);
    bytes.resize(13);
    expect_dropped(bytes, Drop::ethernet_truncated);
}

TEST_P(Classify, an_ip_header_must_be_whole_and_of_its_ethertypes_version) {
    Bytes bytes = tcp();
    bytes[14] = static_cast<uint8_t>((bytes[14] & 0x0f) | (v4() ? 0x60 : 0x40));
    expect_dropped(bytes, Drop::ip_bad_version);
    bytes = tcp();
    bytes[14] &= 0x0f;
    expect_dropped(bytes, Drop::ip_bad_version);
    bytes = tcp();
    bytes.resize(14);
    expect_dropped(bytes, Drop::ip_truncated);
    bytes = tcp();
    bytes.resize(14 + ip_size() - 1);
    expect_dropped(bytes, Drop::ip_truncated);
    bytes = tcp();
    bytes.resize(bytes.size() - 1);
    expect_dropped(bytes, Drop::ip_bad_length);
    if (!v4()) return;
    // IPv4 counts its header in words, at least five.
    for (const uint8_t words : std::initializer_list<uint8_t>{0, 4}) {
        bytes = tcp();
        bytes[14] = static_cast<uint8_t>(0x40 | words);
        expect_dropped(bytes, Drop::ip_bad_length);
    }
    bytes = tcp();
    bytes[14] = 0x4f;  // 60 bytes of header where the datagram has 40
    expect_dropped(bytes, Drop::ip_bad_length);
}

TEST_P(Classify, extension_headers_are_walked_within_limits) {
    if (v4()) {  // its counterpart: options are skipped (MUST-50)
        Bytes bytes = tcp(4);
        bytes.insert(bytes.begin() + 34, {1, 1, 1, 0});
        bytes[14] = 0x46;
        wire::store16(&bytes[16], static_cast<uint16_t>(bytes.size() - 14));
        repair_ip(bytes);
        expect_kind(bytes, Kind::tcp);
        EXPECT_EQ(out_.upper_at, 14 + 24);
        return;
    }
    const Bytes options{6, 0, 1, 4, 0, 0, 0, 0};  // next TCP, 8 bytes, PadN
    const auto behind = [&](int count, uint8_t first, Bytes last) {
        Bytes all;
        for (int i = 0; i < count - 1; ++i) {
            all.insert(all.end(), options.begin(), options.end());
            all[all.size() - 8] = 60;
        }
        all.insert(all.end(), last.begin(), last.end());
        const Bytes tcp_bytes = tcp(0);
        all.insert(all.end(), tcp_bytes.begin() + 54, tcp_bytes.end());
        return frame(static_cast<Protocol>(first), all, no_checksum);
    };
    expect_kind(behind(1, 60, options), Kind::tcp);
    EXPECT_EQ(out_.upper_at, 14 + 40 + 8);
    expect_kind(behind(8, 60, options), Kind::tcp);
    expect_dropped(behind(9, 60, options), Drop::ip_bad_extension);
    Bytes too_long = options;
    too_long[1] = 31;  // 256 bytes
    expect_dropped(behind(1, 60, too_long), Drop::ip_bad_extension);
    expect_kind(behind(1, 43, {6, 0, 0, 0, 0, 0, 0, 0}), Kind::tcp);
    expect_dropped(behind(1, 43, {6, 0, 0, 1, 0, 0, 0, 0}), Drop::ip_bad_extension);
}

TEST_P(Classify, a_source_must_be_somebody_elses_unicast_address) {
    const auto from = [&](const Address& source, Protocol protocol = Protocol::tcp) {
        wire::Ip ip;
        ip.source = source;
        ip.destination = us();
        ip.protocol = protocol;
        const Bytes upper = protocol == Protocol::tcp ? tcp_segment() : Bytes(8, 0x80);
        ip.payload_size = static_cast<uint32_t>(upper.size());
        return frame(ip, upper, protocol == Protocol::tcp ? 16 : 2);
    };
    expect_dropped(from(us()), Drop::ip_bad_source);
    expect_dropped(from(Address::any(GetParam())), Drop::ip_bad_source);
    expect_dropped(from(v4() ? Address::v4(127, 0, 0, 1) : *Address::parse("::1")),
                   Drop::ip_bad_source);
    expect_dropped(from(v4() ? Address::v4(255, 255, 255, 255) : *Address::parse("ff02::1")),
                   Drop::ip_bad_source);
    if (v4()) {
        expect_dropped(from(Address::v4(10, 0, 0, 255)), Drop::ip_bad_source);
        expect_dropped(from(Address::v4(0, 0, 0, 0), Protocol::icmp), Drop::ip_bad_source);
        return;
    }
    // Duplicate address detection asks from `::` (RFC 4862 section 5.4.2).
    expect_kind(from(Address(), Protocol::icmpv6), Kind::icmp);
    Bytes mapped = tcp();  // ::ffff:10.0.0.2 within IPv6 would be IPv4 to everything behind
    const Address v4_address = Address::v4(10, 0, 0, 2);
    std::memcpy(&mapped[22], v4_address.bytes().data(), 16);
    expect_dropped(mapped, Drop::ip_bad_source);
}

TEST_P(Classify, on_the_loopback_the_source_must_be_ours) {
    wire::Ip ip;
    ip.source = ip.destination = us();
    ip.protocol = Protocol::tcp;
    ip.payload_size = 20;
    Bytes own = frame(ip, tcp_segment(), wire::tcp_checksum_offset);
    std::fill_n(own.begin(), 6, uint8_t{0});  // there are no stations on it
    expect_kind(own, Kind::tcp, loopback);
    expect_dropped(tcp(), Drop::ip_bad_source, loopback);
}

TEST_P(Classify, a_destination_must_be_ours) {
    const auto to = [&](const Address& destination, Protocol protocol, const Bytes& upper,
                        size_t checksum_at) {
        wire::Ip ip;
        ip.source = peer();
        ip.destination = destination;
        ip.protocol = protocol;
        ip.payload_size = static_cast<uint32_t>(upper.size());
        return frame(ip, upper, checksum_at);
    };
    const Address other = v4() ? Address::v4(10, 0, 0, 3) : *Address::parse("fd00::3");
    const Address group = v4() ? Address::v4(224, 0, 0, 1) : *Address::parse("ff02::1");
    expect_dropped(to(other, Protocol::tcp, tcp_segment(), 16), Drop::ip_not_for_us);
    const Address joined = v4() ? Address::v4(239, 1, 1, 1) : *Address::parse("ff15::1");
    const Address foreign = v4() ? Address::v4(239, 1, 1, 2) : *Address::parse("ff15::2");
    bool first = false;
    ASSERT_TRUE(groups_.join(plain, joined, Instant(), first));
    EXPECT_TRUE(first);
    expect_kind(to(joined, Protocol::udp, udp_datagram(), 6), Kind::udp);
    EXPECT_TRUE(out_.to_group);
    expect_dropped(to(foreign, Protocol::udp, udp_datagram(), 6), Drop::ip_not_for_us);
    expect_dropped(to(joined, Protocol::tcp, tcp_segment(), 16), Drop::tcp_broadcast);
    expect_kind(to(group, Protocol::udp, udp_datagram(), 6), Kind::udp);
    expect_dropped(to(group, Protocol::tcp, tcp_segment(), 16), Drop::tcp_broadcast);
    if (v4()) return;
    // Our solicited-node group is for Neighbour Discovery, not for TCP (MUST-57).
    const Address solicited = *Address::parse("ff02::1:ff00:1");
    expect_kind(to(solicited, Protocol::icmpv6, Bytes(24, 0x80), 2), Kind::icmp);
    expect_dropped(to(solicited, Protocol::tcp, tcp_segment(), 16), Drop::tcp_broadcast);
}

TEST_P(Classify, other_protocols_are_not_served) {
    for (const uint8_t protocol : std::initializer_list<uint8_t>{47, 59, 132, 255})
        expect_dropped(frame(static_cast<Protocol>(protocol), Bytes(20), no_checksum),
                       Drop::ip_unknown_protocol);
}

TEST_P(Classify, an_igmp_message_is_whole_and_right) {
    const Bytes query{0x11, 100, 0, 0, 0, 0, 0, 0};
    if (!v4()) return expect_dropped(frame(Protocol::igmp, query, 2), Drop::ip_unknown_protocol);
    expect_kind(frame(Protocol::igmp, query, 2), Kind::igmp);
    expect_dropped(frame(Protocol::igmp, query, no_checksum), Drop::igmp_malformed);
    expect_dropped(frame(Protocol::igmp, Bytes(7, 0), 2), Drop::igmp_malformed);
}

TEST_P(Classify, an_icmp_message_is_whole_right_and_of_its_family) {
    Bytes bytes = echo();
    bytes.back() ^= 1;
    expect_dropped(bytes, Drop::icmp_malformed);
    expect_dropped(frame(icmp(), Bytes(7, 0), 2), Drop::icmp_malformed);
    expect_kind(frame(icmp(), Bytes(8, 0), 2), Kind::icmp);
    const Protocol of_the_other_family = v4() ? Protocol::icmpv6 : Protocol::icmp;
    expect_dropped(frame(of_the_other_family, Bytes(8, 0), 2), Drop::icmp_malformed);
}

TEST_P(Classify, a_udp_datagram_must_fit_and_in_ipv6_have_a_checksum) {
    expect_dropped(frame(Protocol::udp, Bytes(7, 0), no_checksum), Drop::udp_malformed);
    Bytes datagram = udp_datagram(4);
    wire::store16(&datagram[4], 7);
    expect_dropped(frame(Protocol::udp, datagram, 6), Drop::udp_malformed);
    wire::store16(&datagram[4], 13);
    expect_dropped(frame(Protocol::udp, datagram, 6), Drop::udp_malformed);
    wire::store16(&datagram[4], 12);
    expect_kind(frame(Protocol::udp, datagram, 6), Kind::udp);
    Bytes wrong = frame(Protocol::udp, datagram, 6);
    wrong.back() ^= 1;
    expect_dropped(wrong, Drop::udp_bad_checksum);
    const Bytes without = frame(Protocol::udp, datagram, no_checksum);
    if (v4())
        expect_kind(without, Kind::udp);
    else
        expect_dropped(without, Drop::udp_bad_checksum);
}

TEST_P(Classify, a_dropped_frame_gives_every_buffer_back) {
    const size_t before = pools_.available();
    Bytes bytes = tcp(5000);  // in three buffers
    bytes.back() ^= 1;
    expect_dropped(bytes, Drop::tcp_bad_checksum);
    EXPECT_EQ(pools_.available(), before);
}

/// All that is said of a frame, to be compared.
std::string told(const Classified& c, const observe::Counters& counters) {
    std::string text = fmt::format("{} {}{}{} {} {} {}", static_cast<int>(c.kind), c.interface,
                                   c.to_group, c.link_group, c.ip_at, c.source_mac.to_string(),
                                   c.frame ? c.frame.size() : 0);
    if (c.kind == Kind::tcp) {
        const wire::Ip& ip = c.ip;
        const wire::Segment& s = c.segment;
        text += fmt::format(
            "; {} {} {} {} {} {} {} {} {} {} {} {}", ip.source.to_string(),
            ip.destination.to_string(), static_cast<int>(ip.protocol), ip.ttl, ip.tos,
            ip.dont_fragment, ip.header_size, ip.payload_size, ip.identification, ip.flow_label,
            ip.is_fragment(), ip.fragment_header_at + ip.next_header_at);
        text += fmt::format("; {} {} {} {} {} {} {} {} {} {} {}", s.source_port,
                            s.destination_port, s.seq.value(), s.ack.value(), s.window, s.urgent,
                            s.flags, s.header_size, s.ecn, s.dscp, s.payload_size);
        const wire::TcpOptions& o = s.options;
        text += fmt::format("; {} {} {} {} {} {} {} {}", o.mss, o.has_window_scale, o.window_scale,
                            o.sack_permitted, o.has_timestamps, o.ts_value, o.ts_echo,
                            o.sack_count);
        text += fmt::format("; {} {} {} {} {}", c.upper_at, c.payload_at, c.key.local,
                            c.key.remote_port, c.hash);
    }
    counters.for_each([&](std::string_view name, uint64_t value) {
        if (value != 0) text += fmt::format("; {} {}", name, value);
    });
    return text;
}

/// A frame whose headers lie in two buffers is read header by header; one in a single buffer, if it
/// is a common one, at once. Both must say the same, of what is right and of what is wrong.
TEST_P(Classify, the_straight_way_says_what_the_long_one_does) {
    std::mt19937 random(7);
    const auto any = [&](size_t bound) { return random() % bound; };
    constexpr std::array<uint64_t, 3> hardware{
        RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_MBUF_F_RX_IP_CKSUM_BAD,
        RTE_MBUF_F_RX_L4_CKSUM_BAD};
    size_t taken = 0, straight_on = 0;
    for (int round = 0; round < 20'000; ++round) {
        wire::Segment segment;
        segment.source_port = static_cast<uint16_t>(any(65536));
        segment.destination_port = 80;
        segment.seq = Seq(static_cast<uint32_t>(random()));
        segment.ack = Seq(static_cast<uint32_t>(random()));
        segment.flags = static_cast<uint8_t>(any(4) == 0 ? any(256) : wire::TcpFlags::ack);
        segment.window = static_cast<uint16_t>(any(65536));
        segment.options.has_timestamps = any(2) == 0;
        segment.options.ts_value = static_cast<uint32_t>(random());
        segment.options.sack_count = any(8) == 0 ? 1 : 0;
        Bytes upper(segment.emitted_size());
        segment.emit(upper.data());
        upper.resize(upper.size() + any(40), 'x');
        wire::Ip ip;
        ip.source = any(16) == 0 ? us() : peer();
        if (v4() && any(8) == 0)
            ip.source = Address::v4(static_cast<uint8_t>(any(256)), 0, 0, static_cast<uint8_t>(
                                        any(2) == 0 ? 255 : any(3)));
        ip.destination = v4() && any(8) == 0 ? Address::v4(10, 0, 3, 255) : us();
        ip.protocol = Protocol::tcp;
        ip.tos = static_cast<uint8_t>(any(256));
        ip.identification = static_cast<uint32_t>(any(65536));
        ip.dont_fragment = any(2) == 0;
        ip.payload_size = static_cast<uint32_t>(upper.size());
        Bytes bytes = frame(ip, upper, wire::tcp_checksum_offset);
        bytes.resize(bytes.size() + any(2) * any(20));  // Ethernet pads
        if (any(3) == 0) {
            bytes[any(std::min<size_t>(bytes.size(), 80))] ^= static_cast<uint8_t>(1U << any(8));
            if (v4() && any(2) == 0) repair_ip(bytes);
        }
        if (any(20) == 0) bytes.resize(any(bytes.size()) + 1);

        const uint16_t interface = any(8) == 0 ? (any(2) == 0 ? tagged : loopback) : plain;
        const uint64_t flags = any(2) == 0 ? 0 : hardware[any(hardware.size())];
        wire::Ip unused;
        wire::Segment unused_too;
        if (wire::parse_common(bytes, bytes.size(), true, unused, unused_too)) ++straight_on;

        counters_ = {};
        run(bytes, interface, flags);
        const std::string straight = told(out_, counters_);
        if (out_.kind == Kind::tcp) ++taken;
        counters_ = {};
        const size_t cut = std::min<size_t>(bytes.size() - 1, any(54));
        buf::Frame in_two = pools_.received(std::span(bytes).first(cut));
        in_two.append(pools_.received(std::span(bytes).subspan(cut)));
        in_two.get()->ol_flags |= flags;
        out_ = Classified();
        classifier_.classify(interface, std::move(in_two), out_);
        ASSERT_EQ(straight, told(out_, counters_)) << "round " << round;
        out_ = Classified();
    }
    EXPECT_GT(taken, 4'000U);
    EXPECT_EQ(straight_on > 8'000, v4()) << "or nothing is compared";
}

}  // namespace
}  // namespace millrace::stack
