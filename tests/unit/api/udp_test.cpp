// UDP on the wire: what datagrams look like, who gets them, what comes back.
#include <millrace/testing.h>
#include <millrace/udp.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "wire/checksum.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/udp.h"

namespace millrace {
namespace {

using namespace literals;
using testing::Network;
using Bytes = std::vector<uint8_t>;

struct Heard final : UdpHandler {
    void on_readable(UdpSocket socket) override {
        ++notices;
        while (reads)
            if (auto datagram = socket.receive())
                got.push_back(std::move(*datagram));
            else
                break;
    }
    void on_writable(UdpSocket) override { ++writable; }
    void on_error(UdpSocket, int error) override { errors.push_back(error); }
    std::string text(size_t i) const {
        std::string text(got[i].data.size(), '\0');
        got[i].data.copy_to(std::as_writable_bytes(std::span(text)));
        return text;
    }

    bool reads = true;
    int notices = 0;
    int writable = 0;
    std::vector<int> errors;
    std::vector<Datagram> got;
};

/// What an IP packet says, and its upper layer's bytes.
struct Seen {
    Instant at;
    wire::Ip ip;
    Bytes upper;
    wire::Udp udp() const { return *wire::Udp::parse(upper, upper.size()); }
    /// Its checksum is there and right.
    bool is_sound() const {
        wire::Checksum sum;
        if (ip.protocol != wire::Protocol::icmp && ip.protocol != wire::Protocol::igmp)
            sum.add_pseudo_header(ip.source, ip.destination, static_cast<uint8_t>(ip.protocol),
                                  static_cast<uint32_t>(upper.size()));
        return sum.add(upper.data(), upper.size()).is_valid();
    }
};

class Datagrams : public ::testing::TestWithParam<Family> {
protected:
    static Config host(uint8_t number) {
        Config config;
        config.ports.push_back({.device = "wire",
                                .addresses = {{Address::v4(10, 0, 0, number), 24},
                                              {v6(number), 64},
                                              {*Address::parse("fe80::" + std::to_string(number)),
                                               64}}});
        config.pools = {.receive = 2048, .header = 1024, .attach = 1024, .payload = 1024};
        config.tcp.max_connections = 256;
        return config;
    }
    static Address v6(uint8_t number) { return *Address::parse("fd00::" + std::to_string(number)); }
    bool v4() const { return GetParam() == Family::ipv4; }
    Address at(uint8_t number) const { return v4() ? Address::v4(10, 0, 0, number) : v6(number); }
    Address group() const { return v4() ? Address::v4(239, 1, 2, 3) : *Address::parse("ff15::123"); }
    size_t ip_size() const { return wire::Ip::size_for(GetParam()); }

    UdpSocket open(Stack& stack, Heard& handler, uint16_t port, const UdpOptions& options = {}) {
        const auto socket = UdpSocket::open(stack, {Address::any(GetParam()), port}, handler,
                                            options);
        EXPECT_TRUE(socket) << socket.error().message();
        return *socket;
    }
    static std::optional<Seen> seen(Network& network, Stack& from) {
        const auto packet = network.take(from);
        if (!packet) return std::nullopt;
        const std::span bytes(reinterpret_cast<const uint8_t*>(packet->bytes.data()),
                              packet->bytes.size());
        const auto ip = wire::Ip::parse(bytes, bytes.size(), true);
        EXPECT_TRUE(ip);
        const auto upper = bytes.subspan(ip->header_size, ip->payload_size);
        return Seen{packet->at, *ip, Bytes(upper.begin(), upper.end())};
    }
    std::optional<Seen> sent() { return seen(net_, a_); }
    static uint64_t counter(const Stack& stack, std::string_view name) {
        std::optional<uint64_t> found;
        stack.counters([&](std::string_view known, uint64_t value) {
            if (known == name) found = value;
        });
        EXPECT_TRUE(found) << name;
        return found.value_or(0);
    }
    /// A packet with this upper layer, its checksum at `checksum_at` put right.
    void push(Stack& to, const Address& source, const Address& destination,
              wire::Protocol protocol, Bytes upper, size_t checksum_at, uint8_t ttl = 64,
              bool alert = false) {
        wire::Ip ip;
        ip.source = source;
        ip.destination = destination;
        ip.protocol = protocol;
        ip.ttl = ttl;
        ip.payload_size = static_cast<uint32_t>(upper.size());
        wire::Checksum sum;
        if (protocol != wire::Protocol::icmp && protocol != wire::Protocol::igmp)
            sum.add_pseudo_header(source, destination, static_cast<uint8_t>(protocol),
                                  ip.payload_size);
        const uint16_t checksum = sum.add(upper.data(), upper.size()).finish();
        std::memcpy(&upper[checksum_at], &checksum, 2);
        if (alert) {  // hop by hop
            upper.insert(upper.begin(), {static_cast<uint8_t>(protocol), 0, 5, 2, 0, 0, 1, 0});
            ip.protocol = wire::Protocol::hop_by_hop;
            ip.payload_size += 8;
        }
        Bytes packet(wire::Ip::size_for(source.family()));
        ip.emit(packet.data(), true);
        packet.insert(packet.end(), upper.begin(), upper.end());
        EXPECT_TRUE(net_.push(to, std::as_bytes(std::span(packet))));
    }
    void push_icmp(Stack& to, uint8_t type, uint8_t code, uint32_t rest, const Address& from,
                   const Seen& quoted) {
        Bytes message(wire::Icmp::size);
        wire::Icmp{type, code, rest}.emit(message.data());
        Bytes header(ip_size());
        quoted.ip.emit(header.data(), true);
        message.insert(message.end(), header.begin(), header.end());
        message.insert(message.end(), quoted.upper.begin(),
                       quoted.upper.begin() + std::min<ptrdiff_t>(8, std::ssize(quoted.upper)));
        push(to, from, quoted.ip.source,
             v4() ? wire::Protocol::icmp : wire::Protocol::icmpv6, message, 2);
    }

    Network net_{1};
    Stack& a_ = **net_.add(host(1));
    Stack& b_ = **net_.add(host(2));
    Heard heard_a_, heard_b_;
};
INSTANTIATE_TEST_SUITE_P(Families, Datagrams, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(Datagrams, cross_the_wire_with_all_that_their_headers_say) {
    UdpSocket from = open(a_, heard_a_, 1000);
    UdpSocket to = open(b_, heard_b_, 2000);
    ASSERT_TRUE(from.set_tos(0xb9));
    ASSERT_TRUE(from.set_ttl(17));
    ASSERT_TRUE(from.send("hello", SocketAddress{at(2), 2000}));
    ASSERT_TRUE(from.send("", SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    const auto packet = sent();
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->ip.source, at(1));
    EXPECT_EQ(packet->ip.destination, at(2));
    EXPECT_EQ(packet->ip.tos, 0xb9);
    EXPECT_EQ(packet->ip.ttl, 17);
    EXPECT_TRUE(packet->ip.dont_fragment);
    EXPECT_EQ(packet->udp().source_port, 1000);
    EXPECT_EQ(packet->udp().destination_port, 2000);
    EXPECT_EQ(packet->udp().length, 13);
    EXPECT_TRUE(packet->udp().has_checksum && packet->is_sound());
    EXPECT_EQ(packet->ip.flow_label != 0, !v4());
    ASSERT_EQ(heard_b_.got.size(), 2U);
    EXPECT_EQ(heard_b_.text(0), "hello");
    EXPECT_EQ(heard_b_.text(1), "");
    const Datagram& got = heard_b_.got[0];
    EXPECT_EQ(got.source, (SocketAddress{at(1), 1000}));
    EXPECT_EQ(got.destination, at(2));
    EXPECT_EQ(got.interface, 1U);
    EXPECT_EQ(got.ttl, 17);
    EXPECT_EQ(got.tos, 0xb9);
    EXPECT_EQ(counter(a_, "UdpOutDatagrams"), 2U);
    EXPECT_EQ(counter(b_, "UdpInDatagrams"), 2U);
    OutgoingDatagram own;
    own.destination = SocketAddress{at(2), 2000};
    own.ttl = 3;
    own.tos = 4;
    ASSERT_TRUE(from.send(own));
    net_.advance(1_ms);
    ASSERT_EQ(heard_b_.got.size(), 3U);
    EXPECT_EQ(heard_b_.got[2].ttl, 3);
    EXPECT_EQ(heard_b_.got[2].tos, 4);
    ASSERT_TRUE(to.close());
}

/// RFC 768: a sum of zero goes as all ones, since zero says that there is none.
TEST_P(Datagrams, a_checksum_of_zero_goes_as_all_ones) {
    UdpSocket from = open(a_, heard_a_, 1000);
    ASSERT_TRUE(from.send(std::string_view("\0\0", 2), SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    const auto probe = sent();
    ASSERT_TRUE(probe);
    // Sent as the data, the checksum makes the sum zero.
    const std::string data(reinterpret_cast<const char*>(&probe->upper[6]), 2);
    ASSERT_TRUE(from.send(data, SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    const auto packet = sent();
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->upper[6], 0xff);
    EXPECT_EQ(packet->upper[7], 0xff);
    EXPECT_TRUE(packet->is_sound());
}

TEST_P(Datagrams, what_is_larger_than_the_link_carries_goes_in_fragments) {
    UdpSocket from = open(a_, heard_a_, 1000);
    open(b_, heard_b_, 2000);
    std::string data(4000, '\0');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7);
    for (int round = 0; round < 2; ++round)
        ASSERT_TRUE(from.send(data, SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    std::set<uint32_t> identifications;
    for (int round = 0; round < 2; ++round) {
        uint32_t offset = 0;
        for (int i = 0; i < 3; ++i) {
            const auto packet = sent();
            ASSERT_TRUE(packet);
            identifications.insert(packet->ip.identification);
            EXPECT_EQ(packet->ip.fragment_offset, offset);
            EXPECT_EQ(packet->ip.more_fragments, i < 2);
            EXPECT_EQ(packet->ip.dont_fragment, !v4()) << "IPv6 has no such bit: as it begins";
            EXPECT_LE(packet->upper.size() + packet->ip.header_size, 1500U);
            offset += static_cast<uint32_t>(packet->upper.size());
        }
        EXPECT_EQ(offset, 4008U);
    }
    EXPECT_EQ(identifications.size(), 2U);
    ASSERT_EQ(heard_b_.got.size(), 2U);
    EXPECT_EQ(heard_b_.text(0), data);
    EXPECT_EQ(heard_b_.text(1), data);
    EXPECT_EQ(counter(a_, "IpFragOKs"), 2U);
    EXPECT_EQ(counter(a_, "IpFragCreates"), 6U);
    EXPECT_EQ(counter(b_, "IpReasmOKs"), 2U);
    ASSERT_TRUE(from.set_path_mtu_discovery(PathMtuDiscovery::always));
    EXPECT_EQ(from.send(data, SocketAddress{at(2), 2000}).error(), EMSGSIZE);
    const std::string most(1500 - ip_size() - 8, 'x');
    EXPECT_TRUE(from.send(most, SocketAddress{at(2), 2000}));
    EXPECT_EQ(from.send(most + "x", SocketAddress{at(2), 2000}).error(), EMSGSIZE);
}

TEST_P(Datagrams, icmp_tells_what_the_path_carries) {
    UdpSocket from = open(a_, heard_a_, 1000);
    open(b_, heard_b_, 2000);
    ASSERT_TRUE(from.connect({at(2), 2000}));
    const std::string data(1400, 'x');
    ASSERT_TRUE(from.send(data));
    net_.advance(1_ms);
    const auto packet = sent();
    ASSERT_TRUE(packet);
    EXPECT_TRUE(packet->ip.dont_fragment);
    const uint32_t mtu = 1300;
    // Nobody sent this.
    Seen forged = *packet;
    forged.upper[1] ^= 1;
    push_icmp(a_, v4() ? 3 : 2, v4() ? 4 : 0, mtu, at(9), forged);
    net_.advance(1_ms);
    EXPECT_TRUE(heard_a_.errors.empty());
    push_icmp(a_, v4() ? 3 : 2, v4() ? 4 : 0, mtu, at(9), *packet);
    net_.advance(1_ms);
    EXPECT_EQ(heard_a_.errors, (std::vector<int>{EMSGSIZE}));
    EXPECT_EQ(from.take_error(), EMSGSIZE);
    ASSERT_TRUE(from.send(data));
    net_.advance(1_ms);
    for (int i = 0; i < 2; ++i) {
        const auto piece = sent();
        ASSERT_TRUE(piece);
        EXPECT_LE(piece->upper.size() + piece->ip.header_size, mtu);
        EXPECT_EQ(piece->ip.more_fragments, i == 0);
    }
    EXPECT_EQ(heard_b_.got.size(), 2U);
    // No smaller than every path is.
    ASSERT_TRUE(from.send(std::string(1200, 'x')));
    net_.advance(1_ms);
    push_icmp(a_, v4() ? 3 : 2, v4() ? 4 : 0, 68, at(9), *sent());
    net_.advance(1_ms);
    EXPECT_EQ(from.take_error(), v4() ? EMSGSIZE : 0) << "IPv6 carries 1280 everywhere";
    ASSERT_TRUE(from.send(std::string(1200, 'x')));
    net_.advance(1_ms);
    const auto first = sent();
    ASSERT_TRUE(first);
    EXPECT_EQ(first->upper.size() + first->ip.header_size > 500, true);
    // Connections do not heed it: nobody can tell whether the datagram was sent.
    struct Client final : ConnectionHandler {
    } client;
    const auto connection = a_.connect({at(2), 7}, client);
    ASSERT_TRUE(connection);
    EXPECT_EQ(connection->info().path_mtu, 1500U);
    // After ten minutes it may have become wider.
    net_.advance(601_s);
    while (sent()) {
    }
    ASSERT_TRUE(from.send(data));
    net_.advance(1_ms);
    EXPECT_FALSE(sent()->ip.is_fragment());
}

TEST_P(Datagrams, for_nobody_are_answered_by_icmp) {
    UdpSocket from = open(a_, heard_a_, 1000);
    ASSERT_TRUE(from.send("x", SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    const auto question = sent();
    const auto answer = seen(net_, b_);
    ASSERT_TRUE(answer && question);
    EXPECT_TRUE(answer->is_sound());
    EXPECT_EQ(answer->upper[0], v4() ? 3 : 1);
    EXPECT_EQ(answer->upper[1], v4() ? 3 : 4);
    EXPECT_EQ(answer->upper.size(), 8 + ip_size() + 9) << "all of it is quoted";
    EXPECT_EQ(Bytes(answer->upper.end() - 9, answer->upper.end()), question->upper);
    EXPECT_TRUE(heard_a_.errors.empty()) << "who is not connected is told nothing";
    EXPECT_EQ(counter(b_, "UdpNoPorts"), 1U);
    EXPECT_EQ(counter(b_, "IcmpOutDestUnreachs"), 1U);
    ASSERT_TRUE(from.connect({at(2), 2000}));
    ASSERT_TRUE(from.send(std::string(1400, 'x')));
    net_.advance(1_ms);
    EXPECT_EQ(heard_a_.errors, (std::vector<int>{ECONNREFUSED}));
    const auto long_answer = seen(net_, b_);
    ASSERT_TRUE(long_answer);
    EXPECT_EQ(long_answer->upper.size() + ip_size(), v4() ? 576U : 1280U);
    EXPECT_EQ(from.send("told by the next call").error(), ECONNREFUSED);
    EXPECT_TRUE(from.send("once"));
}

TEST_P(Datagrams, errors_of_others_and_soft_ones_are_not_told) {
    UdpSocket from = open(a_, heard_a_, 1000);
    ASSERT_TRUE(from.connect({at(9), 2000}));
    ASSERT_TRUE(from.send("x"));
    net_.advance(1_ms);
    const auto packet = sent();
    ASSERT_TRUE(packet);
    push_icmp(a_, v4() ? 3 : 1, v4() ? 1 : 0, 0, at(8), *packet);  // soft
    Seen other = *packet;
    other.upper[3] ^= 1;
    push_icmp(a_, v4() ? 3 : 1, v4() ? 3 : 4, 0, at(8), other);
    if (v4()) {
        Seen later = *packet;  // its first bytes are no ports
        later.ip.fragment_offset = 8;
        push_icmp(a_, 3, 3, 0, at(8), later);
    }
    net_.advance(1_ms);
    EXPECT_TRUE(heard_a_.errors.empty());
    push_icmp(a_, v4() ? 3 : 1, v4() ? 3 : 4, 0, at(8), *packet);
    net_.advance(1_ms);
    EXPECT_EQ(heard_a_.errors, (std::vector<int>{ECONNREFUSED}));
}

TEST_P(Datagrams, who_asks_is_told_all_that_went_wrong) {
    using Origin = DatagramError::Origin;
    UdpSocket from = open(a_, heard_a_, 1000);
    ASSERT_TRUE(from.set_receive_errors(true));
    const size_t before = a_.buffers_available();
    ASSERT_TRUE(from.send("quoted", SocketAddress{at(9), 2000}));
    net_.advance(1_ms);
    const auto packet = sent();
    ASSERT_TRUE(packet);
    push_icmp(a_, v4() ? 3 : 1, v4() ? 1 : 0, 0, at(8), *packet);  // soft, and not connected
    net_.advance(1_ms);
    ASSERT_EQ(heard_a_.errors.size(), 1U);
    const auto error = from.receive_error();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->error, v4() ? EHOSTUNREACH : ENETUNREACH);
    EXPECT_EQ(error->origin, v4() ? Origin::icmp : Origin::icmp6);
    EXPECT_EQ(error->type, v4() ? 3 : 1);
    EXPECT_EQ(error->code, v4() ? 1 : 0);
    EXPECT_EQ(error->offender, at(8));
    EXPECT_EQ(error->destination, (SocketAddress{at(9), 2000}));
    EXPECT_FALSE(from.receive_error());
    EXPECT_EQ(from.take_error(), 0);
    // A real host's message quotes the payload, too.
    ASSERT_TRUE(from.send("quoted", SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    auto refused = from.receive_error();
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->error, ECONNREFUSED);
    EXPECT_EQ(refused->data.size(), 6U);
    refused.reset();
    ASSERT_TRUE(from.set_path_mtu_discovery(PathMtuDiscovery::always));
    EXPECT_EQ(from.send(std::string(2000, 'x'), SocketAddress{at(2), 2000}).error(), EMSGSIZE);
    const auto own = from.receive_error();
    ASSERT_TRUE(own);
    EXPECT_EQ(own->origin, Origin::local);
    EXPECT_EQ(own->info, 1500U);
    EXPECT_EQ(from.take_error(), 0);
    // Nobody reads them: bounded as datagrams are.
    ASSERT_TRUE(from.set_receive_buffer(3000));
    for (int i = 0; i < 50; ++i) {
        push_icmp(a_, v4() ? 3 : 1, v4() ? 3 : 4, 0, at(8), *packet);
        net_.advance(1_ms);
    }
    size_t kept = 0;
    while (from.receive_error()) ++kept;
    EXPECT_EQ(kept, 3000U / 512 + 1);
    EXPECT_EQ(from.take_error(), 0) << "the last that was read";
    push_icmp(a_, v4() ? 3 : 1, v4() ? 3 : 4, 0, at(8), *packet);
    net_.advance(1_ms);
    ASSERT_TRUE(from.close());
    net_.advance(1_ms);
    EXPECT_EQ(a_.buffers_available(), before);
}

TEST_P(Datagrams, that_nobody_reads_are_bounded_and_counted) {
    heard_b_.reads = false;
    UdpSocket from = open(a_, heard_a_, 1000);
    UdpSocket to = open(b_, heard_b_, 2000);
    ASSERT_TRUE(to.set_receive_buffer(100'000));
    const size_t before = b_.buffers_available();
    for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(from.send(std::string(1000, 'x'), SocketAddress{at(2), 2000}));
        net_.advance(1_ms);
    }
    const size_t kept = 100'000 / 1512 + 1;
    EXPECT_EQ(counter(b_, "UdpInDatagrams"), kept);
    EXPECT_EQ(counter(b_, "UdpRcvbufErrors"), 200 - kept);
    EXPECT_EQ(counter(b_, "udp_receive_full"), 200 - kept);
    size_t read = 0;
    std::array<Datagram, 16> some;
    while (const size_t n = to.receive(some)) read += n;
    some = {};
    EXPECT_EQ(read, kept);
    EXPECT_EQ(b_.buffers_available(), before);
    // Whatever one was given, it pins an eighth of the receive buffers, and all together half.
    ASSERT_TRUE(to.set_receive_buffer(4'000'000));
    std::vector<UdpSocket> more{to};
    for (uint16_t port = 2001; port < 2006; ++port) {
        more.push_back(open(b_, heard_b_, port));
        ASSERT_TRUE(more.back().set_receive_buffer(4'000'000));
    }
    for (uint16_t port = 2000; port < 2006; ++port)
        for (int i = 0; i < 300; ++i) {
            ASSERT_TRUE(from.send("x", SocketAddress{at(2), port}));
            net_.advance(1_ms);
        }
    EXPECT_EQ(counter(b_, "UdpInDatagrams"), kept + 1024);
    for (UdpSocket& socket : more) ASSERT_TRUE(socket.close());
    net_.advance(1_ms);
    EXPECT_EQ(b_.buffers_available(), before);
}

TEST_P(Datagrams, one_turn_takes_as_many_as_the_send_buffer_says) {
    UdpSocket from = open(a_, heard_a_, 1000);
    open(b_, heard_b_, 2000);
    ASSERT_TRUE(from.set_send_buffer(10'000));
    size_t taken = 0;
    const auto send = [&] { return from.send(std::string(500, 'x'), SocketAddress{at(2), 2000}); };
    while (send()) ++taken;
    EXPECT_EQ(taken, 10U);
    EXPECT_EQ(send().error(), EAGAIN);
    net_.advance(1_ms);
    EXPECT_EQ(heard_a_.writable, 1);
    EXPECT_EQ(heard_b_.got.size(), 10U);
    std::vector<OutgoingDatagram> many(12);
    for (OutgoingDatagram& each : many) each.destination = SocketAddress{at(2), 2000};
    EXPECT_EQ(*from.send(many), 12U) << "empty ones count for less";
    net_.advance(1_ms);
    EXPECT_EQ(heard_b_.got.size(), 22U);
    many[3].destination.reset();
    EXPECT_EQ(*from.send(many), 3U);
    EXPECT_EQ(from.send(std::span(many).subspan(3)).error(), EDESTADDRREQ);
}

TEST_P(Datagrams, a_forwarded_datagram_is_never_copied) {
    UdpSocket from = open(a_, heard_a_, 1000);
    struct Echo final : UdpHandler {
        void on_readable(UdpSocket socket) override {
            while (auto datagram = socket.receive()) {
                OutgoingDatagram back;
                back.destination = datagram->source;
                back.data = std::move(datagram->data);
                EXPECT_TRUE(socket.send(back));
            }
        }
    } echo;
    ASSERT_TRUE(UdpSocket::open(b_, {Address::any(GetParam()), 2000}, echo));
    for (const size_t size : {size_t{1}, size_t{100}, size_t{1400}, size_t{9000}})
        ASSERT_TRUE(from.send(std::string(size, 'x'), SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    ASSERT_EQ(heard_a_.got.size(), 4U);
    EXPECT_EQ(heard_a_.got[3].data.size(), 9000U);
    EXPECT_EQ(counter(b_, "PayloadBytesCopied"), 0U);
    EXPECT_EQ(counter(b_, "PayloadBytesSent"), 1U + 100 + 1400 + 9000);
}

TEST_P(Datagrams, those_who_share_a_port_share_the_peers) {
    std::array<Heard, 4> heard;
    for (Heard& each : heard) open(b_, each, 2000, {.reuse_port = true});
    EXPECT_EQ(UdpSocket::open(b_, {Address::any(GetParam()), 2000}, heard_b_).error(), EADDRINUSE);
    UdpSocket from = open(a_, heard_a_, 1000);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(from.send("x", SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    EXPECT_EQ(std::ranges::count_if(heard, [](const Heard& h) { return h.got.size() == 10; }), 1);
    std::vector<UdpSocket> peers;
    for (uint16_t port = 3000; port < 3100; ++port) {
        peers.push_back(open(a_, heard_a_, port));
        ASSERT_TRUE(peers.back().send("x", SocketAddress{at(2), 2000}));
    }
    net_.advance(1_ms);
    for (const Heard& each : heard) EXPECT_GT(each.got.size(), 10U);
}

TEST_P(Datagrams, a_connected_socket_hears_its_peer_alone) {
    UdpSocket first = open(a_, heard_a_, 1000);
    Heard other;
    UdpSocket second = open(a_, other, 1001);
    Heard any, one;
    UdpSocket listens = open(b_, any, 2000, {.reuse_address = true});
    UdpSocket connected = open(b_, one, 2000, {.reuse_address = true});
    ASSERT_TRUE(connected.connect({at(1), 1000}));
    EXPECT_EQ(connected.local(), (SocketAddress{at(2), 2000}));
    EXPECT_EQ(connected.remote(), (SocketAddress{at(1), 1000}));
    ASSERT_TRUE(first.send("x", SocketAddress{at(2), 2000}));
    ASSERT_TRUE(second.send("y", SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    EXPECT_EQ(one.got.size(), 1U);
    EXPECT_EQ(any.got.size(), 1U);
    ASSERT_TRUE(connected.send("back"));
    net_.advance(1_ms);
    EXPECT_EQ(heard_a_.got.size(), 1U);
    ASSERT_TRUE(connected.close());
    ASSERT_TRUE(first.send("x", SocketAddress{at(2), 2000}));
    net_.advance(1_ms);
    EXPECT_EQ(any.got.size(), 2U);
    EXPECT_EQ(listens.remote(), SocketAddress());
}

/// The first of two that are ready closes both.
TEST_P(Datagrams, a_socket_may_be_closed_in_any_call) {
    struct Closer final : UdpHandler {
        void on_readable(UdpSocket) override {
            ++calls;
            for (UdpSocket& socket : sockets) EXPECT_TRUE(socket.close());
        }
        std::vector<UdpSocket> sockets;
        int calls = 0;
    } closer;
    for (uint16_t port = 2000; port < 2002; ++port)
        closer.sockets.push_back(
            *UdpSocket::open(b_, {Address::any(GetParam()), port}, closer));
    UdpSocket from = open(a_, heard_a_, 1000);
    for (uint16_t port = 2000; port < 2002; ++port)
        ASSERT_TRUE(from.send("x", SocketAddress{at(2), port}));
    net_.advance(1_ms);
    EXPECT_EQ(closer.calls, 1);
    for (UdpSocket& socket : closer.sockets) EXPECT_EQ(socket.close().error(), EBADF);
    EXPECT_TRUE(UdpSocket::open(b_, {Address::any(GetParam()), 2000}, heard_b_));
}

TEST_P(Datagrams, a_group_is_joined_and_left_in_the_open) {
    UdpSocket socket = open(a_, heard_a_, 1000);
    ASSERT_TRUE(socket.join(group(), 1));
    EXPECT_EQ(socket.join(group(), 1).error(), EADDRINUSE);
    EXPECT_EQ(socket.join(at(2), 1).error(), EINVAL);
    EXPECT_EQ(socket.join(group(), 9).error(), ENODEV);
    EXPECT_EQ(socket.leave(at(2)).error(), EADDRNOTAVAIL);
    const auto expect_report = [&](uint8_t type, uint8_t record) {
        const auto packet = sent();
        ASSERT_TRUE(packet);
        EXPECT_TRUE(packet->is_sound());
        EXPECT_EQ(packet->ip.ttl, 1);
        EXPECT_EQ(packet->ip.source, v4() ? at(1) : *Address::parse("fe80::1"));
        EXPECT_EQ(packet->ip.destination,
                  v4() ? Address::v4(224, 0, 0, 22) : *Address::parse("ff02::16"));
        EXPECT_EQ(packet->ip.header_size, ip_size() + (v4() ? 4 : 8)) << "a router alert";
        ASSERT_EQ(packet->upper.size(), v4() ? 16U : 28U);
        EXPECT_EQ(packet->upper[0], type);
        EXPECT_EQ(packet->upper[7], 1);
        EXPECT_EQ(packet->upper[8], record);
        EXPECT_EQ(std::memcmp(&packet->upper[12], group().wire(), group().wire_size()), 0);
    };
    const uint8_t report = v4() ? 0x22 : 143;
    const Instant start = net_.now();
    net_.advance(1_s);
    expect_report(report, 4);
    expect_report(report, 4);
    EXPECT_FALSE(sent());
    // A second socket is no news; nor is the first that leaves.
    Heard more;
    UdpSocket second = open(a_, more, 1001);
    ASSERT_TRUE(second.join(group(), 1));
    ASSERT_TRUE(socket.leave(group()));
    net_.advance(2_s);
    EXPECT_FALSE(sent());
    EXPECT_EQ((net_.now() - start).seconds(), 3);
    ASSERT_TRUE(second.close());
    net_.advance(2_s);
    expect_report(report, 3);
    expect_report(report, 3);
    EXPECT_FALSE(sent());
}

TEST_P(Datagrams, routers_ask_and_are_answered) {
    UdpSocket socket = open(a_, heard_a_, 1000);
    ASSERT_TRUE(socket.join(group(), 1));
    net_.advance(2_s);
    while (sent()) {
    }
    const auto ask = [&](bool old, const Address& about, uint8_t ttl = 1) {
        const bool general = about.is_unspecified();
        Bytes query(v4() ? (old ? 8 : 12) : (old ? 24 : 28));
        query[0] = v4() ? 0x11 : 130;
        if (v4()) query[1] = 50;                                // 5 s
        if (!v4()) wire::store16(&query[4], 5000);
        std::memcpy(&query[v4() ? 4 : 8], about.wire(), about.wire_size());
        const Address all = v4() ? Address::v4(224, 0, 0, 1) : *Address::parse("ff02::1");
        push(a_, v4() ? at(9) : *Address::parse("fe80::9"), general ? all : about,
             v4() ? wire::Protocol::igmp : wire::Protocol::icmpv6, query, 2, ttl, !v4());
    };
    const Address any = Address::any(GetParam());
    ask(false, any);
    const Instant asked = net_.now();
    net_.advance(6_s);
    const auto answer = sent();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->upper[0], v4() ? 0x22 : 143);
    EXPECT_EQ(answer->upper[8], 2) << "it is there";
    EXPECT_LT(answer->at - asked, 5_s);
    EXPECT_FALSE(sent());
    ask(false, group());
    net_.advance(6_s);
    EXPECT_TRUE(sent());
    EXPECT_FALSE(sent());
    ask(false, v4() ? Address::v4(239, 1, 2, 4) : *Address::parse("ff15::124"));
    ask(false, any, 64);  // from further than one hop
    net_.advance(6_s);
    EXPECT_FALSE(sent());
    Bytes odd(v4() ? 10 : 26);  // of no version
    odd[0] = v4() ? 0x11 : 130;
    push(a_, v4() ? at(9) : *Address::parse("fe80::9"),
         v4() ? Address::v4(224, 0, 0, 1) : *Address::parse("ff02::1"),
         v4() ? wire::Protocol::igmp : wire::Protocol::icmpv6, odd, 2, 1, !v4());
    net_.advance(11_s);
    EXPECT_FALSE(sent());
    // An old router is answered in its own words, and for a while so is everybody.
    ask(true, any);
    net_.advance(6_s);
    const auto old = sent();
    ASSERT_TRUE(old);
    EXPECT_TRUE(old->is_sound());
    EXPECT_EQ(old->upper[0], v4() ? 0x16 : 131);
    EXPECT_EQ(old->ip.destination, group());
    ASSERT_TRUE(socket.leave(group()));
    net_.advance(2_s);
    const auto left = sent();
    ASSERT_TRUE(left);
    EXPECT_EQ(left->upper[0], v4() ? 0x17 : 132);
    EXPECT_EQ(left->ip.destination,
              v4() ? Address::v4(224, 0, 0, 2) : *Address::parse("ff02::2"));
}

TEST_P(Datagrams, to_a_group_reach_all_members_and_nobody_else) {
    Heard joined, also_joined, not_joined, other_port, own;
    UdpSocket from = open(a_, heard_a_, 1000);
    UdpSocket here = open(a_, own, 2000);
    UdpSocket one = open(b_, joined, 2000, {.reuse_address = true});
    UdpSocket two = open(b_, also_joined, 2000, {.reuse_address = true});
    open(b_, other_port, 2001);
    ASSERT_TRUE(from.set_multicast_interface(1));
    const auto send = [&] {
        ASSERT_TRUE(from.send("to the group", SocketAddress{group(), 2000}));
        net_.advance(1_ms);
    };
    send();
    EXPECT_TRUE(joined.got.empty());
    EXPECT_EQ(counter(b_, "ip_not_for_us"), 1U);
    ASSERT_TRUE(one.join(group(), 1));
    ASSERT_TRUE(two.join(group(), 1));
    ASSERT_TRUE(here.join(group(), 1));
    send();
    EXPECT_EQ(joined.got.size(), 1U);
    EXPECT_EQ(also_joined.got.size(), 1U);
    EXPECT_EQ(own.got.size(), 1U) << "looped back";
    EXPECT_EQ(joined.text(0), "to the group");
    EXPECT_EQ(also_joined.text(0), "to the group");
    EXPECT_EQ(joined.got[0].destination, group());
    EXPECT_EQ(joined.got[0].ttl, 1);
    EXPECT_TRUE(other_port.got.empty());
    ASSERT_TRUE(from.set_multicast_loop(false));
    ASSERT_TRUE(from.set_multicast_ttl(0));
    send();
    EXPECT_EQ(joined.got.size(), 1U) << "it stays on its host";
    EXPECT_EQ(own.got.size(), 1U);
    while (const auto packet = sent()) EXPECT_NE(packet->ip.ttl, 0);
    // Large ones, too.
    ASSERT_TRUE(from.set_multicast_ttl(3));
    ASSERT_TRUE(from.set_multicast_loop(true));
    ASSERT_TRUE(from.send(std::string(5000, 'x'), SocketAddress{group(), 2000}));
    net_.advance(1_ms);
    ASSERT_EQ(joined.got.size(), 2U);
    ASSERT_EQ(own.got.size(), 2U);
    EXPECT_EQ(joined.got[1].data.size(), 5000U);
    EXPECT_EQ(own.got[1].data.size(), 5000U);
    // Nobody says that there is nobody.
    ASSERT_TRUE(from.send("x", SocketAddress{group(), 2002}));
    net_.advance(1_ms);
    EXPECT_EQ(counter(b_, "IcmpOutDestUnreachs"), 0U);
}

/// RFC 4291 section 2.7: interface-local groups are the host's own.
TEST_P(Datagrams, groups_of_one_host_stay_there) {
    const Address own = v4() ? group() : *Address::parse("ff01::123");
    Heard here;
    UdpSocket from = open(a_, heard_a_, 1000);
    UdpSocket member = open(a_, here, 2000);
    UdpSocket there = open(b_, heard_b_, 2000);
    ASSERT_TRUE(member.join(own, 1));
    ASSERT_TRUE(there.join(own, 1));
    net_.advance(3_s);
    while (sent()) {
    }
    ASSERT_TRUE(from.set_multicast_interface(1));
    ASSERT_TRUE(from.send("x", SocketAddress{own, 2000}));
    net_.advance(1_ms);
    EXPECT_EQ(here.got.size(), 1U);
    EXPECT_EQ(heard_b_.got.size(), v4() ? 1U : 0U);
    EXPECT_EQ(sent().has_value(), v4());
}

/// Who has no address yet may ask everybody for one (DHCP); nobody else may be nobody.
TEST_P(Datagrams, without_a_source_are_for_all_or_for_nobody) {
    if (!v4()) {
        open(b_, heard_b_, 67);
        Bytes datagram(9);
        wire::Udp{68, 67, 9}.emit(datagram.data());
        push(b_, Address(), at(2), wire::Protocol::udp, datagram, 6);
        net_.advance(1_ms);
        EXPECT_TRUE(heard_b_.got.empty());
        EXPECT_EQ(counter(b_, "ip_bad_source"), 1U);
        return;
    }
    UdpSocket server = open(b_, heard_b_, 67);
    Bytes datagram(9);
    wire::Udp{68, 67, 9}.emit(datagram.data());
    const Address nobody = Address::v4(0, 0, 0, 0), all = Address::v4(255, 255, 255, 255);
    push(b_, nobody, at(2), wire::Protocol::udp, datagram, 6);
    net_.advance(1_ms);
    EXPECT_TRUE(heard_b_.got.empty());
    push(b_, nobody, all, wire::Protocol::udp, datagram, 6);
    net_.advance(1_ms);
    ASSERT_EQ(heard_b_.got.size(), 1U);
    EXPECT_EQ(heard_b_.got[0].source, (SocketAddress{nobody, 68}));
    EXPECT_EQ(server.send("x", heard_b_.got[0].source).error(), ENETUNREACH);
    push(b_, nobody, all, wire::Protocol::udp, [&] {
        wire::Udp{68, 69, 9}.emit(datagram.data());
        return datagram;
    }(), 6);
    net_.advance(1_ms);
    EXPECT_FALSE(seen(net_, b_)) << "nor is nobody told that nobody hears";
}

/// IPv6 has no broadcast, but a group in which everybody is.
TEST_P(Datagrams, broadcast_needs_leave_and_reaches_all) {
    UdpSocket from = open(a_, heard_a_, 1000);
    if (!v4()) {
        open(b_, heard_b_, 2000);
        OutgoingDatagram datagram;
        datagram.interface = 1;
        datagram.destination = SocketAddress{*Address::parse("ff02::1"), 2000};
        ASSERT_TRUE(from.send(datagram));
        net_.advance(1_ms);
        EXPECT_EQ(heard_b_.got.size(), 1U);
        return;
    }
    Heard bound;
    open(b_, heard_b_, 2000);
    ASSERT_TRUE(UdpSocket::open(b_, {at(2), 2001}, bound));
    for (const Address& all : {Address::v4(10, 0, 0, 255), Address::v4(255, 255, 255, 255)}) {
        OutgoingDatagram datagram;
        datagram.interface = 1;
        datagram.destination = SocketAddress{all, 2000};
        ASSERT_TRUE(from.set_broadcast(false));
        EXPECT_EQ(from.send(datagram).error(), EACCES);
        ASSERT_TRUE(from.set_broadcast(true));
        ASSERT_TRUE(from.send(datagram));
        datagram.destination->port = 2001;
        ASSERT_TRUE(from.send(datagram));
    }
    net_.advance(1_ms);
    EXPECT_EQ(heard_b_.got.size(), 2U);
    EXPECT_TRUE(bound.got.empty()) << "it named an address of its own";
    EXPECT_EQ(counter(b_, "IcmpOutDestUnreachs"), 0U);
}

}  // namespace
}  // namespace millrace
