// What the flight recorder is told of a connection. Cost: `observe/recorder.h`.
#pragma once

#include "tcp/env.h"
#include "wire/tcp.h"

namespace millrace::tcp::trace {

/// SACK blocks behind a segment: two in an event.
[[gnu::cold]] [[gnu::noinline]] inline void sack_blocks(Env& env, const void* connection,
                                                        TraceKind kind,
                                                        const wire::TcpOptions& options) {
    for (size_t i = 0; i < options.sack_count; i += 2) {
        const wire::SackBlock first = options.sack[i];
        const wire::SackBlock second =
            i + 1 < options.sack_count ? options.sack[i + 1] : wire::SackBlock{};
        env.recorder.record(kind, 0, 0, connection, env.now,
                            {first.begin.value(), first.end.value(), second.begin.value(),
                             second.end.value()});
    }
}

inline void in(Env& env, const void* connection, const wire::Segment& segment) {
    env.recorder.record(TraceKind::in, segment.flags, 0, connection, env.now,
                        {segment.seq.value(), segment.ack.value(), segment.window,
                         static_cast<uint32_t>(segment.payload_size)});
    if (segment.options.sack_count != 0)
        sack_blocks(env, connection, TraceKind::sack_in, segment.options);
}

/// One or several segments of at most `mss`.
inline void out(Env& env, const void* connection, const wire::Segment& header, bool again,
                uint32_t mss, uint32_t payload_size) {
    env.recorder.record(again ? TraceKind::out_again : TraceKind::out, header.flags,
                        static_cast<uint16_t>(mss), connection, env.now,
                        {header.seq.value(), header.ack.value(), header.window, payload_size});
    if (header.options.sack_count != 0)
        sack_blocks(env, connection, TraceKind::sack_out, header.options);
}

inline void call(Env& env, const Connection& c, TraceCall call, size_t bytes = 0) {
    env.recorder.record(TraceKind::call, static_cast<uint8_t>(call), 0, &c, env.now,
                        {0, 0, 0, static_cast<uint32_t>(bytes)});
}

inline void timer(Env& env, const Connection& c, TraceTimer timer) {
    env.recorder.record(TraceKind::timer, static_cast<uint8_t>(timer), 0, &c, env.now);
}

/// Both SYNs are known: what was agreed on, and when the second of them left or came.
inline void opened(Env& env, const Connection& c, Seq irs, uint16_t window, Instant when) {
    const auto bit = [](bool is, TraceOption option) {
        return is ? static_cast<unsigned>(option) : 0U;
    };
    env.recorder.record(
        TraceKind::opened,
        static_cast<uint8_t>(bit(c.timestamps, TraceOption::timestamps) |
                             bit(c.sack, TraceOption::sack) | bit(c.ecn, TraceOption::ecn) |
                             bit(c.window_scaling, TraceOption::window_scaling)),
        static_cast<uint16_t>(c.snd_wind_shift << 4 | c.rcv_wind_shift), &c, when,
        {(c.snd_nxt - 1).value(), irs.value(), window, c.snd_mss});
}

}  // namespace millrace::tcp::trace
