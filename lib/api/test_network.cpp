#include "api/test_network.h"

#include <algorithm>
#include <cerrno>

#include "base/assert.h"
#include "runtime/eal.h"
#include "runtime/world.h"
#include "sim/link_message.h"

namespace millrace::api {

namespace {

// Whoever is not a host of the network.
constexpr wire::MacAddress world_mac{{0x02, 0xff, 0, 0, 0, 1}};
// Ordinary memory, taken as it is used: enough for some twenty hosts.
constexpr uint64_t memory_mb = 1024;

}  // namespace

TestHost::TestHost(TestNetwork& network, sim::Node& node, std::vector<Prefix> addresses)
    : network_(network),
      node_(node),
      addresses_(std::move(addresses)),
      context_(node.stack(), *this) {
    node_.set_application(this);
}

bool TestHost::has(const Address& address) const {
    return std::ranges::any_of(addresses_,
                               [&](const Prefix& prefix) { return prefix.address == address; });
}

void TestHost::note_sent(Instant at, std::span<const uint8_t> packet) {
    if (sent_.size() == sent_max) sent_.pop_front();
    const auto bytes = std::as_bytes(packet);
    sent_.push_back({.at = at, .bytes = {bytes.begin(), bytes.end()}});
}

std::optional<testing::Packet> TestHost::take() {
    if (sent_.empty()) return std::nullopt;
    testing::Packet packet = std::move(sent_.front());
    sent_.pop_front();
    return packet;
}

bool TestHost::turn(stack::Application&, uint32_t) { return network_.turn(); }

Result<bool> TestHost::wait(stack::Application&, Duration limit,
                            const std::function<bool()>& done) {
    if (network_.is_turning()) return error(EDEADLK);
    if (network_.turnstile().is_driver()) return network_.drive(limit, done);
    network_.turn();
    if (done()) return true;
    const Instant until = limit == Duration() ? Instant::never() : now() + limit;
    return network_.turnstile().wait(context_, until, done);
}

bool TestHost::is_turning() const { return network_.is_turning(); }
Instant TestHost::now() const { return network_.wire().now(); }
Turnstile* TestHost::turnstile() { return &network_.turnstile(); }

void TestHost::on_events(tcp::Connection& connection, uint8_t events) {
    const Context::StandIn stand_in(context_);
    context_.on_events(connection, events);
}

void TestHost::on_acceptable(tcp::Listener& listener) {
    const Context::StandIn stand_in(context_);
    context_.on_acceptable(listener);
}

void TestHost::on_datagrams(udp::Endpoint& endpoint, uint8_t events) {
    const Context::StandIn stand_in(context_);
    context_.on_datagrams(endpoint, events);
}

void TestHost::on_timer(time::WheelEntry& entry) {
    const Context::StandIn stand_in(context_);
    context_.on_timer(entry);
}

bool TestHost::on_turn() {
    const Context::StandIn stand_in(context_);
    return context_.on_turn();
}

TestNetwork::TestNetwork(uint64_t seed) : wire_(seed) {
    wire_.set_filter([this](const sim::Node& from, std::span<const uint8_t> frame) {
        return on_frame(from, frame);
    });
}

Started<TestHost*> TestNetwork::add(const Config& config) {
    if (turning_) return failure("a host cannot be added within a turn", EDEADLK);
    if (auto valid = validate(config); !valid) return std::unexpected(valid.error());
    if (config.ports.size() != 1 || config.cores.size() != 1)
        return failure("a test's host has one [[port]] and one [[core]]", EINVAL);
    const PortConfig& port = config.ports.front();
    if (port.vlan != 0) return failure("port[0].vlan: a test's wire has no VLANs", EINVAL);
    EalConfig eal = config.eal;
    eal.huge_pages = false;
    if (auto started = runtime::start_eal(eal, memory_mb); !started)
        return std::unexpected(started.error());
    sim::NodeOptions options{.name = port.device,
                             .addresses = port.addresses,
                             .mtu = port.mtu,
                             .routes = port.routes,
                             .config = config,
                             .pools = runtime::pool_sizes(config, 0)};
    auto node = wire_.try_add_node(std::move(options));
    if (!node) return std::unexpected(node.error());
    hosts_.push_back(std::make_unique<TestHost>(*this, **node, port.addresses));
    return hosts_.back().get();
}

void TestNetwork::remove(TestHost& host) {
    sim::Node& node = host.node();
    node.set_application(nullptr);
    wire_.remove_node(node);
    std::erase_if(hosts_, [&](const auto& known) { return known.get() == &host; });
}

TestHost& TestNetwork::host(const Stack& stack) {
    const auto found = std::ranges::find_if(
        hosts_, [&](const auto& host) { return &host->context().facade() == &stack; });
    MILLRACE_ASSERT(found != hosts_.end());
    return **found;
}

/// What a host has given to its port. False: it goes no further.
bool TestNetwork::on_frame(const sim::Node& from, std::span<const uint8_t> frame) {
    const auto known = std::ranges::find_if(
        hosts_, [&](const auto& host) { return &host->node() == &from; });
    TestHost& sender = **known;
    if (const auto message = sim::parse_link_message(frame)) {
        if (message->is_question) answer(sender, message->asker, message->target);
        return false;
    }
    const auto ethernet = wire::Ethernet::parse(frame);
    const auto packet = frame.subspan(ethernet->size);
    sender.note_sent(wire_.now(), packet);
    const auto filter = filter_;  // which may set another
    if (filter && !(*filter)(sender.context().facade(), std::as_bytes(packet))) return false;
    return ethernet->destination != world_mac;
}

/// Everybody is there: a host, or the world for all others.
void TestNetwork::answer(TestHost& asker, const Address& address, const Address& target) {
    wire::MacAddress mac = world_mac;
    for (const auto& host : hosts_)
        if (host->has(target)) mac = host->node().mac();
    sim::Node& to = asker.node();
    if (mac == to.mac()) return;
    wire_.put_on_wire(to, sim::link_message({target, mac}, {address, to.mac()}, true), wire_.now());
}

bool TestNetwork::step(Instant end) {
    turning_ = true;
    const bool any = wire_.step(end);
    turning_ = false;
    return any;
}

bool TestNetwork::turn() {
    bool any = false;
    while (!turning_ && step(wire_.now())) any = true;
    return any;
}

Instant TestNetwork::next_event() {
    return std::min(wire_.next_event(), turnstile_->next_deadline());
}

void TestNetwork::advance_to(Instant at) {
    turnstile_->settle();
    while (true) {
        turnstile_->serve(wire_.now());
        const Instant next = next_event();
        const bool nothing = next == Instant::never() || next > at;
        if (nothing && (at == Instant::never() || wire_.now() >= at)) return;
        step(nothing ? at : std::max(next, wire_.now()));
    }
}

bool TestNetwork::advance_to_next_event() {
    turnstile_->settle();
    const Instant next = next_event();
    if (next == Instant::never()) return false;
    advance_to(std::max(next, wire_.now()));
    return true;
}

Result<bool> TestNetwork::drive(Duration limit, const std::function<bool()>& done) {
    turnstile_->settle();
    const Instant until = limit == Duration() ? Instant::never() : wire_.now() + limit;
    turn();
    turnstile_->serve(wire_.now());
    while (!done()) {
        if (wire_.now() >= until) return false;
        const Instant next = std::min(next_event(), until);
        if (next == Instant::never()) return error(EDEADLK);
        step(next);
        turnstile_->serve(wire_.now());
    }
    return true;
}

Result<void> TestNetwork::push(TestHost& to, std::span<const std::byte> packet) {
    constexpr size_t size_max = 65535;
    if (packet.empty() || packet.size() > size_max) return error(EINVAL);
    const bool v4 = static_cast<uint8_t>(packet.front()) >> 4 == 4;
    if (!v4 && static_cast<uint8_t>(packet.front()) >> 4 != 6) return error(EINVAL);
    std::vector<uint8_t> frame(wire::Ethernet::untagged_size);
    const wire::Ethernet ethernet{.destination = to.node().mac(),
                                  .source = world_mac,
                                  .type = v4 ? wire::EtherType::ipv4 : wire::EtherType::ipv6};
    ethernet.emit(frame.data());
    const auto* bytes = reinterpret_cast<const uint8_t*>(packet.data());
    frame.insert(frame.end(), bytes, bytes + packet.size());
    wire_.put_on_wire(to.node(), std::move(frame), wire_.now());
    return {};
}

}  // namespace millrace::api
