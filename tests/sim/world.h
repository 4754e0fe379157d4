// Plays a scenario and holds it against what must be true at its end.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "sim/scenario.h"
#include "sim/wire_oracle.h"

namespace millrace::testing {

/// What came of a scenario.
struct Outcome {
    std::vector<std::string> failures;
    std::vector<std::string> trace;
    observe::Counters counters;                     ///< of all cores
    std::array<uint64_t, sim::fate_count> fates{};  ///< of all frames
    uint64_t moved = 0;        ///< bytes received, of the best end
    bool large_failed = false; ///< the large connection ended early, rightly
    uint32_t ends = 0;            ///< ends of connections that there were,
    uint32_t in_order = 0;        ///< of which closed in order,
    uint32_t timed_out = 0;       ///< gave up,
    uint32_t waited_in_vain = 0;  ///< had a peer that was gone without a word
};

class World;

/// One end of a connection and its application. Belongs to the world, which outlives its calls.
class End {
public:
    End(World& world, size_t number, bool is_client, const EndPlan& plan);

    void begin(stack::Stack& stack, sim::Node& node, tcp::Connection& c, bool connected);
    void on_events(uint8_t events);
    /// The world's patience is over.
    void give_up();

    bool begun() const { return begun_; }
    bool is_over() const { return begun_ && connection_ == nullptr; }
    std::string state() const;

private:
    friend class World;
    void step();
    bool act_violently();
    void read();
    void note_end();
    void check(const BufferChain& data);
    void consume();
    void write();
    bool write_piece(size_t size);
    void write_echo();
    void finish_writing();
    void end_in_order();
    void let_go();
    void on_closed();
    void wake(Duration after);
    void watch(const WireOracle::Sent& sent);
    void note_arrival();
    void check_state() const;
    void check_congestion_window(const WireOracle::Sent& sent) const;
    void renege();
    Instant now() const;
    tcp::Env& env() const { return stack_->env(); }

    World& world_;
    const size_t number_;
    const bool is_client_;
    const EndPlan& plan_;
    Random random_;
    std::vector<std::byte> out_;   // the whole stream
    Region region_;                // the same bytes, for pieces without a copy
    End* peer_ = nullptr;

    stack::Stack* stack_ = nullptr;
    sim::Node* node_ = nullptr;
    tcp::Connection* connection_ = nullptr;
    SocketAddress local_, remote_;
    Instant began_;
    Instant last_active_;          // something was sent, arrived or done
    bool begun_ = false, connected_ = false;
    uint64_t sent_ = 0, received_ = 0;
    uint32_t pauses_left_ = 0, reneges_left_ = 0;
    Instant write_from_, close_unread_at_ = Instant::never();
    Duration dry_wait_ = Duration::from_ms(5);  ///< until a pool that was dry is asked again; doubles
    std::optional<Instant> stalled_until_;
    Instant consume_at_ = Instant::never();
    uint32_t unconsumed_ = 0;
    BufferChain held_;             // read, and kept until it is consumed
    BufferChain echo_;
    bool shut_ = false, saw_end_ = false, in_order_ = false, violent_ = false, vain_ = false;
    bool failed_to_begin_ = false;
    int error_ = 0;
    Duration quiet_;               // at a timeout: since the last ACK that moved on
};

class World {
public:
    World(const Scenario& scenario, bool keep_trace);
    ~World();
    Outcome run();

private:
    friend class End;
    struct Listening {
        const ListenerPlan* plan;
        stack::Stack* stack;
        sim::Node* node;
        tcp::Listener* listener;
    };
    /// The application of one node.
    struct Host final : stack::Application {
        explicit Host(World& w) : world(w) {}
        void on_events(tcp::Connection& c, uint8_t events) override {
            if (c.owner != nullptr) static_cast<End*>(c.owner)->on_events(events);
        }
        void on_acceptable(tcp::Listener& listener) override { world.accept(listener); }
        World& world;
    };

    void build();
    void open_listeners();
    void connect(size_t number, bool from_server);
    void accept(tcp::Listener& listener);
    void take(Listening& at, tcp::Connection& c);
    bool all_over();
    void judge();
    void judge_end(const End& end);
    void judge_error(const End& end, bool strict);
    End* find_end(const SocketAddress& local, const SocketAddress& remote) const;
    const TcpTunables& tunables_of(const Address& address) const;
    /// Any stack's counter, as `count` picks it, is not zero.
    template <typename Count>
    bool has_counted(Count&& count) const;
    bool has_dropped(observe::Drop reason) const;
    bool has_lost_waiting_frames() const;
    /// Frames may leave just now that have waited for the link address of their next hop.
    bool may_have_found_next_hop(const sim::Node& node) const;
    bool meets_fate(const sim::Node& from, std::span<const uint8_t> frame);
    void give_up();
    bool run_on(Duration limit, const std::function<bool()>& done);
    bool may_fail(size_t number) const;
    bool is_fragile(size_t node) const;
    Instant at(Duration after) const { return scenario_.start + after; }
    void expect_nothing_left();
    void fail(const std::string& what);

    const Scenario& scenario_;
    Outcome outcome_;
    WireOracle wire_;
    std::vector<std::unique_ptr<End>> clients_, servers_;
    sim::Network network_;
    Host host_;
    std::vector<sim::Node*> nodes_;
    std::vector<std::unique_ptr<Listening>> listening_;
    using Tuple = std::tuple<Address, uint16_t, Address, uint16_t>;
    std::map<Tuple, size_t> by_client_;  // whose connection it is that a listener accepts
    std::map<const sim::Node*, Instant> told_;  // when something last told of a link address
    uint64_t steps_ = 0;
    size_t frames_ = 0;  // that were sent
};

}  // namespace millrace::testing
