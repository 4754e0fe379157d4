// What `ss` asks: a core's sockets as plain records, a bounded number of buckets at a time.
#include <algorithm>
#include <cerrno>

#include "stack/stack.h"
#include "tcp/describe.h"

namespace millrace::stack {

namespace {

/// The tables in the order of a listing.
enum Table : uint8_t { listeners, half_open, flows, udp_by_port, udp_by_tuple };

uint64_t identity(const void* socket) { return reinterpret_cast<uintptr_t>(socket); }

uint32_t milliseconds(Duration time) {
    return static_cast<uint32_t>(std::max<int64_t>(time.ms(), 0));
}

}  // namespace

SocketRecord Stack::describe(const tcp::Listener& listener) const {
    SocketRecord record;
    record.kind = SocketKind::listener;
    record.state = SocketState::listen;
    record.local = {listener.address, listener.port};
    record.remote.address = Address::any(listener.address.family());
    record.receive_queue = static_cast<uint32_t>(listener.accept_queue.size());
    record.send_queue = listener.backlog;
    record.id = identity(&listener);
    return record;
}

SocketRecord Stack::describe(const tcp::HalfOpen& entry) const {
    SocketRecord record;
    record.kind = SocketKind::half_open;
    record.state = SocketState::syn_received;
    record.local = local_address(entry.key);
    record.remote = {entry.key.remote, entry.key.remote_port};
    record.timestamps = entry.timestamps;
    record.sack = entry.sack;
    record.ecn = entry.ecn;
    record.window_scaling = entry.window_scaling;
    record.snd_wscale = entry.peer_shift;
    record.backoffs = entry.retransmissions;
    record.snd_wnd = entry.peer_window;
    if (entry.timer.is_armed()) {
        record.timer = SocketTimer::on;
        record.timer_ms = milliseconds(entry.timer.due() - env_.now);
    }
    record.id = identity(&entry);
    return record;
}

SocketRecord Stack::describe(const tcp::Flow& flow) const {
    SocketRecord record;
    if (flow.kind == tcp::FlowKind::connection) {
        tcp::describe(env_, static_cast<const tcp::Connection&>(flow), record);
    } else {
        const auto& entry = static_cast<const tcp::TimeWait&>(flow);
        record.kind = SocketKind::time_wait;
        record.state = entry.awaits_fin ? SocketState::fin_wait_2 : SocketState::time_wait;
        record.timestamps = entry.timestamps;
        record.timer = SocketTimer::timewait;
        record.timer_ms =
            milliseconds(two_msl() - tcp::TimeWaitQueue::age(entry, env_.now, two_msl()));
    }
    record.local = local_address(flow.key);
    record.remote = {flow.key.remote, flow.key.remote_port};
    record.id = identity(&flow);
    return record;
}

SocketRecord Stack::describe(const udp::Endpoint& endpoint) {
    SocketRecord record;
    record.kind = SocketKind::udp;
    record.state = endpoint.connected ? SocketState::established : SocketState::closed;
    record.local = endpoint.local;
    record.remote = endpoint.remote;
    record.receive_queue = endpoint.queued;
    record.id = identity(&endpoint);
    return record;
}

void Stack::list(SocketCursor& cursor, const SocketFilter& filter, size_t buckets,
                 std::vector<SocketRecord>& records) {
    const auto take = [&](const auto& socket) {
        SocketRecord record = describe(socket);
        record.core = core_;
        if (filter.admits(record)) records.push_back(record);
    };
    // A closed connection stands in the table until the end of its last turn, for nobody to see.
    const auto take_flow = [&](const tcp::Flow& flow) {
        if (flow.kind == tcp::FlowKind::connection &&
            static_cast<const tcp::Connection&>(flow).state == tcp::State::closed)
            return;
        take(flow);
    };
    size_t next = 0;
    switch (cursor.table) {
        case listeners: next = listeners_.for_each_from(cursor.bucket, buckets, take); break;
        case half_open: next = half_open_table_.for_each_from(cursor.bucket, buckets, take); break;
        case flows: next = flows_.for_each_from(cursor.bucket, buckets, take_flow); break;
        case udp_by_port:
            next = udp_table_.by_port().for_each_from(cursor.bucket, buckets, take);
            break;
        case udp_by_tuple:
            next = udp_table_.by_tuple().for_each_from(cursor.bucket, buckets, take);
            break;
        default: cursor.table = SocketCursor::end; return;
    }
    cursor.bucket = next;
    if (next != 0) return;
    cursor.table = cursor.table == udp_by_tuple ? SocketCursor::end : cursor.table + 1;
}

size_t Stack::abort_matching(SocketCursor& cursor, const SocketFilter& filter, size_t buckets) {
    size_t count = 0;
    const auto end = [&](tcp::Flow& flow) {
        if (flow.kind != tcp::FlowKind::connection) return;
        auto& c = static_cast<tcp::Connection&>(flow);
        if (c.state == tcp::State::closed || c.state == tcp::State::time_wait) return;
        SocketRecord record = describe(flow);
        record.core = core_;
        if (!filter.admits(record)) return;
        c.rst_due = c.state != tcp::State::syn_sent;
        tcp::finish(env_, c, ECONNABORTED);
        ++count;
    };
    if (cursor.table < flows) cursor = {.table = flows};
    cursor.bucket = flows_.for_each_from(cursor.bucket, buckets, end);
    if (cursor.bucket == 0) cursor.table = SocketCursor::end;
    return count;
}

}  // namespace millrace::stack
