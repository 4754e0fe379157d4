#include "api/sockets.h"

#include <cerrno>

#include <millrace/socket.h>

namespace millrace::api {

Sockets::~Sockets() {
    table_.clear();
    constexpr Duration moment = Duration::from_ms(100);
    static_cast<void>(wait(moment, [&] {
        return context_.stack().population().connections == 0 && context_.stack().is_quiet();
    }));
}

Result<int> Sockets::add(Descriptor descriptor) {
    while (lowest_free_ < table_.size() && table_[lowest_free_].pollable != nullptr) ++lowest_free_;
    if (lowest_free_ == descriptors_max) return error(EMFILE);
    if (lowest_free_ == table_.size()) table_.emplace_back();
    table_[lowest_free_] = std::move(descriptor);
    return MR_DESCRIPTOR_MIN + static_cast<int>(lowest_free_);
}

Result<int> Sockets::open(int family, int type, bool non_blocking) {
    std::unique_ptr<Socket> socket;
    if (type == SOCK_DGRAM) {
        auto datagrams = DatagramSocket::open(context_, family);
        // What was closed is there again when the loop has turned.
        if (!datagrams && turn()) datagrams = DatagramSocket::open(context_, family);
        if (!datagrams) return std::unexpected(datagrams.error());
        socket = std::move(*datagrams);
    } else {
        socket = std::make_unique<StreamSocket>(context_, family);
    }
    socket->non_blocking = non_blocking;
    Socket* const known = socket.get();
    return add({.pollable = std::move(socket), .socket = known});
}

Result<int> Sockets::open_epoll() {
    auto epoll = std::make_unique<Epoll>();
    Epoll* const known = epoll.get();
    return add({.pollable = std::move(epoll), .epoll = known});
}

Result<const Descriptor*> Sockets::find_any(int descriptor) const {
    const auto index = static_cast<int64_t>(descriptor) - MR_DESCRIPTOR_MIN;
    if (index < 0 || index >= static_cast<int64_t>(table_.size())) return error(EBADF);
    const Descriptor& entry = table_[static_cast<size_t>(index)];
    if (entry.pollable == nullptr) return error(EBADF);
    return &entry;
}

Result<Socket*> Sockets::find(int descriptor) const {
    const auto entry = find_any(descriptor);
    if (!entry) return std::unexpected(entry.error());
    if ((*entry)->socket == nullptr) return error(ENOTSOCK);
    return (*entry)->socket;
}

Result<bool> Sockets::turn() {
    if (context_.loop().is_turning()) return error(EDEADLK);
    return context_.facade().poll_once();
}

Result<bool> Sockets::wait(Duration limit, const std::function<bool()>& done) {
    return context_.loop().wait(context_, limit, done);
}

Result<int> Sockets::accept(int descriptor, bool non_blocking) {
    const auto found = find(descriptor);
    if (!found) return std::unexpected(found.error());
    StreamSocket* const listener = (*found)->stream();
    if (listener == nullptr) return error(EOPNOTSUPP);
    const auto accepted = open(listener->family(), SOCK_STREAM, non_blocking);
    if (!accepted) return accepted;
    StreamSocket& socket = *(*find(*accepted))->stream();
    Result<void> answer;
    const auto tried = attempt(!listener->non_blocking, listener->receive_timeout(), [&] {
        return (answer = listener->accept(socket)).has_value() || answer.error() != EAGAIN;
    });
    if (!tried) answer = tried;
    if (answer) return accepted;
    static_cast<void>(close(*accepted));
    return std::unexpected(answer.error());
}

Result<void> Sockets::connect(Socket& socket, const SocketAddress& address,
                              InterfaceIndex scope) {
    const auto begun = socket.connect(address, scope);
    const bool pending = !begun && (begun.error() == EINPROGRESS || begun.error() == EALREADY);
    if (!pending || socket.non_blocking) return begun;
    Result<void> answer;
    const auto over = wait(socket.send_timeout(), [&] {
        return (answer = socket.finish_connect()).has_value() || answer.error() != EINPROGRESS;
    });
    if (!over) return std::unexpected(over.error());
    return answer;
}

template <typename Step>
Result<size_t> Sockets::send_all(StreamSocket& socket, int flags, Step&& step) {
    size_t sent = 0;
    Result<size_t> answer;
    const bool waits = (flags & MSG_DONTWAIT) == 0 && !socket.non_blocking;
    const bool more = (flags & MSG_MORE) != 0;
    if (more) socket.hold(true);
    const auto tried = attempt(waits, socket.send_timeout(), [&] {
        bool over = false;
        do {
            answer = step(over);
            if (!answer) return answer.error() != EAGAIN && answer.error() != ENOBUFS;
            sent += *answer;
        } while (*answer > 0 && !over);
        return over || !waits;
    });
    if (!more) socket.hold(false);
    if (!tried && sent == 0) return std::unexpected(tried.error());
    if (sent > 0 || answer) return sent;
    socket.told(answer.error().value);
    return error(answer.error() == ENOBUFS ? EAGAIN : answer.error().value);
}

Result<size_t> Sockets::send(StreamSocket& socket, Pieces data, int flags) {
    return send_all(socket, flags, [&](bool& over) {
        const auto answer = socket.send(data.front(), (flags & MSG_OOB) != 0);
        if (answer) data.advance(*answer);
        over = data.empty();
        return answer;
    });
}

Result<size_t> Sockets::send_slices(StreamSocket& socket, SliceSource& source, int flags) {
    return send_all(socket, flags, [&](bool& over) -> Result<size_t> {
        auto slice = source.next();
        if (!slice) {
            socket.wait_for_buffers();
            return std::unexpected(slice.error());
        }
        over = slice->empty();
        const auto answer = socket.send(std::move(*slice));
        if (!answer)
            source.refused(std::move(*slice));
        else
            source.taken(*answer);
        return answer;
    });
}

Result<size_t> Sockets::receive_slices(StreamSocket& socket, std::span<Buffer> into,
                                       size_t& count, int flags) {
    const bool waits = (flags & MSG_DONTWAIT) == 0 && !socket.non_blocking;
    Result<size_t> answer;
    const auto tried = attempt(waits, socket.receive_timeout(), [&] {
        answer = socket.receive_slices(into, count);
        return answer || answer.error() != EAGAIN;
    });
    if (!tried) return std::unexpected(tried.error());
    if (!answer) socket.told(answer.error().value);
    return answer;
}

Result<size_t> Sockets::receive(StreamSocket& socket, Pieces into, int flags) {
    const bool peek = (flags & MSG_PEEK) != 0;
    const bool urgent = (flags & MSG_OOB) != 0;
    const bool discard = (flags & MSG_TRUNC) != 0;
    // Nobody waits for urgent data; but the loop turns once, as in all that would answer EAGAIN.
    const bool waits = !urgent && (flags & MSG_DONTWAIT) == 0 && !socket.non_blocking;
    const size_t enough = (flags & MSG_WAITALL) != 0
                              ? into.size()
                              : std::min<size_t>(into.size(), socket.options().receive_low_water);
    size_t received = 0;
    Result<size_t> answer;
    const auto attempt_once = [&] {
        answer = urgent ? socket.receive_urgent(into, peek, discard)
                        : socket.receive(into, peek, discard);
        if (!answer) return answer.error() != EAGAIN && !(urgent && answer.error() == EINVAL);
        if (!peek) into.advance_over(*answer);
        received = peek ? *answer : received + *answer;
        return *answer == 0 || !waits || received >= enough ||
               socket.is_at_mark(peek ? received : 0) || (peek && socket.is_ended());
    };
    const auto tried = attempt(waits, socket.receive_timeout(), attempt_once);
    if (!tried && received == 0) return std::unexpected(tried.error());
    if (received > 0 || answer) return received;
    socket.told(answer.error().value);
    return std::unexpected(answer.error());
}

Result<size_t> Sockets::send(DatagramSocket& socket, Pieces data, OutgoingDatagram& out,
                             int flags) {
    const bool waits = (flags & MSG_DONTWAIT) == 0 && !socket.non_blocking;
    Result<size_t> answer;
    const auto tried = attempt(waits, socket.send_timeout(), [&] {
        answer = socket.send(data, out, (flags & MSG_MORE) != 0);
        return answer || answer.error() != EAGAIN;
    });
    if (!tried) return std::unexpected(tried.error());
    return answer;
}

Result<size_t> Sockets::receive_error(DatagramSocket& socket, Pieces into,
                                      DatagramError& what) {
    Result<size_t> answer;
    const auto tried = attempt(false, {}, [&] {
        answer = socket.receive_error(into, what);
        return answer || answer.error() != EAGAIN;
    });
    if (!tried) return std::unexpected(tried.error());
    return answer;
}

Result<size_t> Sockets::receive(DatagramSocket& socket, Pieces into, Datagram& what, int flags) {
    const bool waits = (flags & MSG_DONTWAIT) == 0 && !socket.non_blocking;
    Result<size_t> answer;
    const auto tried = attempt(waits, socket.receive_timeout(), [&] {
        answer = socket.receive(into, (flags & MSG_PEEK) != 0, what);
        return answer || answer.error() != EAGAIN || (waits && socket.is_shut_for_reading());
    });
    if (!tried) return std::unexpected(tried.error());
    // Linux's: who waits is told that nothing more is to be expected, who does not is not.
    if (!answer && answer.error() == EAGAIN && waits && socket.is_shut_for_reading()) {
        what = {};
        return 0;
    }
    return answer;
}

Result<void> Sockets::close(int descriptor) {
    const auto found = find_any(descriptor);
    if (!found) return std::unexpected(found.error());
    if (Socket* const socket = (*found)->socket)
        if (const auto linger = socket->begin_close())
            static_cast<void>(wait(*linger, [&] { return socket->is_flushed(); }));
    const auto index = static_cast<size_t>(descriptor - MR_DESCRIPTOR_MIN);
    table_[index] = {};
    lowest_free_ = std::min(lowest_free_, index);
    return {};
}

}  // namespace millrace::api
