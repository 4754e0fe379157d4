// Two hosts on a virtual wire that last as long as the process, for the HTTP targets.
#pragma once

#include <millrace/testing.h>

#include "fuzz/fuzz.h"
#include "unit/apps/wire_host.h"

namespace millrace::fuzz {

/// Pieces of a stream: where it is cut follows from `cuts`, one byte a piece, round and round.
template <typename Take>
void for_pieces(std::span<const std::byte> stream, std::span<const uint8_t> cuts, Take&& take) {
    for (size_t i = 0; !stream.empty(); ++i) {
        const size_t size =
            cuts.empty() ? stream.size()
                         : std::min<size_t>(stream.size(), 1 + cuts[i % cuts.size()] % 64);
        take(stream.first(size));
        stream = stream.subspan(size);
    }
}

/// What an input has begun is over at its end: the hosts are as if they had done nothing.
class Hosts {
public:
    Hosts()
        : server(**network.add(host("10.0.0.1/24"))), client(**network.add(host("10.0.0.2/24"))) {}

    /// As long as `over` lasts, a millisecond for each.
    void send_pieces(Connection& over, std::span<const std::byte> stream,
                     std::span<const uint8_t> cuts) {
        for_pieces(stream, cuts, [&](std::span<const std::byte> piece) {
            if (!over) return;
            (void)over.send(piece);
            network.advance(Duration::from_ms(1));
        });
    }
    /// Everybody has gone: nothing may be left once TIME-WAIT is over.
    void expect_nothing_left() {
        network.advance(Duration::from_s(5));
        for (Stack* stack : {&server, &client}) {
            const auto left = stack->population();
            expect(left.connections == 0, "connections are left");
            expect(left.half_open == 0, "half-open entries are left");
            expect(left.time_wait == 0, "TIME-WAIT entries are left");
            expect(stack->buffers_available() == stack->buffers_capacity(), "buffers are missing");
        }
    }

    testing::Network network{1};
    Stack& server;
    Stack& client;

private:
    static Config host(const std::string& address) {
        Config config = apps::wire_host(address);
        config.tcp.tcp_timewait_len = 1;
        config.tcp.tcp_fin_timeout = 1;
        return config;
    }
};

}  // namespace millrace::fuzz
