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
    last_asked_ = finishing_ = server_ends_ = first_byte_seen_ = useful = false;
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
    channel_.open(*made);
    state_ = State::connecting;
    if (plan.dscp != 0) (void)channel_.connection().set_dscp(plan.dscp);
    watch();
}

void StreamSession::on_connected(Connection c) {
    Figures& figures = owner_.figures();
    ++figures.established;
    figures.connect.add(now() - intended_);
    (void)c.set_no_delay(true);
    TlsContext* tls = owner_.tls();
    if (tls == nullptr) return ready();
    state_ = State::securing;
    connected_ = now();
    if (counts_handshakes()) {
        // It asks for nothing else; and the connection stands, which the next one may wait for.
        ++requests_;
        last_asked_ = true;
        push({.intended = intended_, .begun = opened_, .sent = connected_});
        owner_.on_open(*this);
    }
    if (!channel_.secure(*tls)) return fail_tls();
    count_bytes();
}

/// The handshake of TLS is over.
void StreamSession::secured() {
    Figures& figures = owner_.figures();
    ++figures.handshakes;
    if (channel_.tls()->was_resumed()) ++figures.resumed;
    figures.handshake.add(now() - connected_);
    if (!counts_handshakes()) return ready();
    state_ = State::open;
    answered(0, 0);
    pop();
    close_as_planned();
}

void StreamSession::ready() {
    state_ = State::open;
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
    if (const auto sent = head.empty() ? Result<size_t>(0) : channel_.send(head))
        head = head.subspan(*sent);
    head_rest_.assign(reinterpret_cast<const char*>(head.data()), head.size());
    send_rest();
    if (channel_ && !is_stream()) watch();
}

void StreamSession::send_rest() {
    while (channel_ && !head_rest_.empty()) {
        const auto sent = channel_.send(std::as_bytes(std::span(head_rest_)));
        if (!sent && channel_.is_broken()) return fail_tls();
        if (!sent) break;
        head_rest_.erase(0, *sent);
    }
    while (channel_ && head_rest_.empty() && filling_rest_ > 0) {
        const auto sent = send_filling(owner_.stack(), channel_, filling_at_, filling_rest_);
        if (!sent && channel_.is_broken()) return fail_tls();
        if (!sent) break;
        filling_at_ += *sent;
        filling_rest_ -= *sent;
    }
    const bool streams = is_stream() && !finishing_ && owner_.plan().direction != Direction::down;
    if (channel_ && streams && head_rest_.empty() && filling_rest_ == 0)
        filling_at_ += send_stream(owner_.stack(), channel_, filling_at_);
    count_bytes();
}

void StreamSession::on_writable(Connection c) {
    const bool gone = channel_.flush();
    count_bytes();
    if (!gone) return;
    if (state_ == State::ending)
        say_end();
    else
        send_rest();
    // Until then TLS has taken nothing in, either.
    if (channel_.tls() != nullptr && channel_.connection() == c) on_readable(c);
    // An answer may have come before all of its request was gone.
    if (channel_.connection() == c && has_room()) owner_.on_room(*this);
}

void StreamSession::on_readable(Connection c) {
    if (is_stream()) {  // what it is does not matter, but how much
        (void)channel_.discard();
        count_bytes();
    } else if (!take_all(c)) {
        return;
    }
    if (state_ == State::ending ? c.at_end() : channel_.at_end()) return at_end();
    // What TLS could not send before it had received something.
    if (channel_.tls() != nullptr && state_ == State::open) send_rest();
}

/// Everything that has come. False where the connection is another, or none, behind it.
bool StreamSession::take_all(Connection c) {
    while (true) {
        const auto piece = channel_.input();
        count_bytes();
        if (state_ == State::securing && channel_.tls()->is_established()) {
            secured();
            if (channel_.connection() != c) return false;
        }
        if (!piece) {
            fail_tls();
            return false;
        }
        if (piece->empty()) return true;
        const size_t size = piece->size();
        if (!take(c, *piece)) return false;
        channel_.used(size);
    }
}

/// Of what the peer says. False where the connection is another, or none, behind it.
bool StreamSession::take(Connection c, std::span<const std::byte> piece) {
    while (!piece.empty()) {
        if (outstanding() == 0) {  // nobody asked
            fail(LoadError::bad_answer);
            return false;
        }
        if (!std::exchange(first_byte_seen_, true))
            owner_.figures().first_byte.add(now() - asked(0).sent);
        const Taken taken = exchange_->take(piece);
        if (taken.bad) {
            fail(LoadError::bad_answer);
            return false;
        }
        piece = piece.subspan(taken.bytes);
        if (taken.complete) whole(taken);
        if (channel_.connection() != c) return false;
    }
    return true;
}

/// An answer is whole: the connection goes on, or ends as the plan has it.
void StreamSession::whole(const Taken& taken) {
    first_byte_seen_ = false;
    answered(0, taken.status);
    pop();
    if (!taken.keep) {
        // The server's last one: what was asked behind it has no answer.
        last_asked_ = server_ends_ = true;
        if (outstanding() > 0) count_failure(LoadError::closed_early);
        forget_all();
    }
    const bool over = outstanding() == 0 && (last_asked_ || finishing_);
    if (over) return close_as_planned();
    if (has_room()) owner_.on_room(*this);
}

void StreamSession::close_as_planned() {
    const Closing closing = owner_.plan().closing;
    const bool told = last_asked_ && !is_stream() && !counts_handshakes();
    const bool tls = channel_.tls() != nullptr;
    if (closing == Closing::server && told) return end_later(Ending::await);
    if (closing == Closing::client && tls && server_ends_) return end_later(Ending::await);
    // To whom TLS says something at the end, it answers: that is to meet somebody, and a reset is
    // not to cut off what makes a handshake whole for the server.
    if (tls && (closing != Closing::reset || counts_handshakes()))
        return end_later(closing == Closing::client ? Ending::shut : Ending::notify);
    ended(false);
}

/// The peer's end is waited for.
void StreamSession::end_later(Ending how) {
    state_ = State::ending;
    how_ = how;
    ending_ = now();
    watch_no_more();  // a thought, perhaps
    watch();
    say_end();
}

/// What there is to say, as soon as there is room for it.
void StreamSession::say_end() {
    if (how_ == Ending::await || !channel_.finish()) return;
    count_bytes();
    if (how_ == Ending::shut) (void)channel_.connection().shutdown();
    how_ = Ending::await;
}

/// The peer has ended: by FIN, or through TLS by its close_notify.
void StreamSession::at_end() {
    if (state_ == State::ending) return ended(false);
    if (outstanding() > 0 && !is_stream()) {
        const Taken taken = channel_.ended_well() ? exchange_->end() : Taken{.bad = true};
        if (taken.bad) return fail(LoadError::closed_early);
        last_asked_ = true;
        answered(0, taken.status);
        pop();
        if (outstanding() > 0) count_failure(LoadError::closed_early);
        forget_all();
    } else if (is_stream() || owner_.plan().mode == Mode::concurrent || requests_ == 0) {
        // A server may close a connection that it keeps for nobody, but not one that is to be held.
        return fail(LoadError::closed_early);
    }
    // A close_notify from here would mostly meet a closed socket, and be answered by a reset.
    if (!channel_.connection().at_end()) return end_later(Ending::await);
    ended(false);
}

void StreamSession::on_closed(Connection, CloseReason reason) {
    const bool was_open = state_ == State::open || state_ == State::ending;
    count_bytes();
    channel_.release();
    if (stands()) ++owner_.figures().closed;
    const bool in_order =
        reason == CloseReason::closed && (state_ == State::ending || outstanding() == 0);
    state_ = State::closed;
    if (in_order && was_open) return ended(false);
    fail(error_of(reason));
}

void StreamSession::finish() {
    finishing_ = true;
    if (state_ != State::open) return;
    if (is_stream()) {
        // What has been sent arrives, then the server closes, and is heard to the end.
        forget_all();
        return end_later(Ending::shut);
    }
    if (outstanding() == 0) close_as_planned();
}

void StreamSession::abandon() {
    if (state_ == State::closed) return;
    if (!has_said_it_ends()) count_failure(LoadError::timed_out);
    forget_all();
    watch_no_more();
    if (stands()) ++owner_.figures().closed;
    state_ = State::closed;
    count_bytes();
    (void)channel_.release().abort();
}

void StreamSession::fail(LoadError error) {
    count_failure(error);
    ended(true);
}

/// The alert that says why must arrive: no reset follows it.
void StreamSession::fail_tls() {
    owner_.on_problem(channel_.tls()->problem());
    count_failure(LoadError::bad_tls);
    (void)channel_.flush();
    (void)channel_.discard();
    if (stands()) ++owner_.figures().closed;
    state_ = State::closed;
    count_bytes();
    (void)channel_.release().close();
    ended(true);
}

void StreamSession::ended(bool failed) {
    forget_all();
    watch_no_more();
    if (channel_) {
        if (stands()) ++owner_.figures().closed;
        const bool reset = failed || owner_.plan().closing == Closing::reset;
        count_bytes();
        Connection c = channel_.release();
        (void)(reset ? c.abort() : c.close());
    }
    state_ = State::closed;
    owner_.on_end(*this, failed);
}

Instant StreamSession::waiting_since() const {
    if (state_ == State::connecting || state_ == State::securing) return opened_;
    if (state_ == State::ending) return ending_;
    if (outstanding() > 0 && !is_stream()) return asked(0).sent;
    return Instant::never();
}

void StreamSession::on_timeout() {
    if (has_said_it_ends()) return ended(false);
    fail(LoadError::timed_out);
}

}  // namespace millrace::apps
