#include "sim/scenario.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

namespace millrace::testing {

namespace {

using namespace millrace::literals;

/// All follows from a number.
class Seeded final : public Draws {
public:
    explicit Seeded(uint64_t seed) : random_(seed) {}
    uint64_t below(uint64_t bound) override { return random_.below(bound); }

private:
    Random random_;
};

/// Draws, in words of the trade.
class Dice {
public:
    explicit Dice(Draws& draws) : draws_(draws) {}
    bool percent(uint32_t p) { return draws_.below(100) < p; }
    /// Uniform, both included.
    uint64_t between(uint64_t low, uint64_t high) { return low + draws_.below(high - low + 1); }
    uint32_t between32(uint32_t low, uint32_t high) {
        return static_cast<uint32_t>(between(low, high));
    }
    /// As likely from 1 to 10 as from 10 to 100.
    uint64_t magnitude(uint64_t low, uint64_t high) {
        const double share = static_cast<double>(draws_.below(1 << 20)) / (1 << 20);
        const double ratio = static_cast<double>(high) / static_cast<double>(low);
        return static_cast<uint64_t>(static_cast<double>(low) * std::pow(ratio, share));
    }
    Duration span(Duration low, Duration high) {
        return Duration::from_ns(static_cast<int64_t>(magnitude(
            static_cast<uint64_t>(low.ns()), static_cast<uint64_t>(high.ns()))));
    }
    template <typename T>
    T pick(std::initializer_list<T> values) {
        return values.begin()[draws_.below(values.size())];
    }

private:
    Draws& draws_;
};

TcpTunables tcp_tunables(Dice& dice) {
    TcpTunables t;
    t.tcp_timestamps = dice.percent(80);
    t.tcp_window_scaling = dice.percent(80);
    t.tcp_rmem = dice.pick({4096U, 8192U, 16384U, 65535U, 65536U, 131072U, 131072U, 524288U});
    t.tcp_wmem = dice.pick({4096U, 16384U, 65536U, 262144U, 4194304U});
    t.initial_cwnd = dice.pick({1U, 2U, 3U, 10U, 10U, 10U, 30U});
    t.tcp_rto_min_us = dice.pick({1000U, 10'000U, 50'000U, 200'000U, 200'000U, 200'000U});
    t.tcp_rto_max_ms = dice.pick({1000U, 10'000U, 120'000U, 120'000U, 120'000U});
    t.tcp_retries2 = dice.pick({15U, 15U, 15U, 15U, 8U, 3U});
    t.tcp_orphan_retries = dice.pick({0U, 0U, 0U, 2U});
    t.tcp_syn_retries = dice.pick({6U, 6U, 6U, 8U, 1U});
    t.tcp_syn_linear_timeouts = dice.pick({4U, 4U, 0U});
    t.tcp_synack_retries = dice.pick({5U, 5U, 5U, 8U, 1U});
    t.tcp_fin_timeout = dice.pick({1U, 5U, 60U, 60U});
    t.tcp_timewait_len = dice.pick({1U, 5U, 60U, 60U});
    t.tcp_max_tw_buckets = dice.pick({0U, 2U, 1000U, 1000U});
    t.tcp_rfc1337 = dice.percent(70);
    t.tcp_abort_on_overflow = dice.percent(10);
    t.tcp_invalid_ratelimit = dice.pick({0U, 500U, 500U});
    t.tcp_min_snd_mss = dice.pick({48U, 536U});
    t.max_connections = 256;
    t.max_half_open = 256;
    return t;
}

sim::NodeOptions node(Dice& dice, uint8_t index) {
    sim::NodeOptions options;
    options.name = std::string(1, static_cast<char>('a' + index));
    options.addresses = {{Scenario::address(index, Family::ipv4), 24},
                         {Scenario::address(index, Family::ipv6), 64}};
    options.cores = dice.percent(30) ? 2 : 1;
    options.mtu = dice.pick<uint16_t>({1280, 1400, 1500, 1500, 1500, 1500, 9000});
    options.config.tcp = tcp_tunables(dice);
    IpTunables& ip = options.config.ip;
    ip.neighbour_retries = dice.pick({3U, 10U});
    ip.neighbour_retry_ms = dice.pick({100U, 1000U});
    ip.neighbour_reachable_s = dice.pick({1U, 30U});
    // Enough for all that may wait: what is dropped there leaves a gap on the wire.
    ip.neighbour_queue = 64;
    ip.neighbour_max = 16;
    ip.ipfrag_max = 16;
    options.pools = {.receive = 1024, .header = 512, .attach = 512, .payload = 512, .region = 256};
    if (dice.percent(15))  // running dry is a condition like another
        options.pools = {.receive = dice.between32(192, 512), .header = dice.between32(64, 256),
                         .attach = dice.between32(64, 256), .payload = dice.between32(64, 256),
                         .region = 64};
    return options;
}

/// Each kind of trouble by its own chance; at least one of them is there.
sim::Impairments impairments(Dice& dice, bool harsh) {
    sim::Impairments i;
    const uint32_t worst = harsh ? 3 : 1;
    i.delay = dice.span(10_us, 100_ms);
    if (dice.percent(25)) i.jitter = dice.span(1_us, i.delay);
    if (dice.percent(60)) {
        i.bits_per_second = dice.magnitude(1'000'000, 1'000'000'000);
        i.queue_max = dice.span(5_ms, 200_ms);
        if (dice.percent(30)) i.queue_bytes = dice.between32(5'000, 200'000);
        if (dice.percent(20)) i.mark_bytes = dice.between32(2'000, 50'000);
    }
    const auto share = [&](uint32_t low, uint32_t high) {
        return static_cast<uint32_t>(dice.magnitude(low, high * worst));
    };
    bool any = false;
    const auto meets = [&](uint32_t chance) {
        const bool met = dice.percent(chance * worst);
        any = any || met;
        return met;
    };
    if (meets(15)) i.ack_loss_ppm = share(10'000, 300'000);
    if (meets(10)) i.lose_every = dice.between32(harsh ? 5 : 20, 200);
    if (meets(20)) {
        i.burst_enter_ppm = share(500, 20'000);
        i.burst_leave_ppm = dice.between32(50'000, 500'000);
        i.burst_loss_ppm = dice.pick({1'000'000U, 700'000U});
    }
    if (meets(20)) {
        i.tail_loss_ppm = share(20'000, 300'000);
        i.tail_frames = dice.between32(1, 5);
        i.tail_quiet = i.delay / 2;
    }
    if (meets(25)) {
        i.reorder_ppm = share(5'000, 200'000);
        i.reorder_by = dice.span(10_us, 50_ms);
    }
    if (meets(20)) i.duplicate_ppm = share(2'000, 100'000);
    if (meets(20)) i.corrupt_ppm = share(1'000, 20'000);
    if (meets(10)) i.truncate_ppm = share(1'000, 20'000);
    if (meets(5)) i.mtu = dice.between32(600, 1400);
    if (meets(15)) {
        i.pause_every = dice.span(100_ms, 5_s);
        i.pause_for = dice.span(10_ms, 3_s);
        if (dice.percent(50)) i.queue_max = dice.span(100_ms, 5_s);
    }
    if (!any || dice.percent(40)) i.loss_ppm = share(1'000, 100'000);
    return i;
}

uint32_t size_of_stream(Dice& dice) {
    if (dice.percent(15)) return 0;
    return static_cast<uint32_t>(dice.magnitude(1, 200'000));
}

EndPlan end_plan(Dice& dice) {
    EndPlan end;
    end.bytes = size_of_stream(dice);
    end.piece_max = static_cast<uint32_t>(dice.magnitude(1, 65536));
    // What is written byte by byte is not long.
    end.bytes = std::min(end.bytes, end.piece_max * 2000);
    end.zero_copy = dice.percent(35);
    if (dice.percent(40)) {
        end.pauses = dice.between32(1, 20);
        end.pause_max = dice.span(100_us, 2_s);
    }
    if (dice.percent(25)) {
        end.stall_at = static_cast<uint32_t>(dice.magnitude(1, 100'000)) - 1;
        end.stall_for = dice.span(1_ms, 20_s);
    }
    if (dice.percent(25)) end.consume_after = dice.span(10_us, 200_ms);
    end.no_delay = dice.percent(30);
    end.wait_for_closed = dice.percent(30);
    return end;
}

void make_violent(Dice& dice, EndPlan& end) {
    using enum EndPlan::Violence;
    end.violence = dice.pick({abort, close, close_unread});
    end.violence_at = static_cast<uint32_t>(dice.magnitude(1, 150'000)) - 1;
    end.violence_after = dice.span(1_ms, 20_s);
}

void endings(Dice& dice, ConnectionPlan& plan) {
    using enum EndPlan::Ending;
    // One of the two waits for nobody.
    EndPlan& first = dice.percent(50) ? plan.client_end : plan.server_end;
    EndPlan& second = &first == &plan.client_end ? plan.server_end : plan.client_end;
    first.ending = dice.percent(80) ? shutdown : close_when_sent;
    second.ending = dice.pick({shutdown, close_at_end, close_at_end, close_when_sent});
    if (dice.percent(15)) make_violent(dice, first);
    if (dice.percent(10)) make_violent(dice, second);
    if (dice.percent(12) && plan.opening == Opening::listener) {
        plan.client_end.ending = shutdown;
        plan.server_end.ending = close_at_end;
        plan.server_end.echo = true;
        plan.server_end.bytes = 0;
    }
}

ConnectionPlan connection(Dice& dice, const Scenario& scenario, uint16_t number) {
    ConnectionPlan plan;
    const auto nodes = scenario.nodes.size();
    plan.client = static_cast<uint8_t>(dice.between(0, nodes - 1));
    // Mostly somebody else; draws that are always the same must come to an end, too.
    for (int tries = 0; tries < 20; ++tries) {
        plan.server = static_cast<uint8_t>(dice.between(0, nodes - 1));
        if (plan.server != plan.client || dice.percent(10)) break;
    }
    const uint16_t cores = scenario.nodes[plan.client].cores;
    plan.client_core = static_cast<uint16_t>(dice.between(0, cores - 1U));
    plan.family = dice.percent(50) ? Family::ipv4 : Family::ipv6;
    plan.server_port = dice.percent(70) ? 80 : 81;
    if (dice.percent(30)) plan.client_port = static_cast<uint16_t>(2000 + number);
    plan.at = dice.span(1_us, 3_s);
    plan.client_end = end_plan(dice);
    plan.server_end = end_plan(dice);
    if (number > 0 && dice.percent(6)) {
        plan.opening = Opening::closed_port;
        plan.server_port = 4;
    } else if (number > 0 && plan.client != plan.server && dice.percent(6)) {
        plan.opening = Opening::simultaneous;
        plan.client_port = static_cast<uint16_t>(2000 + number);
        plan.server_port = static_cast<uint16_t>(3000 + number);
    }
    endings(dice, plan);
    return plan;
}

/// The first connection moves at least 64 KiB, whatever the others do.
void make_large(Dice& dice, ConnectionPlan& plan) {
    if (plan.server == plan.client) plan.server = plan.client == 0 ? 1 : 0;
    EndPlan& sender = plan.server_end.echo || dice.percent(50) ? plan.client_end : plan.server_end;
    sender.bytes = dice.between32(65'536, 350'000);
    plan.at = std::min(plan.at, Duration(20_ms));  // while the weather is bad
    sender.piece_max = std::max(sender.piece_max, 500U);
    for (EndPlan* end : {&plan.client_end, &plan.server_end}) {
        end->violence = EndPlan::Violence::none;
        if (end->ending == EndPlan::Ending::close_when_sent)
            end->ending = EndPlan::Ending::shutdown;
    }
}

void add_listeners(Dice& dice, Scenario& scenario) {
    std::set<std::pair<uint8_t, uint16_t>> wanted;
    for (const ConnectionPlan& plan : scenario.connections)
        if (plan.opening == Opening::listener) wanted.emplace(plan.server, plan.server_port);
    const ConnectionPlan& large = scenario.connections.front();
    for (const auto& [at, port] : wanted) {
        ListenerPlan listener{.node = at, .port = port};
        const uint16_t cores = scenario.nodes[at].cores;
        if (dice.percent(50)) listener.core = static_cast<uint16_t>(dice.between(0, cores - 1U));
        listener.backlog = dice.percent(30) ? dice.between32(1, 3) : 128;
        if (dice.percent(20)) listener.accepts_from = dice.span(1_ms, 5_s);
        if (dice.percent(10) && (at != large.server || port != large.server_port))
            listener.closes_at = dice.span(1_ms, 5_s);
        scenario.listeners.push_back(listener);
    }
}

void add_weather(Dice& dice, Scenario& scenario) {
    const bool harsh = dice.percent(10);
    const size_t nodes = scenario.nodes.size();
    const auto phases = dice.between(1, 3);
    Duration at;
    for (uint64_t phase = 0; phase < phases; ++phase) {
        Weather weather{at, {}};
        for (size_t i = 0; i < nodes; ++i) weather.from.push_back(impairments(dice, harsh));
        scenario.weather.push_back(weather);
        at += dice.span(200_ms, 10_s);
    }
    Weather last{at, {}};
    for (const sim::Impairments& i : scenario.weather.back().from)
        last.from.push_back({.delay = i.delay});
    scenario.cut = dice.percent(5);
    if (scenario.cut) last.from[dice.between(0, nodes - 1)].loss_ppm = 1'000'000;
    scenario.weather.push_back(last);
}

/// Starts the clock so that a number of the first connection wraps soon after it begins.
Instant start_time(Dice& dice, const Scenario& scenario) {
    const ConnectionPlan& plan = scenario.connections.front();
    const auto client = Scenario::address(plan.client, plan.family);
    const auto server = Scenario::address(plan.server, plan.family);
    const tcp::FlowKey from_client{server, plan.server_port, plan.client_port, 0, 0};
    const tcp::FlowKey from_server{client, plan.client_port, plan.server_port, 0, 0};
    const bool of_client = dice.percent(50);
    const tcp::IsnGenerator isn(
        sim::Network::secrets(scenario.seed, (of_client ? plan.client : plan.server) + 1U));
    const auto& key = of_client ? from_client : from_server;
    const auto& local = of_client ? client : server;
    constexpr auto origin = Instant::from_ns(0);
    const uint32_t before = dice.between32(1, 100'000);
    switch (dice.between(0, 3)) {
        case 0:
        case 1: {  // the sequence number counts 4 microseconds
            const uint32_t ticks = 0U - before - isn.isn(key, local, origin).value();
            return Instant::from_ns(int64_t{ticks} * 4000 + 17'179'869'184'000);
        }
        case 2: {  // the timestamp counts milliseconds
            const uint32_t ms = 0U - before / 20 - isn.timestamp_offset(key, local);
            return Instant::from_ns(int64_t{ms} * 1'000'000 + 1'000'000'000);
        }
        default: return Instant::from_ns(int64_t{dice.between32(1, 1'000'000)} * 1'000'003);
    }
}

/// What differs from Linux's defaults in half of the stories, from dice of its own: the others are
/// told as they would be without it.
void vary(Dice& dice, TcpTunables& t) {
    if (dice.percent(50)) return;
    t.tcp_sack = dice.percent(75);
    t.tcp_dsack = dice.percent(75);
    t.tcp_frto = dice.pick({0U, 2U, 2U});
    t.tcp_early_retrans = dice.pick({0U, 3U, 3U});
    t.tcp_slow_start_after_idle = dice.percent(75);
    t.tcp_ecn = dice.pick({0U, 1U, 1U, 2U});
    t.tcp_pacing = dice.percent(20);
    t.tcp_moderate_rcvbuf = dice.percent(75);
    t.tcp_mtu_probing = dice.pick({0U, 0U, 1U, 2U});
    using enum CongestionControl;
    t.tcp_congestion_control = dice.pick({reno, cubic, cubic, dctcp, bbr});
}

void vary(Dice& dice, Scenario& scenario) {
    for (sim::NodeOptions& node : scenario.nodes) {
        vary(dice, node.config.tcp);
        if (dice.percent(5))  // dry within a burst
            node.pools = {.receive = 192, .header = dice.between32(16, 64),
                          .attach = dice.between32(16, 64), .payload = dice.between32(16, 64),
                          .region = 64};
    }
    for (ConnectionPlan& plan : scenario.connections)
        for (EndPlan* end : {&plan.client_end, &plan.server_end})
            if (dice.percent(10)) end->reneges = dice.between32(1, 5);
}

std::string describe_end(const EndPlan& end) {
    constexpr std::array<std::string_view, 3> endings{"shutdown", "close-when-sent",
                                                      "close-at-end"};
    constexpr std::array<std::string_view, 4> violence{"", " abort", " close", " close-unread"};
    std::string text = end.echo ? "echo" : fmt::format("{}B", end.bytes);
    text += fmt::format(" pieces<={}{}", end.piece_max, end.zero_copy ? " zero-copy" : "");
    if (end.pauses != 0)
        text += fmt::format(" {} pauses<={:.3f}s", end.pauses, end.pause_max.seconds());
    if (end.stall_at)
        text += fmt::format(" stalls at {} for {:.3f}s", *end.stall_at, end.stall_for.seconds());
    if (end.consume_after > Duration())
        text += fmt::format(" consumes after {:.3f}s", end.consume_after.seconds());
    if (end.reneges != 0) text += fmt::format(" reneges {}", end.reneges);
    text += fmt::format(" {}", endings[static_cast<size_t>(end.ending)]);
    if (end.wait_for_closed) text += " waits";
    if (end.violence != EndPlan::Violence::none)
        text += fmt::format("{} at {} or {:.3f}s", violence[static_cast<size_t>(end.violence)],
                            end.violence_at, end.violence_after.seconds());
    return text;
}

std::string describe_impairments(const sim::Impairments& i) {
    std::string text = fmt::format("delay {:.6f}", i.delay.seconds());
    const auto add = [&](std::string_view name, uint64_t value) {
        if (value != 0) text += fmt::format(" {} {}", name, value);
    };
    add("jitter", static_cast<uint64_t>(i.jitter.ns()));
    add("loss", i.loss_ppm);
    add("ack-loss", i.ack_loss_ppm);
    add("every", i.lose_every);
    if (i.burst_enter_ppm != 0)
        text += fmt::format(" burst {}/{}/{}", i.burst_enter_ppm, i.burst_leave_ppm,
                            i.burst_loss_ppm);
    if (i.tail_loss_ppm != 0) text += fmt::format(" tail {}x{}", i.tail_loss_ppm, i.tail_frames);
    if (i.reorder_ppm != 0)
        text += fmt::format(" reorder {} by {:.6f}", i.reorder_ppm, i.reorder_by.seconds());
    add("duplicate", i.duplicate_ppm);
    add("corrupt", i.corrupt_ppm);
    add("truncate", i.truncate_ppm);
    add("rate", i.bits_per_second);
    add("queue-bytes", i.queue_bytes);
    add("mark", i.mark_bytes);
    add("mtu", i.mtu);
    if (i.pause_for > Duration())
        text += fmt::format(" pauses {:.3f} each {:.3f}", i.pause_for.seconds(),
                            i.pause_every.seconds());
    return text;
}

}  // namespace

Address Scenario::address(uint8_t node, Family family) {
    const auto host = static_cast<uint8_t>(node + 1);
    return family == Family::ipv4 ? Address::v4(10, 0, 0, host)
                                  : *Address::parse("fd00::" + std::to_string(host));
}

std::string Scenario::describe() const {
    std::string text = fmt::format("seed {} start {} ns{}\n", seed, start.ns(), cut ? " cut" : "");
    constexpr std::array<std::string_view, 4> algorithms{"reno", "cubic", "dctcp", "bbr"};
    for (const sim::NodeOptions& node : nodes) {
        const TcpTunables& t = node.config.tcp;
        text += fmt::format(
            "  node {} cores {} mtu {} ts {} ws {} rmem {} wmem {} cwnd {} rto {}us..{}ms retries "
            "{}/{}/{}/{} pools {}/{}/{}/{}\n",
            node.name, node.cores, node.mtu, t.tcp_timestamps, t.tcp_window_scaling, t.tcp_rmem,
            t.tcp_wmem, t.initial_cwnd, t.tcp_rto_min_us, t.tcp_rto_max_ms, t.tcp_retries2,
            t.tcp_orphan_retries, t.tcp_syn_retries, t.tcp_synack_retries, node.pools.receive,
            node.pools.header, node.pools.attach, node.pools.payload);
        text += fmt::format(
            "    sack {} dsack {} frto {} tlp {} idle {} ecn {} pacing {} moderate {} probing {} {}\n",
            t.tcp_sack, t.tcp_dsack, t.tcp_frto, t.tcp_early_retrans, t.tcp_slow_start_after_idle,
            t.tcp_ecn, t.tcp_pacing, t.tcp_moderate_rcvbuf, t.tcp_mtu_probing,
            algorithms[static_cast<size_t>(t.tcp_congestion_control)]);
    }
    for (const ListenerPlan& l : listeners)
        text += fmt::format("  listener {}:{} core {} backlog {} from {:.3f}s closes {:.3f}s\n",
                            nodes[l.node].name, l.port, l.core ? int{*l.core} : -1, l.backlog,
                            l.accepts_from.seconds(),
                            l.closes_at ? l.closes_at->seconds() : -1.0);
    constexpr std::array<std::string_view, 3> openings{"", " closed-port", " simultaneous"};
    for (size_t i = 0; i < connections.size(); ++i) {
        const ConnectionPlan& c = connections[i];
        text += fmt::format("  connection {} {}/{}:{} -> {}:{} ipv{} at {:.6f}s{}\n", i,
                            nodes[c.client].name, c.client_core, c.client_port,
                            nodes[c.server].name, c.server_port,
                            c.family == Family::ipv4 ? 4 : 6, c.at.seconds(),
                            openings[static_cast<size_t>(c.opening)]);
        text += fmt::format("    client {}\n    server {}\n", describe_end(c.client_end),
                            describe_end(c.server_end));
    }
    for (const Weather& w : weather) {
        text += fmt::format("  weather from {:.3f}s\n", w.at.seconds());
        for (size_t i = 0; i < w.from.size(); ++i)
            text += fmt::format("    from {}: {}\n", nodes[i].name,
                                describe_impairments(w.from[i]));
    }
    return text;
}

Scenario make_scenario(uint64_t seed) {
    Seeded draws(seed);
    Dice dice(draws);
    Scenario scenario;
    scenario.seed = seed;
    const auto nodes = dice.pick<uint8_t>({2, 2, 2, 3, 4});
    for (uint8_t i = 0; i < nodes; ++i) scenario.nodes.push_back(node(dice, i));
    const auto connections = static_cast<uint16_t>(dice.magnitude(1, 9));
    for (uint16_t i = 0; i < connections; ++i)
        scenario.connections.push_back(connection(dice, scenario, i));
    make_large(dice, scenario.connections.front());
    add_listeners(dice, scenario);
    add_weather(dice, scenario);
    // The local port has to be known for the wrap to be met.
    scenario.connections.front().client_port = 2000;
    scenario.start = start_time(dice, scenario);
    Seeded others(seed ^ 0x9e3779b97f4a7c15);
    Dice more(others);
    vary(more, scenario);
    return scenario;
}

Scenario make_small_scenario(Draws& draws) {
    constexpr uint32_t stream_max = 20'000, pieces_max = 50, frames_max = 60;
    Dice dice(draws);
    Scenario scenario;
    scenario.seed = dice.between(0, UINT16_MAX);
    for (uint8_t i = 0; i < 2; ++i) {
        scenario.nodes.push_back(node(dice, i));
        scenario.nodes.back().cores = 1;
    }
    const auto connections = static_cast<uint16_t>(dice.between(1, 3));
    for (uint16_t i = 0; i < connections; ++i) {
        ConnectionPlan plan = connection(dice, scenario, i);
        for (EndPlan* end : {&plan.client_end, &plan.server_end})
            end->bytes = std::min({end->bytes, stream_max, end->piece_max * pieces_max});
        scenario.connections.push_back(plan);
    }
    add_listeners(dice, scenario);
    add_weather(dice, scenario);
    scenario.connections.front().client_port = 2000;
    scenario.start = start_time(dice, scenario);
    vary(dice, scenario);
    for (uint32_t frames = dice.between32(0, frames_max); frames > 0; --frames) {
        using enum FrameFate::Kind;
        scenario.fates.push_back(
            {.kind = dice.pick({none, none, lost, twice, late, damaged}),
             .by = dice.span(10_us, 500_ms),
             .at = static_cast<uint16_t>(dice.between(0, UINT16_MAX))});
    }
    return scenario;
}

}  // namespace millrace::testing
