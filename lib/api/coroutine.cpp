#include <millrace/coroutine.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>

#include "api/context.h"
#include "base/poison.h"

namespace millrace::coro {

namespace {

/// The frames that a thread has had and may have again, by size.
class FramePool {
public:
    static constexpr size_t step = 64;
    static constexpr size_t size_max = 4096;

    FramePool() { open = true; }
    ~FramePool() {
        open = false;
        for (size_t i = 0; i < free_.size(); ++i)
            while (free_[i] != nullptr) ::operator delete(take((i + 1) * step));
    }
    void* take(size_t size) {
        const size_t which = (size - 1) / step;
        Free*& list = free_[which];
        if (list == nullptr) return ::operator new((which + 1) * step);
        Free* const frame = std::exchange(list, list->next);
        unpoison(frame, (which + 1) * step);
        return frame;
    }
    void give(void* frame, size_t size) {
        const size_t which = (size - 1) / step;
        free_[which] = new (frame) Free{free_[which]};
        poison(free_[which] + 1, (which + 1) * step - sizeof(Free));
    }

    /// The thread's pool is there: frames may end after it, when the thread does.
    static thread_local bool open;

private:
    struct Free {
        Free* next;
    };
    std::array<Free*, size_max / step> free_{};
};

thread_local bool FramePool::open = false;

FramePool& frames() {
    static thread_local FramePool pool;
    return pool;
}

}  // namespace

void* detail::allocate_frame(size_t size) {
    return size > FramePool::size_max ? ::operator new(size) : frames().take(size);
}

void detail::release_frame(void* frame, size_t size) noexcept {
    if (size > FramePool::size_max || !FramePool::open)
        ::operator delete(frame);
    else
        frames().give(frame, size);
}

std::coroutine_handle<> detail::PromiseBase::end(std::coroutine_handle<> ended) noexcept {
    if (continuation_) return continuation_;
    if (Scope* const scope = scope_) {
        scope->remove(*this);
        ended.destroy();
        if (scope->joiner_ != nullptr) scope->joiner_->notify();
    }
    return std::noop_coroutine();
}

void Scope::spawn(Task<void> task) {
    const auto frame = std::exchange(task.frame_, nullptr);
    detail::PromiseBase& promise = frame.promise();
    promise.scope_ = this;
    promise.self_ = frame;
    promise.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &promise;
    first_ = &promise;
    ++size_;
    frame.resume();
}

void Scope::remove(detail::PromiseBase& promise) {
    if (promise.previous_ != nullptr)
        promise.previous_->next_ = promise.next_;
    else
        first_ = promise.next_;
    if (promise.next_ != nullptr) promise.next_->previous_ = promise.previous_;
    --size_;
}

void Scope::clear() {
    while (first_ != nullptr) {
        const auto frame = first_->self_;
        remove(*first_);
        frame.destroy();
    }
    if (joiner_ != nullptr) joiner_->notify();
}

void Cancellation::cancel() {
    cancelled_ = true;
    bool destroyed = false;
    bool* const outer = std::exchange(destroyed_, &destroyed);
    // Whoever goes on may begin another operation, which ends at once, or destroy others.
    while (!destroyed && first_ != nullptr) first_->interrupt(ECANCELED);
    if (!destroyed)
        destroyed_ = outer;
    else if (outer != nullptr)
        *outer = true;
}

bool Operation::begin() {
    interrupted_ = 0;
    next_ = previous_ = nullptr;
    if (stack_ != nullptr && api::Context::of(*stack_).check_thread() != 0) {
        interrupted_ = EPERM;
        return true;
    }
    if (place_ != nullptr && *place_ != nullptr) {
        interrupted_ = EALREADY;
        return true;
    }
    if (cancellation_ != nullptr && cancellation_->is_cancelled()) {
        interrupted_ = ECANCELED;
        return true;
    }
    return attempt();
}

void Operation::wait(std::coroutine_handle<> by) {
    waiting_ = by;
    if (place_ != nullptr) *place_ = this;
    if (cancellation_ != nullptr) {
        next_ = std::exchange(cancellation_->first_, this);
        if (next_ != nullptr) next_->previous_ = this;
    }
    if (!timeout_) return;
    timer_.emplace([this] { interrupt(ETIMEDOUT); });
    static_cast<void>(timer_->start(*stack_, std::max(*timeout_, Duration())));
}

void Operation::set_timeout(Duration time) { timeout_ = time; }

void Operation::leave() {
    if (!waiting_) return;
    waiting_ = nullptr;
    timer_.reset();
    if (place_ != nullptr) *place_ = nullptr;
    if (cancellation_ == nullptr) return;
    (previous_ != nullptr ? previous_->next_ : cancellation_->first_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
}

void Operation::resume() {
    const auto waiting = waiting_;
    leave();
    waiting.resume();
}

void Operation::interrupt(int error) {
    interrupted_ = error;
    resume();
}

Connection::Connection(Connection&& other) noexcept { *this = std::move(other); }

Connection& Connection::operator=(Connection&& other) noexcept {
    if (this == &other) return *this;
    close();
    stack_ = other.stack_;
    connection_ = std::exchange(other.connection_, {});
    rest_ = std::move(other.rest_);
    unconsumed_ = std::exchange(other.unconsumed_, 0);
    written_ = other.written_;
    error_ = std::exchange(other.error_, EBADF);
    if (connection_) static_cast<void>(connection_.set_handler(*this));
    return *this;
}

Connection::~Connection() {
    if (destroyed_ != nullptr) *destroyed_ = true;
    if (connection_) static_cast<void>(connection_.close());
}

void Connection::adopt(Stack& stack, millrace::Connection connection) {
    stack_ = &stack;
    connection_ = connection;
    error_ = 0;
}

Read Connection::read() { return Read(*this); }
Write Connection::write(BufferChain data) { return Write(*this, std::move(data), {}); }
Write Connection::write(Buffer data) {
    BufferChain chain;
    chain.append(std::move(data));
    return write(std::move(chain));
}
Write Connection::write(std::span<const std::byte> data) { return Write(*this, {}, data); }
Write Connection::write(std::string_view data) {
    return write(std::as_bytes(std::span(data.data(), data.size())));
}

Result<void> Connection::shutdown() {
    if (!connection_) return error(ENOTCONN);
    return connection_.shutdown();
}

void Connection::close() {
    if (connection_) static_cast<void>(connection_.close());
    connection_ = {};
    rest_.clear();
    error_ = EBADF;
    wake_all();
}

void Connection::abort() {
    if (connection_) static_cast<void>(connection_.abort());
    connection_ = {};
    rest_.clear();
    error_ = EBADF;
    wake_all();
}

/// Each finds out for itself. Whoever goes on may destroy this.
void Connection::wake_all() {
    bool destroyed = false;
    bool* const outer = std::exchange(destroyed_, &destroyed);
    for (Operation** waiting : {&opener_, &reader_, &writer_}) {
        if (*waiting != nullptr) (*waiting)->notify();
        if (!destroyed) continue;
        if (outer != nullptr) *outer = true;
        return;
    }
    destroyed_ = outer;
}

void Connection::on_connected(millrace::Connection) {
    if (opener_ != nullptr) opener_->notify();
}

void Connection::on_readable(millrace::Connection) {
    if (reader_ != nullptr) reader_->notify();
}

void Connection::on_writable(millrace::Connection) {
    if (writer_ != nullptr) writer_->notify();
}

void Connection::on_closed(millrace::Connection c, CloseReason) {
    rest_ = c.receive();
    error_ = c.socket_error();
    connection_ = {};
    wake_all();
}

bool Read::attempt() {
    Connection& c = connection_;
    const size_t done = std::exchange(c.unconsumed_, 0);
    if (c.connection_) {
        if (done > 0) static_cast<void>(c.connection_.consumed(done));
        result_ = c.connection_.receive();
        c.unconsumed_ = result_->size();
        return !result_->empty() || c.connection_.at_end();
    }
    if (c.rest_.empty() && c.error_ != 0)
        result_ = error(c.error_);
    else
        result_ = std::exchange(c.rest_, {});
    return true;
}

Result<BufferChain> Read::result() {
    if (interrupted() != 0) return error(interrupted());
    return std::move(result_);
}

bool Write::attempt() {
    Connection& c = connection_;
    while (!data_.empty() || !copied_.empty()) {
        if (!c.connection_) {
            error_ = c.error_ != 0 ? c.error_ : EPIPE;
            return true;
        }
        const bool copies = data_.empty();
        const auto taken = copies ? c.connection_.send(copied_) : c.connection_.send(data_);
        if (!taken) {
            error_ = taken.error().value;
            return error_ != EAGAIN && error_ != ENOBUFS;
        }
        c.written_ += *taken;
        if (copies) copied_ = copied_.subspan(*taken);
    }
    error_ = 0;
    return true;
}

Result<void> Write::result() {
    if (const int why = interrupted() != 0 ? interrupted() : error_) return error(why);
    return {};
}

bool Connect::attempt() {
    if (begun_) {  // it is over, one way or the other
        error_ = connection_.error_;
        return true;
    }
    begun_ = true;
    connection_.opener_ = this;
    const auto made = stack_->connect(remote_, connection_, local_);
    if (made)
        connection_.adopt(*stack_, *made);
    else
        error_ = made.error().value;
    return !made;
}

Result<Connection> Connect::result() {
    connection_.opener_ = nullptr;
    begun_ = false;
    const int why = interrupted() != 0 ? interrupted() : std::exchange(error_, 0);
    if (why == 0) return std::move(connection_);
    connection_.close();  // an attempt that nobody waits for any more
    return error(why);
}

Result<void> Listener::listen(Stack& stack, const SocketAddress& local, uint32_t backlog) {
    if (listener_) return error(EINVAL);
    const auto made = stack.listen(local, *this, backlog);
    if (!made) return std::unexpected(made.error());
    stack_ = &stack;
    listener_ = *made;
    return {};
}

Accept Listener::accept() { return Accept(*this); }

void Listener::close() {
    if (!listener_) return;
    static_cast<void>(std::exchange(listener_, {}).close());
    if (acceptor_ != nullptr) acceptor_->notify();
}

void Listener::on_acceptable(millrace::Listener) {
    if (acceptor_ != nullptr) acceptor_->notify();
}

bool Accept::attempt() {
    if (!listener_.listener_) {
        error_ = EBADF;
        return true;
    }
    const auto accepted = listener_.listener_.accept(connection_);
    if (accepted) connection_.adopt(*stack_, *accepted);
    return accepted.has_value();
}

Result<Connection> Accept::result() {
    if (const int why = interrupted() != 0 ? interrupted() : error_) return error(why);
    return std::move(connection_);
}

Result<void> Join::result() {
    if (interrupted() != 0) return error(interrupted());
    return {};
}

Result<void> Sleep::result() {
    if (interrupted() == ETIMEDOUT) return {};
    return error(interrupted());
}

}  // namespace millrace::coro
