// The deterministic host of stacks: a virtual clock and a virtual wire in one thread.
//
// Same seed, same calls: the same run, frame for frame. `trace()` says what was on the wire.
#pragma once

#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "base/random.h"
#include "stack/stack.h"

namespace millrace::sim {

/// What the wire does to frames, each way; chances in parts per million.
struct Impairments {
    Duration delay = Duration::from_us(50);
    Duration jitter;               ///< added at random, uniform in [0, jitter]; reorders
    uint32_t loss_ppm = 0;
    uint32_t duplicate_ppm = 0;
    uint32_t corrupt_ppm = 0;      ///< one bit flipped somewhere in the frame
    uint64_t bits_per_second = 0;  ///< 0: no limit
    Duration queue_max = Duration::from_ms(100);  ///< behind the limit; beyond it frames are lost
};

/// Settings of one node; addresses and MAC are given by `Network::add_node`.
struct NodeOptions {
    std::string name;
    std::vector<Prefix> addresses;
    uint16_t cores = 1;
    uint16_t mtu = 1500;
    Config config;  ///< tunables and pools; ports are not looked at
    buf::PoolSizes pools{.receive = 4096, .header = 4096, .attach = 4096, .payload = 2048};
};

/// One host on the wire: one or more cores, each with its stack.
class Node {
public:
    stack::Stack& stack(uint16_t core = 0) { return *cores_[core]->stack; }
    buf::Pools& pools(uint16_t core = 0) { return cores_[core]->pools; }
    uint16_t cores() const { return static_cast<uint16_t>(cores_.size()); }
    void set_application(stack::Application* application) { application_ = application; }
    const std::string& name() const { return name_; }
    const wire::MacAddress& mac() const { return mac_; }

private:
    friend class Network;
    struct Core final : stack::Host {
        Core(Node& n, uint16_t i, buf::Pools p) : node(n), index(i), pools(std::move(p)) {}
        void transmit(uint16_t interface, buf::FrameBatch& batch) override;
        bool congested() const override { return false; }
        bool hand_over(uint16_t core, uint16_t interface, buf::Frame frame, bool settled) override;
        void tell(uint16_t core, const stack::Message& message) override;

        struct HandedOver {
            uint16_t interface;
            bool settled;
            buf::Frame frame;
        };
        Node& node;
        uint16_t index;
        buf::Pools pools;
        std::unique_ptr<stack::Stack> stack;
        std::deque<HandedOver> frames;
        std::deque<stack::Message> messages;
        std::vector<std::vector<uint8_t>> arrived;
    };

    std::string name_;
    wire::MacAddress mac_;
    class Network* network_ = nullptr;
    stack::Application* application_ = nullptr;
    std::vector<std::unique_ptr<Core>> cores_;
};

/// A broadcast segment with all nodes on it.
class Network {
public:
    explicit Network(uint64_t seed, Instant start = Instant::from_ns(1'000'000'000));
    ~Network();

    Node& add_node(NodeOptions options);
    void set_impairments(const Impairments& impairments) { impairments_ = impairments; }

    Instant now() const { return now_; }
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
    /// A frame as if it came from the wire, now, at one core of a node.
    void inject(Node& node, std::vector<uint8_t> frame, uint16_t core = 0);
    /// The same for a burst, which the stack sees as one.
    void inject_burst(Node& node, const std::vector<std::vector<uint8_t>>& frames);
    /// A frame that reaches `to` after the wire's delay, as if somebody else had sent it.
    void put_on_wire(Node& to, std::vector<uint8_t> frame);
    /// Calls `filter(from, frame)` for each frame sent; false: the wire loses it.
    void set_filter(std::function<bool(const Node&, std::span<const uint8_t>)> filter) {
        filter_ = std::move(filter);
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

    void send(Node& from, std::vector<uint8_t> frame);
    void broadcast(Node& from, const std::vector<uint8_t>& frame);
    bool step(Instant end);
    void arrive();
    void turn(Node& node, Node::Core& core);
    Instant next_event();
    void note(const Node& from, std::span<const uint8_t> frame, std::string_view fate);

    Random random_;
    uint64_t seed_;
    Instant now_;
    Impairments impairments_;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::priority_queue<InFlight> wire_;
    uint64_t order_ = 0;
    std::vector<Instant> line_free_;  // per node: when its transmitter is free again
    std::function<bool(const Node&, std::span<const uint8_t>)> filter_;
    bool keep_trace_ = false;
    std::vector<std::string> trace_;
};

/// A frame in one line: "10.0.0.1:1024 > 10.0.0.2:80 S seq 1 ack 2 win 3 len 4 <options>".
std::string describe(std::span<const uint8_t> frame);

}  // namespace millrace::sim
