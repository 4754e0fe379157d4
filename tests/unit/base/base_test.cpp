#include <array>
#include <memory>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <millrace/address.h>
#include <millrace/time.h>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/seq.h"

namespace millrace {
namespace {

using namespace literals;

TEST(Seq, compares_across_the_wrap) {
    const Seq before(0xfffffff0);
    const Seq after(0x10);
    EXPECT_LT(before, after);
    EXPECT_GT(after, before);
    EXPECT_LE(before, before);
    EXPECT_EQ(distance(before, after), 0x20U);
    EXPECT_EQ(after - before, 0x20);
    EXPECT_EQ(before - after, -0x20);
    EXPECT_EQ((before + 0x20), after);
    EXPECT_EQ(max(before, after), after);
    EXPECT_EQ(min(before, after), before);
}

TEST(Time, arithmetic_and_literals) {
    EXPECT_EQ(1_s, 1000_ms);
    EXPECT_EQ((1500_us).ms(), 1);
    EXPECT_EQ(Instant() + 2_s - Instant(), 2_s);
    EXPECT_LT(Instant() + Duration::from_s(1'000'000), Instant::never());
    EXPECT_EQ(3_ms * 4, 12_ms);
    EXPECT_EQ(-(1_ms) + 1_ms, Duration());
}

TEST(Address, parses_and_prints_both_families) {
    EXPECT_EQ(Address::parse("192.0.2.1")->to_string(), "192.0.2.1");
    EXPECT_EQ(Address::parse("2001:DB8:0:0::1")->to_string(), "2001:db8::1");
    EXPECT_TRUE(Address::parse("10.0.0.1")->is_v4());
    EXPECT_FALSE(Address::parse("::1")->is_v4());
    for (const char* bad : {"", "10.0.0", "10.0.0.256", "::g", "10.0.0.1/8", "localhost",
                            "1234567890123456789012345678901234567890123456789"})
        EXPECT_EQ(Address::parse(bad).error(), EINVAL) << bad;
}

static_assert(Address::v4(10, 0, 0, 1) == Address::v4(10, 0, 0, 1));
static_assert(Address::v4(10, 0, 0, 1) != Address::v4(10, 0, 0, 2));

TEST(Address, knows_its_kind) {
    EXPECT_TRUE(Address::parse("224.0.0.1")->is_multicast());
    EXPECT_TRUE(Address::parse("ff02::1")->is_multicast());
    EXPECT_FALSE(Address::parse("223.255.255.255")->is_multicast());
    EXPECT_TRUE(Address::parse("127.0.0.53")->is_loopback());
    EXPECT_TRUE(Address::parse("::1")->is_loopback());
    EXPECT_TRUE(Address::parse("fe80::1")->is_link_local());
    EXPECT_TRUE(Address::parse("169.254.1.1")->is_link_local());
    EXPECT_TRUE(Address::any(Family::ipv4).is_unspecified());
    EXPECT_TRUE(Address::any(Family::ipv6).is_unspecified());
    EXPECT_NE(Address::any(Family::ipv4), Address::any(Family::ipv6));
}

TEST(Prefix, contains_and_broadcast) {
    const Prefix p = *Prefix::parse("10.1.2.3/20");
    EXPECT_TRUE(p.contains(*Address::parse("10.1.15.255")));
    EXPECT_FALSE(p.contains(*Address::parse("10.1.16.0")));
    EXPECT_FALSE(p.contains(*Address::parse("::1")));
    EXPECT_EQ(p.broadcast().to_string(), "10.1.15.255");
    EXPECT_TRUE(Prefix::parse("10.0.0.0/31")->broadcast().is_unspecified());
    EXPECT_TRUE(Prefix::parse("::/0")->contains(*Address::parse("2001:db8::1")));
    EXPECT_EQ(Prefix::parse("10.0.0.1")->length, 32);
    for (const char* bad : {"10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x"})
        EXPECT_FALSE(Prefix::parse(bad)) << bad;
}

/// The definition: bit by bit.
bool agrees(const Address& a, const Address& b, unsigned bits) {
    const auto bit = [](const Address& address, unsigned at) {
        return address.wire()[at / 8] >> (7 - at % 8) & 1;
    };
    for (unsigned i = 0; i < bits; ++i)
        if (bit(a, i) != bit(b, i)) return false;
    return true;
}

TEST(Prefix, contains_what_agrees_in_its_bits) {
    for (const char* text : {"10.1.2.3", "2001:db8:1:2:3:4:5:6"}) {
        const Address network = *Address::parse(text);
        const auto bits = static_cast<unsigned>(network.wire_size() * 8);
        for (unsigned length = 0; length <= bits; ++length) {
            const Prefix prefix{network, static_cast<uint8_t>(length)};
            for (unsigned flipped = 0; flipped < bits; ++flipped) {
                std::array<uint8_t, 16> bytes{};
                std::memcpy(bytes.data(), network.wire(), network.wire_size());
                bytes[flipped / 8] ^= static_cast<uint8_t>(0x80 >> flipped % 8);
                const Address other =
                    network.is_v4() ? Address::v4(bytes.data()) : Address::v6(bytes.data());
                EXPECT_EQ(prefix.contains(other), agrees(network, other, length))
                    << prefix.to_string() << " " << other.to_string();
            }
            EXPECT_TRUE(prefix.contains(network));
        }
    }
    EXPECT_FALSE(Prefix::parse("::/0")->contains(Address::v4(10, 0, 0, 1)));
    EXPECT_FALSE(Prefix::parse("0.0.0.0/0")->contains(*Address::parse("::1")));
}

TEST(SocketAddress, parses_brackets_for_ipv6_only) {
    EXPECT_EQ(SocketAddress::parse("10.0.0.1:80")->port, 80);
    EXPECT_EQ(SocketAddress::parse("[::1]:8080")->to_string(), "[::1]:8080");
    for (const char* bad : {"10.0.0.1", "[10.0.0.1]:80", "::1:80", "10.0.0.1:65536", "10.0.0.1:"})
        EXPECT_FALSE(SocketAddress::parse(bad)) << bad;
}

TEST(Random, a_seed_replays_and_bounds_hold) {
    Random a(5);
    Random b(5);
    Random c(6);
    bool differs = false;
    for (int i = 0; i < 1000; ++i) {
        const uint64_t value = a.next();
        EXPECT_EQ(value, b.next());
        differs |= value != c.next();
        EXPECT_LT(a.below(10), 10U);
        b.below(10);
        c.below(10);
    }
    EXPECT_TRUE(differs);
    EXPECT_FALSE(Random(1).chance(0, 1'000'000));
    EXPECT_TRUE(Random(1).chance(1, 1));
}

TEST(Random, system_secrets_differ) {
    std::array<uint8_t, 16> a{};
    std::array<uint8_t, 16> b{};
    fill_random(a);
    fill_random(b);
    EXPECT_NE(a, b);
}

TEST(SecretHash, is_siphash_2_4) {
    // The reference vector of the SipHash paper, appendix A: key 00..0f, message 00..0e.
    SecretHash::Key key{};
    std::array<uint8_t, 15> message{};
    for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
    for (size_t i = 0; i < message.size(); ++i) message[i] = static_cast<uint8_t>(i);
    EXPECT_EQ(SecretHash(key)(message), 0xa129ca6149be45e5U);
}

struct Item : HashNode {
    explicit Item(uint64_t v) : value(v) {}
    uint64_t value;
};
struct ItemKey {
    uint64_t value;
    bool matches(const Item& item) const { return item.value == value; }
};

TEST(HashTable, finds_everything_while_it_grows_and_shrinks) {
    const TableHash hash(42);
    HashTable<Item> table(100'000);
    std::vector<std::unique_ptr<Item>> items;
    for (uint64_t i = 0; i < 50'000; ++i) {
        items.push_back(std::make_unique<Item>(i));
        table.insert(*items.back(), hash(i));
        if (i % 997 == 0) {
            for (uint64_t j = 0; j <= i; j += 101) {
                ASSERT_EQ(table.find(ItemKey{j}, hash(j)), items[j].get());
            }
        }
    }
    EXPECT_EQ(table.size(), 50'000U);
    EXPECT_LT(table.longest_chain(), 16U);
    EXPECT_EQ(table.find(ItemKey{50'000}, hash(uint64_t{50'000})), nullptr);
    for (uint64_t i = 0; i < 50'000; i += 2) table.erase(*items[i]);
    for (uint64_t i = 0; i < 50'000; ++i)
        EXPECT_EQ(table.find(ItemKey{i}, hash(i)), i % 2 == 0 ? nullptr : items[i].get());
    std::set<uint64_t> seen;
    table.for_each([&](Item& item) {
        seen.insert(item.value);
        table.erase(item);
    });
    EXPECT_EQ(seen.size(), 25'000U);
    EXPECT_EQ(table.size(), 0U);
}

/// A thousand values that would share a bucket, had the attacker guessed the key.
TEST(HashTable, a_walk_in_steps_meets_everything_though_the_table_grows) {
    const TableHash hash(42);
    HashTable<Item> table(10'000);
    std::vector<std::unique_ptr<Item>> items;
    const auto add = [&](uint64_t count) {
        for (; count > 0; --count) {
            items.push_back(std::make_unique<Item>(items.size()));
            table.insert(*items.back(), hash(uint64_t{items.size() - 1}));
        }
    };
    add(1000);
    std::set<const Item*> met;
    size_t at = 0, steps = 0;
    do {
        at = table.for_each_from(at, 100, [&](Item& item) { met.insert(&item); });
        add(50);
        ++steps;
    } while (at != 0);
    EXPECT_GT(steps, 10U);
    for (size_t i = 0; i < 1000; ++i) EXPECT_TRUE(met.contains(items[i].get()));
    for (auto& item : items) table.erase(*item);
}

TEST(HashTable, case_61_nobody_can_aim_at_a_bucket) {
    const TableHash guessed(1), secret(2);
    HashTable<Item> table(100'000);
    std::vector<std::unique_ptr<Item>> items;
    for (uint64_t i = 0; items.size() < 1000; ++i) {
        if ((guessed(i) & 1023) != 0) continue;
        items.push_back(std::make_unique<Item>(i));
        table.insert(*items.back(), secret(i));
    }
    EXPECT_LT(table.longest_chain(), 16U);
    for (auto& item : items) table.erase(*item);
}

TEST(HashTable, survives_one_hash_for_all) {
    HashTable<Item> table(64);
    std::vector<std::unique_ptr<Item>> items;
    for (uint64_t i = 0; i < 1000; ++i) {
        items.push_back(std::make_unique<Item>(i));
        table.insert(*items.back(), 7);
    }
    EXPECT_EQ(table.find(ItemKey{500}, 7), items[500].get());
    for (auto& item : items) table.erase(*item);
    EXPECT_EQ(table.size(), 0U);
}

struct Counted {
    explicit Counted(int v) : value(v) { ++alive; }
    ~Counted() { --alive; }
    int value;
    static inline int alive = 0;
};

TEST(Pool, hands_out_up_to_its_limit_and_again) {
    Pool<Counted> pool(3);
    Counted* a = pool.take(1);
    Counted* b = pool.take(2);
    Counted* c = pool.take(3);
    EXPECT_EQ(pool.take(4), nullptr);
    EXPECT_EQ(Counted::alive, 3);
    pool.give_back(b);
    EXPECT_EQ(pool.in_use(), 2U);
    int sum = 0;
    pool.for_each_in_use([&](Counted& counted) { sum += counted.value; });
    EXPECT_EQ(sum, 4);
    EXPECT_EQ(pool.take(5), b);
    for (Counted* counted : {a, b, c}) pool.give_back(counted);
    EXPECT_EQ(Counted::alive, 0);
}

}  // namespace
}  // namespace millrace
