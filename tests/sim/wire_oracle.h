// What must hold of every frame on the wire, whatever the applications do.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sim/network.h"

namespace millrace::testing {

/// Follows each direction of each connection, by what its sender has sent and by what has reached
/// it intact, and complains of a frame that no peer of RFC 9293 may send:
/// a wrong checksum, data beyond the right edge that the peer has offered, sequence numbers that
/// leave a gap, an acknowledgment of what has not arrived or one that moves back, a right edge that
/// moves left, a SACK block of nothing, timestamps that were not negotiated or are missing, a
/// segment over the peer's MSS.
class WireOracle {
public:
    using Complain = std::function<void(const std::string&)>;
    explicit WireOracle(Complain complain) : complain_(std::move(complain)) {}

    void on_sent(std::span<const uint8_t> frame);
    void on_arrived(std::span<const uint8_t> frame, Instant now);

    /// When an ACK that moved on reached `local` from `remote` for the last time.
    Instant last_progress(const SocketAddress& local, const SocketAddress& remote) const;

private:
    using Endpoint = std::pair<Address, uint16_t>;
    struct Direction {
        bool syn = false;             // has been sent
        bool muddled = false;         // two incarnations under way at once: nothing is certain
        bool fin_arrived = false;
        Seq iss;
        Seq sent_end;                 // behind the highest octet sent
        std::optional<Seq> arrived_end;
        std::optional<Seq> offered;   // right edge of the window that it has sent
        std::optional<Seq> offered_arrived;
        std::optional<Seq> last_ack;  // sent
        std::optional<Seq> acked;     // the highest of the other side's that has arrived
        std::optional<uint32_t> last_timestamp;
        wire::TcpOptions options;     // of its SYN
        Instant progress;
    };
    struct Parsed {
        wire::Ip ip;
        wire::Segment segment;
    };

    static std::optional<Parsed> parse(std::span<const uint8_t> frame, std::string& problem);
    Direction& direction(const Parsed& p);
    Direction& reverse(const Parsed& p);
    static Seq right_edge(const Direction& d, const Direction& peer, const wire::Segment& segment);
    void on_syn(Direction& d, Direction& peer, const wire::Segment& segment);
    void check_ack(Direction& d, const Direction& peer, const wire::Segment& segment);
    void check_data(Direction& d, const Direction& peer, const wire::Segment& segment);
    void check_options(Direction& d, const Direction& peer, const wire::Segment& segment);
    void complain(const std::string& what);

    Complain complain_;
    std::map<std::pair<Endpoint, Endpoint>, Direction> directions_;
    std::span<const uint8_t> frame_;  // that is being looked at
};

}  // namespace millrace::testing
