#include <cerrno>

#include "api/context.h"
#include "tcp/delayed_ack.h"
#include "tcp/describe.h"
#include "tcp/receive_window.h"
#include "tcp/urgent.h"

namespace millrace {

/// 0, or why no call can be made on this handle.
int Connection::check() const {
    return connection_ == nullptr ? EBADF : context_->check_thread();
}

BufferChain Connection::receive() {
    if (check() != 0) return {};
    return tcp::receive(context_->stack().env(), *connection_);
}

Result<void> Connection::consumed(size_t bytes) {
    if (const int wrong = check()) return error(wrong);
    tcp::consumed(context_->stack().env(), *connection_, static_cast<uint32_t>(bytes));
    return {};
}

int Connection::socket_error() const { return check() == 0 ? connection_->error : 0; }

bool Connection::at_end() const { return check() == 0 && tcp::at_end(*connection_); }

Result<size_t> Connection::send(BufferChain& data) {
    if (const int wrong = check()) return error(wrong);
    return tcp::send(context_->stack().env(), *connection_, data);
}

Result<size_t> Connection::send(Buffer&& data) {
    BufferChain chain;
    chain.append(std::move(data));
    const auto taken = send(chain);
    if (!taken) data = chain.pop_front();
    return taken;
}

Result<size_t> Connection::send(std::span<const std::byte> data) {
    if (const int wrong = check()) return error(wrong);
    return tcp::send_copy(context_->stack().env(), *connection_, data);
}

Result<size_t> Connection::send(std::string_view data) {
    return send(std::as_bytes(std::span(data.data(), data.size())));
}

Result<size_t> Connection::send_urgent(std::span<const std::byte> data) {
    if (const int wrong = check()) return error(wrong);
    return tcp::send_urgent(context_->stack().env(), *connection_, data);
}

uint32_t Connection::urgent_remaining() const {
    return check() == 0 ? tcp::urgent_remaining(*connection_) : 0;
}

Result<void> Connection::shutdown() {
    if (const int wrong = check()) return error(wrong);
    return tcp::shutdown_send(context_->stack().env(), *connection_);
}

Result<void> Connection::close() {
    if (const int wrong = check()) return error(wrong);
    tcp::close(context_->stack().env(), *std::exchange(connection_, nullptr));
    return {};
}

Result<void> Connection::abort() {
    if (const int wrong = check()) return error(wrong);
    tcp::abort(context_->stack().env(), *std::exchange(connection_, nullptr));
    return {};
}

Result<void> Connection::set_no_delay(bool on) {
    if (const int wrong = check()) return error(wrong);
    tcp::set_no_delay(context_->stack().env(), *connection_, on);
    return {};
}

Result<void> Connection::set_keepalive(bool on, const Keepalive& times) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_keepalive(context_->stack().env(), *connection_, on, times.idle, times.interval,
                              times.probes);
}

Result<void> Connection::set_user_timeout(Duration timeout) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_user_timeout(context_->stack().env(), *connection_, timeout);
}

Result<void> Connection::set_syn_retries(uint32_t retries) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_syn_retries(context_->stack().env(), *connection_, retries);
}

Result<void> Connection::set_linger2(Duration time) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_linger2(context_->stack().env(), *connection_, time);
}

Result<void> Connection::set_congestion_control(std::string_view name) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_congestion_control(context_->stack().env(), *connection_, name);
}

Result<void> Connection::set_max_pacing_rate(uint64_t bytes_per_second) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_max_pacing_rate(context_->stack().env(), *connection_, bytes_per_second);
}

Result<void> Connection::set_dscp(uint8_t dscp) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_dscp(*connection_, dscp);
}

Result<void> Connection::set_ttl(uint8_t ttl) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_ttl(*connection_, ttl);
}

Result<void> Connection::set_soft_errors(bool on) {
    if (const int wrong = check()) return error(wrong);
    connection_->report_errors = on;
    return {};
}

Result<void> Connection::set_quick_ack(bool on) {
    if (const int wrong = check()) return error(wrong);
    tcp::set_quick_ack(context_->stack().env(), *connection_, on);
    return {};
}

Result<void> Connection::set_cork(bool on) {
    if (const int wrong = check()) return error(wrong);
    tcp::set_cork(context_->stack().env(), *connection_, on);
    return {};
}

Result<void> Connection::set_not_sent_low_water_mark(uint32_t bytes) {
    if (const int wrong = check()) return error(wrong);
    tcp::set_not_sent_low_water_mark(context_->stack().env(), *connection_, bytes);
    return {};
}

Result<uint32_t> Connection::set_send_buffer(uint32_t bytes) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_send_buffer(context_->stack().env(), *connection_, bytes);
}

Result<uint32_t> Connection::set_receive_buffer(uint32_t bytes) {
    if (const int wrong = check()) return error(wrong);
    return tcp::set_receive_buffer(context_->stack().env(), *connection_, bytes);
}

Result<void> Connection::set_handler(ConnectionHandler& handler) {
    if (const int wrong = check()) return error(wrong);
    connection_->owner = &handler;
    return {};
}

SocketAddress Connection::local() const {
    if (check() != 0) return {};
    return context_->stack().local_address(connection_->key);
}

SocketAddress Connection::remote() const {
    if (check() != 0) return {};
    return {connection_->key.remote, connection_->key.remote_port};
}

ConnectionInfo Connection::info() const {
    if (check() != 0) return {};
    const tcp::Connection& c = *connection_;
    SocketRecord r;  // the one source of what `ss` and TCP_INFO say, too
    tcp::describe(context_->stack().env(), c, r);
    return {.state = to_string(r.state),
            .snd_mss = r.snd_mss,
            .snd_cwnd = r.cwnd,
            .snd_wnd = r.snd_wnd,
            .rcv_wnd = r.rcv_wnd,
            .send_queued = c.queued(),
            .receive_queued = r.receive_queue,
            .rtt = Duration::from_us(r.rtt_us),
            .backoffs = r.backoffs,
            .congestion_control = r.congestion_control(),
            .snd_ssthresh = r.ssthresh,
            .pacing_rate = r.pacing_rate,
            .delivery_rate = r.delivery_rate,
            .total_retrans = r.total_retrans,
            .in_flight = c.in_flight(),
            .delivered = c.delivered,
            .lost = r.bytes_lost,
            .ecn = r.ecn,
            .path_mtu = r.path_mtu,
            .received_dscp = c.rcv_dscp};
}

std::optional<Connection> Listener::accept(ConnectionHandler& handler) {
    if (listener_ == nullptr || context_->check_thread() != 0) return std::nullopt;
    tcp::Connection* connection = context_->stack().accept(*listener_);
    if (connection == nullptr) return std::nullopt;
    connection->owner = &handler;
    return Connection(context_, connection);
}

Result<void> Listener::stop() {
    if (listener_ == nullptr) return error(EBADF);
    if (const int wrong = context_->check_thread()) return error(wrong);
    context_->stack().stop(*listener_);
    return {};
}

Result<void> Listener::close() {
    if (listener_ == nullptr) return error(EBADF);
    if (const int wrong = context_->check_thread()) return error(wrong);
    context_->stack().close_listener(*std::exchange(listener_, nullptr));
    return {};
}

Result<void> Listener::set_dscp(uint8_t dscp) {
    if (listener_ == nullptr) return error(EBADF);
    if (const int wrong = context_->check_thread()) return error(wrong);
    if (dscp > 63) return error(EINVAL);
    listener_->marks_v4.dscp = listener_->marks_v6.dscp = dscp;
    return {};
}

Result<void> Listener::set_ttl(uint8_t ttl) {
    if (listener_ == nullptr) return error(EBADF);
    if (const int wrong = context_->check_thread()) return error(wrong);
    if (ttl == 0) return error(EINVAL);
    listener_->marks_v4.ttl = listener_->marks_v6.ttl = ttl;
    return {};
}

SocketAddress Listener::local() const {
    if (listener_ == nullptr || context_->check_thread() != 0) return {};
    return {listener_->address, listener_->port};
}

}  // namespace millrace
