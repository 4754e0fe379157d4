// What a node still has: nothing, once everybody has gone and all times are over.
#pragma once

#include <string_view>

#include "sim/network.h"

namespace millrace::testing {

/// Calls `report(core, what, count)` for each kind of thing of which something is left.
template <typename Report>
void for_each_leftover(sim::Node& node, Report&& report) {
    for (uint16_t core = 0; core < node.cores(); ++core) {
        stack::Stack& stack = node.stack(core);
        const auto left = stack.population();
        const auto expect_none = [&](std::string_view what, size_t count) {
            if (count != 0) report(core, what, count);
        };
        expect_none("connections", left.connections);
        expect_none("half-open entries", left.half_open);
        expect_none("TIME-WAIT entries", left.time_wait);
        expect_none("listeners", left.listeners);
        expect_none("forwards", left.forwards);
        expect_none("fragments", left.fragments);
        expect_none("send queues", left.sendings);
        expect_none("receive queues", left.receivings);
        expect_none("settings", left.settings);
        expect_none("sent ranges", left.sent_ranges);
        expect_none("reassemblies", left.reassemblies);
        expect_none("reassembly ranges", left.reassembly_ranges);
        expect_none("receive tunings", left.tunings);
        expect_none("ACK snapshots", left.snapshots);
        expect_none("BBR models", left.bbrs);
        expect_none("MTU probings", left.mtu_probings);
        expect_none("datagram sockets", left.udp_sockets);
        expect_none("datagrams", left.datagrams);
        expect_none("saved SYNs", left.saved_syns);
        expect_none("buffers", node.pools(core).capacity() - node.pools(core).available());
        expect_none("timers", stack.next_deadline() == Instant::never() ? 0 : 1);
    }
}

}  // namespace millrace::testing
