// When received data is acknowledged (RFC 9293 section 3.8.6.3; Linux's quick and delayed ACKs).
#include "script.h"
#include "tcp/delayed_ack.h"

namespace millrace::testing {
namespace {

/// A peer that sends one segment after the other.
struct Sender {
    explicit Sender(Duration round_trip = {}) {
        s.listen();
        s.inject(S(0).window(65535).mss(1460));
        s.next();
        s.advance(round_trip);
        s.inject(A(1, 1));
        s.accept();
    }
    void segment(uint32_t size, bool push = true) {
        s.inject((push ? PA(next, acked) : A(next, acked)).data(size));
        next += size;
    }
    void expect_ack() { s.expect(A(acked, next)); }
    /// The ACKs that a connection starts with.
    void use_up_quick_acks(Duration interval = {}) {
        for (int i = 0; i < 16; ++i) {
            segment(100);
            expect_ack();
            s.advance(interval);
        }
    }
    void answer(uint32_t size) {
        s.send(size);
        s.expect(PA(acked, next).data(size));
        acked += size;
    }
    Script s;
    uint32_t next = 1;
    uint32_t acked = 1;  ///< of what the stack sends
};

TEST(DelayedAck, the_first_segments_are_acknowledged_at_once) {
    Sender p;
    p.use_up_quick_acks();
    p.segment(100);
    p.s.expect_silence();
}

TEST(DelayedAck, SHLD_18_MUST_40_a_lone_segment_waits_forty_milliseconds) {
    Sender p;
    p.use_up_quick_acks();
    p.segment(100);
    EXPECT_EQ(p.s.advance_to_next_segment(500_ms).ms(), 40);
    p.expect_ack();
    EXPECT_EQ(p.s.counters().tcp_delayed_acks, 1U);
}

TEST(DelayedAck, SHLD_19_every_second_full_segment_is_acknowledged_at_once) {
    Sender p;
    p.use_up_quick_acks();
    for (int i = 0; i < 5; ++i) {
        p.segment(1460);
        p.s.expect_silence();
        p.segment(1460);
        p.expect_ack();
    }
}

/// The peer's path may carry less than its MSS says.
TEST(DelayedAck, two_segments_alike_show_what_a_full_one_is) {
    Sender p;
    p.use_up_quick_acks();
    for (int i = 0; i < 3; ++i) {
        p.segment(700, false);
        p.s.expect_silence();
        p.segment(700, false);
        p.expect_ack();
    }
    p.segment(1460, false);  // and it may grow again
    p.s.expect_silence();
    p.segment(700);
    p.expect_ack();
}

/// Small writes that all end with PSH are no full segments.
TEST(DelayedAck, small_writes_do_not_lower_the_estimate) {
    Sender p;
    p.use_up_quick_acks();
    for (int i = 0; i < 5; ++i) p.segment(100);
    p.s.expect_silence();
}

TEST(DelayedAck, MUST_58_MUST_59_a_burst_gets_one_ack) {
    Sender p;
    std::vector<Packet> burst;
    for (int i = 0; i < 10; ++i, p.next += 1460) burst.push_back(A(p.next, 1).data(1460));
    p.s.inject_burst(burst);
    p.expect_ack();
    p.s.expect_silence();
}

TEST(DelayedAck, the_delay_follows_the_time_between_segments) {
    Sender p(150_ms);
    p.use_up_quick_acks(39_ms);
    p.segment(100);
    const Duration waited = p.s.advance_to_next_segment(500_ms);
    EXPECT_GT(waited, 60_ms);
    EXPECT_LT(waited, 100_ms);
}

/// A timer that fires for nothing waits longer the next time, and never beyond 200 ms.
TEST(DelayedAck, MUST_40_a_delay_in_vain_doubles_up_to_200_ms) {
    Sender p(300_ms);
    p.use_up_quick_acks();
    Duration last;
    for (int i = 0; i < 4; ++i) {
        p.segment(100);
        last = p.s.advance_to_next_segment(500_ms);
        p.expect_ack();
    }
    EXPECT_EQ(last.ms(), 200);
}

TEST(DelayedAck, quick_again_after_a_long_silence) {
    Sender p;
    p.use_up_quick_acks();
    p.s.advance(1_s);
    p.segment(100);
    p.expect_ack();
    p.segment(100);
    p.expect_ack();
}

TEST(DelayedAck, quick_again_after_disorder) {
    Sender p;
    p.use_up_quick_acks();
    p.s.inject(PA(p.next - 100, 1).data(100));  // again
    p.expect_ack();
    p.segment(100);
    p.expect_ack();
}

TEST(DelayedAck, an_answer_carries_it_where_request_and_response_alternate) {
    Sender p;
    p.segment(100);
    p.expect_ack();  // nothing is known of the application yet
    p.answer(50);
    for (int i = 0; i < 5; ++i) {
        p.segment(100);
        p.s.expect_silence();
        p.s.advance(10_ms);
        p.answer(50);
        p.s.expect_silence();
    }
}

TEST(DelayedAck, an_application_that_is_slow_for_once_ends_that) {
    Sender p;
    p.segment(100);
    p.expect_ack();
    p.answer(50);
    p.segment(100);
    EXPECT_EQ(p.s.advance_to_next_segment(500_ms).ms(), 40);
    p.expect_ack();
    p.segment(100);
    p.expect_ack();
}

TEST(DelayedAck, a_fin_is_acknowledged_at_once_but_in_request_and_response) {
    Sender bulk;
    bulk.segment(100);
    bulk.expect_ack();
    bulk.s.inject(FA(101, 1));
    bulk.s.expect(A(1, 102));
    Sender p;
    p.segment(100);
    p.expect_ack();
    p.answer(50);
    p.s.inject(FA(101, 51));
    p.s.expect_silence();
    p.s.shutdown();
    p.s.expect(FA(51, 102));
    p.s.expect_silence();
}

TEST(DelayedAck, quick_ack_can_be_asked_for) {
    Sender p;
    p.use_up_quick_acks();
    p.segment(100);
    p.s.expect_silence();
    tcp::set_quick_ack(p.s.stack().env(), p.s.tcb(), true);
    p.s.advance({});
    p.expect_ack();
    p.segment(100);
    p.expect_ack();
    tcp::set_quick_ack(p.s.stack().env(), p.s.tcb(), false);
    p.segment(100);
    p.s.expect_silence();
    EXPECT_EQ(p.s.advance_to_next_segment(500_ms).ms(), 40);
}

}  // namespace
}  // namespace millrace::testing
