// What one core lends to its connections: time, tunables, pools, lists of who has work.
#pragma once

#include <vector>

#include <millrace/config.h>

#include "buf/pools.h"
#include "observe/counters.h"
#include "observe/recorder.h"
#include "tcp/connection.h"
#include "tcp/reassembly.h"
#include "tcp/receive_tuning.h"
#include "tcp/secrets.h"
#include "time/wheel.h"

namespace millrace::tcp {

/// Owned by one core's stack and handed to every function of `lib/tcp`. The time is set once a
/// turn; nothing here reads a clock.
struct Env {
    Instant now;  ///< written by `set_time` alone
    // The same in the units of fields: nearly every step asks.
    uint32_t now_ms = static_cast<uint32_t>(now.ns() / 1'000'000);
    uint32_t now_s = static_cast<uint32_t>(now.ns() / 1'000'000'000);
    observe::Recorder& recorder;
    const TcpTunables& tunables;
    observe::Counters& counters;
    time::Wheel& wheel;
    ip::Neighbours& neighbours;
    buf::Pools& buffers;
    Reassembly::Ranges& ranges;
    Pool<Reassembly>& reassemblies;
    Pool<ReceiveTuning>& tunings;
    Pool<Sending>& sendings;
    Pool<Receiving>& receivings;
    Pool<Settings>& settings;
    SentRanges::Ranges& sent_ranges;
    Pool<AckSnapshot>& snapshots;
    Pool<congestion::Bbr>& bbrs;
    Pool<MtuProbing>& mtu_probings;
    IsnGenerator isn;
    Reassemblies reassembling;  ///< what waits for missing data
    DirtyList dirty;  ///< may have something to send; egress walks it once a turn
    ReadyList ready;  ///< have events for the application
    std::vector<Connection*> starved;  ///< met a dry pool; asked again after `starved_retry`
    Instant retry_starved_at = Instant::never();
    uint32_t orphans = 0;  ///< connections that the application has let go of, not over yet
    bool receive_low = false;  ///< receive buffers are short, as of the last housekeeping
    bool payload_low = false;  ///< likewise those that bytes are copied into

    void set_time(Instant at) {
        now = at;
        now_ms = static_cast<uint32_t>(at.ns() / 1'000'000);
        now_s = static_cast<uint32_t>(at.ns() / 1'000'000'000);
    }
    uint32_t ms() const { return now_ms; }
    /// `ms` for a field in which 0 says "never": in the one millisecond where that is the clock's
    /// own value, the one before.
    uint32_t stamp() const { return now_ms != 0 ? now_ms : UINT32_MAX; }
    uint32_t s() const { return now_s; }

    void mark_dirty(Connection& c) {
        if (!c.DirtyHook::is_linked()) dirty.push_back(c);
    }
    /// A pool is dry. Buffers come back as frames leave and ACKs arrive; time has to pass for that.
    [[gnu::cold]] void starve(Connection& c) {
        if (c.starved) return;
        c.starved = true;
        if (starved.empty()) retry_starved_at = now + starved_retry;
        starved.push_back(&c);
    }
    static constexpr Duration starved_retry = Duration::from_ms(1);

    void notify(Connection& c, uint8_t events) {
        c.events |= events;
        if (!c.ReadyHook::is_linked()) ready.push_back(c);
    }
};

/// The one place in which a state changes; an illegal move is our own bug.
void set_state(Env& env, Connection& c, State to);
/// The same for the state of loss recovery.
void set_recovery(Env& env, Connection& c, Recovery to);
/// The end of a connection: timers off, queues freed, the application told `error` (0: both sides
/// closed in order). The stack takes it out of its tables at the end of the turn.
void finish(Env& env, Connection& c, int error);
/// Something is wrong that does not end the connection (RFC 9293 section 3.9.1.8, MUST-47): kept as
/// what a timeout will have been, and told to an application that asked for it.
void report(Env& env, Connection& c, int error);
/// What sending needs, borrowed if it is not there yet. The pools of this and the next two hold one
/// for each connection: never dry.
Sending& borrow_sending(Env& env, Connection& c);
/// Nothing is queued, in flight or under suspicion.
bool is_at_rest(const Connection& c);
/// Gives it back where the connection is at rest and its path has shown nothing worth keeping.
void settle_sending(Env& env, Connection& c);
/// What a received segment leaves behind goes into it.
Receiving& borrow_receiving(Env& env, Connection& c);
/// Gives it back where everything has been read and acknowledged.
void settle_receiving(Env& env, Connection& c);
/// The connection's own settings, to be changed.
Settings& own_settings(Env& env, Connection& c);
/// Another algorithm, or the same one anew; the window is kept. False: its pool is dry, and Reno
/// has begun.
bool begin_control(Env& env, Connection& c, congestion::Algorithm algorithm);
/// Gives back all that a connection has borrowed, before its memory goes back.
void release(Env& env, Connection& c);
/// An ACK of its own goes out for the segment that is being processed. `dsack` empty: none.
void acknowledge_at_once(Env& env, Connection& c, const wire::SackBlock& dsack);
/// Frees what is borrowed for data out of order.
void release_reassembly(Env& env, Connection& c);
/// Arms `c.timer` for the earliest of its deadlines if it is not armed early enough: traffic moves
/// deadlines back far more often than they are met, and need not touch the wheel for that.
void arm_timer(Env& env, Connection& c);

}  // namespace millrace::tcp
