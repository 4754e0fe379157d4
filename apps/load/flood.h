// A flood: segments of made-up connections from made-up addresses, and honest ones between them.
#pragma once

#include <random>
#include <unordered_map>
#include <vector>

#include <millrace/millrace.h>
#include <millrace/udp.h>

namespace millrace::apps {

enum class FloodKind : uint8_t {
    syn,  ///< each opens a connection that nobody will complete
    ack,  ///< each claims to bring back a SYN cookie, or to belong to a connection
    udp,  ///< datagrams from our own address and many ports
};

struct FloodOptions {
    FloodKind kind = FloodKind::syn;
    SocketAddress target;
    /// Where they seem to come from: of the target's family; RFC 2544's network for benchmarks.
    Prefix sources{Address::v4(198, 18, 0, 0), 15};
    double rate = 0;                  ///< segments a second; 0: as many as the link takes
    double honest_rate = 0;           ///< connections a second that are opened, and closed
    std::vector<Address> honest_from; ///< our own addresses, taken in turn; empty: any
};

struct FloodCounters {
    uint64_t segments = 0;          ///< of the flood, or datagrams
    uint64_t honest_attempted = 0;
    uint64_t honest_in_time = 0;    ///< established within `honest_patience`
    uint64_t honest_late = 0;       ///< established later, or not yet
    uint64_t honest_failed = 0;     ///< refused, or no port was left
    FloodCounters operator-(const FloodCounters& other) const;
};

/// On the thread that turns the stack's loop, between its turns. Only `target` is sent to.
class Flood final : public ConnectionHandler {
public:
    static constexpr Duration honest_patience = Duration::from_s(3);

    Flood(Stack& stack, const FloodOptions& options);

    /// As much as is due at `now`, or one burst where there is no rate.
    void burst(Instant now);
    FloodCounters counters(Instant now) const;
    /// Some honest attempt has no answer yet.
    bool is_waiting() const { return !waiting_.empty(); }

    void on_connected(Connection c) override;
    void on_closed(Connection c, CloseReason reason) override;

private:
    /// Nobody wants the answers to its datagrams.
    struct Discard final : UdpHandler {
        void on_readable(UdpSocket socket) override {
            while (socket.receive()) continue;
        }
    };
    bool send_one();
    bool send_datagram();
    void open_honest(Instant now);

    static constexpr uint32_t burst_size = 64;
    Stack& stack_;
    const FloodOptions options_;
    std::mt19937_64 random_{std::random_device{}()};
    Instant begun_;
    uint64_t due_sent_ = 0;    ///< segments of the schedule that have been sent
    uint64_t due_opened_ = 0;  ///< likewise honest attempts
    size_t next_address_ = 0;
    Discard discard_;
    std::vector<UdpSocket> sockets_;
    size_t next_socket_ = 0;
    std::unordered_map<const void*, Instant> waiting_;  ///< attempts without an answer
    FloodCounters counters_;
};

}  // namespace millrace::apps
