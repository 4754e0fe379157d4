// What a generator is to do: everything that its options and scenarios can say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <millrace/config.h>

#include "common/tls.h"
#include "load/flood.h"
#include "load/schedule.h"
#include "load/sizes.h"

namespace millrace::apps {

enum class Role : uint8_t {
    client,  ///< generates load
    server,  ///< answers it
    both,    ///< in one process, over an embedded link
};

enum class Mode : uint8_t {
    closed,      ///< N connections, each asks as soon as it has been answered
    rps,         ///< so many requests a second over N kept connections, answered or not
    cps,         ///< so many connections a second, answered or not
    concurrent,  ///< builds up N connections and holds them, with a trickle of requests
    throughput,  ///< N streams, as much as goes
    rr,          ///< round trips: one connection, one request after the other
    crr,         ///< connect, one request, close; one after the other
    handshakes,  ///< connect, TLS, close; as fast as it goes
    flood,       ///< segments without connections, and honest connections among them
};

enum class Protocol : uint8_t {
    http,
    https,  ///< the same through TLS
    raw,    ///< requests that say how long an answer they want (`raw.h`)
    echo,   ///< what comes back is compared, byte for byte
    udp,    ///< the same in datagrams
};

/// Who ends a connection that has had its requests, and how.
enum class Closing : uint8_t { client, server, reset };

enum class Direction : uint8_t { up, down, both };

std::string_view name_of(Mode mode);
std::string_view name_of(Protocol protocol);
std::string_view name_of(Closing closing);

/// A rate that is held for so long.
struct RateStep {
    double rate = 0;     ///< a second
    double seconds = 0;
};

struct Plan {
    Role role = Role::client;
    Mode mode = Mode::closed;
    Protocol protocol = Protocol::http;
    SocketAddress target{Address::v4(10, 77, 0, 1), 80};

    // --- how much
    /// In all; of `cps` the most at a time. 0: 64, or 1 of `rr` and `crr`.
    uint32_t connections = 0;
    uint64_t requests_per_connection = 0;  ///< then it is closed; 0: kept for ever
    uint32_t pipeline = 1;                 ///< requests on their way on one connection
    double think_ms = 0;                   ///< closed: from an answer to the next request
    double rate = 0;                       ///< a second, of what the mode counts
    double trickle = 0;                    ///< concurrent: requests a second
    Arrivals arrivals = Arrivals::even;
    double ramp = 0;                       ///< seconds in which the rate comes up from nothing
    double warm_up = 0;                    ///< seconds at the rate that do not count yet
    double duration = 10;                  ///< seconds that count; 0: until a signal
    std::vector<RateStep> steps;           ///< in the place of rate and duration
    double drain = 5;                      ///< seconds for what is under way at the end
    double timeout = 10;                   ///< seconds for a connection or an answer; 0: for ever

    // --- of what kind
    std::string path = "/body";
    std::string method = "GET";
    std::vector<std::string> headers;      ///< "Name: value"
    uint32_t body = 0;                     ///< bytes of a request's body
    int status = 200;                      ///< that answers have to have; 0: any
    Sizes request_size{64};
    Sizes response_size{64};
    Direction direction = Direction::down;
    Closing closing = Closing::client;
    std::optional<std::string> output;     ///< one request; the body of its answer goes here

    // --- with TLS
    TlsDemands tls;                        ///< of a client
    TlsIdentity identity;                  ///< of a server; empty: made up

    // --- from where, and how
    std::vector<Address> sources;          ///< taken in turn; empty: as the stack chooses
    std::pair<uint16_t, uint16_t> source_ports{0, 0};  ///< 0: as configured
    std::optional<uint16_t> vlan;
    uint16_t mtu = 0;                      ///< 0: as configured
    uint8_t dscp = 0;
    bool ipv6 = false;                     ///< of the embedded link
    FloodOptions flood;

    // --- what a server does
    uint32_t served_body = 128;            ///< bytes that "/body" answers with
    uint32_t drop_every = 0;               ///< raw: each so-manieth request is not answered; 0: all

    // --- what is held to be wrong
    double lag_limit_us = 1000;            ///< p99 of the schedule's lag, above which it is invalid

    /// Connections are there before anything is asked.
    bool connections_stand() const { return mode != Mode::cps && mode != Mode::handshakes; }
    bool speaks_http() const { return protocol == Protocol::http || protocol == Protocol::https; }
    /// Whom a client of TLS asks: what its Host header says, or else the target's address.
    std::string tls_host() const;
    /// A schedule says when, whether or not there are answers.
    bool is_open_loop() const {
        return mode == Mode::rps || mode == Mode::cps || mode == Mode::concurrent;
    }
    /// The rates from the start on, and for how long what they make does not count.
    std::vector<RatePiece> pieces() const;
    double uncounted_seconds() const { return ramp + warm_up; }
    /// How long it counts; infinite where it has no end.
    double counted_seconds() const;
    double highest_rate() const;
};

/// Puts in what modes imply, and checks what the options must be to each other.
Started<void> complete(Plan& plan);

/// The configuration with what the plan asks of its link: VLAN, MTU.
Started<void> apply_to_server(const Plan& plan, Config& config);

/// And of a client: source addresses, ports.
Started<void> apply(const Plan& plan, Config& config);

/// Buffers that the transmit rings of NICs keep until others follow.
size_t transmit_slack(const Config& config);

/// Whether there are addresses and ports enough: an error says how many are needed, how many there
/// are, and what to do.
Started<void> check_feasible(const Plan& plan, const Config& config);

}  // namespace millrace::apps
