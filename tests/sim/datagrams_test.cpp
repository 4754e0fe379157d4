// Datagram sockets on several cores under one set of addresses: frames come to any of them.
#include <map>

#include "sim/harness.h"

namespace millrace::testing {
namespace {

class DatagramCores : public ::testing::TestWithParam<Family> {
protected:
    static sim::NodeOptions with_cores(uint16_t cores) {
        sim::NodeOptions options;
        options.cores = cores;
        return options;
    }
    Address at(uint8_t host) const { return Pair::address(host, GetParam()); }
    udp::Endpoint& open(sim::Node& node, uint16_t core, const SocketAddress& local) {
        stack::Stack& stack = node.stack(core);
        stack.set_time(pair_.network.now());
        const auto endpoint = stack.open_datagrams(GetParam(), nullptr);
        EXPECT_TRUE(endpoint);
        if (local.port != 0) {
            const auto bound = stack.bind(**endpoint, local);
            EXPECT_TRUE(bound) << bound.error().message();
        }
        return **endpoint;
    }
    void send(sim::Node& node, uint16_t core, udp::Endpoint& from,
              const std::optional<SocketAddress>& to, std::string_view text = "x") {
        stack::Stack& stack = node.stack(core);
        stack.set_time(pair_.network.now());
        OutgoingDatagram out;
        out.destination = to;
        stack.pools().append_copy(out.data, std::as_bytes(std::span(text)));
        const auto sent = stack.send(from, out);
        EXPECT_TRUE(sent) << sent.error().message();
    }
    static size_t drain(stack::Stack& stack, udp::Endpoint& endpoint) {
        size_t count = 0;
        for (; !endpoint.queue.empty(); ++count) stack.receive(endpoint);
        return count;
    }
    void expect_nothing_left() {
        for (sim::Node* node : {&pair_.a, &pair_.b})
            for (uint16_t core = 0; core < node->cores(); ++core) {
                const auto population = node->stack(core).population();
                EXPECT_EQ(population.udp_sockets, 0U);
                EXPECT_EQ(population.datagrams, 0U);
                EXPECT_EQ(population.groups, 0U);
                EXPECT_EQ(population.forwards, 0U);
            }
    }

    static constexpr uint16_t cores = 4;
    Pair pair_{21, with_cores(cores), with_cores(cores)};
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, DatagramCores,
                         ::testing::Values(Family::ipv4, Family::ipv6), [](const auto& family) {
                             return family.param == Family::ipv4 ? "ipv4" : "ipv6";
                         });

TEST_P(DatagramCores, a_socket_on_one_core_gets_what_comes_to_all) {
    udp::Endpoint& server = open(pair_.b, 2, {Address::any(GetParam()), 2000});
    pair_.network.run_for(1_ms);  // the other cores learn of it
    std::vector<udp::Endpoint*> clients;
    for (uint16_t i = 0; i < 40; ++i) {
        clients.push_back(&open(pair_.a, 1, {Address::any(GetParam()), uint16_t(3000 + i)}));
        send(pair_.a, 1, *clients.back(), SocketAddress{at(2), 2000});
    }
    pair_.network.run_for(1_ms);
    EXPECT_EQ(drain(pair_.b.stack(2), server), 40U);
    for (uint16_t i = 0; i < 40; ++i)
        send(pair_.b, 2, server, SocketAddress{at(1), uint16_t(3000 + i)});
    pair_.network.run_for(1_ms);
    for (udp::Endpoint* client : clients) {
        EXPECT_EQ(drain(pair_.a.stack(1), *client), 1U);
        pair_.a.stack(1).close(*client);
    }
    pair_.b.stack(2).close(server);
    pair_.network.run_for(1_ms);
    uint64_t unreachables = 0;
    for (uint16_t core = 0; core < cores; ++core)
        unreachables += pair_.b.stack(core).counters().icmp_out_dest_unreachs;
    EXPECT_EQ(unreachables, 0U);
    // It is gone for the others, too.
    udp::Endpoint& late = open(pair_.a, 0, {Address::any(GetParam()), 3999});
    send(pair_.a, 0, late, SocketAddress{at(2), 2000});
    pair_.network.run_for(1_ms);
    for (uint16_t core = 0; core < cores; ++core)
        unreachables += pair_.b.stack(core).counters().icmp_out_dest_unreachs;
    EXPECT_EQ(unreachables, 1U);
    pair_.a.stack(0).close(late);
    pair_.network.run_for(1_ms);
    expect_nothing_left();
}

TEST_P(DatagramCores, where_each_core_has_one_a_peer_stays_with_his) {
    std::vector<udp::Endpoint*> servers;
    for (uint16_t core = 0; core < cores; ++core)
        servers.push_back(&open(pair_.b, core, {Address::any(GetParam()), 2000}));
    pair_.network.run_for(1_ms);
    std::vector<udp::Endpoint*> clients;
    for (uint16_t i = 0; i < 60; ++i)
        clients.push_back(&open(pair_.a, 0, {Address::any(GetParam()), uint16_t(3000 + i)}));
    std::array<size_t, cores> first{};
    for (int round = 0; round < 3; ++round) {
        for (udp::Endpoint* client : clients)
            send(pair_.a, 0, *client, SocketAddress{at(2), 2000});
        pair_.network.run_for(1_ms);
        size_t sum = 0;
        for (uint16_t core = 0; core < cores; ++core) {
            const size_t got = drain(pair_.b.stack(core), *servers[core]);
            EXPECT_GT(got, 4U);
            if (round == 0) first[core] = got;
            EXPECT_EQ(got, first[core]);
            sum += got;
        }
        EXPECT_EQ(sum, 60U);
    }
    for (udp::Endpoint* client : clients) pair_.a.stack(0).close(*client);
    for (uint16_t core = 0; core < cores; ++core) pair_.b.stack(core).close(*servers[core]);
    pair_.network.run_for(1_ms);
    expect_nothing_left();
}

TEST_P(DatagramCores, a_connected_socket_hears_its_peer_and_his_errors_on_any_core) {
    udp::Endpoint& server = open(pair_.b, 3, {Address::any(GetParam()), 2000});
    pair_.network.run_for(1_ms);
    std::vector<udp::Endpoint*> clients;
    for (uint16_t i = 0; i < 24; ++i) {
        const auto core = static_cast<uint16_t>(i % cores);
        const auto port = static_cast<uint16_t>(i % 2 == 0 ? 3000 + i : 0);  // or any
        clients.push_back(&open(pair_.a, core, {Address::any(GetParam()), port}));
        ASSERT_TRUE(pair_.a.stack(core).connect(*clients.back(), {at(2), 2000}));
    }
    pair_.network.run_for(1_ms);
    for (uint16_t i = 0; i < 24; ++i)
        send(pair_.a, static_cast<uint16_t>(i % cores), *clients[i], std::nullopt);
    pair_.network.run_for(1_ms);
    size_t count = 0;
    while (!server.queue.empty()) {
        const Datagram got = pair_.b.stack(3).receive(server);
        send(pair_.b, 3, server, got.source);
        ++count;
    }
    EXPECT_EQ(count, 24U);
    pair_.network.run_for(1_ms);
    for (uint16_t i = 0; i < 24; ++i)
        EXPECT_EQ(drain(pair_.a.stack(static_cast<uint16_t>(i % cores)), *clients[i]), 1U) << i;
    pair_.b.stack(3).close(server);
    pair_.network.run_for(1_ms);
    for (uint16_t i = 0; i < 24; ++i)
        send(pair_.a, static_cast<uint16_t>(i % cores), *clients[i], std::nullopt);
    pair_.network.run_for(1_ms);
    for (uint16_t i = 0; i < 24; ++i) {
        EXPECT_EQ(clients[i]->error, ECONNREFUSED) << i;
        pair_.a.stack(static_cast<uint16_t>(i % cores)).close(*clients[i]);
    }
    pair_.network.run_for(1_ms);
    expect_nothing_left();
}

/// Or answers to one would reach the other.
TEST_P(DatagramCores, no_two_cores_choose_the_same_port) {
    std::map<uint16_t, std::pair<uint16_t, udp::Endpoint*>> by_port;
    udp::Endpoint& server = open(pair_.b, 0, {Address::any(GetParam()), 2000});
    pair_.network.run_for(1_ms);
    for (int i = 0; i < 80; ++i) {
        const auto core = static_cast<uint16_t>(i % cores);
        udp::Endpoint& client = open(pair_.a, core, {});
        send(pair_.a, core, client, SocketAddress{at(2), 2000});
        EXPECT_EQ(client.local.port % cores, core);
        EXPECT_TRUE(by_port.emplace(client.local.port, std::pair(core, &client)).second);
    }
    pair_.network.run_for(1_ms);
    size_t count = 0;
    for (; !server.queue.empty(); ++count)
        send(pair_.b, 0, server, pair_.b.stack(0).receive(server).source);
    EXPECT_EQ(count, 80U);
    pair_.network.run_for(1_ms);
    for (const auto& [port, client] : by_port) {
        EXPECT_EQ(drain(pair_.a.stack(client.first), *client.second), 1U);
        pair_.a.stack(client.first).close(*client.second);
    }
    pair_.b.stack(0).close(server);
    pair_.network.run_for(1_ms);
    expect_nothing_left();
}

/// Who was first has it; the other is told, at once or soon.
TEST_P(DatagramCores, a_conversation_belongs_to_one_core) {
    std::vector<std::pair<uint16_t, udp::Endpoint*>> all;
    size_t at_once = 0;
    for (uint16_t port = 3000; port < 3020; ++port)
        for (uint16_t core = 0; core < 2; ++core) {
            all.emplace_back(core, &open(pair_.a, core, {Address::any(GetParam()), port}));
            udp::Endpoint& endpoint = *all.back().second;
            const auto connected = pair_.a.stack(core).connect(endpoint, {at(2), 2000});
            pair_.network.run_for(100_us);
            if (core == 0) {
                EXPECT_TRUE(connected);
                EXPECT_EQ(endpoint.error, 0);
            } else if (connected) {
                EXPECT_EQ(endpoint.error, EADDRNOTAVAIL);
            } else {
                EXPECT_EQ(connected.error(), EADDRNOTAVAIL);
                ++at_once;
            }
        }
    EXPECT_GT(at_once, 0U);
    EXPECT_LT(at_once, 20U);
    for (const auto& [core, endpoint] : all) pair_.a.stack(core).close(*endpoint);
    pair_.network.run_for(1_ms);
    expect_nothing_left();
}

TEST_P(DatagramCores, what_goes_to_a_group_reaches_the_members_of_all_cores) {
    const Address group =
        GetParam() == Family::ipv4 ? Address::v4(239, 1, 2, 3) : *Address::parse("ff15::123");
    std::vector<udp::Endpoint*> members;
    for (uint16_t core = 1; core < cores; ++core) {
        members.push_back(&open(pair_.b, core, {Address::any(GetParam()), 2000}));
        if (core == 3) break;
        ASSERT_TRUE(pair_.b.stack(core).join(*members.back(), group, 1));
    }
    members.back()->settings.of(GetParam()).multicast_all = false;  // it has not joined
    udp::Endpoint& sender = open(pair_.a, 0, {Address::any(GetParam()), 3000});
    sender.settings.of(GetParam()).multicast_interface = 1;
    pair_.network.run_for(3_s);
    for (int i = 0; i < 10; ++i) send(pair_.a, 0, sender, SocketAddress{group, 2000});
    pair_.network.run_for(1_ms);
    EXPECT_EQ(drain(pair_.b.stack(1), *members[0]), 10U);
    EXPECT_EQ(drain(pair_.b.stack(2), *members[1]), 10U);
    EXPECT_EQ(drain(pair_.b.stack(3), *members[2]), 0U);
    // Its own host's members hear a sender, too, on whichever core they are.
    udp::Endpoint& here = open(pair_.a, 3, {Address::any(GetParam()), 2000});
    ASSERT_TRUE(pair_.a.stack(3).join(here, group, 1));
    pair_.network.run_for(3_s);
    send(pair_.a, 0, sender, SocketAddress{group, 2000});
    pair_.network.run_for(1_ms);
    EXPECT_EQ(drain(pair_.a.stack(3), here), 1U);
    EXPECT_EQ(drain(pair_.b.stack(1), *members[0]), 1U);
    EXPECT_EQ(drain(pair_.b.stack(2), *members[1]), 1U);
    // Routers hear of it when the last core leaves.
    const auto frames = [&] {
        uint64_t sum = 0;
        for (uint16_t core = 0; core < cores; ++core)
            sum += pair_.b.stack(core).counters().frames_out;
        return sum;
    };
    const uint64_t before = frames();
    pair_.b.stack(1).close(*members[0]);
    pair_.network.run_for(3_s);
    EXPECT_EQ(frames(), before);
    pair_.b.stack(2).close(*members[1]);
    pair_.network.run_for(3_s);
    EXPECT_EQ(frames(), before + 2);
    pair_.b.stack(3).close(*members[2]);
    pair_.a.stack(0).close(sender);
    pair_.a.stack(3).close(here);
    pair_.network.run_for(3_s);
    expect_nothing_left();
}

}  // namespace
}  // namespace millrace::testing
