// The native API for coroutines (C++20): one that waits costs its frame and nothing else.
//
// Purpose: servers and clients that read from top to bottom. Operations are awaited: they answer a
// `Result` when they are done, and may be bounded in time or cancelled:
//
//     Task<> echo(coro::Connection c) {
//         while (true) {
//             auto data = co_await c.read().within(60_s);
//             if (!data || data->empty()) co_return;       // an error, or the end of the stream
//             if (!co_await c.write(std::move(*data))) co_return;
//         }
//     }
//     Task<> serve(Stack& stack, coro::Scope& scope) {
//         coro::Listener listener;
//         if (!listener.listen(stack, {Address(), 7})) co_return;
//         while (auto c = co_await listener.accept()) scope.spawn(echo(std::move(*c)));
//     }
//
// A graceful end: `listener.stop()`, then a `Cancellation` that the reads name in which connections
// wait for their next request (they end with ECANCELED, and the coroutine closes), then
// `co_await scope.join(stack).within(10_s)`, for those that are still at work; what is left behind
// that, `Stack::abort_all` resets. `Runtime::drain` does the same for all cores.
//
// Owner: everything here belongs to the thread of its stack. A coroutine goes on within the
// application's turn of the loop. One operation of a kind (a read, a write, an accept) at a time;
// a second one answers EALREADY.
// Lifetime: an operation lives in the frame that awaits it; destroying the frame (a `Task`, a
// `Scope`) takes it back. Objects must outlive the operations on them, and end on their stack's
// thread, before the stack does.
// Cost: frames come from a pool of the thread, which keeps what it has had; nothing is allocated
// for an operation.
// Exceptions are the program's own: they pass to who awaits the task, and end the program where
// nobody does.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <string_view>
#include <utility>

#include <millrace/stack.h>
#include <millrace/timer.h>

namespace millrace::coro {

class Join;
class Operation;
class Scope;
template <typename T = void>
class Task;

namespace detail {

/// Frames of up to 4 KiB are kept for the next ones of their size, by the thread on which they
/// end, as long as that lives. Any thread.
void* allocate_frame(size_t size);
void release_frame(void* frame, size_t size) noexcept;

class PromiseBase {
public:
    static void* operator new(size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, size_t size) noexcept { release_frame(frame, size); }

    std::suspend_always initial_suspend() noexcept { return {}; }
    void unhandled_exception() {
        if (!continuation_) std::terminate();
        exception_ = std::current_exception();
    }

protected:
    struct Final {
        bool await_ready() noexcept { return false; }
        template <typename Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
            return ended.promise().end(ended);
        }
        void await_resume() noexcept {}
    };
    std::coroutine_handle<> end(std::coroutine_handle<> ended) noexcept;

    std::coroutine_handle<> continuation_;  ///< who awaits it
    std::exception_ptr exception_;

private:
    template <typename T>
    friend class coro::Task;
    friend class coro::Scope;

    // In a scope, among its others.
    Scope* scope_ = nullptr;
    PromiseBase* next_ = nullptr;
    PromiseBase* previous_ = nullptr;
    std::coroutine_handle<> self_;
};

template <typename T>
class Promise final : public PromiseBase {
public:
    Task<T> get_return_object();
    Final final_suspend() noexcept { return {}; }
    template <typename Value>
    void return_value(Value&& value) {
        value_.emplace(std::forward<Value>(value));
    }
    T take() {
        if (exception_) std::rethrow_exception(exception_);
        return std::move(*value_);
    }

private:
    std::optional<T> value_;
};

template <>
class Promise<void> final : public PromiseBase {
public:
    Task<void> get_return_object();
    Final final_suspend() noexcept { return {}; }
    void return_void() {}
    void take() {
        if (exception_) std::rethrow_exception(exception_);
    }
};

}  // namespace detail

/// A coroutine that begins when it is awaited, or spawned in a scope. Owns its frame.
template <typename T>
class [[nodiscard]] Task {
public:
    /// For the compiler.
    using promise_type = detail::Promise<T>;

    /// The frame changes hands.
    Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    /// The frames change hands.
    Task& operator=(Task&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~Task() {
        if (frame_) frame_.destroy();
    }

    /// It has not begun.
    bool await_ready() const noexcept { return false; }
    /// It begins; `by` goes on when it has ended.
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> by) noexcept {
        frame_.promise().continuation_ = by;
        return frame_;
    }
    /// What it has answered, or thrown.
    T await_resume() { return frame_.promise().take(); }

private:
    friend promise_type;
    friend class Scope;
    explicit Task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};

template <typename T>
Task<T> detail::Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> detail::Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

/// Owns coroutines that nobody awaits. Those that end leave it; it destroys the others when it is
/// destroyed, wherever they wait. Not from within one of them.
class Scope {
public:
    Scope() = default;
    ~Scope() { clear(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    /// Begins at once; returns when it waits for the first time, or has ended. On the thread of
    /// the stack that the task uses.
    void spawn(Task<void> task);
    /// Destroys what is left.
    void clear();
    /// Waits until all have ended, or were destroyed. For one who is not in it.
    Join join(Stack& stack);
    /// How many have not ended.
    size_t size() const { return size_; }

private:
    friend class detail::PromiseBase;
    friend class Join;
    void remove(detail::PromiseBase& promise);

    detail::PromiseBase* first_ = nullptr;
    size_t size_ = 0;
    Operation* joiner_ = nullptr;
};

/// Ends operations that name it, those that wait and those that come: ECANCELED.
class Cancellation {
public:
    Cancellation() = default;
    /// Operations that name it must have ended.
    ~Cancellation() {
        if (destroyed_ != nullptr) *destroyed_ = true;
    }
    Cancellation(const Cancellation&) = delete;
    Cancellation& operator=(const Cancellation&) = delete;

    /// Who waits goes on within this call, with ECANCELED; it may destroy this.
    void cancel();
    /// It was called.
    bool is_cancelled() const { return cancelled_; }

private:
    friend class Operation;
    bool* destroyed_ = nullptr;  ///< told when it is, while `cancel` runs
    Operation* first_ = nullptr;
    bool cancelled_ = false;
};

/// What is awaited: in the awaiting frame, until it is done.
class Operation {
public:
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

protected:
    /// `place` says that one of this kind waits, where there is such a place.
    Operation(Stack* stack, Operation** place) : stack_(stack), place_(place) {}
    virtual ~Operation() { leave(); }

    /// Tries to get done; true where it is, with an error perhaps.
    virtual bool attempt() = 0;
    /// Ends it with an errno, unless it is done.
    void interrupt(int error);

    /// True where there is nothing to wait for.
    bool begin();
    /// `by` goes on when it is done.
    void wait(std::coroutine_handle<> by);
    /// How long it may wait.
    void set_timeout(Duration time);
    /// What else ends it.
    void set_cancellation(Cancellation& cancellation) { cancellation_ = &cancellation; }
    /// What has ended it before it was done; 0: nothing.
    int interrupted() const { return interrupted_; }

    Stack* const stack_;  ///< null where it belongs to none

private:
    friend class Cancellation;
    friend class Connection;
    friend class Listener;
    friend class Scope;
    friend class detail::PromiseBase;
    /// Something has happened: it may be done now.
    void notify() {
        if (waiting_ && attempt()) resume();
    }
    void resume();
    void leave();

    Operation** const place_;
    std::coroutine_handle<> waiting_;
    std::optional<Timer> timer_;
    std::optional<Duration> timeout_;
    Cancellation* cancellation_ = nullptr;
    Operation* next_ = nullptr;      ///< of those that name the cancellation and wait
    Operation* previous_ = nullptr;
    int interrupted_ = 0;
};

/// What all operations of the public kinds can be told before they are awaited.
template <typename Derived>
class Awaitable : public Operation {
public:
    /// At most so long: ETIMEDOUT, and nobody waits any more. An attempt to connect is given up.
    Derived& within(Duration time) {
        set_timeout(time);
        return static_cast<Derived&>(*this);
    }
    /// Not beyond this: ECANCELED. It must outlive the operation.
    Derived& unless(Cancellation& cancellation) {
        set_cancellation(cancellation);
        return static_cast<Derived&>(*this);
    }

    /// Looks at the operation where it is: it cannot be moved.
    struct Awaiter {
        Awaitable& operation;                                   ///< it
        bool await_ready() { return operation.begin(); }        ///< tries
        void await_suspend(std::coroutine_handle<> by) { operation.wait(by); }  ///< waits
        auto await_resume() { return static_cast<Derived&>(operation).result(); }  ///< answers
    };
    /// `co_await`.
    Awaiter operator co_await() { return {*this}; }

private:
    friend Derived;
    Awaitable(Stack* stack, Operation** place) : Operation(stack, place) {}
};

class Read;
class Write;

/// One connection. Moving it is for when no operation waits on it. Its end is a `close`: what was
/// written still arrives.
class Connection final : private ConnectionHandler {
public:
    Connection() = default;
    /// Takes it over, with what it has not read; the other is none then.
    Connection(Connection&& other) noexcept;
    /// Closes its own, and takes the other's over.
    Connection& operator=(Connection&& other) noexcept;
    ~Connection() override;

    /// What has arrived, without a copy; an empty chain: the peer has closed its side. The window
    /// opens for what a read has answered when the next one begins. ECONNRESET and the other ends.
    Read read();
    /// Takes all of it, without a copy. Waits while the send buffer is full. EPIPE, ECONNRESET and
    /// the other ends.
    Write write(BufferChain data);
    /// The same of one slice.
    Write write(Buffer data);
    /// Copies, as there is room. One that ends before all was taken has sent a part: see `written`.
    Write write(std::span<const std::byte> data);
    /// The same of text.
    Write write(std::string_view data);
    /// How many bytes have been taken by all writes so far.
    uint64_t written() const { return written_; }

    /// A FIN follows what was written. ENOTCONN.
    Result<void> shutdown();
    /// Lets go: what was written still arrives. An operation that waits ends with EBADF.
    void close();
    /// Resets. An operation that waits ends with EBADF.
    void abort();
    /// For options and addresses; null after its end.
    millrace::Connection native() const { return connection_; }

private:
    friend class Accept;
    friend class Connect;
    friend class Read;
    friend class Write;
    void on_connected(millrace::Connection) override;
    void on_readable(millrace::Connection) override;
    void on_writable(millrace::Connection) override;
    void on_closed(millrace::Connection, CloseReason) override;
    void adopt(Stack& stack, millrace::Connection connection);
    void wake_all();

    Stack* stack_ = nullptr;
    millrace::Connection connection_;
    BufferChain rest_;         ///< what had arrived when it ended
    size_t unconsumed_ = 0;    ///< of what the last read has answered
    uint64_t written_ = 0;
    int error_ = EBADF;        ///< errno of its end; there is none yet where it has not begun
    Operation* opener_ = nullptr;
    Operation* reader_ = nullptr;
    Operation* writer_ = nullptr;
    bool* destroyed_ = nullptr;  ///< told when it is, while coroutines go on
};

/// `co_await connection.read()`.
class [[nodiscard]] Read final : public Awaitable<Read> {
public:
    /// What the await answers.
    Result<BufferChain> result();

private:
    friend class Connection;
    explicit Read(Connection& connection)
        : Awaitable(connection.stack_, &connection.reader_), connection_(connection) {}
    bool attempt() override;

    Connection& connection_;
    Result<BufferChain> result_;
};

/// `co_await connection.write(...)`.
class [[nodiscard]] Write final : public Awaitable<Write> {
public:
    /// What the await answers.
    Result<void> result();

private:
    friend class Connection;
    Write(Connection& connection, BufferChain data, std::span<const std::byte> copied)
        : Awaitable(connection.stack_, &connection.writer_),
          connection_(connection),
          data_(std::move(data)),
          copied_(copied) {}
    bool attempt() override;

    Connection& connection_;
    BufferChain data_;
    std::span<const std::byte> copied_;
    int error_ = 0;
};

/// Opens a connection: `co_await connect(stack, remote).within(5_s)`. Errors as `Stack::connect`
/// and those of the attempt: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH and what else ICMP says.
class [[nodiscard]] Connect final : public Awaitable<Connect> {
public:
    /// `local` may name an address, a port, both or neither.
    Connect(Stack& stack, const SocketAddress& remote, const SocketAddress& local = {})
        : Awaitable(&stack, nullptr), remote_(remote), local_(local) {}
    /// What the await answers.
    Result<Connection> result();

private:
    bool attempt() override;

    const SocketAddress remote_, local_;
    Connection connection_;
    bool begun_ = false;
    int error_ = 0;
};
inline Connect connect(Stack& stack, const SocketAddress& remote,
                       const SocketAddress& local = {}) {
    return {stack, remote, local};
}

class Accept;

/// A listener; its address is kept by the stack while it listens.
class Listener final : private ListenHandler {
public:
    Listener() = default;
    ~Listener() { close(); }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// Errors as `Stack::listen`; EINVAL where it listens already.
    Result<void> listen(Stack& stack, const SocketAddress& local, uint32_t backlog = 4096);
    /// The connection that has waited longest. EBADF where nobody listens (any more).
    Accept accept();
    /// `millrace::Listener::stop`, for a graceful end: `accept` still answers what was under way.
    /// EBADF.
    Result<void> stop() { return listener_.stop(); }
    /// Connections that nobody has accepted are reset.
    void close();
    /// For options and its address; null where nobody listens.
    millrace::Listener native() const { return listener_; }

private:
    friend class Accept;
    void on_acceptable(millrace::Listener) override;

    Stack* stack_ = nullptr;
    millrace::Listener listener_;
    Operation* acceptor_ = nullptr;
};

/// `co_await listener.accept()`.
class [[nodiscard]] Accept final : public Awaitable<Accept> {
public:
    /// What the await answers.
    Result<Connection> result();

private:
    friend class Listener;
    explicit Accept(Listener& listener)
        : Awaitable(listener.stack_, &listener.acceptor_), listener_(listener) {}
    bool attempt() override;

    Listener& listener_;
    Connection connection_;
    int error_ = 0;
};

/// `co_await scope.join(stack)`.
class [[nodiscard]] Join final : public Awaitable<Join> {
public:
    /// What the await answers.
    Result<void> result();

private:
    friend class Scope;
    Join(Stack& stack, Scope& scope) : Awaitable(&stack, &scope.joiner_), scope_(scope) {}
    bool attempt() override { return scope_.size() == 0; }

    Scope& scope_;
};
inline Join Scope::join(Stack& stack) { return {stack, *this}; }

/// `co_await sleep(stack, 100_ms)`; ECANCELED, EPERM.
class [[nodiscard]] Sleep final : public Awaitable<Sleep> {
public:
    /// Not shorter than `time`, and up to 65.5 us longer.
    Sleep(Stack& stack, Duration time) : Awaitable(&stack, nullptr) { set_timeout(time); }
    /// It has a time already.
    Sleep& within(Duration) = delete;
    /// What the await answers.
    Result<void> result();

private:
    bool attempt() override { return false; }
};
inline Sleep sleep(Stack& stack, Duration time) { return {stack, time}; }

}  // namespace millrace::coro
