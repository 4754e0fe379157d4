#include "api/stream_socket.h"

#include <poll.h>

#include <cerrno>
#include <utility>

#include "tcp/calls.h"

namespace millrace::api {

using tcp::State;

StreamSocket::~StreamSocket() {
    if (listener_ != nullptr) stack().close_listener(*listener_);
    if (connection_) {
        // As close() does for what TCP still holds (RFC 2525 section 2.17).
        if (received_.empty()) {
            static_cast<void>(connection_.close());
        } else {
            ++stack().env().counters.tcp_abort_on_close;
            static_cast<void>(connection_.abort());
        }
    }
    release_binding();
}

void StreamSocket::release_binding() {
    implicit_ = false;
    if (binding_ != nullptr) stack().release(*std::exchange(binding_, nullptr));
}

Result<void> StreamSocket::bind(const SocketAddress& address) {
    if (binding_ != nullptr || listener_ != nullptr || tcb() != nullptr) return error(EINVAL);
    if (family_ == AF_INET6 && options_.bind.v6_only && address.address.is_v4())
        return error(EINVAL);
    if (options_.bind_without_port && address.port == 0) {
        if (!stack().may_bind(address.address)) return error(EADDRNOTAVAIL);
        address_without_port_ = address.address;
        return {};
    }
    const auto binding = stack().bind(address, options_.bind);
    if (!binding) return std::unexpected(binding.error());
    binding_ = *binding;
    local_ = {};
    return {};
}

/// listen() needs a port, whatever IP_BIND_ADDRESS_NO_PORT has said.
Result<void> StreamSocket::bind_to_any_port() {
    const auto binding =
        stack().bind({address_without_port_.value_or(any_address()), 0}, options_.bind);
    if (!binding) return std::unexpected(binding.error());
    binding_ = *binding;
    local_ = {};
    return {};
}

Result<void> StreamSocket::listen(int backlog) {
    if (connecting_ || connected_ || tcb() != nullptr) return error(EINVAL);
    // As Linux: negative is more than anybody may ask for.
    const auto most = static_cast<uint32_t>(backlog);
    if (listener_ != nullptr) {
        stack().set_backlog(*listener_, most);
        return {};
    }
    const bool bound = binding_ != nullptr;
    if (!bound)
        if (const auto chosen = bind_to_any_port(); !chosen) return chosen;
    ListenHandler* handler = this;
    const auto listener = stack().listen(*binding_, most, handler);
    if (!listener) {
        if (!bound) release_binding();
        return std::unexpected(listener.error());
    }
    listener_ = *listener;
    implicit_ = !bound;
    apply_to_listener();
    return {};
}

Result<void> StreamSocket::accept(StreamSocket& accepted) {
    if (listener_ == nullptr) return error(EINVAL);
    tcp::Connection* c = stack().accept(*listener_);
    if (c == nullptr) return error(EAGAIN);
    c->owner = static_cast<ConnectionHandler*>(&accepted);
    accepted.connection_ = Connection(&context_, c);
    accepted.connected_ = true;
    accepted.local_ = accepted.connection_.local();
    accepted.peer_ = accepted.connection_.remote();
    accepted.options_ = options_;
    accepted.apply_options();
    return {};
}

Result<void> StreamSocket::connect(const SocketAddress& address) {
    if (connected_) return error(EISCONN);
    if (connecting_) {
        const auto over = finish_connect();
        return over || over.error() != EINPROGRESS ? over : error(EALREADY);
    }
    if (listener_ != nullptr) return error(EISCONN);
    if (address.address.family() == Family::ipv4 && family_ == AF_INET6 && options_.bind.v6_only)
        return error(ENETUNREACH);
    const SocketAddress from = binding_ != nullptr
                                   ? binding_->local
                                   : SocketAddress{address_without_port_.value_or(Address()), 0};
    const bool any = from.address.is_unspecified();
    ConnectionHandler* handler = this;
    const auto c = stack().connect(
        address, {any ? Address::any(address.address.family()) : from.address, from.port}, handler,
        options_.bind);
    if (!c) return std::unexpected(c.error());
    connection_ = Connection(&context_, *c);
    connecting_ = true;
    done_ = more_ = false;
    error_ = 0;
    received_.clear();
    lent_ = 0;
    read_ = 0;
    urgent_.reset();
    local_ = connection_.local();
    peer_ = address;
    apply_options();
    return error(EINPROGRESS);
}

Result<void> StreamSocket::finish_connect() {
    if (!connecting_) return {};
    if (const tcp::Connection* c = tcb()) {
        if (is_opening()) return error(EINPROGRESS);
        if (c->state != State::closed) {
            connecting_ = false;
            connected_ = true;
            return {};
        }
        if (c->error == 0 && c->unread() > 0) {  // all there was has come already
            connecting_ = false;
            connected_ = true;
            return {};
        }
        return error(EINPROGRESS);  // `on_closed` is to follow
    }
    const int why = error_;
    reset();
    return error(why != 0 ? why : ECONNABORTED);
}

/// connect() with AF_UNSPEC: as tcp_disconnect.
Result<void> StreamSocket::disconnect() {
    if (listener_ != nullptr) {
        stack().close_listener(*std::exchange(listener_, nullptr));
        binding_->listening = false;
        if (implicit_) release_binding();
    }
    const bool alive = connection_ && tcb()->state != State::closed;
    if (connection_) static_cast<void>(connection_.abort());
    reset();
    if (alive) error_ = ECONNRESET;
    wake(0);
    return {};
}

void StreamSocket::reset() {
    const uint16_t port = local_.port;
    connection_ = {};
    connecting_ = connected_ = done_ = shut_read_ = shut_write_ = false;
    error_ = 0;
    more_ = false;
    received_.clear();
    lent_ = 0;
    urgent_.reset();
    local_ = peer_ = {};
    // getsockname() goes on telling the port, as Linux's does, though it is nobody's any more.
    if (binding_ == nullptr) local_ = {address_without_port_.value_or(any_address()), port};
}

Result<void> StreamSocket::shutdown(int how) {
    if (how < SHUT_RD || how > SHUT_RDWR) return error(EINVAL);
    const bool read = how != SHUT_WR;
    const bool write = how != SHUT_RD;
    if (listener_ != nullptr) return read ? disconnect() : Result<void>();
    const tcp::Connection* c = tcb();
    if (c != nullptr && c->state == State::syn_sent) return disconnect();
    if (read) shut_read_ = true;
    if (c == nullptr || c->state == State::closed) {
        if (write) shut_write_ = true;  // Linux's quirk: it stays so
        wake(0);
        return error(ENOTCONN);
    }
    const bool finishes = write && !std::exchange(shut_write_, true);
    const auto done = finishes ? connection_.shutdown() : Result<void>();
    if (shut_read_ && shut_write_) tcp::stop_reading(*tcb());
    wake(0);
    return done;
}

bool StreamSocket::is_opening() const {
    const tcp::Connection* c = tcb();
    return c != nullptr && (c->state == State::syn_sent || c->state == State::syn_received);
}

bool StreamSocket::peer_closed() const {
    return tcb() == nullptr ? done_ : tcp::at_end(*tcb());
}

/// Linux's tcp_poll.
uint32_t StreamSocket::poll_events() {
    if (listener_ != nullptr) return listener_->accept_queue.empty() ? 0 : POLLIN | POLLRDNORM;
    look_for_urgent();
    tcp::Connection* c = tcb();
    const bool closed = c == nullptr || c->state == State::closed;
    const bool no_more = shut_read_ || (c != nullptr && c->fin_received);
    uint32_t events = 0;
    if (closed || (no_more && shut_write_)) events |= POLLHUP;
    if (no_more) events |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (error_ != 0) events |= POLLERR;
    if (is_opening()) return events;
    if (is_readable()) events |= POLLIN | POLLRDNORM;
    if (is_urgent_here() && !urgent_->told) events |= POLLPRI;
    if (closed || shut_write_ || tcp::is_writable(stack().env(), *c))
        events |= POLLOUT | POLLWRNORM;
    return events;
}

/// The bits of these wake-ups are Linux's: what is watched for none of them sleeps on.
void StreamSocket::on_urgent(Connection) {
    look_for_urgent();
    wake(POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND);
}

void StreamSocket::on_readable(Connection) {
    const bool end = tcb() == nullptr || tcb()->fin_received;
    wake(end ? 0 : POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND);
}

void StreamSocket::on_writable(Connection) { wake(POLLOUT | POLLWRNORM | POLLWRBAND); }

void StreamSocket::on_acceptable(Listener) { wake(POLLIN | POLLRDNORM); }

/// The connection's memory goes when this returns.
void StreamSocket::on_closed(Connection, CloseReason) {
    look_for_urgent();
    received_.append(connection_.receive());
    error_ = tcb()->error;
    done_ = error_ == 0 || tcb()->fin_received;
    connection_ = {};
    shut_read_ = shut_write_ = true;
    wake(0);
}

int StreamSocket::take_error() { return std::exchange(error_, 0); }

Result<SocketAddress> StreamSocket::local() const {
    if (connection_) return connection_.local();
    if (local_.port != 0) return local_;
    if (binding_ != nullptr) return binding_->local;
    return SocketAddress{address_without_port_.value_or(any_address()), 0};
}

Result<SocketAddress> StreamSocket::peer() const {
    const tcp::Connection* c = tcb();
    if (c == nullptr || c->state == State::closed || c->state == State::syn_sent)
        return error(ENOTCONN);
    return peer_;
}

std::optional<Duration> StreamSocket::begin_close() {
    if (!connection_) return std::nullopt;
    const State state = tcb()->state;
    if (options_.linger == Duration()) static_cast<void>(connection_.abort());
    if (!options_.linger || options_.linger == Duration()) return std::nullopt;
    if (available() > 0 || state == State::syn_sent) return std::nullopt;
    if (!shut_write_) static_cast<void>(connection_.shutdown());
    return options_.linger;
}

bool StreamSocket::is_flushed() const {
    const tcp::Connection* c = tcb();
    return c == nullptr || !c->fin_queued || c->fin_acked || c->state == State::closed;
}

}  // namespace millrace::api
