#include "sim/network.h"

#include <algorithm>

#include <fmt/format.h>

namespace millrace::sim {

namespace {

/// Pool names are EAL-wide; several networks may live in one process.
std::string unique_name() {
    static unsigned next = 0;
    return fmt::format("sim{}", next++);
}

}  // namespace

void Node::Core::transmit(uint16_t, buf::FrameBatch& batch) {
    for (size_t i = 0; i < batch.size(); ++i) {
        const buf::Frame frame = batch.take(i);
        std::vector<uint8_t> bytes(frame.size());
        frame.copy_out(0, bytes);
        node.network_->send(node, std::move(bytes));
    }
    batch.filled(0);
}

bool Node::Core::hand_over(uint16_t core, uint16_t interface, buf::Frame frame, bool settled) {
    node.cores_[core]->frames.push_back({interface, settled, std::move(frame)});
    return true;
}

void Node::Core::tell(uint16_t core, const stack::Message& message) {
    node.cores_[core]->messages.push_back(message);
}

Network::Network(uint64_t seed, Instant start) : random_(seed), seed_(seed), now_(start) {}

Network::~Network() {
    // Frames that one core holds of another's pools go before the pools do.
    for (auto& node : nodes_)
        for (auto& core : node->cores_) {
            core->frames.clear();
            core->stack.reset();
        }
}

Node& Network::add_node(NodeOptions options) {
    const auto node = try_add_node(std::move(options));
    MILLRACE_ASSERT(node.has_value());
    return **node;
}

/// Where its buffers come from; its stack is still to come.
Started<void> Network::add_core(Node& node, uint16_t core, const NodeOptions& options) {
    if (!options.lent_pools.empty()) {
        node.cores_.push_back(
            std::make_unique<Node::Core>(node, core, options.lent_pools[core]));
        return {};
    }
    auto pools = buf::Pools::create(unique_name(), options.pools);
    if (!pools) return std::unexpected(pools.error());
    node.cores_.push_back(std::make_unique<Node::Core>(node, core, std::move(*pools)));
    return {};
}

Started<Node*> Network::try_add_node(NodeOptions options) {
    const uint16_t index = ++last_node_;
    nodes_.push_back(std::make_unique<Node>());
    Node& node = *nodes_.back();
    node.line_ = std::make_unique<Line>(
        seed_ * 1000 + 500 + index, impairments_,
        [this, &node](Fate fate, std::span<const uint8_t> frame) {
            note(node, frame, sim::name(fate));
        });
    node.name_ = options.name;
    node.mac_ = {{0x02, 0, 0, 0, static_cast<uint8_t>(index >> 8), static_cast<uint8_t>(index)}};
    node.network_ = this;
    ip::Interface interface;
    interface.name = options.name;
    interface.mac = node.mac_;
    interface.mtu = options.mtu;
    interface.addresses = options.addresses;
    interface.routes = options.routes;
    for (uint16_t core = 0; core < options.cores; ++core) {
        if (auto made = add_core(node, core, options); !made) {
            nodes_.pop_back();
            return std::unexpected(made.error());
        }
        Node::Core& at = *node.cores_.back();
        at.stack = std::make_unique<stack::Stack>(
            stack::Options{.config = options.config,
                           .interfaces = stack::with_loopback({interface}),
                           .secrets = secrets(seed_, index),
                           .core = core,
                           .cores = options.cores,
                           .now = now_,
                           .announces = options.announces && core == 0},
            at.pools, at);
    }
    return &node;
}

void Network::remove_node(Node& node) {
    std::priority_queue<InFlight> others;
    for (; !wire_.empty(); wire_.pop())
        if (wire_.top().to != &node) others.push(wire_.top());
    wire_.swap(others);
    std::erase_if(calls_, [&](const auto& call) { return call.second.node == &node; });
    for (auto& core : node.cores_) {
        core->frames.clear();
        core->stack.reset();
    }
    std::erase_if(nodes_, [&](const auto& known) { return known.get() == &node; });
}

void Network::inject(Node& node, std::vector<uint8_t> frame, uint16_t core) {
    node.cores_[core]->arrived.push_back(std::move(frame));
    turn(node, *node.cores_[core]);
}

void Network::inject_burst(Node& node, const std::vector<std::vector<uint8_t>>& frames) {
    node.cores_[0]->arrived = frames;
    turn(node, *node.cores_[0]);
}

void Network::note(const Node& from, std::span<const uint8_t> frame, std::string_view fate) {
    if (!keep_trace_) return;
    trace_.push_back(fmt::format("{:.6f} {} {} {}",
                                 static_cast<double>(now_.ns() - 1'000'000'000) / 1e9, from.name(),
                                 fate, describe(frame)));
}

void Network::set_impairments(const Impairments& impairments) {
    impairments_ = impairments;
    for (auto& node : nodes_) node->line_->set(impairments);
}

void Network::schedule(Node& node, uint16_t core, Instant at, std::function<void()> call) {
    calls_.emplace(std::max(at, now_), Call{&node, core, std::move(call)});
}

void Network::send(Node& from, std::vector<uint8_t> frame) {
    if (filter_ && !filter_(from, frame)) return note(from, frame, "filtered");
    from.line_->send(now_, std::move(frame));
}

void Network::put_on_wire(Node& to, std::vector<uint8_t> frame, Instant arrives) {
    wire_.push({arrives, order_++, &to, std::move(frame)});
}

Instant Network::next_event() {
    Instant next = wire_.empty() ? Instant::never() : wire_.top().at;
    if (!calls_.empty()) next = std::min(next, calls_.begin()->first);
    for (auto& node : nodes_) next = std::min(next, node->line_->next_arrival());
    for (auto& node : nodes_)
        for (auto& core : node->cores_) {
            const bool waiting = !core->frames.empty() || !core->messages.empty();
            next = std::min(next, waiting ? now_ : core->next_turn());
        }
    return next;
}

/// A frame reaches a core; which one, no NIC has said.
void Network::deliver(Node& to, std::vector<uint8_t> frame) {
    if (arrival_observer_) arrival_observer_(to, frame);
    const uint64_t core = to.cores() == 1 ? 0 : random_.below(to.cores());
    to.cores_[core]->arrived.push_back(std::move(frame));
}

/// As a switch that knows every station: to the one that is meant, else to all.
void Network::distribute(Node& from, std::vector<uint8_t> frame) {
    if (const auto ethernet = wire::Ethernet::parse(frame))
        for (auto& node : nodes_)
            if (node.get() != &from && node->mac_ == ethernet->destination)
                return deliver(*node, std::move(frame));
    for (auto& node : nodes_)
        if (node.get() != &from) deliver(*node, frame);
}

/// What is due by now: frames at their nodes, calls at their cores.
void Network::arrive() {
    while (!wire_.empty() && wire_.top().at <= now_) {
        deliver(*wire_.top().to, wire_.top().bytes);
        wire_.pop();
    }
    for (auto& node : nodes_)
        while (auto frame = node->line_->receive(now_)) distribute(*node, std::move(*frame));
    while (!calls_.empty() && calls_.begin()->first <= now_) {
        Call& due = calls_.begin()->second;
        due.node->cores_[due.core]->calls.push_back(std::move(due.call));
        calls_.erase(calls_.begin());
    }
}

/// Whoever waits for room in the ring looks again every millisecond.
Instant Node::Core::next_turn() {
    const Instant due = stack->next_deadline();
    return node.ring_full_ ? std::max(due, stack->env().now + Duration::from_ms(1)) : due;
}

bool Network::step(Instant end) {
    const Instant next = next_event();
    if (next > end) {
        now_ = std::max(now_, end);
        return false;
    }
    now_ = std::max(now_, next);
    arrive();
    for (auto& node : nodes_)
        for (auto& core : node->cores_) {
            const bool input = !core->arrived.empty() || !core->frames.empty() ||
                               !core->messages.empty() || !core->calls.empty();
            if (input || core->next_turn() <= now_) turn(*node, *core);
        }
    return true;
}

void Network::run_until(Instant end) {
    while (step(end)) {
    }
}

/// The loop turn of DESIGN.md, under the virtual clock.
void Network::turn(Node& node, Node::Core& core) {
    stack::Stack& stack = *core.stack;
    stack.set_time(now_);
    while (!core.messages.empty()) {
        stack.receive_message(core.messages.front());
        core.messages.pop_front();
    }
    while (!core.frames.empty()) {
        Node::Core::HandedOver in = std::move(core.frames.front());
        core.frames.pop_front();
        stack.receive_handed_over(in.interface, std::move(in.frame), in.settled);
    }
    buf::FrameBatch batch;
    for (const auto& bytes : core.arrived) {
        buf::Frame frame = core.pools.received(bytes);
        if (!frame) continue;  // as a port whose receive pool is dry
        batch.push(std::move(frame));
        if (batch.full()) stack.receive(0, batch);
    }
    core.arrived.clear();
    if (!batch.empty()) stack.receive(0, batch);
    stack.receive_loopback();
    stack.run_timers();
    std::vector<std::function<void()>> calls;
    calls.swap(core.calls);
    for (const auto& call : calls) call();
    if (node.application_ != nullptr) stack.run_application(*node.application_);
    stack.egress();
    stack.end_turn();
}

}  // namespace millrace::sim
