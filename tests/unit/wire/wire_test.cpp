#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/tcp.h"
#include "wire/udp.h"

namespace millrace::wire {
namespace {

/// The definition of RFC 1071, 16 bits at a time.
uint16_t plain_checksum(const std::vector<uint8_t>& bytes) {
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes.size(); i += 2)
        sum += static_cast<uint64_t>(bytes[i]) << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

TEST(Checksum, rfc_1071_example) {
    const std::vector<uint8_t> bytes{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    const uint16_t checksum = Checksum().add(bytes.data(), bytes.size()).finish();
    EXPECT_EQ(std::byteswap(checksum), 0x220d);  // ~0xddf2
}

TEST(Checksum, equals_the_definition_at_every_size_and_cut) {
    Random random(1);
    for (size_t size = 0; size < 300; ++size) {
        std::vector<uint8_t> bytes(size);
        random.fill(bytes);
        const uint16_t expected = plain_checksum(bytes);
        EXPECT_EQ(std::byteswap(Checksum().add(bytes.data(), size).finish()), expected) << size;
        const size_t cut = random.below(size + 1);
        const size_t cut2 = cut + random.below(size - cut + 1);
        Checksum pieces;
        pieces.add_at(0, bytes.data(), cut);
        pieces.add_at(cut, bytes.data() + cut, cut2 - cut);
        pieces.add_at(cut2, bytes.data() + cut2, size - cut2);
        EXPECT_EQ(std::byteswap(pieces.finish()), expected) << size << " cut at " << cut;
    }
    const std::vector<uint8_t> ones(65535, 0xff);
    EXPECT_EQ(std::byteswap(Checksum().add(ones.data(), ones.size()).finish()),
              plain_checksum(ones));
}

TEST(Checksum, incremental_update_equals_a_fresh_one) {
    Random random(2);
    for (int i = 0; i < 1000; ++i) {
        std::vector<uint8_t> bytes(40);
        random.fill(bytes);
        const uint16_t before = Checksum().add(bytes.data(), bytes.size()).finish();
        uint16_t from = 0;
        std::memcpy(&from, &bytes[10], 2);
        const auto to = static_cast<uint16_t>(random.next());
        std::memcpy(&bytes[10], &to, 2);
        const uint16_t after = Checksum().add(bytes.data(), bytes.size()).finish();
        EXPECT_EQ(update_checksum(before, from, to), after);
    }
}

TEST(Ethernet, round_trip_with_and_without_vlan) {
    for (const uint16_t vlan : {uint16_t{0}, uint16_t{7}, uint16_t{4094}}) {
        Ethernet header;
        header.destination = {{1, 2, 3, 4, 5, 6}};
        header.source = {{6, 5, 4, 3, 2, 1}};
        header.type = EtherType::ipv6;
        header.vlan = vlan;
        std::vector<uint8_t> bytes(Ethernet::size_for(vlan));
        header.emit(bytes.data());
        const auto parsed = Ethernet::parse(bytes);
        ASSERT_TRUE(parsed);
        EXPECT_EQ(parsed->destination, header.destination);
        EXPECT_EQ(parsed->source, header.source);
        EXPECT_EQ(parsed->type, header.type);
        EXPECT_EQ(parsed->vlan, vlan);
        EXPECT_EQ(parsed->size, bytes.size());
        bytes.pop_back();
        EXPECT_FALSE(Ethernet::parse(bytes));
    }
}

TEST(Arp, round_trip_and_refusal) {
    const Arp arp{Arp::Operation::reply, {{1, 1, 1, 1, 1, 1}}, Address::v4(10, 0, 0, 1),
                  {{2, 2, 2, 2, 2, 2}}, Address::v4(10, 0, 0, 2)};
    std::vector<uint8_t> bytes(Arp::size);
    arp.emit(bytes.data());
    const auto parsed = Arp::parse(bytes);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->sender, arp.sender);
    EXPECT_EQ(parsed->target_mac, arp.target_mac);
    for (const size_t at : {0, 2, 4, 5, 7}) {
        auto bad = bytes;
        bad[at] ^= 0x10;
        EXPECT_FALSE(Arp::parse(bad)) << at;
    }
    bytes.pop_back();
    EXPECT_FALSE(Arp::parse(bytes));
}

Ip sample(Family family) {
    Ip ip;
    ip.source = family == Family::ipv4 ? Address::v4(10, 0, 0, 1) : *Address::parse("2001:db8::1");
    ip.destination =
        family == Family::ipv4 ? Address::v4(10, 0, 0, 2) : *Address::parse("2001:db8::2");
    ip.protocol = Protocol::tcp;
    ip.tos = 0xb9;
    ip.ttl = 17;
    ip.payload_size = 20;
    return ip;
}

TEST(Ip, every_header_is_summed_right_and_leaves_nothing_of_the_one_before) {
    Random random(5);
    Ip used;
    for (int i = 0; i < 5000; ++i) {
        Ip ip = sample(random.chance(1, 2) ? Family::ipv4 : Family::ipv6);
        ip.tos = static_cast<uint8_t>(random.next());
        ip.ttl = static_cast<uint8_t>(random.next());
        ip.payload_size = static_cast<uint32_t>(random.below(1400) + 8);
        const bool v4 = ip.source.is_v4();
        if (v4) {
            ip.identification = static_cast<uint32_t>(random.below(65536));
            ip.dont_fragment = random.chance(1, 2);
            ip.more_fragments = random.chance(1, 2);
            ip.fragment_offset = static_cast<uint32_t>(random.below(8192) * 8);
        }
        std::vector<uint8_t> bytes(Ip::size_for(ip.source.family()) + ip.payload_size);
        ip.emit(bytes.data(), true);
        ASSERT_FALSE(Ip::parse_into(used, bytes, bytes.size(), true)) << i;
        EXPECT_EQ(used.source, ip.source);
        EXPECT_EQ(used.destination, ip.destination);
        EXPECT_EQ(used.tos, ip.tos);
        EXPECT_EQ(used.ttl, ip.ttl);
        EXPECT_EQ(used.payload_size, ip.payload_size);
        EXPECT_EQ(used.identification, v4 ? ip.identification : 0U);
        EXPECT_EQ(used.more_fragments, v4 && ip.more_fragments);
        EXPECT_EQ(used.fragment_offset, v4 ? ip.fragment_offset : 0U);
        if (!v4) continue;
        EXPECT_EQ(used.dont_fragment, ip.dont_fragment);
        ip.emit(bytes.data(), false);  // the port's to fill in
        EXPECT_EQ(bytes[10] | bytes[11], 0);
    }
}

TEST(Ip, round_trip_of_both_families) {
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        const Ip ip = sample(family);
        std::vector<uint8_t> bytes(Ip::size_for(family) + 20);
        ip.emit(bytes.data(), true);
        const auto parsed = Ip::parse(bytes, bytes.size(), true);
        ASSERT_TRUE(parsed);
        EXPECT_EQ(parsed->source, ip.source);
        EXPECT_EQ(parsed->destination, ip.destination);
        EXPECT_EQ(parsed->protocol, Protocol::tcp);
        EXPECT_EQ(parsed->tos, 0xb9);
        EXPECT_EQ(parsed->ttl, 17);
        EXPECT_EQ(parsed->payload_size, 20U);
        EXPECT_FALSE(parsed->is_fragment());
    }
}

TEST(Ip, v6_extension_headers_are_walked_and_bounded) {
    // Hop-by-hop, destination options, then TCP.
    std::vector<uint8_t> bytes(40 + 8 + 16 + 20);
    Ip ip = sample(Family::ipv6);
    ip.payload_size = static_cast<uint32_t>(bytes.size() - 40);
    ip.emit(bytes.data(), true);
    bytes[6] = 0;
    bytes[40] = 60;
    bytes[41] = 0;
    bytes[48] = 6;
    bytes[49] = 1;
    auto parsed = Ip::parse(bytes, bytes.size(), true);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->protocol, Protocol::tcp);
    EXPECT_EQ(parsed->header_size, 64);
    EXPECT_EQ(parsed->payload_size, 20U);
    bytes[49] = 200;  // past the packet
    EXPECT_EQ(Ip::parse(bytes, bytes.size(), true).error(), IpError::bad_extension);
    // A chain without end.
    std::vector<uint8_t> chain(40 + 8 * 16);
    ip.payload_size = 8 * 16;
    ip.emit(chain.data(), true);
    chain[6] = 60;
    for (size_t i = 0; i < 16; ++i) chain[40 + i * 8] = 60;
    EXPECT_EQ(Ip::parse(chain, chain.size(), true).error(), IpError::bad_extension);
}

TEST(Ip, v6_routing_header_with_segments_left_is_refused) {
    std::vector<uint8_t> bytes(40 + 8 + 20);
    Ip ip = sample(Family::ipv6);
    ip.payload_size = 28;
    ip.emit(bytes.data(), true);
    bytes[6] = 43;
    bytes[40] = 6;
    bytes[43] = 1;
    EXPECT_EQ(Ip::parse(bytes, bytes.size(), true).error(), IpError::bad_extension);
    bytes[43] = 0;
    EXPECT_TRUE(Ip::parse(bytes, bytes.size(), true));
}

TEST(Ip, v4_options_are_skipped) {  // MUST-50
    std::vector<uint8_t> bytes(24 + 20);
    Ip ip = sample(Family::ipv4);
    ip.emit(bytes.data(), false);
    bytes[0] = 0x46;
    store16(&bytes[2], 44);
    std::memset(&bytes[20], 0x94, 4);
    const uint16_t checksum = Checksum().add(bytes.data(), 24).finish();
    std::memcpy(&bytes[10], &checksum, 2);
    const auto parsed = Ip::parse(bytes, bytes.size(), true);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->header_size, 24);
    EXPECT_EQ(parsed->payload_size, 20U);
}

Segment sample_segment() {
    Segment segment;
    segment.source_port = 1234;
    segment.destination_port = 80;
    segment.seq = Seq(0xfffffffe);
    segment.ack = Seq(7);
    segment.window = 0xffff;
    return segment;
}

TEST(Tcp, syn_options_stand_in_linux_order) {
    Segment syn = sample_segment();
    syn.flags = TcpFlags::syn;
    syn.options.mss = 1460;
    syn.options.sack_permitted = true;
    syn.options.has_timestamps = true;
    syn.options.ts_value = 0x01020304;
    syn.options.has_window_scale = true;
    syn.options.window_scale = 7;
    std::array<uint8_t, 60> bytes{};
    const size_t size = syn.emit(bytes.data());
    const std::vector<uint8_t> options(bytes.begin() + 20, bytes.begin() + size);
    EXPECT_EQ(options, (std::vector<uint8_t>{2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1,
                                             3, 3, 7}));
    syn.options.has_timestamps = false;
    EXPECT_EQ(syn.emit(bytes.data()), 32U);
    EXPECT_EQ(std::vector<uint8_t>(bytes.begin() + 20, bytes.begin() + 32),
              (std::vector<uint8_t>{2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7}));
    syn.options.sack_permitted = false;
    EXPECT_EQ(syn.emit(bytes.data()), 28U);
    EXPECT_EQ(std::vector<uint8_t>(bytes.begin() + 20, bytes.begin() + 28),
              (std::vector<uint8_t>{2, 4, 5, 0xb4, 1, 3, 3, 7}));
}

TEST(Tcp, data_options_round_trip) {
    Segment segment = sample_segment();
    segment.flags = TcpFlags::ack;
    segment.options.has_timestamps = true;
    segment.options.ts_value = 5;
    segment.options.ts_echo = 6;
    segment.options.sack_count = 3;
    for (uint32_t i = 0; i < 3; ++i) segment.options.sack[i] = {Seq(i * 10), Seq(i * 10 + 5)};
    std::array<uint8_t, 60> bytes{};
    const size_t size = segment.emit(bytes.data());
    EXPECT_EQ(size, 60U);
    const auto parsed = Segment::parse({bytes.data(), size}, size + 100);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->seq, segment.seq);
    EXPECT_EQ(parsed->payload_size, 100U);
    EXPECT_EQ(parsed->end().value(), 98U);  // across the wrap
    EXPECT_EQ(parsed->options.ts_echo, 6U);
    EXPECT_EQ(parsed->options.sack_count, 3);
    EXPECT_EQ(parsed->options.sack[2].end, Seq(25));
}

/// Any options that a segment may carry.
Segment random_segment(Random& random) {
    Segment segment;
    segment.source_port = static_cast<uint16_t>(random.next());
    segment.destination_port = static_cast<uint16_t>(random.next());
    segment.seq = Seq(static_cast<uint32_t>(random.next()));
    segment.ack = Seq(static_cast<uint32_t>(random.next()));
    segment.window = static_cast<uint16_t>(random.next());
    segment.urgent = static_cast<uint16_t>(random.next());
    segment.flags = static_cast<uint8_t>(random.next());
    TcpOptions& options = segment.options;
    options.has_timestamps = random.chance(1, 2);
    options.ts_value = options.has_timestamps ? static_cast<uint32_t>(random.next()) : 0;
    options.ts_echo = options.has_timestamps ? static_cast<uint32_t>(random.next()) : 0;
    if (segment.syn()) {
        options.mss = static_cast<uint16_t>(random.below(65536));
        options.sack_permitted = random.chance(1, 2);
        options.has_window_scale = random.chance(1, 2);
        options.window_scale =
            options.has_window_scale ? static_cast<uint8_t>(random.below(15)) : uint8_t{0};
        return segment;
    }
    options.sack_count = static_cast<uint8_t>(random.below(options.has_timestamps ? 4 : 5));
    for (size_t i = 0; i < options.sack_count; ++i)
        options.sack[i] = {Seq(static_cast<uint32_t>(random.next())),
                           Seq(static_cast<uint32_t>(random.next()))};
    return segment;
}

TEST(Tcp, what_is_emitted_is_summed_and_parsed_again_wherever_it_goes) {
    Random random(4);
    Segment used;  // by each segment after the other
    for (int i = 0; i < 5000; ++i) {
        const Segment segment = random_segment(random);
        std::array<uint8_t, Segment::max_header_size> bytes;
        random.fill(bytes);
        Checksum sum;
        const size_t size = segment.emit(bytes.data(), sum);
        ASSERT_EQ(size, segment.emitted_size());
        EXPECT_EQ(sum.folded(), Checksum().add(bytes.data(), size).folded());
        ASSERT_FALSE(Segment::parse_into(used, {bytes.data(), size}, size));
        EXPECT_EQ(used.seq, segment.seq);
        EXPECT_EQ(used.window, segment.window);
        EXPECT_EQ(used.urgent, segment.urgent);
        EXPECT_EQ(used.flags, segment.flags);
        EXPECT_EQ(used.payload_size, 0U);
        EXPECT_EQ(used.options.mss, segment.options.mss);
        EXPECT_EQ(used.options.sack_permitted, segment.options.sack_permitted);
        EXPECT_EQ(used.options.has_window_scale, segment.options.has_window_scale);
        EXPECT_EQ(used.options.window_scale, segment.options.window_scale);
        EXPECT_EQ(used.options.has_timestamps, segment.options.has_timestamps);
        EXPECT_EQ(used.options.ts_value, segment.options.ts_value);
        EXPECT_EQ(used.options.ts_echo, segment.options.ts_echo);
        ASSERT_EQ(used.options.sack_count, segment.options.sack_count);
        for (size_t k = 0; k < segment.options.sack_count; ++k)
            EXPECT_EQ(used.options.sack[k].end, segment.options.sack[k].end);
    }
}

TEST(Tcp, options_that_belong_on_a_syn_are_ignored_elsewhere) {  // MUST-65's other side
    const std::vector<uint8_t> options{2, 4, 1, 0, 4, 2, 1, 3, 3, 9, 0, 0};
    TcpOptions out;
    EXPECT_TRUE(TcpOptions::parse(options, false, out));
    EXPECT_EQ(out.mss, 0);
    EXPECT_FALSE(out.sack_permitted);
    EXPECT_FALSE(out.has_window_scale);
    EXPECT_TRUE(TcpOptions::parse(options, true, out));
    EXPECT_EQ(out.mss, 256);
    EXPECT_TRUE(out.sack_permitted);
    EXPECT_EQ(out.window_scale, 9);
}

TEST(Tcp, unknown_options_with_a_length_are_skipped) {  // MUST-6, MUST-64: any alignment
    const std::vector<uint8_t> options{1, 254, 5, 9, 9, 9, 2, 4, 2, 0, 0, 0};
    TcpOptions out;
    EXPECT_TRUE(TcpOptions::parse(options, true, out));
    EXPECT_EQ(out.mss, 512);
}

TEST(Tcp, random_option_bytes_never_read_outside) {
    Random random(3);
    for (int i = 0; i < 20'000; ++i) {
        std::vector<uint8_t> bytes(random.below(41));
        random.fill(bytes);
        if (random.chance(1, 2))
            for (auto& byte : bytes) byte &= 15;  // more that look like options
        TcpOptions out;
        TcpOptions::parse(bytes, random.chance(1, 2), out);
        EXPECT_LE(out.window_scale, 14);
        EXPECT_LE(out.sack_count, 4);
    }
}

TEST(Udp, length_must_fit) {
    std::array<uint8_t, 8> bytes{};
    Udp{1, 2, 20}.emit(bytes.data());
    EXPECT_TRUE(Udp::parse(bytes, 20));
    EXPECT_FALSE(Udp::parse(bytes, 19));
    Udp{1, 2, 7}.emit(bytes.data());
    EXPECT_FALSE(Udp::parse(bytes, 20));
    EXPECT_FALSE(Udp::parse({bytes.data(), 7}, 20));
}

TEST(Ndp, round_trip_and_refusal) {
    Ndp ndp;
    ndp.target = *Address::parse("fe80::1234:5678");
    ndp.link_address = MacAddress{{2, 0, 0, 0, 0, 9}};
    std::vector<uint8_t> bytes(Ndp::size_with_option);
    EXPECT_EQ(ndp.emit(bytes.data()), bytes.size());
    auto parsed = Ndp::parse(bytes);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->target, ndp.target);
    EXPECT_EQ(parsed->link_address, ndp.link_address);
    bytes[25] = 0;  // an option of length zero condemns the message
    EXPECT_FALSE(Ndp::parse(bytes));
    bytes[25] = 2;
    EXPECT_FALSE(Ndp::parse(bytes));
    EXPECT_EQ(solicited_node(ndp.target).to_string(), "ff02::1:ff34:5678");
    EXPECT_EQ(multicast_mac(solicited_node(ndp.target)).to_string(), "33:33:ff:34:56:78");
    EXPECT_EQ(multicast_mac(Address::v4(224, 129, 2, 3)).to_string(), "01:00:5e:01:02:03");
}

}  // namespace
}  // namespace millrace::wire
