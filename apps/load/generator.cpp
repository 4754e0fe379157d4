#include "load/generator.h"

#include <algorithm>

namespace millrace::apps {

namespace {

uint64_t seed() {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
}

/// The rates at which connections begin by a schedule; none where they are simply kept.
std::vector<RatePiece> connect_pieces(const Plan& plan) {
    if (plan.mode == Mode::cps) return plan.pieces();
    const double seconds = plan.connections / plan.rate;
    if (plan.mode == Mode::concurrent) return {{seconds, plan.rate, plan.rate}};
    return {};
}

std::vector<RatePiece> request_pieces(const Plan& plan) {
    if (plan.mode == Mode::rps) return plan.pieces();
    const double seconds = plan.uncounted_seconds() + plan.counted_seconds();
    if (plan.mode == Mode::concurrent) return {{seconds, plan.trickle, plan.trickle}};
    return {};
}

}  // namespace

Generator::Generator(Stack& stack, const Plan& plan, uint16_t index, uint16_t count,
                     std::unique_ptr<TlsContext> tls)
    : stack_(stack),
      plan_(plan),
      exchanges_(plan, seed()),
      tls_(std::move(tls)),
      random_(seed()) {
    const uint32_t share =
        plan.connections / count + (index < plan.connections % count ? 1 : 0);
    const double part = static_cast<double>(share) / plan.connections;
    const double phase = static_cast<double>(index) / count;
    // Connections that are to stand come evenly: a number by chance would not be all of them.
    const Arrivals arrivals = plan.mode == Mode::concurrent ? Arrivals::even : plan.arrivals;
    connects_ = Schedule(connect_pieces(plan), part, phase, arrivals, seed());
    requests_ = Schedule(request_pieces(plan), part, phase, plan.arrivals, seed());
    SessionOwner& owner = *this;
    for (uint32_t i = 0; i < share; ++i) {
        if (plan.protocol == Protocol::udp)
            sessions_.push_back(std::make_unique<DatagramSession>(owner));
        else
            sessions_.push_back(std::make_unique<StreamSession>(owner));
        closed_.push_back(sessions_.back().get());
    }
}

void Generator::open() {
    if (plan_.mode == Mode::concurrent)
        connects_.begin(stack_.now());
    else if (plan_.connections_stand())
        wanted_ = static_cast<uint32_t>(sessions_.size());
}

bool Generator::is_open() const {
    if (!plan_.connections_stand()) return true;
    return tried_ == sessions_.size();
}

void Generator::begin() {
    begun_ = true;
    wanted_ = static_cast<uint32_t>(plan_.mode == Mode::cps ? 0 : sessions_.size());
    if (plan_.mode == Mode::cps) connects_.begin(stack_.now());
    if (is_scheduled()) {
        requests_.begin(stack_.now());
        return;
    }
    for (const auto& session : sessions_) ask_next(*session);
}

void Generator::stop() {
    // What is due has its chance; more than that the generator was not able to do.
    const Instant now = stack_.now();
    run_connects(now);
    run_requests(now);
    stopping_ = true;
    for (Schedule* schedule : {&connects_, &requests_}) {
        for (size_t i = 0; i < backlog_max && schedule->next() <= now; ++i) {
            late(schedule->take(), now);
            ++figures_->skipped;
        }
        schedule->end();
    }
    behind_ = backlog_.size();
    wanted_ = 0;
    // Who has had to wait is served yet, and connections of a schedule end by themselves.
    if (!backlog_.empty() || plan_.mode == Mode::cps) return;
    for (const auto& session : sessions_)
        if (session->standing) session->finish();
}

void Generator::abandon() {
    figures_->unsent += backlog_.size();
    backlog_.clear();
    for (const auto& session : sessions_)
        if (session->standing) session->abandon();
    standing_ = 0;
    established_ = 0;
}

std::unique_ptr<Figures> Generator::exchange(std::unique_ptr<Figures> empty) {
    return std::exchange(figures_, std::move(empty));
}

bool Generator::on_turn(Stack&, Instant now) {
    bool busy = open_waiting();
    if (stopping_) return busy;
    busy |= run_connects(now);
    busy |= open_missing(now);
    busy |= run_requests(now);
    return busy;
}

/// Connections of a schedule that had to wait for the end of others.
bool Generator::open_waiting() {
    const auto may = [&] {
        return !backlog_.empty() && !closed_.empty() && stack_.now() >= opening_again_;
    };
    if (plan_.mode != Mode::cps || !may()) return false;
    for (uint32_t i = 0; i < due_max && may(); ++i) {
        const Instant intended = backlog_.front();
        backlog_.pop_front();
        open_one(intended);
    }
    return true;
}

/// Connections that are to stand and do not: new ones, or those that have ended.
bool Generator::open_missing(Instant now) {
    if (standing_ >= wanted_ || now < opening_again_) return false;
    bool any = false;
    while (standing_ < wanted_ && opening_ < opening_max && now >= opening_again_ &&
           !closed_.empty()) {
        open_one(now);
        any = true;
    }
    return any;
}

bool Generator::run_connects(Instant now) {
    if (connects_.next() > now) return false;
    for (uint32_t i = 0; i < due_max && connects_.next() <= now; ++i) {
        const Instant intended = connects_.take();
        late(intended, now);
        if (plan_.mode == Mode::concurrent) {
            wanted_ = std::min(wanted_ + 1, static_cast<uint32_t>(sessions_.size()));
        } else if (closed_.empty() || !backlog_.empty()) {
            keep_for_later(intended);
        } else {
            open_one(intended);
        }
    }
    return true;
}

/// One that has no connection gets one.
void Generator::open_one(Instant intended) {
    Session& session = *closed_.back();
    closed_.pop_back();
    session.standing = true;
    ++standing_;
    ++opening_;
    session.open(intended);
}

bool Generator::run_requests(Instant now) {
    if (requests_.next() > now) return false;
    for (uint32_t i = 0; i < due_max && requests_.next() <= now; ++i) {
        const Instant intended = requests_.take();
        late(intended, now);
        Session* session = plan_.mode == Mode::concurrent ? any_with_room() : take_listed();
        if (session == nullptr) {
            keep_for_later(intended);
            continue;
        }
        session->ask(intended);
        if (session->has_room()) list(*session);
    }
    return true;
}

void Generator::keep_for_later(Instant intended) {
    if (backlog_.size() < backlog_max)
        backlog_.push_back(intended);
    else
        ++figures_->unsent;
}

/// The session that has had room for longest.
Session* Generator::take_listed() {
    while (!listed_.empty()) {
        Session* session = listed_.front();
        listed_.pop_front();
        session->listed = false;
        if (session->has_room()) return session;
    }
    return nullptr;
}

/// Any of all, so that each connection has the same chance; or else one that has room for certain.
Session* Generator::any_with_room() {
    for (int attempts = 0; attempts < 8; ++attempts) {
        Session& session = *sessions_[random_() % sessions_.size()];
        if (session.has_room()) return &session;
    }
    return take_listed();
}

void Generator::list(Session& session) {
    if (std::exchange(session.listed, true)) return;
    listed_.push_back(&session);
}

SocketAddress Generator::next_source() {
    SocketAddress from{Address::any(plan_.target.address.family()), 0};
    if (!plan_.sources.empty())
        from.address = plan_.sources[next_source_++ % plan_.sources.size()];
    return from;
}

void Generator::on_open(Session& session) {
    session.is_open = true;
    --opening_;
    ++established_;
    tried(session);
    ask_next(session);
}

void Generator::on_room(Session& session) {
    if (plan_.think_ms > 0 && !stopping_) return session.think();
    ask_next(session);
}

/// As much as it has room for: of what had to wait, or whatever it wants where no schedule says.
void Generator::ask_next(Session& session) {
    while (session.has_room()) {
        Instant intended = stack_.now();
        if (!backlog_.empty() && is_scheduled()) {
            intended = backlog_.front();
            backlog_.pop_front();
        } else if (stopping_ && plan_.mode != Mode::cps) {
            return session.finish();
        } else if (is_scheduled()) {
            return list(session);
        } else if (!begun_) {
            return;
        }
        session.ask(intended);
    }
}

void Generator::on_end(Session& session, bool failed) {
    session.standing = false;
    --standing_;
    closed_.push_back(&session);
    if (std::exchange(session.is_open, false))
        --established_;
    else
        --opening_;
    tried(session);
    // A connection that was of no use would be of none at once.
    const Instant now = stack_.now();
    if (failed && !session.useful && opening_again_ <= now) opening_again_ = now + pause;
    if (plan_.output) {
        has_output_ = true;
        wanted_ = 0;
    }
}

void Generator::tried(Session& session) {
    if (!std::exchange(session.tried, true)) ++tried_;
}

}  // namespace millrace::apps
