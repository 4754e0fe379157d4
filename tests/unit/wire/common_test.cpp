// What the straight way takes, and what it leaves to the others.
#include "wire/common.h"

#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "wire/ethernet.h"

namespace millrace::wire {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t ip_at = 14, tcp_at = 34, options_at = 54, payload = 10;

/// With timestamps, ten bytes of payload and six of padding.
Bytes frame() {
    Segment segment;
    segment.source_port = 40000;
    segment.destination_port = 80;
    segment.seq = Seq(7);
    segment.ack = Seq(9);
    segment.flags = TcpFlags::ack | TcpFlags::psh | TcpFlags::fin | TcpFlags::ece;
    segment.window = 1234;
    segment.options.has_timestamps = true;
    segment.options.ts_value = 0x01020304;
    segment.options.ts_echo = 0x05060708;
    Ip ip;
    ip.source = Address::v4(10, 0, 0, 2);
    ip.destination = Address::v4(10, 0, 0, 1);
    ip.protocol = Protocol::tcp;
    ip.tos = 0xb9;
    ip.ttl = 55;
    ip.identification = 77;
    ip.dont_fragment = false;
    ip.payload_size = static_cast<uint32_t>(segment.emitted_size() + payload);
    Bytes bytes(options_at + 12 + payload + 6);
    Ethernet{.type = EtherType::ipv4}.emit(bytes.data());
    ip.emit(&bytes[ip_at], true);
    segment.emit(&bytes[tcp_at]);
    return bytes;
}

struct Read {
    bool taken;
    Ip ip;
    Segment segment;
};

Read read(const Bytes& bytes, size_t visible, bool verify = true) {
    Read out{};
    out.segment.options.sack_count = 3;  // of the frame before
    out.taken = parse_common(std::span(bytes).first(visible), bytes.size(), verify, out.ip,
                             out.segment);
    return out;
}

TEST(Common, every_field_is_what_the_header_says) {
    const Bytes bytes = frame();
    const Read out = read(bytes, bytes.size());
    ASSERT_TRUE(out.taken);
    EXPECT_EQ(out.ip.source, Address::v4(10, 0, 0, 2));
    EXPECT_EQ(out.ip.destination, Address::v4(10, 0, 0, 1));
    EXPECT_EQ(out.ip.header_size, 20);
    EXPECT_EQ(out.ip.payload_size, 20U + 12 + payload);
    EXPECT_EQ(out.ip.tos, 0xb9);
    EXPECT_EQ(out.ip.ttl, 55);
    EXPECT_EQ(out.ip.identification, 77U);
    EXPECT_FALSE(out.ip.dont_fragment);
    EXPECT_FALSE(out.ip.is_fragment());
    EXPECT_EQ(out.segment.source_port, 40000);
    EXPECT_EQ(out.segment.destination_port, 80);
    EXPECT_EQ(out.segment.seq, Seq(7));
    EXPECT_EQ(out.segment.ack, Seq(9));
    EXPECT_EQ(out.segment.flags,
              TcpFlags::ack | TcpFlags::psh | TcpFlags::fin | TcpFlags::ece);
    EXPECT_EQ(out.segment.window, 1234);
    EXPECT_EQ(out.segment.header_size, 32);
    EXPECT_EQ(out.segment.payload_size, payload);
    EXPECT_TRUE(out.segment.options.has_timestamps);
    EXPECT_EQ(out.segment.options.ts_value, 0x01020304U);
    EXPECT_EQ(out.segment.options.ts_echo, 0x05060708U);
    EXPECT_EQ(out.segment.options.sack_count, 0);
}

TEST(Common, options_may_be_absent_and_must_be_visible) {
    Bytes bytes = frame();
    EXPECT_TRUE(read(bytes, options_at + 12).taken);
    EXPECT_FALSE(read(bytes, options_at + 11).taken);
    bytes[tcp_at + 12] = 0x50;
    const Read out = read(bytes, options_at);
    ASSERT_TRUE(out.taken);
    EXPECT_FALSE(out.segment.options.has_timestamps);
    EXPECT_EQ(out.segment.payload_size, 12 + payload);
    EXPECT_FALSE(read(bytes, options_at - 1).taken);
}

TEST(Common, anything_else_is_left_to_the_others) {
    const std::vector<std::pair<const char*, std::function<void(Bytes&)>>> changes{
        {"another EtherType", [](Bytes& b) { b[13] = 0x06; }},
        {"a tag", [](Bytes& b) { b[12] = 0x81; }},
        {"another version", [](Bytes& b) { b[ip_at] = 0x65; }},
        {"options of IP's", [](Bytes& b) { b[ip_at] = 0x46; }},
        {"a first fragment", [](Bytes& b) { b[ip_at + 6] |= 0x20; }},
        {"a later one", [](Bytes& b) { b[ip_at + 7] = 1; }},
        {"another protocol", [](Bytes& b) { b[ip_at + 9] = 17; }},
        {"more than the frame holds", [](Bytes& b) { b[ip_at + 3] = 20 + 32 + payload + 7; }},
        {"less than the headers", [](Bytes& b) { b[ip_at + 3] = 20 + 31; }},
        {"a short data offset", [](Bytes& b) { b[tcp_at + 12] = 0x40; }},
        {"one beyond the segment", [](Bytes& b) { b[tcp_at + 12] = 0xf0; }},
        {"other options", [](Bytes& b) { b[options_at + 3] = 9; }},
        {"SYN", [](Bytes& b) { b[tcp_at + 13] |= TcpFlags::syn; }},
        {"RST", [](Bytes& b) { b[tcp_at + 13] |= TcpFlags::rst; }},
        {"URG", [](Bytes& b) { b[tcp_at + 13] |= TcpFlags::urg; }},
    };
    for (const auto& [what, change] : changes) {
        Bytes bytes = frame();
        change(bytes);
        EXPECT_FALSE(read(bytes, bytes.size(), false).taken) << what;
    }
    Bytes bytes = frame();
    bytes[ip_at + 10] ^= 1;
    EXPECT_FALSE(read(bytes, bytes.size()).taken) << "a wrong checksum";
    EXPECT_TRUE(read(bytes, bytes.size(), false).taken) << "that nobody asked for";
}

}  // namespace
}  // namespace millrace::wire
