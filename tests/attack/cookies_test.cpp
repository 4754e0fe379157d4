// SYN floods, and what answers them without remembering: attack cases 17 to 20.
#include "tcp/syn_cookies.h"
#include "wire/script.h"

namespace millrace::testing {
namespace {

using observe::Drop;
using tcp::State;

constexpr uint16_t honest = 30000;

class Cookies : public FamilyTest {
protected:
    Script::Options with(uint32_t syncookies) const {
        Config config;
        config.tcp.tcp_syncookies = syncookies;
        config.tcp.tcp_ecn = 2;
        return options(config);
    }
    /// Linux's first SYN: what a cookie has to bring back is in its timestamp.
    static Packet linux_syn(uint32_t ts) {
        return S(0).window(64240).mss(1460).sack_permitted().timestamps(ts, 0).scale(9);
    }
    static Packet plain_syn() { return S(0).window(64240).mss(1460).sack_permitted().scale(9); }

    /// So many clients send a SYN and are never heard of again.
    static void flood(Script& s, uint32_t count) {
        for (uint32_t i = 0; i < count; ++i)
            s.inject(plain_syn().client(static_cast<uint16_t>(40000 + i)));
        s.forget_sent();
    }
    /// What a SYN-ACK and an ACK of it cost; the connection is accepted and its answer to what
    /// follows is as that of any other.
    static void expect_service(Script& s, uint16_t client) {
        s.inject(PA(1, 1).data(700).client(client));
        s.accept();
        EXPECT_EQ(s.tcb().key.remote_port, client);
        EXPECT_EQ(s.tcb().state, State::established);
        EXPECT_EQ(s.end().received, 700U);
        EXPECT_TRUE(s.end().intact);
    }
    static size_t half_open(Script& s) { return s.stack().population().half_open; }
};
INSTANTIATE_TEST_SUITE_P(Families, Cookies, ::testing::Values(Family::ipv4, Family::ipv6),
                         family_name);

TEST_P(Cookies, case_17_a_flood_leaves_no_state_past_the_backlog_and_the_honest_connect) {
    Script s(with(1));
    s.listen(80, 16);
    flood(s, 1000);
    EXPECT_EQ(half_open(s), 16U);
    EXPECT_EQ(s.counters().syncookies_sent, 984U);
    EXPECT_EQ(s.counters().tcp_req_q_full_do_cookies, 984U);
    EXPECT_EQ(s.counters().tcp_listen_drops, 0U);
    EXPECT_EQ(s.stack().pools().available(), s.stack().pools().capacity());
    s.inject(plain_syn().client(honest));
    s.expect(SA(0, 1).client(honest).mss(mss()));
    EXPECT_EQ(half_open(s), 16U);
    s.inject(A(1, 1).client(honest));
    EXPECT_EQ(s.counters().syncookies_received, 1U);
    EXPECT_EQ(s.counters().tcp_passive_opens, 1U);
    s.forget_sent();
    expect_service(s, honest);
}

TEST_P(Cookies, case_17_without_cookies_the_backlog_is_the_bound_and_what_exceeds_it_is_dropped) {
    Script::Options o = with(0);
    o.config.tcp.tcp_max_syn_backlog = 8;
    Script s(o);
    s.listen(80, 1);
    flood(s, 20);
    EXPECT_EQ(half_open(s), 8U);
    EXPECT_EQ(s.drops(Drop::tcp_backlog_full), 12U);
    EXPECT_EQ(s.counters().tcp_req_q_full_drop, 12U);
    EXPECT_EQ(s.counters().tcp_listen_drops, 12U);
    EXPECT_EQ(s.counters().syncookies_sent, 0U);
}

/// What reopens a TIME-WAIT needs an ISN beyond the old one's, which no cookie can have: a flood
/// does not keep it out.
TEST_P(Cookies, case_17_a_tuple_in_time_wait_is_reopened_in_the_midst_of_a_flood) {
    Script s(with(1));
    s.listen(80, 4);
    s.inject(plain_syn().client(honest));
    s.next();
    s.inject(A(1, 1).client(honest));
    s.accept();
    s.close();
    s.inject(FA(1, 2).client(honest));
    s.forget_sent();
    ASSERT_EQ(s.stack().population().time_wait, 1U);
    flood(s, 20);
    const uint64_t cookies = s.counters().syncookies_sent;
    s.inject(S(1000).window(64240).mss(1460).client(honest));
    EXPECT_TRUE(s.next().syn());
    EXPECT_EQ(s.counters().syncookies_sent, cookies);
    EXPECT_EQ(s.stack().population().time_wait, 0U);
    EXPECT_EQ(half_open(s), 5U);
}

TEST_P(Cookies, case_17_where_the_pool_is_dry_a_cookie_answers_too) {
    Script::Options o = with(1);
    o.config.tcp.max_half_open = 4;
    Script s(o);
    s.listen(80, 128);
    flood(s, 10);
    EXPECT_EQ(half_open(s), 4U);
    EXPECT_EQ(s.counters().syncookies_sent, 6U);
    EXPECT_EQ(s.counters().tcp_req_q_full_do_cookies, 0U);
    s.inject(plain_syn().client(honest));
    s.expect(SA(0, 1).client(honest));
    s.inject(A(1, 1).client(honest));
    s.forget_sent();
    expect_service(s, honest);
}

/// Of so many guesses none is right but by chance: 100,000 x 2 periods x 8 sizes / 2^32 is 0.0004,
/// and one is more than five sigma beyond that.
TEST_P(Cookies, case_18_made_up_acks_are_refused_and_allocate_nothing) {
    Script s(with(2));
    s.listen(80, 128);
    s.inject(plain_syn().client(honest));
    s.forget_sent();
    const size_t buffers = s.stack().pools().available();
    constexpr uint32_t guesses = 100'000;
    for (uint32_t i = 0; i < guesses; ++i) {
        const auto client = static_cast<uint16_t>(1024 + i % 20000);
        s.inject(A(i * 7919, i * 2654435761U).client(client));
        s.forget_sent();
    }
    EXPECT_EQ(s.counters().syncookies_received, 0U);
    EXPECT_EQ(s.counters().syncookies_failed, guesses);
    EXPECT_EQ(s.drops(Drop::tcp_bad_cookie), s.counters().syncookies_failed);
    EXPECT_EQ(s.counters().tcp_out_rsts + s.counters().tcp_rsts_limited,
              s.counters().syncookies_failed);
    EXPECT_EQ(s.stack().population().connections, 0U);
    EXPECT_EQ(half_open(s), 0U);
    EXPECT_EQ(s.stack().pools().available(), buffers);
}

TEST_P(Cookies, case_18_who_sent_none_in_two_periods_looks_at_none) {
    Script s(with(1));
    s.listen(80, 1);
    s.inject(A(1, 1).client(honest));
    EXPECT_EQ(s.next().flags, wire::TcpFlags::rst);
    EXPECT_EQ(s.counters().syncookies_failed, 0U);
    EXPECT_EQ(s.drops(Drop::tcp_state), 1U);
    flood(s, 2);
    EXPECT_EQ(s.counters().syncookies_sent, 1U);
    s.inject(A(1, 1).client(honest));
    EXPECT_EQ(s.counters().syncookies_failed, 1U);
    s.advance(128_s);
    s.forget_sent();
    s.inject(A(1, 1).client(honest));
    EXPECT_EQ(s.counters().syncookies_failed, 1U);
    EXPECT_EQ(s.drops(Drop::tcp_state), 2U);
}

TEST_P(Cookies, case_19_a_cookie_lives_for_two_periods) {
    for (const bool late : {false, true}) {
        Script s(with(2));
        s.listen(80, 128);
        s.advance(Duration::from_s(64 * 10) - Duration::from_ns(s.now().ns() % 1'000'000'000));
        s.inject(plain_syn().client(honest));
        s.expect(SA(0, 1).client(honest));
        s.advance(late ? 129_s : 63_s);
        // Another cookie keeps the listener's ears open.
        s.inject(plain_syn().client(honest + 1));
        s.forget_sent();
        s.inject(A(1, 1).client(honest));
        EXPECT_EQ(s.counters().syncookies_received, late ? 0U : 1U);
        if (late) s.expect(R(1).client(honest));
    }
}

TEST_P(Cookies, case_19_a_cookie_of_another_tuple_or_isn_or_with_a_bad_size_is_reset) {
    Script s(with(2));
    s.listen(80, 128);
    s.inject(plain_syn().client(honest));
    s.expect(SA(0, 1).client(honest));
    s.inject(plain_syn().client(honest + 1));
    s.expect(SA(0, 1).client(honest + 1));
    // 1460 has five sizes below it and two above: there is no size that is six less or three more.
    for (const Packet& ack : {A(1, 1 + 3).client(honest), A(2, 1).client(honest),
                              A(1, 1U - 6).client(honest)}) {
        s.inject(ack);
        EXPECT_EQ(s.next().flags, wire::TcpFlags::rst);
    }
    EXPECT_EQ(s.counters().syncookies_failed, 3U);
    EXPECT_EQ(s.stack().population().connections, 0U);
    // The other client's cookie, under this client's name.
    tcp::FlowKey key{s.peer(), honest, 80, 0, 0};
    tcp::HalfOpen entry(key, *s.listener());
    wire::Segment stolen;
    stolen.flags = wire::TcpFlags::ack;
    stolen.seq = Seq(1001);
    stolen.ack = Seq(s.isn_towards(honest + 1)) + 1;
    EXPECT_FALSE(tcp::restore_from_cookie(s.stack().env(), entry, stolen, s.local()));
    s.inject(A(1, 1).client(honest));
    EXPECT_EQ(s.counters().syncookies_received, 1U) << "the right one is still good";
}

TEST_P(Cookies, case_20_timestamps_bring_scale_sack_and_ecn_back) {
    Script s(with(2));
    s.listen(80, 128);
    s.advance(777_ms);
    s.inject(linux_syn(5000).flag(wire::TcpFlags::ece).flag(wire::TcpFlags::cwr).client(honest));
    const wire::Segment answer = s.next();
    EXPECT_EQ(answer.flags, wire::TcpFlags::syn | wire::TcpFlags::ack | wire::TcpFlags::ece);
    EXPECT_TRUE(answer.options.has_window_scale);
    EXPECT_TRUE(answer.options.sack_permitted);
    EXPECT_EQ(answer.options.ts_echo, 5000U);
    s.inject(A(1, 1).window(500).timestamps(5010, answer.options.ts_value).client(honest));
    s.accept();
    const tcp::Connection& c = s.tcb();
    EXPECT_TRUE(c.timestamps && c.window_scaling && c.sack && c.ecn);
    EXPECT_EQ(c.snd_wind_shift, 9);
    EXPECT_EQ(c.snd_wnd, 500U << 9);
    EXPECT_EQ(c.ts_recent, 5010U);
    EXPECT_EQ(c.window.mss, mss() - 12);
    // The clock runs on from there: nothing of ours looks old to the peer.
    s.send(100);
    const wire::Segment data = s.next();
    EXPECT_GE(static_cast<int32_t>(data.options.ts_value - answer.options.ts_value), 0);
    EXPECT_LT(data.options.ts_value - answer.options.ts_value, 128U);
}

TEST_P(Cookies, case_20_timestamps_alone_bring_nothing_that_was_not_offered) {
    Script s(with(2));
    s.listen(80, 128);
    s.inject(S(0).window(64240).mss(1000).timestamps(5000, 0).client(honest));
    const wire::Segment answer = s.next();
    s.inject(A(1, 1).window(500).timestamps(5010, answer.options.ts_value).client(honest));
    s.accept();
    const tcp::Connection& c = s.tcb();
    EXPECT_TRUE(c.timestamps);
    EXPECT_FALSE(c.window_scaling || c.sack || c.ecn);
    EXPECT_EQ(c.snd_wnd, 500U);
    EXPECT_EQ(c.window.mss, 536U - 12) << "the largest of the sizes that the peer can take";
}

TEST_P(Cookies, case_20_without_timestamps_neither_scale_nor_sack_is_offered_or_assumed) {
    Script s(with(2));
    s.listen(80, 128);
    s.inject(plain_syn().flag(wire::TcpFlags::ece).flag(wire::TcpFlags::cwr).client(honest));
    const wire::Segment answer = s.next();
    EXPECT_EQ(answer.flags, wire::TcpFlags::syn | wire::TcpFlags::ack);
    EXPECT_FALSE(answer.options.has_window_scale || answer.options.sack_permitted);
    s.inject(A(1, 1).window(500).client(honest));
    s.accept();
    EXPECT_FALSE(s.tcb().timestamps || s.tcb().window_scaling || s.tcb().sack || s.tcb().ecn);
    EXPECT_EQ(s.tcb().snd_wnd, 500U);
    EXPECT_EQ(s.tcb().snd_wind_shift, 0);
}

TEST_P(Cookies, bits_in_a_timestamp_that_name_what_is_off_are_no_cookie) {
    Script::Options o = with(2);
    o.config.tcp.tcp_sack = 0;
    Script s(o);
    s.listen(80, 128);
    s.inject(linux_syn(5000).client(honest));
    const wire::Segment answer = s.next();
    EXPECT_FALSE(answer.options.sack_permitted);
    const uint32_t forged = answer.options.ts_value + 0x10;
    s.inject(A(1, 1).timestamps(5010, forged).client(honest));
    EXPECT_EQ(s.counters().syncookies_failed, 1U);
    s.forget_sent();
    s.inject(A(1, 1).timestamps(5010, answer.options.ts_value).client(honest));
    EXPECT_EQ(s.counters().syncookies_received, 1U);
}

TEST_P(Cookies, a_lost_third_ack_is_made_up_for_by_the_data_behind_it) {
    Script s(with(2));
    s.listen(80, 128);
    s.inject(plain_syn().client(honest));
    s.expect(SA(0, 1).client(honest));
    expect_service(s, honest);
}

/// The network has a SYN twice: the first comes while the backlog is full, the second finds room.
class CookieAndEntry : public Cookies {
protected:
    void answered_twice(Script& s) { answered_twice(s, plain_syn()); }
    void answered_twice(Script& s, const Packet& syn, uint8_t save_syn = 0) {
        answered_by_cookie(s, syn);
        s.listener()->save_syn = save_syn;
        s.inject(syn.client(honest));
        EXPECT_EQ(half_open(s), 1U);
        const wire::Segment again = s.next();
        entry_ = again.seq.value();
        EXPECT_NE(cookie_, entry_);
        EXPECT_EQ(s.counters().syncookies_sent, 1U);
    }
    /// And now there is room.
    void answered_by_cookie(Script& s, const Packet& syn) {
        s.listen(80, 1);
        flood(s, 1);
        s.inject(syn.client(honest));
        const wire::Segment answer = s.next();
        EXPECT_TRUE(answer.syn());
        cookie_ = answer.seq.value();
        ts_ = answer.options.ts_value;
        s.inject(R(1).client(40000));
        EXPECT_EQ(half_open(s), 0U);
    }
    uint32_t cookie_ = 0, entry_ = 0, ts_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Families, CookieAndEntry,
                         ::testing::Values(Family::ipv4, Family::ipv6), family_name);

TEST_P(CookieAndEntry, the_ack_of_the_cookie_opens_the_connection_in_the_entrys_place) {
    Script s(with(1));
    answered_twice(s);
    const uint32_t of_cookie = 1 + cookie_ - entry_;  // numbers count from the newest SYN-ACK's
    s.inject(A(1, of_cookie).client(honest));
    EXPECT_EQ(s.counters().syncookies_received, 1U);
    EXPECT_EQ(half_open(s), 0U);
    s.expect_silence();
    s.inject(PA(1, of_cookie).data(700).client(honest));
    s.accept();
    EXPECT_EQ(s.end().received, 700U);
    EXPECT_EQ(s.tcb().snd_una.value(), cookie_ + 1);
    EXPECT_EQ(s.drops(Drop::tcp_bad_ack), 0U);
}

TEST_P(CookieAndEntry, timestamps_bring_back_the_options_of_the_cookie) {
    Script s(with(1));
    answered_twice(s, linux_syn(5000));
    s.inject(A(1, 1 + cookie_ - entry_).window(500).timestamps(5010, ts_).client(honest));
    s.accept();
    const tcp::Connection& c = s.tcb();
    EXPECT_EQ(s.counters().syncookies_received, 1U);
    EXPECT_TRUE(c.timestamps && c.window_scaling && c.sack);
    EXPECT_EQ(c.snd_wnd, 500U << 9);
    EXPECT_EQ(c.ts_recent, 5010U);
    s.send(100);
    const wire::Segment data = s.next();
    EXPECT_EQ(data.seq.value(), cookie_ + 1);
    EXPECT_LT(data.options.ts_value - ts_, 128U);
}

TEST_P(CookieAndEntry, the_saved_syn_passes_on_to_the_connection) {
    Script s(with(1));
    answered_twice(s, plain_syn(), 1);
    s.inject(A(1, 1 + cookie_ - entry_).client(honest));
    s.accept();
    EXPECT_FALSE(s.stack().saved_syn(s.tcb()).empty());
    EXPECT_EQ(s.stack().population().saved_syns, 1U);
    s.abort();
    EXPECT_EQ(s.stack().population().saved_syns, 0U);
}

TEST_P(CookieAndEntry, the_copy_and_the_ack_in_one_burst_are_one_connection_and_no_answer) {
    Script s(with(1));
    answered_by_cookie(s, plain_syn());
    s.inject_burst({plain_syn().client(honest), A(1, 1).client(honest)});
    EXPECT_EQ(s.counters().syncookies_received, 1U);
    EXPECT_EQ(s.counters().tcp_passive_opens, 1U);
    EXPECT_EQ(half_open(s), 0U);
    s.expect_silence();
}

/// As the entry's own ACK would: who is reset keeps no place.
TEST_P(CookieAndEntry, where_the_accept_queue_is_full_the_entry_goes_with_the_reset) {
    for (const uint32_t abort : {0U, 1U}) {
        Script::Options o = with(1);
        o.config.tcp.tcp_abort_on_overflow = abort;
        Script s(o);
        answered_twice(s);
        for (uint16_t client = 1; client <= 2; ++client) {
            s.inject(plain_syn().client(client));
            s.expect(SA(0, 1).client(client));
            s.inject(A(1, 1).client(client));
        }
        s.inject(A(1, 1 + cookie_ - entry_).client(honest));
        EXPECT_EQ(s.counters().tcp_listen_overflows, 1U);
        EXPECT_EQ(half_open(s), 1U - abort);
        if (abort != 0) {
            EXPECT_EQ(s.next().flags, wire::TcpFlags::rst);
        }
        s.expect_silence();
    }
}

TEST_P(CookieAndEntry, the_ack_of_the_entry_opens_it_as_ever) {
    Script s(with(1));
    answered_twice(s);
    s.inject(A(1, 1).client(honest));
    EXPECT_EQ(s.counters().syncookies_received, 0U);
    EXPECT_EQ(half_open(s), 0U);
    EXPECT_EQ(s.counters().tcp_passive_opens, 1U);
    s.expect_silence();
}

TEST_P(CookieAndEntry, an_ack_of_neither_is_reset_and_the_entry_stays) {
    Script s(with(1));
    answered_twice(s);
    s.inject(A(1, 77).client(honest));
    EXPECT_EQ(s.next().flags, wire::TcpFlags::rst);
    EXPECT_EQ(s.counters().syncookies_failed, 1U);
    EXPECT_EQ(s.drops(Drop::tcp_bad_ack), 1U);
    EXPECT_EQ(half_open(s), 1U);
}

TEST_P(Cookies, a_full_accept_queue_drops_the_ack_and_a_retry_succeeds) {
    Script s(with(2));
    s.listen(80, 1);
    for (uint16_t client = 1; client <= 3; ++client) {
        s.inject(plain_syn().client(client));
        s.expect(SA(0, 1).client(client));
    }
    for (uint16_t client = 1; client <= 3; ++client) s.inject(A(1, 1).client(client));
    EXPECT_EQ(s.counters().tcp_listen_overflows, 1U);
    EXPECT_EQ(s.stack().population().connections, 2U);
    s.accept();
    s.inject(A(1, 1).client(3));
    EXPECT_EQ(s.stack().population().connections, 3U);
    EXPECT_EQ(s.listener()->accept_queue.size(), 2U);
}

TEST_P(Cookies, a_peer_whose_segments_are_smaller_than_any_size_gets_none) {
    Script s(with(2));
    s.listen(80, 128);
    s.inject(S(0).window(64240).mss(100).client(honest));
    s.expect_silence();
    EXPECT_EQ(s.drops(Drop::tcp_backlog_full), 1U);
}

}  // namespace
}  // namespace millrace::testing
