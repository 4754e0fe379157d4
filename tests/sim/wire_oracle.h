// What must hold of every frame on the wire, whatever the applications do.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/network.h"

namespace millrace::testing {

/// Follows each direction of each connection, by what its sender has sent and by what has reached
/// it intact, and complains of a frame that no peer of RFC 9293 may send:
/// a wrong checksum, data beyond the right edge that the peer has offered, sequence numbers that
/// leave a gap, an acknowledgment of what has not arrived or one that moves back, a right edge that
/// moves left, a SACK block of nothing, timestamps that were not negotiated or are missing or go
/// back, theirs or the echoed ones, a segment over the peer's MSS, more SYNs than configured, an
/// ACK that came too late, a RST of who should be in TIME-WAIT.
class WireOracle {
public:
    using Complain = std::function<void(const std::string&)>;
    /// The tunables of the node that has an address.
    using TunablesOf = std::function<const TcpTunables&(const Address&)>;
    WireOracle(Complain complain, TunablesOf tunables_of)
        : complain_(std::move(complain)), tunables_of_(std::move(tunables_of)) {}

    /// A TCP segment that has gone out.
    struct Sent {
        SocketAddress from, to;
        uint32_t payload = 0;
        Seq end;
        bool has_sack = false;
    };
    /// Nothing where it was no TCP segment.
    std::optional<Sent> on_sent(std::span<const uint8_t> frame, Instant now);
    /// Sender and receiver of an intact TCP segment.
    std::optional<std::pair<SocketAddress, SocketAddress>> on_arrived(
        std::span<const uint8_t> frame, Instant now);

    /// Whether what `local` had to say since then may have waited for a next hop's address.
    bool had_no_next_hop(const Address& local, Instant since) const;
    /// How many SYNs of the present attempt `local` has sent to `remote`.
    uint32_t syns(const SocketAddress& local, const SocketAddress& remote) const;

    /// When an ACK that moved on reached `local` from `remote` for the last time.
    Instant last_progress(const SocketAddress& local, const SocketAddress& remote) const;
    /// Whether two attempts of that tuple are under way at once: an old duplicate has begun one.
    bool is_muddled(const SocketAddress& local, const SocketAddress& remote) const;

private:
    using Endpoint = std::pair<Address, uint16_t>;
    struct Direction {
        bool syn = false;             // has been sent
        bool muddled = false;         // two incarnations under way at once: nothing is certain
        std::optional<Instant> fin_arrived;  // when it did first, with all before it
        Seq iss;
        Seq sent_end;                 // behind the highest octet sent
        std::optional<Seq> arrived_end;   // behind the highest octet
        std::optional<Seq> arrived_next;  // the first that has not arrived
        std::vector<std::pair<Seq, Seq>> arrived_ahead;  // of it
        std::optional<Seq> offered;   // right edge of the window that it has sent
        std::optional<Seq> offered_arrived;
        std::optional<Seq> last_ack;  // sent
        std::optional<Seq> acked;     // the highest of the other side's that has arrived
        std::optional<uint32_t> last_timestamp, last_echo;
        std::optional<uint32_t> arrived_timestamp;  // the newest
        uint32_t syns = 0;
        bool synchronised = false;    // has sent something behind the handshake
        std::optional<Instant> ack_owed_since;
        bool reset = false;           // a RST has gone out, or one that ends it has come
        bool fin_sent = false;
        bool closed_first = false;    // its FIN went out before the other side's had arrived
        Seq fin_end;
        Instant time_wait_from = Instant::never();
        wire::TcpOptions options;     // of its SYN
        std::optional<Seq> taken;     // the highest ACK in an acceptable segment that has arrived
        Instant progress;             // when that last moved on
    };
    struct Parsed {
        wire::Ip ip;
        wire::Segment segment;
    };

    static std::optional<Parsed> parse(std::span<const uint8_t> frame, std::string& problem);
    Direction& direction(const Parsed& p);
    Direction& reverse(const Parsed& p);
    static Seq right_edge(const Direction& d, const Direction& peer, const wire::Segment& segment);
    void on_syn(Direction& d, Direction& peer, const Parsed& p, Instant now);
    void on_fin(Direction& d, const Direction& peer, const wire::Segment& segment);
    void check_reset(const Direction& d, const Parsed& p, Instant now);
    static bool may_have_given_up(const Direction& d, const TcpTunables& t, Instant now);
    void take_arrival(std::span<const uint8_t> frame, const Parsed& p, Instant now);
    static void note_arrival(Direction& d, const Direction& receiver,
                             const wire::Segment& segment);
    void note_solicitation(std::span<const uint8_t> frame, Instant now);
    void check_promptness(Direction& d, const Address& local, Instant now);
    void expect_ack(Direction& receiver, const Direction& sender, const wire::Segment& segment,
                    Instant now);
    void check_ack(Direction& d, const Direction& peer, const wire::Segment& segment);
    void check_data(Direction& d, const Direction& peer, const wire::Segment& segment);
    void check_options(Direction& d, const Direction& peer, const wire::Segment& segment);
    void complain(const std::string& what);

    Complain complain_;
    TunablesOf tunables_of_;
    std::map<std::pair<Endpoint, Endpoint>, Direction> directions_;
    std::map<Address, Instant> solicited_;  // when an address last asked for a next hop's
    std::span<const uint8_t> frame_;  // that is being looked at
};

}  // namespace millrace::testing
