// How connections begin and end under fire: attack cases 21 to 23, 28, 57, 62 and 63.
#include "sim/harness.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

class Lifecycle : public FamilyTest {
protected:
    static Packet syn(uint32_t seq = 0) { return S(seq).window(65535).mss(1460); }
};
INSTANTIATE_TEST_SUITE_P(Families, Lifecycle, ::testing::Values(Family::ipv4, Family::ipv6),
                         family_name);

TEST_P(Lifecycle, case_21_a_syn_sent_again_makes_no_second_entry) {
    Script s(options());
    s.listen();
    for (int i = 0; i < 3; ++i) {
        s.inject(syn());
        s.expect(SA(0, 1));
        EXPECT_EQ(s.stack().population().half_open, 1U);
        s.advance(600_ms);  // tcp_invalid_ratelimit
        s.forget_sent();
    }
    s.inject(A(1, 1));
    EXPECT_EQ(s.stack().population().connections, 1U);
    EXPECT_EQ(s.counters().tcp_passive_opens, 1U);
}

/// RFC 5961 section 4.2: who has started anew learns of the old attempt, and resets it.
TEST_P(Lifecycle, case_21_a_syn_with_another_isn_makes_no_second_entry) {
    Script s(options());
    s.listen();
    s.inject(syn());
    s.expect(SA(0, 1));
    s.inject(syn(70'000));
    s.expect(SA(0, 1));
    EXPECT_EQ(s.stack().population().half_open, 1U);
    s.inject(R(1));
    EXPECT_EQ(s.stack().population().half_open, 0U);
    s.inject(syn(70'000));
    EXPECT_TRUE(s.next().syn());
    EXPECT_EQ(s.stack().population().half_open, 1U);
}

TEST_P(Lifecycle, case_22_a_syn_ack_that_nobody_answers_is_given_up) {
    Script s(options());
    s.listen();
    s.inject(syn());
    s.advance(120_s);
    int sent = 0;
    while (s.anything_sent()) {
        s.expect(SA(0, 1));
        ++sent;
    }
    EXPECT_EQ(sent, 1 + 5);  // tcp_synack_retries
    EXPECT_EQ(s.stack().population().half_open, 0U);
    EXPECT_EQ(s.counters().tcp_attempt_fails, 1U);
    EXPECT_EQ(s.stack().pools().available(), s.stack().pools().capacity());
}

TEST_P(Lifecycle, case_23_a_stranger_gets_one_reset_that_is_no_larger_than_what_he_sent) {
    Script s(options());
    for (const Packet& p : {syn(), A(1, 1), PA(1, 1).data(500), FA(1, 1), SA(0, 1)}) {
        const size_t size = s.frame(p).size();
        s.inject(p);
        EXPECT_TRUE(s.next().rst());
        EXPECT_LE(s.last_frame().size(), size);
        s.expect_silence();
    }
    for (const Packet& p : {R(1), RA(1, 1), packet(0, 1), packet(wire::TcpFlags::fin, 1)}) {
        s.inject(p);
        s.forget_sent();
    }
    s.inject(R(1));
    s.expect_silence();
}

TEST_P(Lifecycle, case_23_resets_to_strangers_have_a_limit_that_nobody_can_count_on) {
    Config config;
    config.tcp.tcp_rst_ratelimit = 80;
    Script s(options(config));
    std::set<uint64_t> answered;
    for (int second = 0; second < 8; ++second) {
        s.advance(1_s);
        const uint64_t before = s.counters().tcp_out_rsts;
        for (int i = 0; i < 200; ++i) s.inject(A(1, 1));
        s.forget_sent();
        const uint64_t count = s.counters().tcp_out_rsts - before;
        EXPECT_LE(count, 80U);
        EXPECT_GE(count, 70U);
        answered.insert(count);
    }
    EXPECT_GT(answered.size(), 1U);
    EXPECT_EQ(s.counters().tcp_out_rsts + s.counters().tcp_rsts_limited, 1600U);
}

TEST_P(Lifecycle, case_28_a_listener_that_goes_resets_all_its_children) {
    Script s(options());
    tcp::Listener& listener = *s.listen();
    const uint16_t unaccepted = 40001, half_open = 40002;
    for (const uint16_t client : {unaccepted, half_open}) {
        s.inject(syn().client(client));
        s.expect(SA(0, 1).client(client));
    }
    s.inject(A(1, 1).client(unaccepted));
    s.inject(PA(1, 1).data(100).client(unaccepted));
    s.forget_sent();
    s.stack().close_listener(listener);
    s.advance({});
    std::set<uint16_t> reset;
    while (s.anything_sent()) {
        const wire::Segment segment = s.next();
        EXPECT_TRUE(segment.rst());
        reset.insert(segment.destination_port);
    }
    EXPECT_EQ(reset, (std::set<uint16_t>{unaccepted, half_open}));
    EXPECT_EQ(s.stack().population().connections, 0U);
    EXPECT_EQ(s.stack().population().half_open, 0U);
    EXPECT_EQ(s.stack().pools().available(), s.stack().pools().capacity());
    s.inject(syn().client(half_open));
    EXPECT_TRUE(s.next().rst());
}

/// Beyond tcp_max_tw_buckets the new entry is the one that is not kept, and counted.
TEST_P(Lifecycle, case_57_time_wait_is_bounded) {
    Config config;
    config.tcp.tcp_max_tw_buckets = 10;
    Script s(options(config));
    s.listen();
    for (uint16_t client = 40001; client <= 40025; ++client) {
        s.inject(syn().client(client));
        s.next();
        s.inject(A(1, 1).client(client));
        s.accept();
        s.close();
        s.inject(FA(1, 2).client(client));
        s.forget_sent();
    }
    EXPECT_EQ(s.stack().population().time_wait, 10U);
    EXPECT_EQ(s.counters().tcp_time_waits, 10U);
    EXPECT_EQ(s.counters().tcp_time_wait_overflow, 15U);
    EXPECT_EQ(s.stack().population().connections, 0U);
    s.advance(61_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
}

/// What is opened again leaves no place that others miss (RFC 6191), however often that happens
/// before the first of them would have expired.
TEST_P(Lifecycle, case_57_a_tuple_that_reopens_takes_one_place) {
    Config config;
    config.tcp.tcp_max_tw_buckets = 10;
    Script s(options(config));
    s.listen();
    uint32_t isn = 0;
    for (int i = 0; i < 200; ++i, isn += 1000) {
        s.inject(S(isn).window(65535).mss(1460).timestamps(1000 + isn, 0));
        s.next();
        s.inject(A(isn + 1, 1).timestamps(1000 + isn, 0));
        s.accept();
        s.close();
        s.inject(FA(isn + 1, 2).timestamps(1000 + isn, 0));
        s.forget_sent();
        EXPECT_EQ(s.stack().population().time_wait, 1U);
    }
    EXPECT_EQ(s.counters().tcp_time_wait_overflow, 0U);
    s.advance(61_s);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
}

/// A transmission that is under way while `trouble(on)` comes and goes.
template <typename Trouble>
void expect_traffic_resumes(Pair& pair, Trouble&& trouble) {
    pair.server.prototype = {.salt_in = 1, .close_at_end = true};
    pair.server.listen(Address(), 80);
    Endpoint& client = pair.client.connect(
        {Pair::address(2), 80},
        {.salt_out = 1, .to_send = 5'000'000, .shutdown_when_sent = true, .close_at_end = true});
    pair.network.run_for(1_ms);
    trouble(true);
    pair.network.run_for(3_s);
    EXPECT_NE(client.connection, nullptr);
    trouble(false);
    EXPECT_TRUE(pair.network.run_while(600_s, [&] { return client.connection == nullptr; }));
    ASSERT_EQ(pair.server.accepted.size(), 1U);
    EXPECT_EQ(pair.server.accepted[0]->received, 5'000'000U);
    EXPECT_TRUE(pair.server.accepted[0]->intact);
    pair.expect_nothing_left();
}

TEST(Trouble, case_62_a_full_transmit_ring_is_waited_for) {
    Pair pair(62);
    expect_traffic_resumes(pair, [&](bool on) { pair.a.set_ring_full(on); });
}

TEST(Trouble, case_62_a_link_that_goes_down_and_comes_up_again) {
    Pair pair(63);
    expect_traffic_resumes(pair, [&](bool on) {
        pair.network.set_filter(
            [on](const sim::Node&, std::span<const uint8_t>) { return !on; });
    });
}

/// Attack case 63: every frame reaches the core that chance names.
TEST(Trouble, case_63_frames_on_the_wrong_core_make_no_second_connection) {
    sim::NodeOptions two;
    two.cores = 2;
    Pair pair(64, {}, two);
    pair.server.prototype = {.salt_in = 1, .close_at_end = true};
    pair.server.listen(Address(), 80);
    std::vector<Endpoint*> clients;
    for (int i = 0; i < 20; ++i)
        clients.push_back(&pair.client.connect(
            {Pair::address(2), 80},
            {.salt_out = 1, .to_send = 20'000, .shutdown_when_sent = true, .close_at_end = true}));
    EXPECT_TRUE(pair.network.run_while(600_s, [&] {
        return std::ranges::all_of(clients, [](Endpoint* e) { return e->connection == nullptr; });
    }));
    EXPECT_EQ(pair.server.accepted.size(), 20U);
    uint64_t handed = 0, opens = 0, resets = 0;
    for (uint16_t core = 0; core < 2; ++core) {
        handed += pair.b.stack(core).counters().frames_handed_over;
        opens += pair.b.stack(core).counters().tcp_passive_opens;
        resets += pair.b.stack(core).counters().tcp_out_rsts;
    }
    EXPECT_GT(handed, 0U);
    EXPECT_EQ(opens, 20U);
    EXPECT_EQ(resets, 0U);
    pair.expect_nothing_left();
}

}  // namespace
}  // namespace millrace::testing
