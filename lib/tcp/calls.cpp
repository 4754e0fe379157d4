#include "tcp/calls.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "tcp/limits.h"
#include "tcp/output.h"
#include "tcp/receive_window.h"
#include "tcp/slow_timer.h"
#include "tcp/timers.h"
#include "tcp/trace.h"
#include "tcp/urgent.h"

namespace millrace::tcp {

namespace {

/// What a call on a connection that cannot send is answered: that it can no more, or cannot yet;
/// then it will be told.
int cannot_send(Connection& c) {
    if (c.error != 0) return c.error;
    if (c.state != State::syn_sent && c.state != State::syn_received) return EPIPE;
    c.want_writable = true;
    return EAGAIN;
}

uint32_t not_sent_low_water(const Env& env, const Connection& c) {
    const uint32_t own = c.settings().not_sent_low_water;
    return own != 0 ? own : env.tunables.tcp_notsent_lowat;
}

/// Room in the send buffer.
uint32_t send_room(const Env& env, const Connection& c) {
    const uint32_t unsent = c.unsent();
    const uint32_t charge = c.send_charge();
    const uint32_t mark = not_sent_low_water(env, c);
    if (charge >= c.snd_buf || unsent >= mark) return 0;
    // What finds room under the low-water mark may pass it by a segment: no dribbles.
    const uint32_t to_mark = std::max<uint32_t>(mark - unsent, c.snd_mss);
    return std::min(c.snd_buf - charge, to_mark);
}

/// Linux's hysteresis (sk_stream_min_wspace, tcp_stream_memory_free): a writer is woken once, for
/// much.
bool has_ample_room(const Env& env, const Connection& c) {
    return c.send_charge() < c.snd_buf - c.snd_buf / 3 &&
           uint64_t{2} * c.unsent() < not_sent_low_water(env, c);
}

/// `send_room` for who would fill it: notes that the application waits where there is none.
uint32_t ask_for_room(const Env& env, Connection& c) {
    const uint32_t room = send_room(env, c);
    if (room == 0) c.want_writable = true;
    return room;
}

/// Whole buffers join the queue. While receive buffers are short, what holds one, or fills less
/// than a quarter of its buffers, goes on as a copy: nobody knows how long it will stay. False
/// where there is no buffer for that.
bool enqueue(Env& env, Connection& c, BufferChain& data) {
    SendQueue& queue = c.sending->queue;
    const bool copy = env.receive_low && (env.buffers.holds_received(data) ||
                                          buf::pinned_bytes(data) / 4 > data.size());
    if (!copy) {
        queue.append(std::move(data));
        return true;
    }
    if (!queue.append_copy(env.buffers, data)) return false;
    env.counters.payload_copied += data.size();
    data.clear();
    return true;
}

/// Buffers are short: it will be told when to try again.
void wait_for_buffers(Env& env, Connection& c) {
    c.want_writable = true;
    env.counters.drop(observe::Drop::no_buffer);
    env.starve(c);
}

/// `time` in whole units, rounded up; nothing where it is negative or above `most` of them.
std::optional<uint32_t> whole(Duration time, Duration unit, int64_t most) {
    if (time < Duration() || time > unit * most) return std::nullopt;
    return static_cast<uint32_t>((time.ns() + unit.ns() - 1) / unit.ns());
}

/// Only what differs from the defaults is kept at all.
template <typename Change>
void change_settings(Env& env, Connection& c, Change&& change) {
    Settings changed = c.settings();
    change(changed);
    if (!(changed == c.settings())) own_settings(env, c) = changed;
}

/// A FIN follows what is queued; the state says so from now on, not when it has been sent.
void queue_fin(Env& env, Connection& c) {
    c.fin_queued = true;
    borrow_sending(env, c);
    if (c.state == State::syn_received) return;  // `established` makes the move
    set_state(env, c, c.state == State::close_wait ? State::last_ack : State::fin_wait_1);
    env.mark_dirty(c);
}

}  // namespace

void initialise(Env& env, Connection& c, uint16_t link_mss) {
    c.link_mss = link_mss;
    c.snd_mss = c.rcv_mss = link_mss;
    c.rcv_buf = initial_receive_buffer(env);
    c.snd_buf = env.tunables.tcp_wmem;
    // The public names and the room's own stand in one order (static_assert in connection.cpp).
    c.algorithm = static_cast<congestion::Algorithm>(env.tunables.tcp_congestion_control);
}

void open(Env& env, Connection& c, const Address& local, uint16_t link_mss,
          std::optional<Seq> floor) {
    initialise(env, c, link_mss);
    c.snd_una = c.snd_nxt = env.isn.isn_beyond(floor, c.key, local, env.now);
    c.ts_offset = env.isn.timestamp_offset(c.key, local);
    borrow_sending(env, c);
    trace::call(env, c, TraceCall::connect);
    set_state(env, c, State::syn_sent);
    c.syn_due = true;
    ++env.counters.tcp_active_opens;
    env.mark_dirty(c);
}

bool is_writable(const Env& env, Connection& c) {
    if (!may_send(c.state)) return false;
    const bool writable = has_ample_room(env, c);
    if (!writable) c.want_writable = true;
    return writable;
}

Result<size_t> send(Env& env, Connection& c, BufferChain& data) {
    if (!may_send(c.state)) return error(cannot_send(c));
    if (ask_for_room(env, c) == 0) return error(EAGAIN);
    borrow_sending(env, c);
    const size_t size = data.size();
    if (!enqueue(env, c, data)) {
        wait_for_buffers(env, c);
        return error(EAGAIN);
    }
    trace::call(env, c, TraceCall::send, size);
    env.mark_dirty(c);
    return size;
}

Result<size_t> send_copy(Env& env, Connection& c, std::span<const std::byte> data) {
    if (!may_send(c.state)) return error(cannot_send(c));
    const uint32_t room = ask_for_room(env, c);
    if (room == 0) return error(EAGAIN);
    borrow_sending(env, c);
    const size_t copied =
        c.sending->queue.append_copy(env.buffers, data.first(std::min<size_t>(data.size(), room)));
    env.counters.payload_copied += copied;
    if (copied == 0 && !data.empty()) {
        wait_for_buffers(env, c);
        return error(ENOBUFS);
    }
    trace::call(env, c, TraceCall::send, copied);
    if (copied < data.size()) c.want_writable = true;
    env.mark_dirty(c);
    return copied;
}

BufferChain receive(Env& env, Connection& c) {
    BufferChain data;
    if (c.receiving != nullptr) {
        data = std::move(c.receiving->queue);
        c.receiving->pinned = 0;
        urgent_read(c);
        settle_receiving(env, c);
    }
    // The end of an orderly close is held back until everything has been read.
    if (c.state == State::closed && c.attached && !c.delivered_close)
        env.notify(c, Event::closed);
    return data;
}

void consumed(Env& env, Connection& c, uint32_t bytes) {
    trace::call(env, c, TraceCall::receive, bytes);
    c.rcv_used -= std::min(bytes, c.rcv_used);
    tune_receive_buffer(env, c);
    maybe_update_window(env, c);
}

bool at_end(const Connection& c) {
    return c.unread() == 0 && c.error == 0 &&
           (c.fin_received || c.state == State::closed);
}

Result<void> shutdown_send(Env& env, Connection& c) {
    trace::call(env, c, TraceCall::shutdown);
    if (c.fin_queued) return {};
    if (!may_send(c.state) && c.state != State::syn_received) return error(ENOTCONN);
    queue_fin(env, c);
    return {};
}

void stop_reading(Connection& c) { c.reading_stopped = true; }

void set_no_delay(Env& env, Connection& c, bool on) {
    c.no_delay = on;
    if (on) env.mark_dirty(c);
}

Result<void> set_keepalive(Env& env, Connection& c, bool on, Duration idle, Duration interval,
                           uint32_t probes) {
    const auto idle_s = whole(idle, Duration::from_s(1), keepalive_seconds_max);
    const auto interval_s = whole(interval, Duration::from_s(1), keepalive_seconds_max);
    if (!idle_s || !interval_s || probes > probes_max) return error(EINVAL);
    c.keepalive = on;
    change_settings(env, c, [&](Settings& s) {
        s.keepalive_idle_s = static_cast<uint16_t>(*idle_s);
        s.keepalive_interval_s = static_cast<uint16_t>(*interval_s);
        s.keepalive_probes = static_cast<uint8_t>(probes);
    });
    start_keepalive(env, c);
    return {};
}

Result<void> set_user_timeout(Env& env, Connection& c, Duration timeout) {
    const auto ms = timeout == Duration::max()
                        ? user_timeout_never
                        : whole(timeout, Duration::from_ms(1), INT32_MAX);  // Linux's is an int
    if (!ms) return error(EINVAL);
    change_settings(env, c, [&](Settings& s) { s.user_timeout_ms = *ms; });
    if (!c.timed_out || c.sending == nullptr || c.sending->retransmit_at == Instant::never())
        return {};
    // A series of timeouts is under way: it may have to end sooner.
    c.sending->retransmit_at =
        std::min(c.sending->retransmit_at, within_user_timeout(env, c, rto(env, c)));
    arm_timer(env, c);
    return {};
}

Result<void> set_min_ttl(Env& env, Connection& c, uint32_t ttl) {
    if (ttl > 255) return error(EINVAL);
    change_settings(env, c, [&](Settings& s) { s.min_ttl = static_cast<uint8_t>(ttl); });
    return {};
}

void set_window_clamp(Env& env, Connection& c, uint32_t bytes) {
    change_settings(env, c, [&](Settings& s) { s.window_clamp = bytes; });
    maybe_update_window(env, c);
}

Result<void> set_syn_retries(Env& env, Connection& c, uint32_t retries) {
    if (retries > probes_max) return error(EINVAL);
    change_settings(env, c, [&](Settings& s) { s.syn_retries = static_cast<uint8_t>(retries); });
    return {};
}

Result<void> set_linger2(Env& env, Connection& c, Duration time) {
    const auto seconds = whole(time, Duration::from_s(1), linger2_seconds_max);
    if (!seconds && time >= Duration()) return error(EINVAL);
    change_settings(env, c, [&](Settings& s) {
        s.linger2_s = seconds ? static_cast<int16_t>(*seconds) : int16_t{-1};
    });
    return {};
}

Result<void> set_congestion_control(Env& env, Connection& c, std::string_view name) {
    const auto algorithm = congestion::algorithm_named(name);
    if (!algorithm) return error(ENOENT);
    if (c.state == State::closed) return error(c.error != 0 ? c.error : EPIPE);
    if (*algorithm == c.algorithm) return {};
    borrow_sending(env, c);
    if (!begin_control(env, c, *algorithm)) return error(ENOBUFS);
    env.mark_dirty(c);  // it may send sooner than the one before
    return {};
}

Result<void> set_max_pacing_rate(Env& env, Connection& c, uint64_t rate) {
    if (rate == 0) return error(EINVAL);
    change_settings(env, c, [&](Settings& s) { s.max_pacing_rate = rate; });
    // What the old rate makes wait does not wait at the new one.
    if (c.sending != nullptr) c.sending->pace_at = std::min(c.sending->pace_at, env.now);
    env.mark_dirty(c);
    return {};
}

Result<void> set_dscp(Connection& c, uint32_t dscp) {
    if (dscp > 63) return error(EINVAL);
    c.dscp = static_cast<uint8_t>(dscp);
    return {};
}

Result<void> set_ttl(Connection& c, uint32_t ttl) {
    if (ttl == 0 || ttl > 255) return error(EINVAL);
    c.ttl = static_cast<uint8_t>(ttl);
    return {};
}

void set_max_segment(Connection& c, uint16_t bytes) {
    if (c.state != State::syn_sent || !c.syn_due || c.snd_nxt != c.snd_una) return;
    c.link_mss = std::min(c.link_mss, bytes);
    c.snd_mss = c.rcv_mss = c.link_mss;
}

void set_cork(Env& env, Connection& c, bool on) {
    c.corked = on;
    if (on) return;
    if (c.sending != nullptr) {
        c.sending->cork_due = Instant::never();
        c.sending->cork_over = false;
    }
    env.mark_dirty(c);
}

uint32_t set_send_buffer(Env& env, Connection& c, uint32_t bytes) {
    const uint32_t most = std::max(env.tunables.tcp_wmem_max, env.tunables.tcp_wmem);
    c.snd_buf = std::clamp(bytes, buffer_min, most);
    wake_writer(env, c);
    return c.snd_buf;
}

void set_not_sent_low_water_mark(Env& env, Connection& c, uint32_t bytes) {
    change_settings(env, c, [&](Settings& s) { s.not_sent_low_water = bytes; });
    wake_writer(env, c);
}

void close(Env& env, Connection& c) {
    trace::call(env, c, TraceCall::close);
    const bool unread = c.rcv_used > 0 && c.unread() > 0;
    c.attached = false;
    c.owner = nullptr;
    c.events = 0;
    c.reading_stopped = true;
    if (c.receiving != nullptr) {
        c.receiving->queue.clear();
        c.receiving->pinned = 0;
    }
    switch (c.state) {
        case State::time_wait:
        case State::closed: env.mark_dirty(c); return;  // only its remains are left
        case State::syn_sent: finish(env, c, 0); return;  // nothing is sent
        default: break;
    }
    if (unread) {
        // RFC 2525 section 2.17 and SHLD-3: the peer must learn that data was lost.
        ++env.counters.tcp_abort_on_close;
        c.rst_due = true;
        finish(env, c, 0);
        return;
    }
    if (!become_orphan(env, c)) return;
    if (c.state == State::fin_wait_2) return start_fin_wait_2_timer(env, c);
    if (!c.fin_queued) queue_fin(env, c);
}

void abort(Env& env, Connection& c) {
    trace::call(env, c, TraceCall::abort);
    c.attached = false;
    c.owner = nullptr;
    c.events = 0;
    // RFC 9293 section 3.10.5: no RST in TIME-WAIT. The FIN that has led there in this very turn is
    // still acknowledged; the entry that egress leaves behind is not the application's (Linux).
    if (c.state == State::closed || c.state == State::time_wait) {
        env.mark_dirty(c);
        return;
    }
    c.rst_due = c.state != State::syn_sent;  // nor before the peer knows of us
    finish(env, c, 0);
}

void wake_writer(Env& env, Connection& c) {
    if (!c.want_writable || !has_ample_room(env, c)) return;
    c.want_writable = false;
    env.notify(c, Event::writable);
}

}  // namespace millrace::tcp
