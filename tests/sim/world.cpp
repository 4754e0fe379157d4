#include "sim/world.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

#include "sim/leftovers.h"
#include "tcp/limits.h"

namespace millrace::testing {

using namespace millrace::literals;
using observe::Drop;

namespace {

// Far beyond every timeout of a stack that was left in peace, and of one that was cut off.
constexpr Duration patience = 3000_s;
// Orphans, FIN-WAIT-2, SYN-ACKs, TIME-WAIT: all over by then.
constexpr Duration aftermath = 3000_s;
constexpr uint64_t steps_max = 1'000'000;
constexpr size_t failures_max = 20;

uint32_t syns_most(const TcpTunables& t) {
    return 1 + t.tcp_syn_retries + t.tcp_syn_linear_timeouts;
}

/// ARP, or ICMPv6 (neighbour discovery), whoever it is for.
bool may_tell_link_address(const wire::Ethernet& ethernet, std::span<const uint8_t> frame) {
    if (ethernet.type == wire::EtherType::arp) return true;
    const auto rest = frame.subspan(ethernet.size);
    const auto ip = wire::Ip::parse(rest, rest.size(), false);
    return ip && ip->protocol == wire::Protocol::icmpv6;
}

}  // namespace

World::World(const Scenario& scenario, bool keep_trace)
    : scenario_(scenario),
      wire_(
          [this](const std::string& what) {
              // Frames that found no room to wait for a next hop's address never reached the wire.
              if (what.starts_with("leaves a gap") && has_lost_waiting_frames()) return;
              // What finds no buffer, coming or going, is neither taken nor acknowledged.
              if (what.starts_with("acknowledges what came") && has_dropped(Drop::no_buffer))
                  return;
              // Nor by who has given up meanwhile, without a word.
              if (what.starts_with("acknowledges what came") &&
                  has_counted([](const observe::Counters& c) { return c.tcp_abort_on_timeout; }))
                  return;
              // Of two that open at once, one's SYN may have waited for its neighbour in vain; the
              // other's, come again, is acknowledged all the same.
              if (what.starts_with("sends without a SYN") && has_lost_waiting_frames()) return;
              fail(what);
          },
          [this](const Address& address) -> const TcpTunables& { return tunables_of(address); }),
      network_(scenario.seed, scenario.start),
      host_(*this) {
    network_.keep_trace(keep_trace);
    build();
}

World::~World() {
    for (auto* ends : {&clients_, &servers_})
        for (auto& end : *ends) end->let_go();
}

void World::fail(const std::string& what) {
    if (outcome_.failures.size() >= failures_max) return;
    const double since = (network_.now() - scenario_.start).seconds();
    outcome_.failures.push_back(fmt::format("{:.6f}s {}", since, what));
}

void World::build() {
    for (const sim::NodeOptions& options : scenario_.nodes) {
        sim::Node& node = network_.add_node(options);
        node.set_application(&host_);
        nodes_.push_back(&node);
    }
    network_.set_filter([this](const sim::Node& from, std::span<const uint8_t> frame) {
        if (const auto sent = wire_.on_sent(frame, network_.now()))
            if (End* end = find_end(sent->from, sent->to)) end->watch(*sent);
        return meets_fate(from, frame);
    });
    network_.set_arrival_observer([this](const sim::Node& to, std::span<const uint8_t> frame) {
        const auto ethernet = wire::Ethernet::parse(frame);
        if (!ethernet) return;
        if (may_tell_link_address(*ethernet, frame)) told_[&to] = network_.now();
        if (ethernet->destination != to.mac()) return;
        if (const auto arrived = wire_.on_arrived(frame, network_.now()))
            if (End* end = find_end(arrived->second, arrived->first)) end->note_arrival();
    });
    for (const Weather& weather : scenario_.weather)
        network_.schedule(*nodes_[0], 0, at(weather.at), [this, &weather] {
            for (size_t i = 0; i < nodes_.size(); ++i)
                network_.set_impairments(*nodes_[i], weather.from[i]);
        });
    open_listeners();
    for (size_t i = 0; i < scenario_.connections.size(); ++i) {
        const ConnectionPlan& plan = scenario_.connections[i];
        clients_.push_back(std::make_unique<End>(*this, i, true, plan.client_end));
        servers_.push_back(std::make_unique<End>(*this, i, false, plan.server_end));
        clients_[i]->peer_ = servers_[i].get();
        servers_[i]->peer_ = clients_[i].get();
        network_.schedule(*nodes_[plan.client], plan.client_core, at(plan.at),
                          [this, i] { connect(i, false); });
        if (plan.opening == Opening::simultaneous)
            network_.schedule(*nodes_[plan.server], 0, at(plan.at),
                              [this, i] { connect(i, true); });
    }
}

bool World::may_have_found_next_hop(const sim::Node& node) const {
    const auto told = told_.find(&node);
    return told != told_.end() && told->second == network_.now();
}

/// False where the frame does not go on as it is: its number has a fate.
bool World::meets_fate(const sim::Node& from, std::span<const uint8_t> frame) {
    const size_t number = frames_++;
    if (number >= scenario_.fates.size() || network_.now() >= at(scenario_.settled_at()))
        return true;
    const FrameFate& fate = scenario_.fates[number];
    const auto put = [&](Duration later, size_t flipped) {
        std::vector<uint8_t> copy(frame.begin(), frame.end());
        if (flipped != SIZE_MAX) copy[flipped / 8] ^= static_cast<uint8_t>(1 << flipped % 8);
        for (sim::Node* to : nodes_)
            if (to != &from) network_.put_on_wire(*to, copy, network_.now() + later);
    };
    switch (fate.kind) {
        using enum FrameFate::Kind;
        case none: return true;
        case lost: return false;
        case twice: put(fate.by, SIZE_MAX); return true;
        case late: put(fate.by, SIZE_MAX); return false;
        case damaged: put(fate.by, fate.at % (frame.size() * 8)); return false;
    }
    return true;
}

void World::open_listeners() {
    for (const ListenerPlan& plan : scenario_.listeners)
        for (uint16_t core = 0; core < nodes_[plan.node]->cores(); ++core) {
            if (plan.core && *plan.core != core) continue;
            sim::Node& node = *nodes_[plan.node];
            listening_.push_back(std::make_unique<Listening>(
                Listening{&plan, &node.stack(core), &node, nullptr}));
            Listening& here = *listening_.back();
            network_.schedule(node, core, scenario_.start, [this, &here] {
                auto listener = here.stack->listen({Address(), here.plan->port},
                                                   here.plan->backlog, &here);
                if (!listener) return fail("cannot listen");
                here.listener = *listener;
            });
            if (!plan.closes_at) continue;
            network_.schedule(node, core, at(*plan.closes_at), [&here] {
                here.stack->close_listener(*here.listener);
                here.listener = nullptr;
            });
        }
}

void World::connect(size_t number, bool from_server) {
    const ConnectionPlan& plan = scenario_.connections[number];
    SocketAddress local{Scenario::address(plan.client, plan.family), plan.client_port};
    SocketAddress remote{Scenario::address(plan.server, plan.family), plan.server_port};
    if (from_server) std::swap(local, remote);
    sim::Node& node = *nodes_[from_server ? plan.server : plan.client];
    stack::Stack& stack = node.stack(from_server ? 0 : plan.client_core);
    End& end = from_server ? *servers_[number] : *clients_[number];
    const auto c = stack.connect(remote, local, &end);
    if (!c) {
        end.failed_to_begin_ = true;
        return fail(fmt::format("connection {} cannot begin: {}", number, c.error().message()));
    }
    if (!from_server)
        by_client_[{local.address, (*c)->key.local_port, remote.address, remote.port}] = number;
    end.begin(stack, node, **c, false);
}

void World::accept(tcp::Listener& listener) {
    Listening& here = *static_cast<Listening*>(listener.owner);
    const Instant from = at(here.plan->accepts_from);
    if (network_.now() < from) {
        network_.schedule(*here.node, here.stack->core(), from, [this, &here] {
            if (here.listener != nullptr) accept(*here.listener);
        });
        return;
    }
    while (tcp::Connection* c = here.stack->accept(listener)) take(here, *c);
}

void World::take(Listening& here, tcp::Connection& c) {
    const SocketAddress local = here.stack->local_address(c.key);
    const auto found =
        by_client_.find({c.key.remote, c.key.remote_port, local.address, local.port});
    if (found == by_client_.end() || servers_[found->second]->begun()) {
        // A third ACK that comes again brings its cookie back again, as long as that is good: who
        // remembers nothing cannot know better (RFC 4987 section 3.6). Nor, where there are no
        // timestamps, when a SYN has come again to nobody, and what its client says of the old
        // connection happens to acknowledge the new ISN.
        const bool replayed =
            found != by_client_.end() &&
            (here.stack->counters().syncookies_received > 0 ||
             (!c.timestamps && wire_.is_muddled(local, {c.key.remote, c.key.remote_port})));
        if (!replayed) fail("accepts a connection that nobody has begun, or twice");
        tcp::abort(here.stack->env(), c);
        return;
    }
    servers_[found->second]->begin(*here.stack, *here.node, c, true);
}

bool World::all_over() {
    if (network_.now() < at(std::max(scenario_.settled_at(), Duration(6_s)))) return false;
    for (const auto& end : clients_)
        if (!end->is_over() && !end->failed_to_begin_) return false;
    return std::ranges::none_of(servers_, [](const auto& end) {
        return end->begun() && !end->is_over();
    });
}

/// As `Network::run_while`; a world that spins without end is one that hangs.
bool World::run_on(Duration limit, const std::function<bool()>& done) {
    const bool ended = network_.run_while(limit, [&] {
        return ++steps_ > steps_max || done();
    });
    return ended && steps_ <= steps_max;
}

Outcome World::run() {
    run_on(scenario_.settled_at() + patience, [this] { return all_over(); });
    if (steps_ > steps_max) fail("does not come to rest");
    for (auto& here : listening_)
        network_.schedule(*here->node, here->stack->core(), network_.now(), [&here = *here] {
            if (here.listener != nullptr) here.stack->close_listener(*here.listener);
            here.listener = nullptr;
        });
    run_on(1_s, [] { return false; });
    give_up();
    run_on(aftermath, [] { return false; });
    if (steps_ > steps_max) fail("does not come to rest after its end");
    judge();
    expect_nothing_left();
    for (sim::Node* node : nodes_) {
        for (uint16_t core = 0; core < node->cores(); ++core)
            outcome_.counters += node->stack(core).counters();
        for (size_t i = 0; i < sim::fate_count; ++i)
            outcome_.fates[i] += node->line().count(static_cast<sim::Fate>(i));
    }
    outcome_.trace = network_.trace();
    return std::move(outcome_);
}

void World::give_up() {
    for (auto* ends : {&clients_, &servers_})
        for (auto& end : *ends)
            if (end->begun() && !end->is_over())
                network_.schedule(*end->node_, end->stack_->core(), network_.now(),
                                  [&end = *end] { end.give_up(); });
}

/// Tunables with which a stack gives up before the weather has settled.
bool World::is_fragile(size_t node) const {
    const TcpTunables& t = scenario_.nodes[node].config.tcp;
    const Duration trouble = scenario_.settled_at() * 2 + 60_s;
    const uint32_t orphan = t.tcp_orphan_retries != 0 ? t.tcp_orphan_retries : 8;
    return tcp::retries_duration(t, std::min(t.tcp_retries2, orphan)) < trouble ||
           t.tcp_syn_retries < 6 || t.tcp_synack_retries < 5;
}

/// Whether a connection may end otherwise than in order, with everything delivered.
bool World::may_fail(size_t number) const {
    const ConnectionPlan& plan = scenario_.connections[number];
    const End& client = *clients_[number];
    const End& server = *servers_[number];
    if (scenario_.cut || plan.opening != Opening::listener) return true;
    if (client.violent_ || server.violent_) return true;
    if (is_fragile(plan.client) || is_fragile(plan.server)) return true;
    // Data that overtook the ACK which brings the cookie back was reset: nobody remembers the SYN.
    if (has_dropped(Drop::tcp_bad_cookie)) return true;
    // A FIN that is sent again meets a reset where there was no place for a TIME-WAIT.
    if (has_counted([](const observe::Counters& c) { return c.tcp_time_wait_overflow; }))
        return true;
    // Who closes before he has read everything resets his peer.
    for (const End* end : {&client, &server})
        if (end->plan_.ending == EndPlan::Ending::close_when_sent &&
            (end->peer_->plan_.bytes > 0 || end->peer_->plan_.echo))
            return true;
    // The link address could not be found out: the attempt fails at once.
    if (client.error_ == EHOSTUNREACH && !client.connected_) return true;
    if (server.begun()) return false;
    if (scenario_.nodes[plan.server].config.tcp.tcp_abort_on_overflow != 0) return true;
    return std::ranges::any_of(scenario_.listeners, [&](const ListenerPlan& listener) {
        return listener.node == plan.server && listener.port == plan.server_port &&
               listener.closes_at;
    });
}

void World::judge() {
    outcome_.large_failed = may_fail(0);
    for (size_t i = 0; i < clients_.size(); ++i) {
        judge_end(*clients_[i]);
        judge_end(*servers_[i]);
        outcome_.moved =
            std::max({outcome_.moved, clients_[i]->received_, servers_[i]->received_});
    }
}

void World::judge_end(const End& end) {
    const bool strict = !may_fail(end.number_);
    if (!end.begun()) {
        if (strict) fail(end.state());
        return;
    }
    ++outcome_.ends;
    if (end.in_order_) ++outcome_.in_order;
    if (end.vain_) ++outcome_.waited_in_vain;
    if (!end.is_over()) return fail(end.state() + " is not over");
    // A FIN stands behind everything that was written before it.
    if (end.saw_end_ && end.received_ != end.peer_->sent_)
        fail(end.state() + " got an end too early; " + end.peer_->state());
    if (strict && (!end.in_order_ || end.received_ != end.peer_->sent_ ||
                   (!end.plan_.echo && end.sent_ != end.plan_.bytes)))
        fail(end.state() + " should have ended in order; " + end.peer_->state());
    judge_error(end, strict);
}

template <typename Count>
bool World::has_counted(Count&& count) const {
    return std::ranges::any_of(nodes_, [&](sim::Node* node) {
        for (uint16_t core = 0; core < node->cores(); ++core)
            if (count(node->stack(core).counters()) > 0) return true;
        return false;
    });
}

bool World::has_dropped(Drop reason) const {
    return has_counted([reason](const observe::Counters& c) { return c.drops(reason); });
}

bool World::has_lost_waiting_frames() const {
    return has_dropped(Drop::neighbour_queue_full) || has_dropped(Drop::neighbour_unresolved);
}

const TcpTunables& World::tunables_of(const Address& address) const {
    const auto node = std::ranges::find_if(scenario_.nodes, [&](const sim::NodeOptions& options) {
        return std::ranges::any_of(options.addresses, [&](const Prefix& prefix) {
            return prefix.address == address;
        });
    });
    return (node != scenario_.nodes.end() ? *node : scenario_.nodes.front()).config.tcp;
}

/// Whose application still holds its connection.
End* World::find_end(const SocketAddress& local, const SocketAddress& remote) const {
    for (const auto* ends : {&clients_, &servers_})
        for (const auto& end : *ends)
            if (end->connection_ != nullptr && end->local_ == local && end->remote_ == remote)
                return end.get();
    return nullptr;
}

void World::judge_error(const End& end, bool strict) {
    const ConnectionPlan& plan = scenario_.connections[end.number_];
    const size_t node = end.is_client_ ? plan.client : plan.server;
    const TcpTunables& tunables = scenario_.nodes[node].config.tcp;
    if (end.violent_ || end.vain_) return;
    bool right = !strict;
    switch (end.error_) {
        case 0:
            // Told of an orderly end without the peer's FIN?
            right = end.saw_end_ || end.plan_.ending == EndPlan::Ending::close_when_sent;
            break;
        case ECONNRESET:
        case EPIPE: break;
        case ECONNREFUSED: right = right && !end.connected_; break;
        case EHOSTUNREACH:  // the next hop went silent: at once in an attempt, else at R2
        case ETIMEDOUT: {
            if (end.error_ == EHOSTUNREACH && !end.connected_) {
                right = true;
                break;
            }
            ++outcome_.timed_out;
            const uint32_t retries = tunables.tcp_retries2;
            if (end.connected_ && end.quiet_ < tcp::retries_duration(tunables, retries) / 2)
                right = false;
            // SYNs to oneself are on no wire, where they would be counted.
            if (!end.connected_ && plan.opening == Opening::listener &&
                plan.client != plan.server &&
                wire_.syns(end.local_, end.remote_) < syns_most(tunables) &&
                !has_dropped(Drop::no_buffer) && !has_lost_waiting_frames())
                right = false;
            break;
        }
        default: right = false;
    }
    if (plan.opening == Opening::closed_port && end.error_ == 0) right = false;
    if (!right) fail(end.state() + " should not have ended so");
}

void World::expect_nothing_left() {
    for (sim::Node* node : nodes_)
        for_each_leftover(*node, [&](uint16_t core, std::string_view what, size_t count) {
            fail(fmt::format("{}/{} keeps {} {}", node->name(), core, count, what));
        });
}

}  // namespace millrace::testing
