#include <algorithm>

#include <gtest/gtest.h>

#include "base/random.h"
#include "buf/pools.h"
#include "ip/fragments.h"
#include "ip/neighbours.h"
#include "ip/routes.h"

namespace millrace::ip {
namespace {

using namespace literals;
using observe::Drop;

std::vector<Interface> two_interfaces() {
    Interface a;
    a.name = "a";
    a.addresses = {*Prefix::parse("10.0.0.1/24"), *Prefix::parse("fd00::1/64"),
                   *Prefix::parse("fe80::1/64")};
    a.routes = {{*Prefix::parse("0.0.0.0/0"), *Address::parse("10.0.0.254")},
                {*Prefix::parse("10.9.0.0/16"), *Address::parse("10.0.0.253")}};
    Interface b;
    b.name = "b";
    b.addresses = {*Prefix::parse("10.1.0.1/16")};
    Interface lo;
    lo.loopback = true;
    return {a, b, lo};
}

TEST(Routes, the_longest_prefix_wins_and_our_own_addresses_loop_back) {
    const auto interfaces = two_interfaces();
    const LocalAddresses addresses(interfaces, 1);
    const Routes routes(interfaces, addresses);
    const auto hop = [&](const char* to) { return *routes.find(*Address::parse(to)); };
    EXPECT_EQ(hop("10.0.0.7").address, *Address::parse("10.0.0.7"));
    EXPECT_EQ(hop("10.1.2.3").interface, 1);
    EXPECT_EQ(hop("10.9.1.1").address, *Address::parse("10.0.0.253"));
    EXPECT_EQ(hop("192.0.2.1").address, *Address::parse("10.0.0.254"));
    EXPECT_EQ(hop("10.1.0.1").interface, 2);
    EXPECT_EQ(hop("fd00::1").interface, 2);
    EXPECT_FALSE(routes.find(*Address::parse("2001:db8::1"))) << "no IPv6 default route";
    const auto source = [&](const char* to) {
        return addresses[*routes.source_for(*Address::parse(to))].address.to_string();
    };
    EXPECT_EQ(source("10.0.0.9"), "10.0.0.1");  // MUST-44
    EXPECT_EQ(source("10.1.9.9"), "10.1.0.1");
    EXPECT_EQ(source("8.8.8.8"), "10.0.0.1");
    EXPECT_EQ(source("fd00::9"), "fd00::1");
    EXPECT_EQ(source("fe80::9"), "fe80::1");
}

TEST(LocalAddresses, know_groups_and_themselves) {
    const auto interfaces = two_interfaces();
    const LocalAddresses addresses(interfaces, 1);
    EXPECT_EQ(addresses.size(), 4U);
    EXPECT_TRUE(addresses.is_group(*Address::parse("10.0.0.255")));
    EXPECT_TRUE(addresses.is_group(*Address::parse("10.1.255.255")));
    EXPECT_FALSE(addresses.is_group(*Address::parse("10.1.0.255")));
    EXPECT_TRUE(addresses.is_our_solicited_node(*Address::parse("ff02::1:ff00:1")));
    EXPECT_FALSE(addresses.is_our_solicited_node(*Address::parse("ff02::1:ff00:2")));
    EXPECT_FALSE(addresses.find(*Address::parse("10.0.0.2")));
}

TEST(LocalAddresses, find_each_of_a_few_and_of_many_and_no_other) {
    for (const int addresses_in_all : {1, 8, 9, 200}) {
        const auto count = static_cast<uint8_t>(addresses_in_all);
        Interface is;
        for (uint8_t i = 0; i < count; ++i)
            is.addresses.push_back({Address::v4(10, i, 0, 1), 24});  // that end alike
        const LocalAddresses addresses({is}, 1);
        for (uint8_t i = 0; i < count; ++i)
            EXPECT_EQ(addresses.find(Address::v4(10, i, 0, 1)), i);
        EXPECT_FALSE(addresses.find(Address::v4(10, count, 0, 1)));
        EXPECT_FALSE(addresses.find(Address::v4(10, 0, 0, 2)));
    }
}

class WithPools : public ::testing::Test {
protected:
    WithPools()
        : pools_(std::move(*buf::Pools::create(
              name(), {.receive = 2048, .header = 2048, .attach = 512, .payload = 512}))) {}
    static std::string name() {
        static int n = 0;
        return "ip_test" + std::to_string(n++);
    }
    buf::Pools pools_;
    observe::Counters counters_;
    Instant now_ = Instant() + 1000_s;
};

class Fragments : public WithPools, public ::testing::WithParamInterface<Family> {
protected:
    /// A piece of the datagram 0, 1, 2 ... as its IP packet.
    buf::Frame piece(uint32_t begin, uint32_t end, bool more, wire::Ip& ip, uint8_t salt = 0) {
        ip = {};
        ip.source = GetParam() == Family::ipv4 ? Address::v4(10, 0, 0, 2)
                                               : *Address::parse("fd00::2");
        ip.destination = GetParam() == Family::ipv4 ? Address::v4(10, 0, 0, 1)
                                                    : *Address::parse("fd00::1");
        ip.protocol = wire::Protocol::tcp;
        ip.identification = 77;
        ip.payload_size = end - begin;
        ip.fragment_offset = begin;
        ip.more_fragments = more;
        ip.dont_fragment = false;
        std::vector<uint8_t> bytes(wire::Ip::size_for(GetParam()));
        ip.emit(bytes.data(), true);
        ip.header_size = static_cast<uint16_t>(bytes.size());
        for (uint32_t i = begin; i < end; ++i)
            bytes.push_back(static_cast<uint8_t>(i * 3 + i / 256 + salt));
        return pools_.received(bytes);
    }
    buf::Frame add(FragmentTable& table, uint32_t begin, uint32_t end, bool more,
                   uint8_t salt = 0) {
        wire::Ip ip;
        buf::Frame frame = piece(begin, end, more, ip, salt);
        return table.add(ip, std::move(frame), now_);
    }
    void expect_whole(const buf::Frame& frame, uint32_t size) {
        ASSERT_TRUE(frame);
        std::vector<uint8_t> bytes(frame.size());
        frame.copy_out(0, bytes);
        const auto ip = wire::Ip::parse(bytes, bytes.size(), true);
        ASSERT_TRUE(ip);
        EXPECT_FALSE(ip->is_fragment());
        EXPECT_EQ(ip->payload_size, size);
        for (uint32_t i = 0; i < size; ++i)
            ASSERT_EQ(bytes[ip->header_size + i], static_cast<uint8_t>(i * 3 + i / 256)) << i;
    }
    IpTunables tunables_;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, Fragments, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(Fragments, come_together_in_every_order) {
    std::array<uint32_t, 4> order{0, 1, 2, 3};
    do {
        FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
        buf::Frame whole;
        for (size_t i = 0; i < order.size(); ++i) {
            EXPECT_FALSE(whole);
            const uint32_t begin = order[i] * 1000;
            const bool last = order[i] == 3;
            whole = add(table, begin, last ? 3333 : begin + 1000, !last);
        }
        expect_whole(whole, 3333);
        EXPECT_EQ(table.size(), 0U);
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(pools_.available(), pools_.capacity());
}

TEST_P(Fragments, overlaps_condemn_the_datagram) {  // RFC 5722, attack case 11
    for (const auto& [begin, end] : {std::pair<uint32_t, uint32_t>{992, 1992}, {0, 8}, {8, 16}}) {
        FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
        EXPECT_FALSE(add(table, 0, 1000, true));
        EXPECT_FALSE(add(table, begin, end, true, 9));
        EXPECT_EQ(table.size(), 0U);
    }
    EXPECT_EQ(counters_.drops(Drop::fragment_bad), 3U);
}

TEST_P(Fragments, exact_duplicates_are_harmless) {
    FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
    add(table, 0, 1000, true);
    add(table, 0, 1000, true);
    expect_whole(add(table, 1000, 1100, false), 1100);
}

TEST_P(Fragments, impossible_ones_are_dropped) {
    FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
    EXPECT_FALSE(add(table, 0, 7, true));         // not a multiple of eight
    EXPECT_FALSE(add(table, 0, 0, true));         // empty
    EXPECT_FALSE(add(table, 65520, 65600, false));  // ends past 65535
    add(table, 1000, 2000, false);
    EXPECT_FALSE(add(table, 2000, 2008, true));   // beyond the end
    EXPECT_EQ(counters_.drops(Drop::fragment_bad), 4U);
    EXPECT_EQ(pools_.available(), pools_.capacity());
}

/// RFC 3168 section 5.3, and the DSCP of the first.
TEST_P(Fragments, keep_their_mark_of_congestion_and_their_dscp) {
    struct Case {
        std::array<uint8_t, 3> ecn;
        int whole;  ///< negative: dropped
    };
    for (const auto& [ecn, expected] : {Case{{0, 0, 0}, 0}, Case{{2, 2, 2}, 2}, Case{{1, 1, 1}, 1},
                                        Case{{2, 3, 2}, 3}, Case{{1, 1, 3}, 3}, Case{{3, 2, 2}, 3},
                                        Case{{3, 3, 3}, 3}, Case{{0, 3, 0}, -1},
                                        Case{{3, 0, 3}, -1}}) {
        FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
        const uint64_t bad = counters_.drops(Drop::fragment_bad);
        buf::Frame whole;
        for (const uint32_t i : {2U, 0U, 1U}) {
            wire::Ip ip;
            buf::Frame frame = piece(i * 1000, i * 1000 + 1000, i < 2, ip);
            ip.tos = static_cast<uint8_t>((i == 0 ? 46 : 10) << 2 | ecn[i]);
            whole = table.add(ip, std::move(frame), now_);
        }
        EXPECT_EQ(table.size(), 0U);
        EXPECT_EQ(counters_.drops(Drop::fragment_bad) - bad, expected < 0 ? 1U : 0U);
        EXPECT_EQ(static_cast<bool>(whole), expected >= 0);
        if (!whole) continue;
        expect_whole(whole, 3000);
        std::array<uint8_t, 40> header{};
        whole.copy_out(0, header);
        const auto ip = wire::Ip::parse(header, whole.size(), true);
        EXPECT_EQ(ip->tos, 46 << 2 | expected);
    }
}

TEST_P(Fragments, wait_no_longer_than_ipfrag_time) {
    FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
    add(table, 0, 1000, true);
    now_ = now_ + 31_s;
    table.expire(now_);
    EXPECT_EQ(table.size(), 0U);
    EXPECT_EQ(counters_.drops(Drop::fragment_timeout), 1U);
    EXPECT_FALSE(add(table, 1000, 1100, false));
}

TEST_P(Fragments, a_flood_is_bounded_in_datagrams_and_in_pieces) {  // attack case 12
    FragmentTable table(tunables_, counters_, 1, pools_.receive_buffers());
    for (uint32_t id = 0; id < 5000; ++id) {
        wire::Ip ip;
        buf::Frame frame = piece(8, 16, true, ip);
        ip.identification = id;
        EXPECT_FALSE(table.add(ip, std::move(frame), now_));
    }
    EXPECT_LE(table.size(), tunables_.ipfrag_max);
    EXPECT_GE(pools_.available() + FragmentTable::buffers_max, pools_.capacity());
    EXPECT_GT(counters_.drops(Drop::fragment_no_room), 4000U);
}

TEST_P(Fragments, a_flood_pins_an_eighth_of_a_small_pool) {  // attack case 12
    FragmentTable table(tunables_, counters_, 1, 512);
    for (uint32_t id = 0; id < 500; ++id) {
        wire::Ip ip;
        buf::Frame frame = piece(8, 16, true, ip);
        ip.identification = id;
        EXPECT_FALSE(table.add(ip, std::move(frame), now_));
    }
    EXPECT_EQ(pools_.available() + 64, pools_.capacity());
    now_ = now_ + 31_s;
    table.expire(now_);
    EXPECT_EQ(pools_.available(), pools_.capacity());
}

/// RFC 8200 section 4.5: destination options behind the fragment header stand in the first fragment
/// alone, and are part of what was fragmented; the others name them as what follows.
using FragmentsBehindOptions = WithPools;
TEST_F(FragmentsBehindOptions, come_together_in_every_order) {
    constexpr uint8_t fragment_header = 44, destination_options = 60, options_size = 16, tcp = 6;
    const auto packet = [&](uint32_t begin, uint32_t end, bool more) {
        std::vector<uint8_t> bytes(40);
        wire::Ip ip;
        ip.source = *Address::parse("fd00::2");
        ip.destination = *Address::parse("fd00::1");
        ip.protocol = static_cast<wire::Protocol>(fragment_header);
        const uint32_t options = begin == 0 ? options_size : 0;
        ip.payload_size = 8 + options + (end - begin);
        ip.emit(bytes.data(), true);
        const uint32_t offset = begin == 0 ? 0 : begin + options_size;
        bytes.insert(bytes.end(), {destination_options, 0, static_cast<uint8_t>(offset >> 8),
                                   static_cast<uint8_t>((offset & 0xf8) | (more ? 1 : 0)), 0, 0, 0,
                                   77});
        if (begin == 0) {  // a PadN option of 14 bytes
            bytes.insert(bytes.end(), {tcp, 1, 1, 12});
            bytes.resize(bytes.size() + 12);
        }
        for (uint32_t i = begin; i < end; ++i) bytes.push_back(static_cast<uint8_t>(i * 7));
        return bytes;
    };
    const std::array packets{packet(0, 1000, true), packet(1000, 2000, true),
                             packet(2000, 2100, false)};
    IpTunables tunables;
    std::array<size_t, 3> order{0, 1, 2};
    do {
        FragmentTable table(tunables, counters_, 1, pools_.receive_buffers());
        buf::Frame whole;
        for (const size_t i : order) {
            EXPECT_FALSE(whole);
            const auto ip = wire::Ip::parse(packets[i], packets[i].size(), true);
            ASSERT_TRUE(ip);
            whole = table.add(*ip, pools_.received(packets[i]), now_);
        }
        ASSERT_TRUE(whole);
        std::vector<uint8_t> bytes(whole.size());
        whole.copy_out(0, bytes);
        const auto ip = wire::Ip::parse(bytes, bytes.size(), true);
        ASSERT_TRUE(ip);
        EXPECT_EQ(ip->protocol, wire::Protocol::tcp);
        ASSERT_EQ(ip->payload_size, 2100U);
        for (uint32_t i = 0; i < 2100; ++i)
            ASSERT_EQ(bytes[ip->header_size + i], static_cast<uint8_t>(i * 7)) << i;
    } while (std::ranges::next_permutation(order).found);
    EXPECT_EQ(counters_.drops_total(), 0U);
}

/// What the neighbour table asks for.
struct Asked final : NeighbourActions {
    int solicited = 0;
    int unicast = 0;
    std::vector<buf::Frame> forwarded;
    std::vector<Address> failed;
    void solicit(const Neighbour&, bool known) override {
        ++solicited;
        if (known) ++unicast;
    }
    void forward(uint16_t, buf::Frame frame) override { forwarded.push_back(std::move(frame)); }
    void unreachable(const Neighbour& neighbour) override { failed.push_back(neighbour.address); }
};

class NeighbourTable : public WithPools {
protected:
    buf::Frame frame() {
        buf::Frame f = pools_.frame();
        f.put(60);
        return f;
    }
    void pass(Duration time) {
        const Instant end = now_ + time;
        while (wheel_.next_deadline() <= end) {
            now_ = wheel_.next_deadline();
            wheel_.advance(now_, 100, [&](time::WheelEntry& e) { table_.on_timer(e, now_); });
        }
        now_ = end;
    }
    IpTunables tunables_;
    time::Wheel wheel_{now_};
    Asked asked_;
    Neighbours table_{tunables_, 1, wheel_, counters_, asked_, 3};
    const Address hop_ = Address::v4(10, 0, 0, 9);
    const wire::MacAddress mac_{{2, 0, 0, 0, 0, 9}};
};

TEST_F(NeighbourTable, frames_wait_for_the_answer_and_go_out_with_it) {
    Neighbour& n = *table_.get(0, hop_, now_);
    for (int i = 0; i < 3; ++i) table_.send(n, frame(), now_);
    EXPECT_EQ(asked_.solicited, 1);
    EXPECT_TRUE(asked_.forwarded.empty());
    EXPECT_TRUE(table_.learn(0, hop_, mac_, true, false, now_));
    ASSERT_EQ(asked_.forwarded.size(), 3U);
    EXPECT_EQ(0, std::memcmp(asked_.forwarded[0].head().data(), mac_.bytes.data(), 6));
    table_.send(n, frame(), now_);
    EXPECT_EQ(asked_.forwarded.size(), 4U);
}

TEST_F(NeighbourTable, who_is_there_for_good_is_neither_asked_nor_moved_nor_pushed_out) {
    table_.place(0, {.address = hop_, .mac = mac_.bytes}, now_);
    Neighbour& n = *table_.find(0, hop_);
    table_.send(n, frame(), now_);
    ASSERT_EQ(asked_.forwarded.size(), 1U);
    EXPECT_EQ(0, std::memcmp(asked_.forwarded[0].head().data(), mac_.bytes.data(), 6));
    const wire::MacAddress other{{2, 0, 0, 0, 0, 7}};
    EXPECT_FALSE(table_.learn(0, hop_, other, true, true, now_));
    Neighbours::doubt(n);
    pass(3600_s);
    table_.send(n, frame(), now_);
    EXPECT_EQ(asked_.forwarded.size(), 2U);
    EXPECT_EQ(n.mac, mac_);
    EXPECT_EQ(asked_.solicited, 0);
    for (uint32_t i = 0; i < 2 * tunables_.neighbour_max; ++i) {
        const Address stranger = Address::v4(10, 1, static_cast<uint8_t>(i >> 8),
                                             static_cast<uint8_t>(i));
        ASSERT_NE(table_.get(0, stranger, now_), nullptr);
    }
    EXPECT_EQ(table_.find(0, hop_), &n);
}

TEST_F(NeighbourTable, who_was_there_when_we_came_is_used_at_once_and_asked) {
    table_.place(0, {.address = hop_, .mac = mac_.bytes, .permanent = false}, now_);
    Neighbour& n = *table_.find(0, hop_);
    table_.send(n, frame(), now_);
    EXPECT_EQ(asked_.forwarded.size(), 1U);
    EXPECT_EQ(n.state, NeighbourState::probe);
    EXPECT_EQ(asked_.solicited, 1);
    const wire::MacAddress other{{2, 0, 0, 0, 0, 7}};
    EXPECT_TRUE(table_.learn(0, hop_, other, true, false, now_));
    EXPECT_EQ(n.mac, other);
}

TEST_F(NeighbourTable, silence_is_told_only_where_a_connection_would_hear_it) {
    Neighbour& n = *table_.get(0, hop_, now_);
    table_.send(n, frame(), now_);
    pass(4_s);
    EXPECT_EQ(n.state, NeighbourState::failed);
    EXPECT_EQ(counters_.neighbour_failures, 1U);
    EXPECT_TRUE(asked_.failed.empty());
    for (int i = 0; i < 3; ++i) {  // until those who wait have been told, once
        n.wanted = true;
        table_.send(n, frame(), now_);
        pass(4_s);
        EXPECT_EQ(asked_.failed.size(), 1U);
    }
    n.untold = false;
    table_.send(n, frame(), now_);
    pass(4_s);
    EXPECT_EQ(asked_.failed.size(), 1U) << "and nobody has used it since";
    EXPECT_EQ(counters_.neighbour_failures, 5U);
}

TEST_F(NeighbourTable, silence_is_unreachable_after_the_retries) {
    table_.get(0, hop_, now_)->wanted = true;
    table_.send(*table_.get(0, hop_, now_), frame(), now_);
    pass(2900_ms);
    EXPECT_EQ(asked_.solicited, 3);
    EXPECT_TRUE(asked_.failed.empty());
    pass(200_ms);
    EXPECT_EQ(asked_.failed, std::vector<Address>{hop_});
    EXPECT_EQ(counters_.drops(Drop::neighbour_unresolved), 1U);
    table_.send(*table_.get(0, hop_, now_), frame(), now_);
    EXPECT_EQ(asked_.solicited, 4) << "the next frame starts anew";
}

TEST_F(NeighbourTable, an_old_entry_is_used_and_asked_again_by_unicast) {
    Neighbour& n = *table_.get(0, hop_, now_);
    table_.learn(0, hop_, mac_, true, false, now_);
    pass(31_s);
    EXPECT_EQ(n.state, NeighbourState::stale);
    table_.send(n, frame(), now_);
    EXPECT_EQ(asked_.forwarded.size(), 1U);
    EXPECT_EQ(asked_.unicast, 1);
    table_.learn(0, hop_, mac_, true, false, now_);
    EXPECT_EQ(n.state, NeighbourState::reachable);
}

TEST_F(NeighbourTable, the_latest_frames_wait_for_a_hop_and_the_oldest_go) {
    Neighbour& n = *table_.get(0, hop_, now_);
    for (uint8_t i = 0; i < 100; ++i) {
        buf::Frame f = frame();
        f.head()[14] = i;
        table_.send(n, std::move(f), now_);
    }
    EXPECT_EQ(tunables_.neighbour_queue, 64U);
    EXPECT_EQ(n.waiting.size(), 64U);
    EXPECT_EQ(counters_.drops(Drop::neighbour_queue_full), 36U);
    table_.learn(0, hop_, mac_, true, false, now_);
    ASSERT_EQ(asked_.forwarded.size(), 64U);
    for (uint8_t i = 0; i < 64; ++i) EXPECT_EQ(asked_.forwarded[i].head()[14], 36 + i);
}

TEST_F(NeighbourTable, frames_that_wait_are_bounded_over_all_hops) {
    // Eight silent hops fill what may wait in all, however large the pools are.
    for (uint8_t i = 0; i < 20; ++i)
        for (int j = 0; j < 64; ++j)
            table_.send(*table_.get(0, Address::v4(10, 0, 1, i), now_), frame(), now_);
    EXPECT_EQ(pools_.available(), pools_.capacity() - Neighbours::waiting_max);
    EXPECT_EQ(counters_.drops(Drop::neighbour_queue_full), 20 * 64 - Neighbours::waiting_max);
    EXPECT_EQ(asked_.solicited, 20) << "who finds no room is asked for all the same";
    table_.learn(0, Address::v4(10, 0, 1, 19), mac_, true, false, now_);
    table_.send(*table_.find(0, Address::v4(10, 0, 1, 19)), frame(), now_);
    EXPECT_EQ(asked_.forwarded.size(), 1U) << "and is reached once it has answered";
    asked_.forwarded.clear();
    pass(4_s);
    EXPECT_EQ(counters_.drops(Drop::neighbour_unresolved), Neighbours::waiting_max);
    EXPECT_EQ(pools_.available(), pools_.capacity());
}

TEST_F(NeighbourTable, what_nobody_asked_is_learned_only_where_it_may) {
    EXPECT_FALSE(table_.learn(0, hop_, mac_, false, false, now_));
    EXPECT_EQ(table_.size(), 0U);
    EXPECT_TRUE(table_.learn(0, hop_, mac_, false, true, now_));
    EXPECT_EQ(table_.find(0, hop_)->state, NeighbourState::stale);
}

/// RFC 4861 section 7.2.5: an advertisement without the override flag.
TEST_F(NeighbourTable, what_may_not_override_casts_doubt_on_what_is_known) {
    const wire::MacAddress other{{2, 0, 0, 0, 0, 77}};
    Neighbour& n = *table_.get(0, hop_, now_);
    EXPECT_TRUE(table_.learn(0, hop_, mac_, true, false, now_, false)) << "nothing was known";
    for (const bool solicited : {false, true}) {
        table_.learn(0, hop_, mac_, true, false, now_);
        EXPECT_FALSE(table_.learn(0, hop_, other, solicited, false, now_, false));
        EXPECT_EQ(n.mac, mac_);
        EXPECT_EQ(n.state, NeighbourState::stale);
        EXPECT_FALSE(table_.learn(0, hop_, other, solicited, false, now_, false));
        EXPECT_EQ(n.state, NeighbourState::stale);
    }
    EXPECT_TRUE(table_.learn(0, hop_, mac_, true, false, now_, false)) << "the same address";
    EXPECT_EQ(n.state, NeighbourState::reachable);
    EXPECT_TRUE(table_.learn(0, hop_, other, false, false, now_, true));
    EXPECT_EQ(n.mac, other);
    EXPECT_EQ(n.state, NeighbourState::stale);
}

/// Addresses that somebody makes up do not push out what connections send by.
TEST_F(NeighbourTable, what_is_in_use_gets_a_second_chance) {
    table_.get(0, hop_, now_);
    table_.learn(0, hop_, mac_, true, false, now_);
    for (uint32_t i = 0; i < 3 * tunables_.neighbour_max; ++i) {
        table_.find(0, hop_)->wanted = true;
        table_.get(0, Address::v4(10, 1, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)),
                   now_);
        ASSERT_NE(table_.find(0, hop_), nullptr) << i;
    }
}

TEST_F(NeighbourTable, a_reference_to_a_recycled_entry_is_refused) {
    Neighbour& n = *table_.get(0, hop_, now_);
    const NeighbourRef reference = table_.reference(n);
    EXPECT_EQ(table_.resolve(reference), &n);
    for (uint32_t i = 0; i < tunables_.neighbour_max; ++i)
        table_.get(0, Address::v4(10, 1, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)),
                   now_);
    EXPECT_EQ(table_.resolve(reference), nullptr);
    EXPECT_EQ(table_.size(), tunables_.neighbour_max);
}

}  // namespace
}  // namespace millrace::ip
