// One core's world above the ports: it takes frames and time, and gives frames.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <millrace/inspect.h>

#include "base/rate_limit.h"
#include "ip/fragments.h"
#include "ip/groups.h"
#include "ip/neighbours.h"
#include "ip/path_mtu.h"
#include "ip/routes.h"
#include "stack/bindings.h"
#include "stack/classify.h"
#include "stack/host.h"
#include "stack/port_maps.h"
#include "stack/steering.h"
#include "stack/way.h"
#include "tcp/calls.h"
#include "tcp/listener.h"
#include "tcp/output.h"
#include "tcp/saved_syns.h"
#include "tcp/time_wait.h"
#include "udp/table.h"
#include "wire/arp.h"

namespace millrace::stack {

/// What a stack is made of. `interfaces` must be the same on every core, the loopback last.
struct Options {
    const Config& config;
    std::vector<ip::Interface> interfaces;
    tcp::Secrets secrets;
    uint16_t core = 0;
    uint16_t cores = 1;
    Instant now;
    bool announces = false;  ///< it tells the links of our addresses at start (`arp_notify`)
};

/// The interfaces with the loopback behind them, which carries connections to our own addresses.
std::vector<ip::Interface> with_loopback(std::vector<ip::Interface> interfaces);

/// Told of what the application should hear; implemented by `lib/api`. Called from within the
/// application's turn only.
class Application {
public:
    virtual void on_events(tcp::Connection& connection, uint8_t events) = 0;
    virtual void on_acceptable(tcp::Listener& listener) = 0;
    /// Of a datagram socket: `udp::Event`.
    virtual void on_datagrams(udp::Endpoint&, uint8_t) {}
    /// A timer of its own (`tcp::timer_application`) that it has armed on `env().wheel`.
    virtual void on_timer(time::WheelEntry&) {}
    /// Once a turn, behind the events: its own work. True where there was any.
    virtual bool on_turn() { return false; }

protected:
    ~Application() = default;
};

/// Owned by one core; every function is called on it. A turn is, in this order: `set_time`,
/// `receive` for each burst (before which the time may be set anew), `run_timers`,
/// `run_application`, `egress`, `end_turn`; the host (`runtime`, `sim`) drives it. Between turns
/// nothing changes. Owns its connections, listeners and tables; the buffers it needs come from
/// `pools`, which outlives it, as the host does.
class Stack final : private ip::NeighbourActions, private ip::GroupActions {
public:
    Stack(Options options, buf::Pools& pools, Host& host);
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;
    ~Stack();

    // --- the turn
    /// What time it is for all that follows; never earlier than before.
    void set_time(Instant now) { env_.set_time(now); }
    /// Takes every frame of the batch.
    void receive(uint16_t interface, buf::FrameBatch& batch);
    /// A frame that another core has handed over.
    void receive_handed_over(uint16_t interface, buf::Frame frame, bool settled);
    void receive_message(const Message& message);
    /// Frames that this stack sent to its own addresses in an earlier turn.
    void receive_loopback();
    /// True where one was due.
    bool run_timers();
    /// True where it had work of its own.
    bool run_application(Application& application);
    void egress();
    /// Frees what ended in this turn.
    void end_turn();
    /// When the next turn has something to do without a frame arriving.
    Instant next_deadline();
    /// Something is ready for the application or waits to be sent.
    bool has_work() const;
    /// Nor does anything wait for a link address, or to be told to routers now.
    bool is_quiet() const {
        return !has_work() && neighbours_.waiting() == 0 && groups_.next_deadline() > env_.now;
    }

    // --- calls; ENOMEM-like conditions and Linux's errno values otherwise
    /// A port of 0 is chosen, out of ip_local_port_range. EADDRINUSE, EADDRNOTAVAIL, ENOBUFS.
    Result<Binding*> bind(const SocketAddress& local, const BindOptions& options);
    /// One of ours, or unspecified.
    bool may_bind(const Address& address) const {
        return address.is_unspecified() || addresses_.find(address).has_value();
    }
    void release(Binding& binding) { bindings_.release(binding); }
    /// What a connection answers to those who would bind its port, from now on.
    void set_reuse(tcp::Connection& c, const BindOptions& options);
    /// TCP_SAVED_SYN: what began a connection, until it is dropped or the connection ends; empty
    /// where nobody asked for it.
    std::span<const uint8_t> saved_syn(const tcp::Connection& c) const {
        return c.in_table ? saved_syns_.find(c.key) : std::span<const uint8_t>();
    }
    void drop_saved_syn(const tcp::Connection& c) {
        if (c.in_table) saved_syns_.remove(c.key);
    }
    /// The binding stays its owner's, and outlives the listener. EADDRINUSE, ENOBUFS.
    Result<tcp::Listener*> listen(Binding& binding, uint32_t backlog, void* owner);
    /// Both in one, with SO_REUSEADDR: a server may begin again while connections of its last life
    /// are in TIME-WAIT. EINVAL for port 0.
    Result<tcp::Listener*> listen(const SocketAddress& local, uint32_t backlog, void* owner);
    /// Of who listens already; bounded by somaxconn.
    void set_backlog(tcp::Listener& listener, uint32_t backlog) {
        listener.backlog = std::min(backlog, config_.tcp.somaxconn);
    }
    void close_listener(tcp::Listener& listener);
    /// It takes no more: a SYN is answered as where nobody listens. Handshakes under way go on, but
    /// for those that a cookie remembers.
    void stop(tcp::Listener& listener);
    /// All of this core's.
    void stop_listening();
    /// Connections that are left are reset, whoever has them, and half-open entries, too; the
    /// applications are told ECONNABORTED. Answers how many connections that were. Cost: a walk
    /// over all of them.
    size_t abort_all();
    /// Null where nobody waits.
    tcp::Connection* accept(tcp::Listener& listener);
    /// EADDRNOTAVAIL, ENETUNREACH, EINVAL, ENOBUFS. A local port of 0 is chosen. `options`: what
    /// the connection answers to those who would bind its port.
    Result<tcp::Connection*> connect(const SocketAddress& remote, const SocketAddress& local,
                                     void* owner, const BindOptions& options = {});

    /// A segment of no connection. EAGAIN while the host takes no more, ENOBUFS, ENETUNREACH.
    Result<void> send_raw(const Address& source, const Address& destination,
                          const wire::Segment& header);

    // --- datagrams (datagrams.cpp, datagrams_out.cpp, groups.cpp)
    /// Not bound to anything yet. ENOBUFS.
    Result<udp::Endpoint*> open_datagrams(Family family, void* owner);
    /// An address of ours, a group or the unspecified one; a port of 0 is chosen. EINVAL (it is
    /// bound), EADDRINUSE, EADDRNOTAVAIL, ENOBUFS.
    Result<void> bind(udp::Endpoint& e, const SocketAddress& local);
    /// To any port, where it is not bound yet: Linux's inet_autobind. EADDRINUSE, ENOBUFS.
    Result<void> autobind(udp::Endpoint& e) {
        return e.binding != nullptr ? Result<void>() : bind(e, {e.local.address, 0});
    }
    /// What it answers to others who would bind its port, from now on.
    void set_reuse(udp::Endpoint& e, const BindOptions& options);
    /// EACCES (broadcast), ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE, ENOBUFS.
    Result<void> connect(udp::Endpoint& e, const SocketAddress& remote);
    void disconnect(udp::Endpoint& e);
    /// One datagram, which leaves in this turn or the next; `out.data` is taken, or left as it was
    /// where the answer is EAGAIN (SO_SNDBUF, or the port takes no more). EDESTADDRREQ, EINVAL,
    /// EACCES, EMSGSIZE, ENETUNREACH, EADDRNOTAVAIL, ENOBUFS, and what has been reported.
    Result<void> send(udp::Endpoint& e, OutgoingDatagram& out);
    /// There is room to `send` now; else a writable event follows when there is.
    bool may_send(udp::Endpoint& e);
    Datagram receive(udp::Endpoint& e) { return udp::take(udp_env_, e); }
    DatagramError receive_error(udp::Endpoint& e) { return udp::take_error(udp_env_, e); }
    void clear_errors(udp::Endpoint& e) { udp::clear_errors(udp_env_, e); }
    /// By index; 0: as routes have it. EINVAL (no group), ENODEV, EADDRINUSE, ENOBUFS.
    Result<void> join(udp::Endpoint& e, const Address& group, InterfaceIndex interface);
    /// EADDRNOTAVAIL.
    Result<void> leave(udp::Endpoint& e, const Address& group, InterfaceIndex interface);
    /// The place of the interface by which an address is reached; of our own, where it is.
    std::optional<uint16_t> route_to(const Address& destination) const {
        const auto own = addresses_.find(destination);
        if (own) return addresses_[*own].interface;
        const auto hop = routes_.find(destination);
        return hop ? std::optional(hop->interface) : std::nullopt;
    }
    /// The interface of one of our addresses; 0: it is none.
    InterfaceIndex interface_of(const Address& address) const;
    /// Which of our addresses on an interface, which is its place, speaks to `destination`.
    std::optional<Address> address_on(uint16_t interface, const Address& destination) const;
    /// What a datagram to where it is connected may be as large as, in bytes of IP.
    uint32_t path_mtu(const udp::Endpoint& e);
    void close(udp::Endpoint& e);

    tcp::Env& env() { return env_; }
    const IpTunables& ip_tunables() const { return config_.ip; }
    const observe::Counters& counters() const { return counters_; }
    /// What a phase of a turn has cost its host, in cycles.
    void account(uint64_t observe::Counters::*phase, uint64_t cycles) {
        counters_.*phase += cycles;
    }
    /// What a turn has cost, what of it passed behind the last phase, and whether there was
    /// anything to do.
    void account_turn(bool busy, uint64_t cycles, uint64_t rest) {
        ++counters_.turns;
        if (!busy) {
            counters_.empty_cycles += cycles;
            return;
        }
        counters_.busy_cycles += cycles;
        counters_.egress_cycles += rest;
    }
    /// The host had no room for what this core has told another.
    void count_lost_letter() { ++counters_.letters_lost; }
    buf::Pools& pools() { return pools_; }
    const std::vector<ip::Interface>& interfaces() const { return interfaces_; }
    SocketAddress local_address(const tcp::FlowKey& key) const {
        return {addresses_[key.local].address, key.local_port};
    }
    uint16_t core() const { return core_; }

    /// The sockets in the next `buckets` of this core's tables that the filter admits.
    void list(SocketCursor& cursor, const SocketFilter& filter, size_t buckets,
              std::vector<SocketRecord>& records);
    /// Connections among those are reset; their applications are told ECONNABORTED, as by Linux's
    /// `ss -K`. Answers how many.
    size_t abort_matching(SocketCursor& cursor, const SocketFilter& filter, size_t buckets);

    /// What this core's connections did last.
    observe::Recorder& recorder() { return recorder_; }

    /// How many there are now.
    struct Population {
        size_t connections = 0;
        size_t half_open = 0;
        size_t time_wait = 0;    ///< with orphans in FIN-WAIT-2, but for those that speak still
        size_t listeners = 0;
        size_t neighbours = 0;
        size_t forwards = 0;
        size_t fragments = 0;
        size_t sendings = 0;     ///< connections that send, or whose path has shown something
        size_t receivings = 0;   ///< connections with something to be read or acknowledged
        size_t settings = 0;     ///< connections with options that few set
        size_t sent_ranges = 0;
        size_t reassemblies = 0;
        size_t reassembly_ranges = 0;
        size_t tunings = 0;      ///< connections that measure their receive buffer
        size_t snapshots = 0;    ///< ACKs of their own that wait for egress
        size_t bbrs = 0;
        size_t path_mtus = 0;
        size_t mtu_probings = 0;
        size_t udp_sockets = 0;
        size_t datagrams = 0;    ///< that wait to be read
        size_t groups = 0;       ///< multicast, of all cores
        size_t saved_syns = 0;
    };
    Population population() const;

private:
    // deliver.cpp: the second and third pass
    void deliver_burst(size_t count);
    void deliver(Classified& in);
    void deliver_tcp(Classified& in);
    bool is_too_far(const Classified& in, uint8_t min_ttl);
    void save_syn(const tcp::Listener& listener, const Classified& in);
    void deliver_connection(tcp::Connection& c, Classified& in);
    void deliver_time_wait(tcp::TimeWait& entry, Classified& in);
    bool deliver_half_open(Classified& in);
    void deliver_new(Classified& in, std::optional<Seq> isn_floor = std::nullopt);
    void deliver_syn(tcp::Listener& listener, Classified& in, std::optional<Seq> isn_floor);
    void open_passively(const tcp::HalfOpen& entry, tcp::HalfOpen* waiting, Classified& in);
    tcp::Connection* establish(const tcp::HalfOpen& entry, Classified& in);
    bool answer_by_cookie(tcp::Listener& listener, Classified& in);
    bool deliver_cookie(tcp::Listener& listener, Classified& in, tcp::HalfOpen* waiting);
    buf::Frame turn_round(Classified& in);
    bool steer(Classified& in);
    std::optional<uint16_t> elsewhere(const tcp::FlowKey& key, uint32_t hash);
    void hand_over(uint16_t core, Classified& in, bool settled);
    void hand_to_owner(uint16_t core, Classified& in, const tcp::FlowKey& key, uint32_t hash);
    std::optional<uint16_t> listening_core(const Address& local, const tcp::FlowKey& key,
                                           uint32_t hash) const;
    void reply_reset(Classified& in);

    // datagrams.cpp
    void deliver_udp(Classified& in);
    void deliver_to_group(Classified& in);
    void deliver_datagram(udp::Endpoint& e, const Classified& in, buf::Frame payload);
    uint64_t cores_with(const Classified& in) const;
    Result<void> bind_to(udp::Endpoint& e, const SocketAddress& local,
                         const std::function<bool(uint16_t)>& suits);
    void unbind(udp::Endpoint& e);
    void enter_table(udp::Endpoint& e);
    void leave_table(udp::Endpoint& e);
    void tell_bound(const udp::Endpoint& e, bool bound);
    void apply_icmp_error(const tcp::FlowKey& key, const wire::Ip& quoted, Classified& in,
                          const wire::Icmp& icmp);
    std::optional<uint32_t> learn_path_mtu(const wire::Ip& quoted, uint32_t told,
                                           PathMtuDiscovery how);
    void reply_port_unreachable(Classified& in);

    // datagrams_out.cpp
    Result<Way> way_of(udp::Endpoint& e, const OutgoingDatagram& out);
    std::optional<uint16_t> group_interface(const Address& group, const Address& source,
                                            InterfaceIndex index) const;
    uint32_t mtu_of(const Way& way);
    Result<void> send_on(const Way& way, const BufferChain& data);
    Result<void> send_fragments(wire::Ip ip, const Way& way, const ip::NextHop& hop,
                                ip::Neighbour* neighbour, const BufferChain& data);
    void wake_senders();

    // groups.cpp
    void on_igmp(Classified& in);
    void on_mld_query(Classified& in);
    void on_query(const Classified& in, const wire::MembershipQuery& query);
    void send_report(uint16_t interface, const wire::MembershipReport& report) override;
    void tell_group(const udp::Membership& membership, bool member);
    void leave_group(const udp::Membership& membership);

    // control.cpp: ARP, NDP, ICMP, fragments
    void on_arp(Classified& in);
    void on_fragment(Classified& in);
    void on_icmp(Classified& in);
    void on_icmp_error(Classified& in);
    void on_neighbour_message(Classified& in);
    void answer_echo(Classified& in);
    void send_icmp(buf::Frame frame, const Address& source, const Address& destination);
    void on_packet_too_big(tcp::Connection& c, uint32_t mtu);
    void on_claim(const ForwardNews& news);
    void on_refusal(const ClaimRefused& refused);
    void apply_icmp_error(tcp::Connection& c, bool v4, uint8_t type, uint8_t code);
    void apply_icmp_error(tcp::HalfOpen& entry, Seq seq, bool v4, uint8_t type, uint8_t code);
    void news(uint16_t interface, const Address& address, const wire::MacAddress& mac,
              bool confirmed, bool create, bool override = true);
    void solicit(const ip::Neighbour& neighbour, bool unicast) override;
    void forward(uint16_t interface, buf::Frame frame) override;
    void unreachable(const ip::Neighbour& neighbour) override;
    void fail_attempts();
    void announce();
    void announce(const ip::LocalAddresses::Entry& own);
    void send_arp(uint16_t interface, const wire::Arp& arp, const wire::MacAddress& to);
    void send_ndp(uint16_t interface, const wire::Ndp& ndp, const Address& source,
                  const Address& destination, const wire::MacAddress& to);

    // inspect.cpp
    SocketRecord describe(const tcp::Listener& listener) const;
    SocketRecord describe(const tcp::HalfOpen& entry) const;
    SocketRecord describe(const tcp::Flow& flow) const;
    static SocketRecord describe(const udp::Endpoint& endpoint);

    // egress.cpp: what connections and half-open entries want to send
    void egress_connection(tcp::Connection& c);
    buf::Frame payload_frame(buf::Cursor& cursor, uint32_t& size);
    bool transmit(tcp::Connection& c, tcp::TransmitPlan& plan);
    void answer_half_open(tcp::HalfOpen& entry);
    void after_egress(tcp::Connection& c);

    // emit.cpp: headers and the way out
    struct Outgoing {  // where a segment goes, and what IP says of it
        Address source;
        Address destination;
        uint8_t tos = 0;
        uint8_t ttl = 0;  ///< 0: `ip_default_ttl`
        std::optional<uint32_t> flow_label;  ///< none: it follows from the tuple
        const Classified* answered = nullptr;  ///< it goes back to where this came from
    };
    bool emit(const Outgoing& way, const wire::Segment& header, buf::Frame frame,
              ip::NeighbourRef* cached);
    uint32_t flow_label(const Outgoing& way, const wire::Segment& header) const;
    void emit_datagram(const wire::Ip& ip, buf::Frame frame, const ip::NextHop& hop,
                       ip::Neighbour* neighbour, const wire::MacAddress* direct = nullptr);
    void put_transport_checksum(buf::Frame& frame, const wire::Ip& ip, size_t field, bool offload,
                                size_t summed = 0, wire::Checksum sum = {});
    ip::Neighbour* next_hop(const Address& destination, ip::NeighbourRef* cached,
                            ip::NextHop& hop);
    void put_ethernet(buf::Frame& frame, const ip::Interface& out, wire::EtherType type,
                      const wire::MacAddress& to);
    static wire::MacAddress group_mac(const Address& group);
    void output(uint16_t interface, buf::Frame frame);
    void flush();

    // open.cpp: listeners, half-open entries, connections begin and end
    tcp::Listener* find_listener(const Address& local, uint16_t port, uint32_t flow_hash);
    bool becomes_reusable(const tcp::Flow& flow) const;
    bool may_take_over(const tcp::Flow& flow) const;
    bool may_be_taken_over_by_name(const tcp::Flow& flow) const;
    enum class PortUse : uint8_t {
        free,
        taken,       ///< until whoever has it gives it back
        in_the_way,  ///< now, and nobody will tell when no more
    };
    PortUse use_of(const tcp::FlowKey& key);
    bool is_own(uint16_t port, uint16_t protocol) const;
    Result<Binding*> bind_in(Bindings& bindings, const SocketAddress& local,
                             const BindOptions& options,
                             const std::function<bool(uint16_t)>& suits);
    Result<uint16_t> choose_port(const Address& local, uint16_t local_index,
                                 const SocketAddress& remote);
    uint16_t owner_of(const tcp::FlowKey& key) const;
    uint16_t link_mss(const Address& destination) const;
    tcp::Connection* add_connection(const tcp::FlowKey& key, uint32_t hash,
                                    const BindOptions& options);
    void enter_table(tcp::Flow& flow, uint32_t hash);
    void leave_table(tcp::Flow& flow);
    void remove_half_open(tcp::HalfOpen& entry);
    void make_way(tcp::HalfOpen& entry);
    void due(tcp::HalfOpen& entry);
    void not_due(tcp::HalfOpen& entry);
    void to_time_wait(tcp::Connection& c);
    void leave_table(tcp::Connection& c);
    void tell_listening(const tcp::Listener& listener, bool listening);
    void leave_table(tcp::Listener& listener);
    void reset_half_open(tcp::Listener& listener);
    void retire(tcp::Connection& c);
    void leave_time_wait(tcp::TimeWait& entry);
    void remove_time_wait(tcp::TimeWait& entry);
    Duration two_msl() const { return Duration::from_s(config_.tcp.tcp_timewait_len); }
    void claim(const tcp::FlowKey& key, bool forward);
    bool owns(const tcp::FlowKey& key, uint32_t hash) const;
    bool is_claimed(const tcp::FlowKey& key, uint32_t hash) const;
    void retry_starved();
    void count_receive_buffers();
    void expire_timer(time::WheelEntry& entry);
    void run_datagram_events(Application& application);

    const Config config_;
    const std::vector<ip::Interface> interfaces_;
    const uint16_t core_;
    const Steering steering_;
    buf::Pools& pools_;
    Host& host_;
    observe::Counters counters_;
    time::Wheel wheel_;
    const TableHash hash_;
    const ip::LocalAddresses addresses_;
    const ip::Routes routes_;
    ip::Neighbours neighbours_;
    ip::FragmentTable fragments_;
    ip::PathMtus path_mtus_;
    /// What ICMP says of datagrams: nobody can tell whether they were sent, so that it counts for
    /// no connection.
    ip::PathMtus datagram_path_mtus_;
    ip::Groups groups_;
    RateLimit resets_;
    RateLimit unreachables_;
    tcp::Reassembly::Ranges ranges_;
    Pool<tcp::Reassembly> reassemblies_;
    Pool<tcp::ReceiveTuning> tunings_;
    Pool<tcp::Sending> sendings_;
    Pool<tcp::Receiving> receivings_;
    Pool<tcp::Settings> settings_;
    tcp::SentRanges::Ranges sent_ranges_;
    Pool<tcp::AckSnapshot> snapshots_;
    Pool<congestion::Bbr> bbrs_;
    Pool<tcp::MtuProbing> mtu_probings_;
    observe::Recorder recorder_;
    tcp::Env env_;
    Classifier classifier_;

    Pool<tcp::Connection> connections_;
    Pool<tcp::TimeWait> time_waits_;
    Pool<tcp::HalfOpen> half_opens_;
    tcp::SavedSyns saved_syns_;
    Pool<tcp::Listener> listener_pool_;
    HashTable<tcp::Flow> flows_;
    HashTable<tcp::HalfOpen> half_open_table_;
    HashTable<tcp::Listener> listeners_;
    Bindings bindings_;
    Bindings udp_bindings_;
    udp::Env udp_env_;
    Pool<udp::Endpoint> endpoints_;
    udp::Table udp_table_;
    udp::ReadyList closed_endpoints_;  ///< until the end of the turn
    udp::WaitList waiting_to_send_;
    uint64_t turns_ = 0;
    uint32_t datagram_id_ = 0;  ///< of those that routers may cut
    tcp::TimeWaitQueue time_wait_queue_;
    size_t time_wait_count_ = 0;  ///< in the flow table: at most tcp_max_tw_buckets
    uint64_t flows_changed_ = 0;  ///< hints of the second pass are good while this stands still
    tcp::HalfOpen* half_open_due_ = nullptr;
    std::vector<tcp::Listener*> acceptable_;
    std::vector<tcp::Connection*> retried_;  ///< of `env_.starved`; kept for its memory
    boost::intrusive::list<time::WheelEntry, boost::intrusive::constant_time_size<false>>
        expired_;  ///< the application's timers, until its turn
    /// Reclaimed at the end of the turn; they have nothing to send any more, so that their place in
    /// the dirty list is free.
    tcp::DirtyList finished_;
    /// RFC 6056 section 3.3.4 (double-hash): counters of their own for groups of destinations, so
    /// that none can count what we open to others.
    std::array<uint16_t, 1024> port_counters_{};
    PortMaps port_maps_;
    /// Candidates that one search looks up in the flow table: some tens of microseconds.
    static constexpr uint32_t port_lookups_max = 1024;

    /// What other cores listen on, or have datagram sockets at: bit i is core i.
    struct Listening {
        Address address;
        uint16_t port;
        bool v6_only;
        uint16_t protocol = 0;
        auto operator<=>(const Listening&) const = default;
    };
    std::map<Listening, uint64_t> directory_;
    /// Tuples that steering brings here and another core owns. Bounded as the connections are.
    struct Forward : HashNode {
        tcp::FlowKey key;
        uint16_t core;
    };
    Pool<Forward> forward_pool_;
    HashTable<Forward> forwards_;

    std::array<Classified, buf::FrameBatch::capacity> burst_;
    std::vector<std::unique_ptr<buf::FrameBatch>> outputs_;
    std::vector<buf::Frame> loopback_;
    bool to_be_flushed_ = false;  ///< there is something in `outputs_`
    std::vector<ip::NeighbourRef> failed_hops_;  ///< whose connections are still to be told
    Instant next_failure_walk_;
    size_t failure_walk_at_ = 0;    ///< bucket of the flow table at which the walk goes on; 0: none
    size_t failure_walk_hops_ = 0;  ///< so many of `failed_hops_` it is about
    Instant next_housekeeping_;
    size_t frames_unchecked_ = 0;  ///< received since the receive buffers were last counted
    Instant next_fragment_sweep_;
    Instant next_announcement_;
    ip::LocalIndex announced_ = 0;     ///< addresses, in this round
    uint32_t announcements_left_ = 3;  ///< rounds, where there are any at all
};

}  // namespace millrace::stack
