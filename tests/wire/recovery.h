// What tests of loss recovery share: a sender with full segments in flight.
#pragma once

#include "script.h"

namespace millrace::testing {

using Blocks = std::vector<std::pair<uint32_t, uint32_t>>;

/// Established with SACK (and timestamps where asked for), a round trip of 100 ms measured.
class Recovery : public ::testing::Test {
protected:
    static constexpr uint32_t mss = 1000;

    explicit Recovery(bool sack = true, bool timestamps = false) : with_timestamps(timestamps) {
        Packet syn = S(0).window(65535).mss(mss + (timestamps ? 12 : 0)).scale(7);
        if (sack) syn = syn.sack_permitted();
        if (timestamps) syn = syn.timestamps(1000, 0);
        s.listen();
        s.inject(syn);
        const wire::Segment answer = s.next();
        EXPECT_EQ(answer.options.sack_permitted, sack);
        ts = answer.options.ts_value;
        s.advance(100_ms);
        s.inject(ack(1));
        s.accept();
        EXPECT_EQ(s.tcb().rtt.srtt(), 100_ms);
    }
    /// The peer's bare ACK of our octets up to `upto`, with these blocks.
    Packet ack(uint32_t upto, const Blocks& blocks = {}) const {
        Packet p = A(1, upto).window(65535);
        if (with_timestamps) p = p.timestamps(1000, ts);
        if (!blocks.empty()) p = p.sack(blocks);
        return p;
    }
    /// `segments` full ones are written and leave at once.
    void send_flight(uint32_t segments) {
        s.send(segments * mss);
        for (uint32_t i = 0; i < segments; ++i)
            s.expect(A(1 + sent, 1).data(mss), "segment " + std::to_string(i)), sent += mss;
        s.expect_silence();
    }
    static Packet segment(uint32_t number) { return A(1 + number * mss, 1).data(mss); }
    /// Where segment `number` begins.
    static uint32_t at(uint32_t number) { return 1 + number * mss; }
    const observe::Counters& counters() { return s.counters(); }

    Script s;
    bool with_timestamps;
    uint32_t ts = 0;
    uint32_t sent = 0;
};

/// With timestamps.
class Stamped : public Recovery {
protected:
    Stamped() : Recovery(true, true) {}
};

/// The peer knows no SACK.
class NoSack : public Recovery {
protected:
    NoSack() : Recovery(false) {}
};

}  // namespace millrace::testing
