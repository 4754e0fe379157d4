#include "load/filling.h"
#include "load/session.h"

namespace millrace::apps {

namespace {

LoadError error_of(CloseReason reason) {
    switch (reason) {
        case CloseReason::closed: return LoadError::closed_early;
        case CloseReason::reset: return LoadError::reset;
        case CloseReason::refused: return LoadError::refused;
        case CloseReason::timed_out: return LoadError::timed_out;
        case CloseReason::unreachable: return LoadError::unreachable;
    }
    return LoadError::bad_answer;
}

}  // namespace

StreamSession::StreamSession(SessionOwner& owner)
    : Session(owner), exchange_(owner.exchanges().make()) {}

void StreamSession::open(Instant intended) {
    intended_ = intended;
    opened_ = now();
    requests_ = 0;
    last_asked_ = finishing_ = first_byte_seen_ = useful = false;
    head_rest_.clear();
    filling_rest_ = 0;
    exchange_->restart();
    ++owner_.figures().attempted;
    const Plan& plan = owner_.plan();
    const auto made = owner_.stack().connect(plan.target, *this, owner_.next_source());
    if (!made) {
        const int why = made.error().value;
        return fail(why == EADDRNOTAVAIL ? LoadError::no_port
                    : why == ENOBUFS     ? LoadError::no_memory
                                         : LoadError::unreachable);
    }
    connection_ = *made;
    state_ = State::connecting;
    if (plan.dscp != 0) (void)connection_.set_dscp(plan.dscp);
    watch();
}

void StreamSession::on_connected(Connection c) {
    Figures& figures = owner_.figures();
    ++figures.established;
    figures.connect.add(now() - intended_);
    state_ = State::open;
    (void)c.set_no_delay(true);
    if (finishing_) return close_as_planned();
    owner_.on_open(*this);
}

bool StreamSession::has_room() const {
    return state_ == State::open && !last_asked_ && !finishing_ && head_rest_.empty() &&
           filling_rest_ == 0 && outstanding() < owner_.plan().pipeline;
}

void StreamSession::ask(Instant intended) {
    const uint64_t limit = owner_.plan().requests_per_connection;
    const Instant at = now();
    ++requests_;
    last_asked_ = is_stream() || (limit != 0 && requests_ == limit);
    const Request request = exchange_->next(last_asked_);
    // Where connections are what counts, the first request was intended when the connection was.
    const Mode mode = owner_.plan().mode;
    const bool with_connection = (mode == Mode::cps || mode == Mode::crr) && requests_ == 1;
    push({.intended = with_connection ? intended_ : intended,
          .begun = with_connection ? opened_ : at,
          .sent = at});
    filling_rest_ = request.filling;
    filling_at_ = 0;
    // Only what there is no room for is kept.
    std::span<const std::byte> head = request.head;
    if (const auto sent = head.empty() ? Result<size_t>(0) : connection_.send(head)) {
        owner_.figures().bytes_out += *sent;
        head = head.subspan(*sent);
    }
    head_rest_.assign(reinterpret_cast<const char*>(head.data()), head.size());
    if (head_rest_.empty()) send_rest();
    if (connection_ && !is_stream()) watch();
}

void StreamSession::send_rest() {
    while (connection_ && !head_rest_.empty()) {
        const auto sent = connection_.send(head_rest_);
        if (!sent) return;
        owner_.figures().bytes_out += *sent;
        head_rest_.erase(0, *sent);
    }
    while (connection_ && filling_rest_ > 0) {
        const auto sent = send_filling(owner_.stack(), connection_, filling_at_, filling_rest_);
        if (!sent) return;
        owner_.figures().bytes_out += *sent;
        filling_at_ += *sent;
        filling_rest_ -= *sent;
    }
    if (!connection_ || !is_stream() || finishing_ || owner_.plan().direction == Direction::down)
        return;
    const size_t sent = send_stream(owner_.stack(), connection_, filling_at_);
    owner_.figures().bytes_out += sent;
    filling_at_ += sent;
}

void StreamSession::on_writable(Connection) {
    send_rest();
    // An answer may have come before all of its request was gone.
    if (has_room()) owner_.on_room(*this);
}

void StreamSession::on_readable(Connection c) {
    BufferChain data = c.receive();
    const size_t size = data.size();
    owner_.figures().bytes_in += size;
    if (size > 0 && !is_stream()) take(c, std::move(data));
    if (connection_ != c) return;  // over, and perhaps there is another one already
    (void)c.consumed(size);
    if (c.at_end()) at_end();
}

void StreamSession::take(Connection c, BufferChain data) {
    for (Buffer buffer = data.pop_front(); !buffer.empty(); buffer = data.pop_front()) {
        std::span<const std::byte> piece = buffer.bytes();
        while (!piece.empty()) {
            if (outstanding() == 0) return fail(LoadError::bad_answer);  // nobody asked
            if (!std::exchange(first_byte_seen_, true))
                owner_.figures().first_byte.add(now() - asked(0).sent);
            const Taken taken = exchange_->take(piece);
            if (taken.bad) return fail(LoadError::bad_answer);
            piece = piece.subspan(taken.bytes);
            if (taken.complete) whole(taken);
            if (connection_ != c) return;
        }
    }
}

/// An answer is whole: the connection goes on, or ends as the plan has it.
void StreamSession::whole(const Taken& taken) {
    first_byte_seen_ = false;
    answered(0, taken.status);
    pop();
    if (!taken.keep) {
        // The server's last one: what was asked behind it has no answer.
        last_asked_ = true;
        if (outstanding() > 0) count_failure(LoadError::closed_early);
        forget_all();
    }
    const bool over = outstanding() == 0 && (last_asked_ || finishing_);
    if (over) return close_as_planned();
    if (has_room()) owner_.on_room(*this);
}

void StreamSession::close_as_planned() {
    // A server closes first where it has been told to.
    if (owner_.plan().closing == Closing::server && last_asked_ && !is_stream()) return end_later();
    ended(false);
}

/// The peer closes first.
void StreamSession::end_later() {
    state_ = State::ending;
    ending_ = now();
    watch();
}

void StreamSession::at_end() {
    if (state_ == State::ending) return ended(false);
    if (outstanding() > 0 && !is_stream()) {
        const Taken taken = exchange_->end();
        if (taken.bad) return fail(LoadError::closed_early);
        last_asked_ = true;
        answered(0, taken.status);
        pop();
        if (outstanding() > 0) count_failure(LoadError::closed_early);
        forget_all();
        return ended(false);
    }
    // A server may close a connection that it keeps for nobody, but not one that is to be held.
    const bool held = is_stream() || owner_.plan().mode == Mode::concurrent || requests_ == 0;
    if (held) return fail(LoadError::closed_early);
    ended(false);
}

void StreamSession::on_closed(Connection, CloseReason reason) {
    const bool was_open = state_ == State::open || state_ == State::ending;
    connection_ = {};
    if (was_open) ++owner_.figures().closed;
    const bool in_order =
        reason == CloseReason::closed && (state_ == State::ending || outstanding() == 0);
    state_ = State::closed;
    if (in_order && was_open) return ended(false);
    fail(error_of(reason));
}

void StreamSession::finish() {
    finishing_ = true;
    if (state_ == State::connecting || state_ == State::ending || outstanding() > 0) {
        if (!is_stream() || state_ != State::open) return;
        // What has been sent arrives, then the server closes, and is heard to the end.
        forget_all();
        (void)connection_.shutdown();
        return end_later();
    }
    if (state_ == State::open) close_as_planned();
}

void StreamSession::abandon() {
    if (state_ == State::closed) return;
    count_failure(LoadError::timed_out);
    forget_all();
    watch_no_more();
    if (state_ != State::connecting) ++owner_.figures().closed;
    state_ = State::closed;
    (void)std::exchange(connection_, {}).abort();
}

void StreamSession::fail(LoadError error) {
    count_failure(error);
    ended(true);
}

void StreamSession::ended(bool failed) {
    forget_all();
    watch_no_more();
    if (connection_) {
        if (state_ == State::open || state_ == State::ending) ++owner_.figures().closed;
        Connection c = std::exchange(connection_, {});
        const bool reset = failed || owner_.plan().closing == Closing::reset;
        (void)(reset ? c.abort() : c.close());
    }
    state_ = State::closed;
    owner_.on_end(*this, failed);
}

Instant StreamSession::waiting_since() const {
    if (state_ == State::connecting) return opened_;
    if (state_ == State::ending) return ending_;
    if (outstanding() > 0 && !is_stream()) return asked(0).sent;
    return Instant::never();
}

void StreamSession::on_timeout() { fail(LoadError::timed_out); }

}  // namespace millrace::apps
