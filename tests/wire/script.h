// Wire scripts: one stack under the virtual clock, and this test as its peer on the wire.
//
// Reads like a packet trace. Sequence and acknowledgment numbers are relative: 0 is each side's SYN.
//
//     Script s;
//     s.listen(80);
//     s.inject(S(0).window(65535).mss(1460));
//     s.expect(SA(0, 1).mss(1460));
//     s.inject(A(1, 1));
//     s.accept();
//     s.inject(PA(1, 1).data(100));
//     s.expect(A(1, 101));
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "sim/harness.h"

namespace millrace::testing {

/// A segment to be injected or expected. What was not set is 0 (injected) or anything (expected).
struct Packet {
    uint8_t flags = 0;
    uint32_t seq = 0;
    std::optional<uint32_t> ack;
    std::optional<uint32_t> size;
    std::optional<uint16_t> win;
    std::optional<wire::TcpOptions> opts;
    uint32_t fill_from = 0;  ///< position in the pattern of the first payload byte
    uint8_t salt = 1;
    std::optional<uint16_t> urg;  ///< the urgent pointer, as it stands in the header
    std::optional<uint8_t> ecn;   ///< the IP header's two ECN bits
    uint8_t ds = 0;               ///< injected: and its six others
    /// SACK blocks, relative to the ISN of whose data they speak of: the stack's where the packet is
    /// injected, the peer's where it is expected. An empty list expects that there are none.
    std::optional<std::vector<std::pair<uint32_t, uint32_t>>> sacks;
    std::optional<uint16_t> peer_port;   ///< another client's than the script's
    std::optional<uint16_t> local_port;  ///< injected: to another port than the script's

    Packet data(uint32_t bytes) const {
        Packet p = *this;
        p.size = bytes;
        p.fill_from = seq == 0 ? 0 : seq - 1;
        return p;
    }
    Packet filled_from(uint32_t position, uint8_t with_salt = 1) const {
        Packet p = *this;
        p.fill_from = position;
        p.salt = with_salt;
        return p;
    }
    Packet window(uint16_t value) const {
        Packet p = *this;
        p.win = value;
        return p;
    }
    Packet mss(uint16_t value) const {
        return with([&](wire::TcpOptions& o) { o.mss = value; });
    }
    Packet scale(uint8_t shift) const {
        return with([&](wire::TcpOptions& o) {
            o.has_window_scale = true;
            o.window_scale = shift;
        });
    }
    Packet sack_permitted() const {
        return with([&](wire::TcpOptions& o) { o.sack_permitted = true; });
    }
    Packet sack(std::vector<std::pair<uint32_t, uint32_t>> blocks) const {
        Packet p = *this;
        p.sacks = std::move(blocks);
        return p;
    }
    /// Adds control bits: `PA(1, 1).flag(TcpFlags::urg)`.
    Packet flag(uint8_t bits) const {
        Packet p = *this;
        p.flags |= bits;
        return p;
    }
    Packet urgent(uint16_t pointer) const {
        Packet p = flag(wire::TcpFlags::urg);
        p.urg = pointer;
        return p;
    }
    Packet to(uint16_t port) const {
        Packet p = *this;
        p.local_port = port;
        return p;
    }
    Packet ecn_bits(uint8_t bits) const {
        Packet p = *this;
        p.ecn = bits;
        return p;
    }
    Packet dscp(uint8_t bits) const {
        Packet p = *this;
        p.ds = bits;
        return p;
    }
    /// From (or, expected, to) another client on the peer's host.
    Packet client(uint16_t port) const {
        Packet p = *this;
        p.peer_port = port;
        return p;
    }
    Packet timestamps(uint32_t value, uint32_t echo) const {
        return with([&](wire::TcpOptions& o) {
            o.has_timestamps = true;
            o.ts_value = value;
            o.ts_echo = echo;
        });
    }

private:
    template <typename Change>
    Packet with(Change&& change) const {
        Packet p = *this;
        if (!p.opts) p.opts.emplace();
        change(*p.opts);
        return p;
    }
};

inline Packet packet(uint8_t flags, uint32_t seq, std::optional<uint32_t> ack = {}) {
    Packet p;
    p.flags = flags;
    p.seq = seq;
    p.ack = ack;
    return p;
}
inline Packet S(uint32_t seq) { return packet(wire::TcpFlags::syn, seq); }
inline Packet SA(uint32_t seq, uint32_t ack) {
    return packet(wire::TcpFlags::syn | wire::TcpFlags::ack, seq, ack);
}
inline Packet A(uint32_t seq, uint32_t ack) { return packet(wire::TcpFlags::ack, seq, ack); }
inline Packet PA(uint32_t seq, uint32_t ack) {
    return packet(wire::TcpFlags::ack | wire::TcpFlags::psh, seq, ack);
}
inline Packet FA(uint32_t seq, uint32_t ack) {
    return packet(wire::TcpFlags::fin | wire::TcpFlags::ack, seq, ack);
}
inline Packet R(uint32_t seq) { return packet(wire::TcpFlags::rst, seq); }
inline Packet RA(uint32_t seq, uint32_t ack) {
    return packet(wire::TcpFlags::rst | wire::TcpFlags::ack, seq, ack);
}

/// The stack under test is 10.0.0.1 (fd00::1), the script its peer 10.0.0.2 (fd00::2).
class Script {
public:
    struct Options {
        Family family = Family::ipv4;
        Config config;
        uint32_t peer_isn = 1000;
        uint16_t peer_port = 40000;
        uint16_t local_port = 80;
        std::vector<Prefix> addresses;  ///< the stack's, where it has others than its usual two
        uint16_t mtu = 1500;
        buf::Pools* pools = nullptr;    ///< the caller's, where many scripts are played
    };
    explicit Script(Options options);
    Script() : Script(Options{}) {}

    // --- calls of the application
    tcp::Listener* listen(uint16_t port = 80, uint32_t backlog = 128);
    /// The connection that waits longest becomes `end()`. Fails the test if none waits.
    Endpoint& accept();
    /// An active open to the peer's port 80; `end()` is its endpoint.
    Endpoint& connect();
    Endpoint& end() { return *end_; }
    tcp::Listener* listener() { return listener_; }
    void send(uint32_t bytes);
    void shutdown();
    void close();
    void abort();

    /// listen, SYN, SYN-ACK, ACK, accept: established with these options on the peer's SYN. So much
    /// time passes between SYN-ACK and ACK.
    void establish(Packet syn = S(0).window(65535).mss(1460), Duration round_trip = {});

    // --- the wire
    void inject(const Packet& packet);
    void inject_burst(const std::vector<Packet>& packets);
    /// A frame as it is, Ethernet header included.
    void inject_raw(const std::vector<uint8_t>& frame);
    /// An ICMP error from the peer's address, in the connection's family, that quotes a segment
    /// which the stack has sent (or so it says). `rest`: the word behind the checksum.
    void inject_icmp_error(uint8_t type, uint8_t code, const Packet& quoted, uint32_t rest = 0);
    /// The next segment that the stack sends is this one; its payload is what was to be sent there.
    void expect(const Packet& packet, const std::string& note = "");
    /// It has sent nothing more.
    void expect_silence();
    /// What it sends next, parsed; fails the test where there is nothing.
    wire::Segment next();
    /// The frame that `expect` or `next` has looked at last, and the TCP options in it.
    const std::vector<uint8_t>& last_frame() const { return last_frame_; }
    std::span<const uint8_t> last_options() const;
    /// The IP header of what `next` or `expect` has seen last.
    const wire::Ip& ip() const { return ip_; }
    bool anything_sent() const { return !sent_.empty(); }
    void forget_sent() { sent_.clear(); }

    /// Time passes; nothing may be sent meanwhile, but at its very end.
    void advance(Duration time) { network.run_for(time); }
    /// Time passes until something is sent; answers how long that took.
    Duration advance_to_next_segment(Duration limit);
    Instant now() const { return network.now(); }

    stack::Stack& stack() { return node_->stack(); }
    sim::Node& node() { return *node_; }
    const observe::Counters& counters() { return node_->stack().counters(); }
    uint64_t drops(observe::Drop reason) { return counters().drops(reason); }
    tcp::Connection& tcb() { return *end_->connection; }

    /// The whole frame of a packet, checksums right.
    std::vector<uint8_t> frame(const Packet& packet) const;
    /// Puts the checksums right again after a frame was tampered with: IPv4's and that of what it
    /// carries.
    static void repair_checksums(std::vector<uint8_t>& frame);
    /// The frame of a packet with these option bytes instead of its own, padded with NOPs.
    std::vector<uint8_t> frame_with_options(const Packet& packet,
                                            std::vector<uint8_t> options) const;
    size_t tcp_at() const { return 14 + ip_header_size(); }
    /// The stack's ISN, once a SYN of its has been looked at.
    uint32_t isn() const { return isn(options_.peer_port); }
    uint32_t isn_towards(uint16_t client) const { return isn(client); }
    Address local() const { return Pair::address(1, options_.family); }
    Address peer() const { return Pair::address(2, options_.family); }
    size_t ip_header_size() const { return wire::Ip::size_for(options_.family); }

    sim::Network network;

private:
    std::vector<uint8_t> neighbour_message(bool answer) const;
    void answer_neighbour();
    wire::Segment absolute(const Packet& packet) const;
    uint32_t isn(uint16_t peer_port, uint32_t otherwise = 0) const;
    void expect_sack(const wire::Segment& got,
                     const std::vector<std::pair<uint32_t, uint32_t>>& blocks,
                     const std::string& line) const;

    Options options_;
    sim::Node* node_;
    std::unique_ptr<Recorder> application_;
    tcp::Listener* listener_ = nullptr;
    Endpoint* end_ = nullptr;
    std::map<uint16_t, uint32_t> isns_;  // the stack's towards each client, once seen
    std::deque<std::vector<uint8_t>> sent_;
    std::vector<uint8_t> last_frame_;
    wire::Ip ip_;
};

/// A test that runs in both families; `BOTH_FAMILIES(Suite)` makes the suite of it.
class FamilyTest : public ::testing::TestWithParam<Family> {
protected:
    bool v4() const { return GetParam() == Family::ipv4; }
    Script::Options options(Config config = {}) const {
        Script::Options o;
        o.family = GetParam();
        o.config = std::move(config);
        return o;
    }
    /// What the stack advertises on a link with an MTU of 1500.
    uint16_t mss() const { return v4() ? 1460 : 1440; }
};
inline std::string family_name(const ::testing::TestParamInfo<Family>& info) {
    return info.param == Family::ipv4 ? "ipv4" : "ipv6";
}
#define BOTH_FAMILIES(Suite)                                                                     \
    class Suite : public FamilyTest {};                                                          \
    INSTANTIATE_TEST_SUITE_P(Families, Suite, ::testing::Values(Family::ipv4, Family::ipv6),     \
                             family_name)

}  // namespace millrace::testing
