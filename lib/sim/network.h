// The deterministic host of stacks: a virtual clock and a virtual wire in one thread.
//
// Same seed, same calls: the same run, frame for frame. `trace()` says what was on the wire.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "base/random.h"
#include "sim/impairments.h"
#include "stack/stack.h"

namespace millrace::sim {

/// Settings of one node; addresses and MAC are given by `Network::add_node`.
struct NodeOptions {
    std::string name;
    std::vector<Prefix> addresses;
    uint16_t cores = 1;
    uint16_t mtu = 1500;
    std::vector<Route> routes;
    Config config;  ///< tunables and pools; ports are not looked at
    buf::PoolSizes pools{.receive = 4096, .header = 4096, .attach = 4096, .payload = 2048};
    bool announces = false;  ///< it tells the wire of its addresses at start
    /// One for each core, in the place of its own: who plays thousands of networks makes them once.
    /// They outlive the network. Empty: the node has its own, of these sizes.
    std::vector<buf::Pools*> lent_pools;
};

/// One host on the wire: one or more cores, each with its stack.
class Node {
public:
    stack::Stack& stack(uint16_t core = 0) { return *cores_[core]->stack; }
    buf::Pools& pools(uint16_t core = 0) { return cores_[core]->pools; }
    uint16_t cores() const { return static_cast<uint16_t>(cores_.size()); }
    void set_application(stack::Application* application) { application_ = application; }
    const std::string& name() const { return name_; }
    /// What becomes of the frames that this node sends.
    const Line& line() const { return *line_; }
    const wire::MacAddress& mac() const { return mac_; }
    /// Its transmit ring takes nothing more, until it does again.
    void set_ring_full(bool full) { ring_full_ = full; }

private:
    friend class Network;
    struct Core final : stack::Host {
        Core(Node& n, uint16_t i, buf::Pools p)
            : node(n), index(i), own(std::move(p)), pools(*own) {}
        Core(Node& n, uint16_t i, buf::Pools* lent) : node(n), index(i), pools(*lent) {}
        void transmit(uint16_t interface, buf::FrameBatch& batch) override;
        bool congested() const override { return node.ring_full_; }
        bool hand_over(uint16_t core, uint16_t interface, buf::Frame frame, bool settled) override;
        void tell(uint16_t core, const stack::Message& message) override;
        Instant next_turn();

        struct HandedOver {
            uint16_t interface;
            bool settled;
            buf::Frame frame;
        };
        Node& node;
        uint16_t index;
        std::optional<buf::Pools> own;
        buf::Pools& pools;
        std::unique_ptr<stack::Stack> stack;
        std::deque<HandedOver> frames;
        std::deque<stack::Message> messages;
        std::vector<std::vector<uint8_t>> arrived;
        std::vector<std::function<void()>> calls;
    };

    std::string name_;
    bool ring_full_ = false;
    wire::MacAddress mac_;
    class Network* network_ = nullptr;
    std::unique_ptr<Line> line_;  // from this node to the others
    stack::Application* application_ = nullptr;
    std::vector<std::unique_ptr<Core>> cores_;
};

/// A switch with all nodes on it: what is for one node's MAC address reaches that node alone.
class Network {
public:
    explicit Network(uint64_t seed, Instant start = Instant::from_ns(1'000'000'000));
    ~Network();

    Node& add_node(NodeOptions options);
    /// The same where memory may be short.
    Started<Node*> try_add_node(NodeOptions options);
    /// What it has sent and what was for it is lost.
    void remove_node(Node& node);
    /// Of the way from every node to the others, also of nodes that are yet to come.
    void set_impairments(const Impairments& impairments);
    /// Of the way from one node to the others.
    void set_impairments(Node& from, const Impairments& impairments) {
        from.line_->set(impairments);
    }
    /// The secrets of the stacks of the `index`-th node, counted from 1.
    static tcp::Secrets secrets(uint64_t seed, uint64_t index) {
        return tcp::Secrets::from_seed(seed * 1000 + index);
    }

    Instant now() const { return now_; }
    /// When something happens next; `Instant::never()` if nothing will.
    Instant next_event();
    /// What happens at the next event, where that is not behind `end`; else sets the clock to `end`
    /// and answers false.
    bool step(Instant end);
    /// Runs until nothing is left to happen by `end`, and sets the clock to it.
    void run_until(Instant end);
    void run_for(Duration time) { run_until(now_ + time); }
    /// Runs until `done()` or until `limit` has passed; answers whether it was done.
    template <typename Done>
    bool run_while(Duration limit, Done&& done) {
        const Instant end = now_ + limit;
        while (!done()) {
            if (!step(end)) return done();
        }
        return true;
    }
    /// The hosts stand still for so long: what became due meanwhile is due at once, and what
    /// arrived waits in front of it.
    void stall(Duration time) { now_ = now_ + time; }
    /// A frame as if it came from the wire, now, at one core of a node.
    void inject(Node& node, std::vector<uint8_t> frame, uint16_t core = 0);
    /// The same for a burst, which the stack sees as one.
    void inject_burst(Node& node, const std::vector<std::vector<uint8_t>>& frames);
    /// A frame that reaches `to` after the wire's delay, as if somebody else had sent it.
    void put_on_wire(Node& to, std::vector<uint8_t> frame) {
        put_on_wire(to, std::move(frame), now_ + impairments_.delay);
    }
    /// The same at a known instant.
    void put_on_wire(Node& to, std::vector<uint8_t> frame, Instant arrives);
    /// Calls `call` in a turn of that core at `at`, where its application's turn is.
    void schedule(Node& node, uint16_t core, Instant at, std::function<void()> call);
    /// Calls `filter(from, frame)` for each frame sent; false: the wire loses it.
    void set_filter(std::function<bool(const Node&, std::span<const uint8_t>)> filter) {
        filter_ = std::move(filter);
    }
    /// Calls `observer(to, frame)` for each frame that reaches a node.
    void set_arrival_observer(std::function<void(const Node&, std::span<const uint8_t>)> observer) {
        arrival_observer_ = std::move(observer);
    }

    /// One line per frame that was sent: time, sender, fate, what it says.
    const std::vector<std::string>& trace() const { return trace_; }
    void keep_trace(bool keep) { keep_trace_ = keep; }

private:
    friend struct Node::Core;
    struct InFlight {
        Instant at;
        uint64_t order;
        Node* to;
        std::vector<uint8_t> bytes;
        bool operator<(const InFlight& other) const {  // the earliest on top of the heap
            return at != other.at ? at > other.at : order > other.order;
        }
    };

    struct Call {
        Node* node;
        uint16_t core;
        std::function<void()> call;
    };

    static Started<void> add_core(Node& node, uint16_t core, const NodeOptions& options);
    void send(Node& from, std::vector<uint8_t> frame);
    void deliver(Node& to, std::vector<uint8_t> frame);
    void distribute(Node& from, std::vector<uint8_t> frame);
    void arrive();
    void turn(Node& node, Node::Core& core);
    void note(const Node& from, std::span<const uint8_t> frame, std::string_view fate);

    Random random_;
    uint64_t seed_;
    Instant now_;
    Impairments impairments_;
    std::vector<std::unique_ptr<Node>> nodes_;
    uint16_t last_node_ = 0;  // the number of the node that was added last, from 1
    std::priority_queue<InFlight> wire_;  // what nobody of ours has sent
    uint64_t order_ = 0;
    std::multimap<Instant, Call> calls_;
    std::function<bool(const Node&, std::span<const uint8_t>)> filter_;
    std::function<void(const Node&, std::span<const uint8_t>)> arrival_observer_;
    bool keep_trace_ = false;
    std::vector<std::string> trace_;
};

/// A frame in one line: "10.0.0.1:1024 > 10.0.0.2:80 S seq 1 ack 2 win 3 len 4 <options>".
std::string describe(std::span<const uint8_t> frame);

}  // namespace millrace::sim
