// The sockets of one context: descriptors, and the calls that wait.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "api/epoll.h"
#include "api/datagram_socket.h"
#include "api/stream_socket.h"

namespace millrace::api {

/// What a descriptor is: a socket or an epoll set.
struct Descriptor {
    std::unique_ptr<Pollable> pollable;  ///< null: free
    Socket* socket = nullptr;
    Epoll* epoll = nullptr;
};

/// What is sent in slices: one after the other.
class SliceSource {
public:
    /// The next that is to be sent; an empty one at the end. ENOBUFS where it takes a buffer that
    /// is not there yet.
    virtual Result<Buffer> next() = 0;
    /// The slice that `next` gave last has been taken, or comes back.
    virtual void taken(size_t bytes) = 0;
    virtual void refused(Buffer slice) = 0;

protected:
    ~SliceSource() = default;
};

/// Owned by one context's thread. What waits turns the loop meanwhile; called from within a turn
/// (a callback of the native API), it would wait for itself: EDEADLK.
class Sockets {
public:
    explicit Sockets(Stack& stack) : context_(stack.context_) {}
    /// Closes what is open, and gives what was sent a moment to leave.
    ~Sockets();
    Sockets(const Sockets&) = delete;
    Sockets& operator=(const Sockets&) = delete;

    /// A new socket's descriptor, of SOCK_STREAM or SOCK_DGRAM. EMFILE, ENOBUFS.
    Result<int> open(int family, int type, bool non_blocking);
    Result<int> open_epoll();
    /// EBADF.
    Result<const Descriptor*> find_any(int descriptor) const;
    /// EBADF, ENOTSOCK.
    Result<Socket*> find(int descriptor) const;
    Result<int> accept(int descriptor, bool non_blocking);
    Result<void> connect(Socket& socket, const SocketAddress& address, InterfaceIndex scope);
    /// MSG_DONTWAIT, MSG_MORE, MSG_OOB.
    Result<size_t> send(StreamSocket& socket, Pieces data, int flags);
    /// All that `source` has, without a copy: MSG_DONTWAIT, MSG_MORE.
    Result<size_t> send_slices(StreamSocket& socket, SliceSource& source, int flags);
    /// MSG_DONTWAIT.
    Result<size_t> receive_slices(StreamSocket& socket, std::span<Buffer> into, size_t& count,
                                  int flags);
    /// MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_OOB.
    Result<size_t> receive(StreamSocket& socket, Pieces into, int flags);
    /// One datagram; `out` says where it goes. MSG_DONTWAIT, MSG_MORE.
    Result<size_t> send(DatagramSocket& socket, Pieces data, OutgoingDatagram& out, int flags);
    /// The next error of a datagram socket. EAGAIN: none, and nobody waits for one.
    Result<size_t> receive_error(DatagramSocket& socket, Pieces into, DatagramError& what);
    /// One datagram; `what` is all of it but the data. Answers its whole size. MSG_DONTWAIT,
    /// MSG_PEEK.
    Result<size_t> receive(DatagramSocket& socket, Pieces into, Datagram& what, int flags);
    Result<void> close(int descriptor);
    /// The first thread that calls owns the context; false on any other.
    bool own() { return context_.own(); }
    Loop& loop() { return context_.loop(); }
    Stack& stack() { return context_.facade(); }
    void look_at_clock() { context_.look_at_clock(); }
    /// EDEADLK.
    Result<bool> turn();
    /// Turns until `done`, for at most `limit` (zero: without end). False: the time is over.
    Result<bool> wait(Duration limit, const std::function<bool()>& done);

private:
    /// Tries `done`; where that is not enough, after one turn again, or (`waits`) as `wait` does.
    /// By reference, so that nothing is allocated.
    template <typename Done>
    Result<void> attempt(bool waits, Duration limit, Done&& done) {
        if (done()) return {};
        const auto turned = waits ? wait(limit, std::ref(done)) : turn();
        if (!turned) return std::unexpected(turned.error());
        if (!waits) done();
        return {};
    }

    /// Calls `step(over)`, which answers what it has sent, until it says that all is over.
    template <typename Step>
    Result<size_t> send_all(StreamSocket& socket, int flags, Step&& step);
    Result<int> add(Descriptor descriptor);

    static constexpr size_t descriptors_max = size_t{1} << 20;

    Context& context_;
    std::vector<Descriptor> table_;
    size_t lowest_free_ = 0;  ///< none below it is free
};

}  // namespace millrace::api
