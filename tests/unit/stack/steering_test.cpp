#include "stack/steering.h"

#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>
#include <rte_thash.h>

#include "base/random.h"

namespace millrace::stack {
namespace {

struct Tuple {
    Address source;
    Address destination;
    uint16_t source_port;
    uint16_t destination_port;

    Tuple reversed() const { return {destination, source, destination_port, source_port}; }
    /// As it stands in a received frame: addresses, then ports, in network order.
    std::vector<uint8_t> bytes(bool with_ports = true) const {
        std::vector<uint8_t> all(source.wire(), source.wire() + source.wire_size());
        all.insert(all.end(), destination.wire(), destination.wire() + destination.wire_size());
        if (!with_ports) return all;
        for (const uint16_t port : {source_port, destination_port}) {
            all.push_back(static_cast<uint8_t>(port >> 8));
            all.push_back(static_cast<uint8_t>(port));
        }
        return all;
    }
};

/// Toeplitz as Microsoft's paper on RSS writes it, bit by bit: what a NIC computes.
uint32_t toeplitz(std::span<const uint8_t> key, const std::vector<uint8_t>& input) {
    uint32_t hash = 0;
    for (size_t bit = 0; bit < input.size() * 8; ++bit) {
        if ((input[bit / 8] & (0x80 >> (bit % 8))) == 0) continue;
        for (size_t i = 0; i < 32; ++i) {
            const size_t at = bit + i;
            if ((key[at / 8] & (0x80 >> (at % 8))) != 0) hash ^= 0x80000000U >> i;
        }
    }
    return hash;
}

Address random_address(Random& random, Family family) {
    std::array<uint8_t, 16> bytes{};
    random.fill(bytes);
    return family == Family::ipv4 ? Address::v4(bytes.data()) : Address::v6(bytes.data());
}

Tuple random_tuple(Random& random, Family family) {
    return {random_address(random, family), random_address(random, family),
            static_cast<uint16_t>(random.next()), static_cast<uint16_t>(random.next())};
}

uint16_t owner(const Steering& steering, const Tuple& t) {
    return steering.owner(t.source, t.destination, t.source_port, t.destination_port);
}

/// The measure itself, against the published vectors for the published key.
TEST(Steering, the_tests_toeplitz_is_the_one_that_nics_are_verified_with) {
    const std::array<uint8_t, 40> key{
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
        0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
        0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
    const Tuple v4{Address::v4(66, 9, 149, 187), Address::v4(161, 142, 100, 80), 2794, 1766};
    EXPECT_EQ(toeplitz(key, v4.bytes()), 0x51ccc178U);
    EXPECT_EQ(toeplitz(key, v4.bytes(false)), 0x323e8fc2U);
    const Tuple v6{*Address::parse("3ffe:2501:200:1fff::7"),
                   *Address::parse("3ffe:2501:200:3::1"), 2794, 1766};
    EXPECT_EQ(toeplitz(key, v6.bytes()), 0x40207d3dU);
}

class BothFamilies : public ::testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(Steering, BothFamilies, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(BothFamilies, owner_is_what_a_nic_with_our_key_and_table_answers) {
    Random random(11);
    ASSERT_EQ(Steering::key().size(), 40U);  // what every NIC that hashes IPv6 takes
    for (const uint16_t cores : std::initializer_list<uint16_t>{2, 3, 8, 64}) {
        const Steering steering(cores);
        for (int i = 0; i < 500; ++i) {
            const Tuple t = random_tuple(random, GetParam());
            const uint32_t hash = toeplitz(Steering::key(), t.bytes());
            EXPECT_EQ(owner(steering, t), hash % 128 % cores);
            const uint32_t without_ports = toeplitz(Steering::key(), t.bytes(false));
            EXPECT_EQ(steering.owner(t.source, t.destination), without_ports % 128 % cores);
        }
    }
}

TEST_P(BothFamilies, owner_is_what_rte_softrss_says) {
    Random random(12);
    const Steering steering(16);
    for (int i = 0; i < 500; ++i) {
        const Tuple t = random_tuple(random, GetParam());
        const auto bytes = t.bytes();
        std::vector<uint32_t> words(bytes.size() / 4);
        for (size_t w = 0; w < words.size(); ++w)
            for (size_t b = 0; b < 4; ++b) words[w] = words[w] << 8 | bytes[w * 4 + b];
        const uint32_t hash = rte_softrss(words.data(), static_cast<uint32_t>(words.size()),
                                          Steering::key().data());
        EXPECT_EQ(owner(steering, t), steering.table_entry(hash % Steering::table_size));
    }
}

TEST_P(BothFamilies, both_directions_have_one_owner) {
    Random random(13);
    const Steering steering(64);
    std::vector<bool> seen(64);
    for (int i = 0; i < 2000; ++i) {
        const Tuple t = random_tuple(random, GetParam());
        EXPECT_EQ(owner(steering, t), owner(steering, t.reversed()));
        EXPECT_EQ(steering.owner(t.source, t.destination),
                  steering.owner(t.destination, t.source));
        seen[owner(steering, t)] = true;
    }
    EXPECT_EQ(std::ranges::count(seen, true), 64) << "symmetric, but not constant";
}

/// What a server sees: few clients with many ports each, to one port.
TEST_P(BothFamilies, connections_of_one_client_spread_over_the_cores) {
    const bool v4 = GetParam() == Family::ipv4;
    const Address server = v4 ? Address::v4(10, 0, 0, 1) : *Address::parse("fd00::1");
    const Address client = v4 ? Address::v4(10, 0, 0, 2) : *Address::parse("fd00::2");
    for (const uint16_t cores : std::initializer_list<uint16_t>{2, 4, 8, 16}) {
        const Steering steering(cores);
        std::vector<unsigned> share(cores);
        constexpr unsigned connections = 16384;
        for (unsigned i = 0; i < connections; ++i)
            ++share[steering.owner(client, server, static_cast<uint16_t>(32768 + i), 80)];
        for (uint16_t core = 0; core < cores; ++core) {
            EXPECT_GT(share[core], connections / cores * 3 / 4) << core << " of " << cores;
            EXPECT_LT(share[core], connections / cores * 5 / 4) << core << " of " << cores;
        }
    }
}

TEST(Steering, the_table_gives_each_core_as_many_entries_but_one) {
    for (uint16_t cores = 1; cores <= 64; ++cores) {
        const Steering steering(cores);
        EXPECT_EQ(steering.cores(), cores);
        std::vector<size_t> entries(cores);
        for (size_t i = 0; i < Steering::table_size; ++i) ++entries.at(steering.table_entry(i));
        const auto [fewest, most] = std::ranges::minmax(entries);
        EXPECT_LE(most - fewest, 1U) << cores;
    }
}

TEST(Steering, one_core_owns_everything) {
    Random random(14);
    const Steering steering(1);
    for (int i = 0; i < 100; ++i) {
        const Tuple t = random_tuple(random, i % 2 == 0 ? Family::ipv4 : Family::ipv6);
        EXPECT_EQ(owner(steering, t), 0);
        EXPECT_EQ(steering.owner(t.source, t.destination), 0);
    }
}

}  // namespace
}  // namespace millrace::stack
