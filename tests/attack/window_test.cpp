// Attack cases 51, 52 and 53: windows that shrink, creep or are enormous.
#include "wire/script.h"

namespace millrace::testing {
namespace {

using tcp::State;

BOTH_FAMILIES(Windows);

TEST_P(Windows, case_51_a_shrinking_window_is_survived_and_resends_stay_inside) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1000));
    s.send(8000);
    for (uint32_t seq = 1; seq < 8000; seq += 1000) s.expect(A(seq, 1).data(1000));
    s.inject(A(1, 1).window(2500));
    for (int i = 0; i < 3; ++i) {
        s.advance_to_next_segment(130_s);
        while (s.anything_sent()) {
            const wire::Segment segment = s.next();
            // A probe of the tail may repeat the last segment; nothing else goes beyond the edge.
            const uint32_t end = segment.seq.value() - s.isn() + segment.payload_size;
            EXPECT_TRUE(end <= 2501 || end == 8001) << end;
        }
    }
    s.inject(A(1, 2501).window(0));
    s.advance_to_next_segment(130_s);
    s.forget_sent();
    s.inject(A(1, 8001).window(65535));
    s.forget_sent();
    EXPECT_EQ(s.tcb().in_flight(), 0U);
    s.send(500);
    s.advance_to_next_segment(5_s);
    s.expect(PA(8001, 1).data(500));
}

TEST_P(Windows, case_52_a_window_that_opens_by_bytes_gets_no_tiny_segments) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1000));
    s.send(1000);
    s.expect(PA(1, 1).data(1000));
    s.inject(A(1, 1001).window(0));
    s.send(5000);
    for (uint16_t window = 1; window < 1000; ++window) {  // all of it before a probe is due
        s.inject(A(1, 1001).window(window));
        s.expect_silence();
    }
    s.inject(A(1, 1001).window(1000));
    s.expect(A(1001, 1).data(1000));
    s.expect_silence();
}

TEST_P(Windows, case_53_the_top_bit_of_a_window_is_no_sign) {
    Script s(options());
    s.establish(S(0).window(0x8000).mss(1000));
    EXPECT_EQ(s.tcb().snd_wnd, 0x8000U);
    s.send(2000);
    s.expect(A(1, 1).data(1000));
    s.expect(PA(1001, 1).data(1000));
    s.inject(A(1, 2001).window(0xffff));
    EXPECT_EQ(s.tcb().snd_wnd, 0xffffU);
    s.send(1000);
    s.expect(PA(2001, 1).data(1000));
}

TEST_P(Windows, case_53_a_window_of_a_gibibyte_is_one) {
    Script s(options());
    s.establish(S(0).window(65535).mss(1000).scale(14));
    s.inject(A(1, 1).window(65535));
    EXPECT_EQ(s.tcb().snd_wnd, 65535U << 14);
    s.send(3000);
    for (uint32_t seq = 1; seq < 3000; seq += 1000) s.expect(A(seq, 1).data(1000));
    // Acknowledgments as far back as the largest window are old, not forged.
    s.inject(A(1, 3001).window(65535));
    s.inject(A(1, 1).window(65535));
    EXPECT_EQ(s.counters().drops_total(), 0U);
    s.send(10);
    s.expect(PA(3001, 1).data(10));
}

}  // namespace
}  // namespace millrace::testing
