// Several cores under one set of addresses; connections to our own addresses; bad next hops.
#include "sim/harness.h"

namespace millrace::testing {
namespace {

sim::NodeOptions with_cores(uint16_t cores) {
    sim::NodeOptions options;
    options.cores = cores;
    return options;
}

bool all_done(const std::vector<std::unique_ptr<Endpoint>>& ends) {
    return std::ranges::all_of(ends, [](const auto& end) { return end->connection == nullptr; });
}

class Cores : public ::testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(BothFamilies, Cores, ::testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

uint64_t established_on(Pair& pair, uint16_t core) {
    return pair.b.stack(core).counters().tcp_passive_opens;
}

/// The wire brings each frame to any core (no NIC steers): software must.
TEST_P(Cores, connections_spread_and_none_is_served_by_the_wrong_core) {
    Pair pair(3, with_cores(2), with_cores(4));
    pair.server.prototype = {.salt_out = 2, .salt_in = 1, .to_send = 20'000,
                             .shutdown_when_sent = true, .close_at_end = true};
    for (uint16_t core = 0; core < 4; ++core)
        pair.server.listen(Address::any(GetParam()), 80, 128, core);
    for (int i = 0; i < 64; ++i)
        pair.client.connect({Pair::address(2, GetParam()), 80},
                            {.salt_out = 1, .salt_in = 2, .to_send = 20'000,
                             .shutdown_when_sent = true, .close_at_end = true},
                            {}, static_cast<uint16_t>(i % 2));
    EXPECT_TRUE(pair.network.run_while(60_s, [&] {
        return pair.server.accepted.size() == 64 && all_done(pair.server.accepted) &&
               all_done(pair.client.connecting);
    }));
    for (const auto& end : pair.client.connecting) {
        EXPECT_EQ(end->received, 20'000U);
        EXPECT_TRUE(end->intact);
        EXPECT_EQ(end->error, 0);
    }
    uint64_t sum = 0;
    for (uint16_t core = 0; core < 4; ++core) {
        EXPECT_GT(established_on(pair, core), 4U) << core;
        sum += established_on(pair, core);
        EXPECT_EQ(pair.b.stack(core).counters().drops(observe::Drop::tcp_no_listener), 0U);
        EXPECT_EQ(pair.b.stack(core).counters().drops(observe::Drop::handover_full), 0U);
        EXPECT_GT(pair.b.stack(core).counters().frames_handed_over, 0U);
        EXPECT_EQ(pair.b.stack(core).counters().tcp_out_rsts, 0U) << core;
    }
    EXPECT_EQ(sum, 64U);
    pair.expect_nothing_left();
}

TEST_P(Cores, a_listener_on_one_core_gets_the_syns_of_all) {
    Pair pair(4, {}, with_cores(4));
    pair.server.prototype = {.salt_out = 2, .salt_in = 1, .to_send = 5'000,
                             .shutdown_when_sent = true, .close_at_end = true};
    pair.server.listen(Address(), 80, 128, 2);
    pair.network.run_for(1_ms);  // the other cores learn of it
    for (int i = 0; i < 40; ++i)
        pair.client.connect({Pair::address(2, GetParam()), 80},
                            {.salt_out = 1, .salt_in = 2, .to_send = 5'000,
                             .shutdown_when_sent = true, .close_at_end = true});
    EXPECT_TRUE(pair.network.run_while(60_s, [&] {
        return all_done(pair.client.connecting) && all_done(pair.server.accepted);
    }));
    for (const auto& end : pair.client.connecting) {
        EXPECT_EQ(end->received, 5'000U);
        EXPECT_TRUE(end->intact);
    }
    EXPECT_EQ(established_on(pair, 2), 40U);
    pair.expect_nothing_left();
}

TEST_P(Cores, a_bound_local_port_works_on_any_core) {
    Pair pair(5, with_cores(4), {});
    pair.server.prototype = {.salt_out = 2, .salt_in = 1, .to_send = 1'000,
                             .shutdown_when_sent = true, .close_at_end = true};
    pair.server.listen(Address(), 80);
    for (uint16_t port = 2000; port < 2020; ++port)
        pair.client.connect({Pair::address(2, GetParam()), 80},
                            {.salt_out = 1, .salt_in = 2, .to_send = 1'000,
                             .shutdown_when_sent = true, .close_at_end = true},
                            {Address::any(GetParam()), port}, static_cast<uint16_t>(port % 4));
    EXPECT_TRUE(pair.network.run_while(60_s, [&] {
        return all_done(pair.client.connecting) && all_done(pair.server.accepted);
    }));
    for (const auto& end : pair.client.connecting) {
        EXPECT_EQ(end->received, 1'000U);
        EXPECT_EQ(end->error, 0);
    }
    pair.expect_nothing_left();
}

/// Every core asks for the same tuples: one gets each, the others learn that they do not.
TEST_P(Cores, a_tuple_has_one_owner) {
    Pair pair(15, with_cores(4), {});
    pair.server.prototype = {.salt_out = 2, .salt_in = 1, .to_send = 50'000,
                             .shutdown_when_sent = true, .close_at_end = true};
    pair.server.listen(Address(), 80);
    const SocketAddress remote{Pair::address(2, GetParam()), 80};
    std::vector<std::unique_ptr<Endpoint>> others;
    uint32_t at_once = 0;
    for (uint16_t port = 2000; port < 2020; ++port) {
        const SocketAddress local{Address::any(GetParam()), port};
        pair.client.connect(remote, {.salt_out = 1, .salt_in = 2, .to_send = 50'000,
                                     .shutdown_when_sent = true, .close_at_end = true},
                            local, static_cast<uint16_t>(port % 4));
        pair.network.run_for(100_us);
        for (uint16_t i = 1; i < 4; ++i) {
            const auto core = static_cast<uint16_t>((port + i) % 4);
            auto& end = others.emplace_back(std::make_unique<Endpoint>());
            end->stack = &pair.a.stack(core);
            const auto c = end->stack->connect(remote, local, end.get());
            if (c) {
                end->connection = *c;
            } else {
                EXPECT_EQ(c.error().value, EADDRNOTAVAIL);
                ++at_once;
                others.pop_back();
            }
        }
        pair.network.run_for(100_us);
    }
    EXPECT_GT(at_once, 0U);
    EXPECT_GT(others.size(), 0U);
    EXPECT_TRUE(pair.network.run_while(60_s, [&] { return all_done(pair.client.connecting); }));
    for (const auto& end : others) {
        EXPECT_TRUE(end->closed);
        EXPECT_EQ(end->error, EADDRNOTAVAIL);
    }
    for (const auto& end : pair.client.connecting) {
        EXPECT_EQ(end->received, 50'000U);
        EXPECT_TRUE(end->intact);
        EXPECT_EQ(end->error, 0);
    }
    pair.expect_nothing_left();
}

TEST_P(Cores, connections_to_our_own_address_on_one_core_and_across) {
    for (const uint16_t cores : {uint16_t{1}, uint16_t{3}}) {
        Pair pair(6, with_cores(cores));
        Recorder& both = pair.client;
        both.prototype = {.salt_out = 2, .salt_in = 1, .to_send = 50'000,
                          .shutdown_when_sent = true, .close_at_end = true};
        for (uint16_t core = 0; core < cores; ++core) both.listen(Address(), 80, 128, core);
        for (int i = 0; i < 12; ++i)
            both.connect({Pair::address(1, GetParam()), 80},
                         {.salt_out = 1, .salt_in = 2, .to_send = 50'000,
                          .shutdown_when_sent = true, .close_at_end = true},
                         {}, static_cast<uint16_t>(i % cores));
        EXPECT_TRUE(pair.network.run_while(60_s, [&] {
            return both.accepted.size() == 12 && all_done(both.connecting) &&
                   all_done(both.accepted);
        }));
        for (const auto& end : both.connecting) {
            EXPECT_EQ(end->received, 50'000U);
            EXPECT_TRUE(end->intact);
        }
        pair.expect_nothing_left();
    }
}

TEST_P(Cores, a_silent_next_hop_is_unreachable_after_three_questions) {
    Pair pair(7);
    Endpoint& end = pair.client.connect({Pair::address(77, GetParam()), 80});
    pair.network.run_for(2500_ms);
    EXPECT_FALSE(end.closed);
    pair.network.run_for(1_s);
    EXPECT_TRUE(end.closed);
    EXPECT_EQ(end.error, EHOSTUNREACH);
    EXPECT_EQ(pair.a.stack().counters().neighbour_solicitations, 3U);
    pair.expect_nothing_left();
}

TEST_P(Cores, next_hops_that_fail_one_after_the_other_are_told_of_together) {
    Pair pair(7);
    Endpoint& first = pair.client.connect({Pair::address(77, GetParam()), 80});
    pair.network.run_for(10_ms);
    Endpoint& second = pair.client.connect({Pair::address(78, GetParam()), 80});
    Endpoint& third = pair.client.connect({Pair::address(79, GetParam()), 80});
    pair.network.run_for(3050_ms - 10_ms);
    EXPECT_TRUE(first.closed);
    EXPECT_FALSE(second.closed);
    pair.network.run_for(100_ms);
    for (const Endpoint* end : {&second, &third}) {
        EXPECT_TRUE(end->closed);
        EXPECT_EQ(end->error, EHOSTUNREACH);
    }
    pair.expect_nothing_left();
}

TEST(Connect, refuses_what_cannot_be) {
    Pair pair(8);
    stack::Stack& stack = pair.a.stack();
    Endpoint end;
    const auto error_of = [&](const SocketAddress& remote, const SocketAddress& local = {
                                  Address::any(Family::ipv4), 0}) {
        const auto c = stack.connect(remote, local, &end);
        return c ? 0 : c.error().value;
    };
    EXPECT_EQ(error_of({Address::v4(224, 0, 0, 1), 80}), ENETUNREACH);       // MUST-46
    EXPECT_EQ(error_of({Address::v4(255, 255, 255, 255), 80}), ENETUNREACH);
    EXPECT_EQ(error_of({Address::v4(10, 0, 0, 255), 80}), ENETUNREACH);
    EXPECT_EQ(error_of({Address::v4(0, 0, 0, 0), 80}), ENETUNREACH);
    EXPECT_EQ(error_of({Address::v4(192, 0, 2, 1), 80}), ENETUNREACH);       // no route
    EXPECT_EQ(error_of({Address::v4(10, 0, 0, 2), 0}), EINVAL);
    EXPECT_EQ(error_of({Address::v4(10, 0, 0, 2), 80}, {Address::v4(10, 9, 9, 9), 0}),
              EADDRNOTAVAIL);
    EXPECT_EQ(error_of({Address::v4(10, 0, 0, 2), 80}, {Address::v4(10, 0, 0, 1), 1234}), 0);
    EXPECT_EQ(error_of({Address::v4(10, 0, 0, 2), 80}, {Address::v4(10, 0, 0, 1), 1234}),
              EADDRNOTAVAIL);
}

TEST(Listen, conflicts_answer_eaddrinuse) {
    Pair pair(9);
    stack::Stack& stack = pair.a.stack();
    const auto error_of = [&](const Address& address, uint16_t port) {
        const auto listener = stack.listen({address, port}, 1, nullptr);
        return listener ? 0 : listener.error().value;
    };
    EXPECT_EQ(error_of(Address::v4(10, 0, 0, 1), 80), 0);
    EXPECT_EQ(error_of(Address::v4(10, 0, 0, 1), 80), EADDRINUSE);
    EXPECT_EQ(error_of(Address::v4(0, 0, 0, 0), 80), EADDRINUSE);
    EXPECT_EQ(error_of(Address(), 80), EADDRINUSE);
    EXPECT_EQ(error_of(*Address::parse("fd00::1"), 80), 0);
    EXPECT_EQ(error_of(Address::v4(10, 0, 0, 2), 80), EADDRNOTAVAIL);
    EXPECT_EQ(error_of(Address::v4(0, 0, 0, 0), 0), EINVAL);
    EXPECT_EQ(error_of(Address(), 81), 0);
    EXPECT_EQ(error_of(Address::v4(10, 0, 0, 1), 81), EADDRINUSE);
}

TEST(Stack, a_zero_window_closes_and_opens_again) {
    Pair pair(10);
    pair.server.prototype = {.salt_in = 1, .consume = false};
    pair.server.listen(Address(), 80);
    Endpoint& client = pair.client.connect({Pair::address(2), 80},
                                           {.salt_out = 1, .to_send = 1'000'000});
    pair.network.run_for(600_s);
    ASSERT_EQ(pair.server.accepted.size(), 1U);
    Endpoint& server = *pair.server.accepted[0];
    EXPECT_LE(server.received, 131072U);
    EXPECT_GT(server.received, 100'000U);
    EXPECT_GT(pair.a.stack().counters().tcp_zero_window_probes, 3U);
    EXPECT_FALSE(client.closed);
    server.consume = true;
    tcp::consumed(pair.b.stack().env(), *server.connection,
                  static_cast<uint32_t>(server.unconsumed));
    pair.network.run_for(60_s);
    EXPECT_EQ(server.received, 1'000'000U);
    EXPECT_TRUE(server.intact);
    client.close();
    server.close();
    pair.expect_nothing_left();
}

/// Every buffer is somewhere else: frames are lost and counted, and traffic resumes.
TEST(Stack, a_dry_pool_is_counted_and_survived) {
    sim::NodeOptions poor;
    poor.pools = {.receive = 256, .header = 64, .attach = 64, .payload = 128};
    Pair pair(11, poor);
    pair.server.prototype = {.salt_in = 1, .close_at_end = true};
    pair.server.listen(Address(), 80);
    for (int i = 0; i < 8; ++i)
        pair.client.connect({Pair::address(2), 80}, {.salt_out = 1, .to_send = 300'000,
                                                     .shutdown_when_sent = true,
                                                     .close_at_end = true});
    EXPECT_TRUE(pair.network.run_while(600_s, [&] {
        return all_done(pair.client.connecting) && all_done(pair.server.accepted);
    }));
    EXPECT_GT(pair.a.stack().counters().drops(observe::Drop::no_buffer), 0U);
    for (const auto& end : pair.server.accepted) {
        EXPECT_EQ(end->received, 300'000U);
        EXPECT_TRUE(end->intact);
    }
    pair.expect_nothing_left();
}

}  // namespace
}  // namespace millrace::testing
