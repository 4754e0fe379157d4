#include "api/context.h"

#include <cerrno>

namespace millrace {

namespace api {

namespace {

/// Its address tells threads apart.
const void* this_thread() {
    static thread_local char mark;
    return &mark;
}

CloseReason reason_of(int error) {
    switch (error) {
        case 0: return CloseReason::closed;
        case ECONNREFUSED: return CloseReason::refused;
        case ETIMEDOUT: return CloseReason::timed_out;
        case ECONNRESET:
        case EPIPE: return CloseReason::reset;
        default: return CloseReason::unreachable;
    }
}

}  // namespace

bool Context::own() {
    const void* nobody = nullptr;
    return owner_.compare_exchange_strong(nobody, this_thread()) || nobody == this_thread();
}

int Context::check_thread() const {
    const void* owner = owner_.load(std::memory_order_relaxed);
    if (owner == nullptr || owner == this_thread()) return 0;
    return stand_in_.load(std::memory_order_relaxed) == this_thread() ? 0 : EPERM;
}

Context::StandIn::StandIn(Context& context)
    : context_(context),
      before_(context.stand_in_.exchange(this_thread(), std::memory_order_relaxed)) {}

void Context::on_events(tcp::Connection& c, uint8_t events) {
    const Connection handle(this, &c);
    // Any call may close the connection; then nothing more is told. The memory stands until the
    // end of the turn.
    const auto handler = [&] { return static_cast<ConnectionHandler*>(c.owner); };
    if ((events & tcp::Event::connected) != 0) handler()->on_connected(handle);
    if ((events & tcp::Event::soft_error) != 0 && c.attached)
        handler()->on_soft_error(handle, c.soft_error);
    // Before the data itself: a handler asks how much of it is urgent, then takes it.
    if ((events & tcp::Event::urgent) != 0 && c.attached) handler()->on_urgent(handle);
    if ((events & tcp::Event::readable) != 0 && c.attached) handler()->on_readable(handle);
    if ((events & tcp::Event::writable) != 0 && c.attached) handler()->on_writable(handle);
    if ((events & tcp::Event::closed) != 0 && c.attached)
        handler()->on_closed(handle, reason_of(c.error));
}

void Context::on_acceptable(tcp::Listener& listener) {
    static_cast<ListenHandler*>(listener.owner)->on_acceptable(Listener(this, &listener));
}

bool Context::on_turn() {
    return turn_handler_ != nullptr && turn_handler_->on_turn(facade_, stack_.env().now);
}

}  // namespace api

std::string_view to_string(CloseReason reason) {
    switch (reason) {
        case CloseReason::closed: return "closed";
        case CloseReason::reset: return "reset";
        case CloseReason::refused: return "refused";
        case CloseReason::timed_out: return "timed out";
        case CloseReason::unreachable: return "unreachable";
    }
    return "unknown";
}

Result<Listener> Stack::listen(const SocketAddress& local, ListenHandler& handler,
                               uint32_t backlog) {
    if (const int wrong = context_.check_thread()) return error(wrong);
    const auto listener = context_.stack().listen(local, backlog, &handler);
    if (!listener) return std::unexpected(listener.error());
    return Listener(&context_, *listener);
}

Result<Connection> Stack::connect(const SocketAddress& remote, ConnectionHandler& handler,
                                  const SocketAddress& local) {
    if (const int wrong = context_.check_thread()) return error(wrong);
    SocketAddress from = local;
    // "No address" is the unspecified one of either family.
    if (from.address.is_unspecified()) from.address = Address::any(remote.address.family());
    // Who names a port shares it with others who do.
    const auto connection = context_.stack().connect(remote, from, &handler,
                                                     {.reuse_address = local.port != 0});
    if (!connection) return std::unexpected(connection.error());
    return Connection(&context_, *connection);
}

Result<void> Stack::send_raw(const RawSegment& raw) {
    if (const int wrong = context_.check_thread()) return error(wrong);
    if (raw.source.address.family() != raw.destination.address.family()) return error(EINVAL);
    wire::Segment header;
    header.source_port = raw.source.port;
    header.destination_port = raw.destination.port;
    header.seq = Seq(raw.seq);
    header.ack = Seq(raw.ack);
    header.flags = raw.flags;
    header.window = raw.window;
    header.options.mss = raw.mss;
    return context_.stack().send_raw(raw.source.address, raw.destination.address, header);
}

Result<void> Stack::stop_listening() {
    if (const int wrong = context_.check_thread()) return error(wrong);
    context_.stack().stop_listening();
    return {};
}

Result<size_t> Stack::abort_all() {
    if (const int wrong = context_.check_thread()) return error(wrong);
    return context_.stack().abort_all();
}

Result<void> Stack::set_turn_handler(TurnHandler* handler) {
    if (const int wrong = context_.check_thread()) return error(wrong);
    context_.set_turn_handler(handler);
    return {};
}

Result<Buffer> Stack::buffer_from(const Region& region, size_t offset, size_t size) {
    if (const int wrong = context_.check_thread()) return error(wrong);
    return context_.stack().pools().region_buffer(region, offset, size);
}

bool Stack::poll_once(uint32_t bursts) {
    return context_.own() && context_.loop().turn(context_, bursts);
}

Instant Stack::next_deadline() { return context_.loop().next_deadline(); }
int Stack::wakeup_fd() const { return context_.loop().wakeup_fd(); }
bool Stack::prepare_sleep() { return context_.loop().prepare_sleep(); }

Instant Stack::now() const {
    api::Loop& loop = context_.loop();
    return loop.is_turning() ? context_.stack().env().now : loop.now();
}
uint16_t Stack::core() const { return context_.stack().core(); }

void Stack::counters(const CounterVisitor& visit) const {
    context_.stack().counters().for_each(visit);
}

void Stack::sockets(SocketCursor& cursor, const SocketFilter& filter,
                    std::vector<SocketRecord>& records) const {
    constexpr size_t buckets = 64;
    context_.stack().list(cursor, filter, buckets, records);
}

Stack::Population Stack::population() const {
    const auto population = context_.stack().population();
    return {population.connections, population.half_open, population.time_wait};
}

size_t Stack::buffers_available() const { return context_.stack().pools().available(); }
size_t Stack::buffers_capacity() const { return context_.stack().pools().capacity(); }

}  // namespace millrace
