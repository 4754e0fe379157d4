// Drop reasons that no other test provokes; tests/tidy holds every reason to one that does.
#include "sim/link_message.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;

class Drops : public ::testing::Test {
protected:
    std::vector<uint8_t> link_message(const Script& s) const {
        return sim::link_message({s.peer(), mac_}, {s.local(), station(s)}, false);
    }
    /// Whom the script's own frames go to.
    static wire::MacAddress station(const Script& s) {
        wire::MacAddress mac;
        const std::vector<uint8_t> frame = s.frame(A(0, 0));
        std::copy_n(frame.begin(), mac.bytes.size(), mac.bytes.begin());
        return mac;
    }
    static void expect_one(Script& s, Drop reason) {
        EXPECT_EQ(s.drops(reason), 1U);
        EXPECT_EQ(s.counters().drops_total(), 1U);
    }
    const wire::MacAddress mac_{{0x02, 0, 0, 0, 0, 0x99}};
};

TEST_F(Drops, arp_of_another_kind_of_link) {
    Script s;
    std::vector<uint8_t> frame = link_message(s);
    s.inject_raw(frame);
    EXPECT_EQ(s.counters().drops_total(), 0U);
    wire::store16(&frame[14], 6);  // IEEE 802
    s.inject_raw(frame);
    expect_one(s, Drop::arp_malformed);
}

/// RFC 4861 section 7.1.1: it has passed a router.
TEST_F(Drops, neighbour_solicitation_from_another_link) {
    Script s({.family = Family::ipv6, .config = {}});
    std::vector<uint8_t> frame = link_message(s);
    s.inject_raw(frame);
    EXPECT_EQ(s.counters().drops_total(), 0U);
    frame[14 + 7] = 254;
    s.inject_raw(frame);
    expect_one(s, Drop::ndp_malformed);
}

TEST_F(Drops, reset_of_what_does_not_exist) {
    Script s;
    s.inject(R(1));
    expect_one(s, Drop::tcp_closed_rst);
    s.expect_silence();
}

/// A segment from a network to which no route leads back earns a reset that cannot go.
TEST_F(Drops, answer_without_a_route) {
    Script s;
    std::vector<uint8_t> frame = s.frame(A(1, 1));
    const std::array<uint8_t, 4> elsewhere{192, 0, 2, 1};
    std::ranges::copy(elsewhere, frame.begin() + 14 + 12);
    Script::repair_checksums(frame);
    s.inject_raw(frame);
    EXPECT_EQ(s.drops(Drop::no_route), 1U);
    EXPECT_EQ(s.drops(Drop::tcp_no_listener), 1U);
    s.expect_silence();
}

}  // namespace
}  // namespace millrace::testing
