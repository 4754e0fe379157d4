// Initial sequence numbers (RFC 9293 section 3.4.1) as the wire shows them, and where they wrap.
#include <set>

#include "script.h"

namespace millrace::testing {
namespace {

/// The ISN of the SYN-ACK that a SYN from this port earns; the entry is gone afterwards.
uint32_t isn_for(Script& s, uint16_t port) {
    s.inject(S(0).window(65535).mss(1460).client(port));
    const uint32_t isn = s.next().seq.value();
    s.inject(R(1).client(port));
    EXPECT_EQ(s.stack().population().half_open, 0U);
    return isn;
}

BOTH_FAMILIES(MUST_8);
TEST_P(MUST_8, the_isn_of_a_tuple_rises_by_one_in_four_microseconds) {
    Script s(options());
    s.listen();
    const uint32_t first = isn_for(s, 40000);
    s.advance(4_us);
    EXPECT_EQ(isn_for(s, 40000) - first, 1U);
    s.advance(4_ms);
    EXPECT_EQ(isn_for(s, 40000) - first, 1001U);
    s.advance(1_s);
    EXPECT_EQ(isn_for(s, 40000) - first, 251'001U);
}

TEST(SHLD_1, the_isn_is_the_clock_plus_a_function_of_the_tuple) {
    Script s;
    s.listen();
    std::set<uint32_t> offsets;
    for (uint16_t port = 40000; port < 40200; ++port) {
        const uint32_t before = isn_for(s, port);
        s.advance(400_us);
        EXPECT_EQ(isn_for(s, port) - before, 100U);
        offsets.insert(before >> 12);
    }
    EXPECT_GT(offsets.size(), 195U);  // chance alone would make one pair or none
}

TEST(MUST_9, another_secret_gives_other_isns) {
    // One tuple, one instant; only the secret differs between two hosts.
    sim::Network network(1);
    std::set<uint32_t> seen;
    const tcp::FlowKey key{Address::v4(10, 0, 0, 9), 1000, 80, 0, 0};
    for (uint8_t i = 0; i < 100; ++i) {
        const tcp::IsnGenerator isn(tcp::Secrets::from_system());
        seen.insert(isn.isn(key, Address::v4(10, 0, 0, 1), network.now()).value() >> 8);
    }
    EXPECT_GT(seen.size(), 98U);
}

}  // namespace
}  // namespace millrace::testing
