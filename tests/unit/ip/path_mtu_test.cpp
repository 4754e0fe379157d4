#include "ip/path_mtu.h"

#include <gtest/gtest.h>

namespace millrace::ip {
namespace {

using namespace literals;

Address host(uint32_t i) {
    return Address::v4(10, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8),
                       static_cast<uint8_t>(i));
}

class PathMtuTable : public ::testing::Test {
protected:
    uint16_t at(const Address& destination) {
        const PathMtu* entry = table.find(destination, now);
        return entry != nullptr ? entry->mtu : 0;
    }
    IpTunables tunables{.mtu_expires = 600, .path_mtu_max = 8};
    PathMtus table{tunables, 1};
    Instant now = Instant() + 1000_s;
};

TEST_F(PathMtuTable, what_was_learned_is_kept_until_it_expires) {
    table.learn(host(1), 1400, now);
    table.learn(*Address::parse("fd00::1"), 1280, now);
    EXPECT_EQ(at(host(1)), 1400);
    EXPECT_EQ(at(*Address::parse("fd00::1")), 1280);
    EXPECT_EQ(at(host(2)), 0);
    now = now + 599_s;
    EXPECT_EQ(at(host(1)), 1400);
    now = now + 1_s;
    EXPECT_EQ(at(host(1)), 0);
    EXPECT_EQ(table.size(), 0U);
}

TEST_F(PathMtuTable, a_path_becomes_narrower_but_not_wider_before_its_time) {
    table.learn(host(1), 1400, now);
    now = now + 300_s;
    table.learn(host(1), 1450, now);
    EXPECT_EQ(at(host(1)), 1400);
    table.learn(host(1), 1000, now);
    EXPECT_EQ(at(host(1)), 1000);
    now = now + 599_s;
    EXPECT_EQ(at(host(1)), 1000) << "learned again, it lives anew";
    now = now + 1_s;
    table.learn(host(1), 1450, now);
    EXPECT_EQ(at(host(1)), 1450);
}

TEST_F(PathMtuTable, it_is_bounded_and_the_oldest_goes) {
    for (uint32_t i = 0; i < 8; ++i) table.learn(host(i), 1400, now);
    table.learn(host(0), 1300, now);  // now the youngest
    for (uint32_t i = 100; i < 103; ++i) table.learn(host(i), 1400, now);
    EXPECT_EQ(table.size(), 8U);
    EXPECT_EQ(at(host(0)), 1300);
    for (uint32_t i = 1; i < 4; ++i) EXPECT_EQ(at(host(i)), 0) << i;
    EXPECT_EQ(at(host(4)), 1400);
    for (uint32_t i = 0; i < 100'000; ++i) table.learn(host(i), 1400, now);
    EXPECT_EQ(table.size(), 8U);
}

TEST(Plateau, is_the_next_smaller_of_the_usual_sizes) {  // RFC 1191 section 7.1
    EXPECT_EQ(plateau_below(65536), 65535);
    EXPECT_EQ(plateau_below(9000), 8166);
    EXPECT_EQ(plateau_below(1500), 1492);
    EXPECT_EQ(plateau_below(1492), 1006);
    EXPECT_EQ(plateau_below(1006), 508);
    EXPECT_EQ(plateau_below(68), 68);
    EXPECT_EQ(plateau_below(0), 68);
}

}  // namespace
}  // namespace millrace::ip
