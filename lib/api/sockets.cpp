#include "api/sockets.h"

#include <cerrno>

#include <millrace/socket.h>

#include "runtime/core.h"

namespace millrace::api {

Sockets::~Sockets() {
    table_.clear();
    constexpr Duration moment = Duration::from_ms(100);
    static_cast<void>(wait(moment, [&] {
        return context_.stack().population().connections == 0 && !context_.stack().has_work();
    }));
}

Result<int> Sockets::open(int family, bool non_blocking) {
    while (lowest_free_ < table_.size() && table_[lowest_free_] != nullptr) ++lowest_free_;
    if (lowest_free_ == descriptors_max) return error(EMFILE);
    if (lowest_free_ == table_.size()) table_.emplace_back();
    table_[lowest_free_] = std::make_unique<Socket>(context_, family);
    table_[lowest_free_]->non_blocking = non_blocking;
    return MR_DESCRIPTOR_MIN + static_cast<int>(lowest_free_);
}

Result<Socket*> Sockets::find(int descriptor) const {
    const auto index = static_cast<int64_t>(descriptor) - MR_DESCRIPTOR_MIN;
    if (index < 0 || index >= static_cast<int64_t>(table_.size())) return error(EBADF);
    Socket* socket = table_[static_cast<size_t>(index)].get();
    if (socket == nullptr) return error(EBADF);
    return socket;
}

void Sockets::look_at_clock() {
    if (!turning_) context_.stack().begin_turn(context_.core()->now());
}

Result<bool> Sockets::turn() {
    if (turning_) return error(EDEADLK);
    turning_ = true;
    const bool busy = context_.facade().poll_once();
    turning_ = false;
    return busy;
}

Result<bool> Sockets::wait(Duration limit, const std::function<bool()>& done) {
    const Instant start = context_.core()->now();
    while (!done()) {
        if (const auto turned = turn(); !turned) return turned;
        if (limit != Duration() && context_.core()->now() - start >= limit) return done();
    }
    return true;
}

Result<void> Sockets::attempt(bool waits, Duration limit, const std::function<bool()>& done) {
    if (done()) return {};
    const auto turned = waits ? wait(limit, done) : turn();
    if (!turned) return std::unexpected(turned.error());
    if (!waits) done();
    return {};
}

Result<int> Sockets::accept(int descriptor, bool non_blocking) {
    const auto found = find(descriptor);
    if (!found) return std::unexpected(found.error());
    Socket& listener = **found;
    const auto accepted = open(listener.family(), non_blocking);
    if (!accepted) return accepted;
    Socket& socket = **find(*accepted);
    Result<void> answer;
    const auto tried = attempt(!listener.non_blocking, listener.receive_timeout, [&] {
        return (answer = listener.accept(socket)).has_value() || answer.error() != EAGAIN;
    });
    if (!tried) answer = tried;
    if (answer) return accepted;
    static_cast<void>(close(*accepted));
    return std::unexpected(answer.error());
}

Result<void> Sockets::connect(Socket& socket, const SocketAddress& address) {
    const auto begun = socket.connect(address);
    const bool pending = !begun && (begun.error() == EINPROGRESS || begun.error() == EALREADY);
    if (!pending || socket.non_blocking) return begun;
    Result<void> answer;
    const auto over = wait(socket.send_timeout, [&] {
        return (answer = socket.finish_connect()).has_value() || answer.error() != EINPROGRESS;
    });
    if (!over) return std::unexpected(over.error());
    return answer;
}

Result<size_t> Sockets::send(Socket& socket, std::span<const std::byte> data, bool wait_for_room) {
    size_t sent = 0;
    Result<size_t> answer;
    const bool waits = wait_for_room && !socket.non_blocking;
    const auto tried = attempt(waits, socket.send_timeout, [&] {
        answer = socket.send(data.subspan(sent));
        if (!answer) return answer.error() != EAGAIN && answer.error() != ENOBUFS;
        sent += *answer;
        return sent == data.size() || !waits;
    });
    if (!tried && sent == 0) return std::unexpected(tried.error());
    if (sent > 0 || answer) return sent;
    socket.told(answer.error().value);
    return error(answer.error() == ENOBUFS ? EAGAIN : answer.error().value);
}

Result<size_t> Sockets::receive(Socket& socket, std::span<std::byte> data, bool wait_for_data,
                                bool peek, bool all) {
    size_t received = 0;
    Result<size_t> answer;
    const bool waits = wait_for_data && !socket.non_blocking;
    const auto tried = attempt(waits, socket.receive_timeout, [&] {
        answer = socket.receive(peek ? data : data.subspan(received), peek);
        if (!answer) return answer.error() != EAGAIN;
        received = peek ? *answer : received + *answer;
        return *answer == 0 || !all || !waits || received == data.size() ||
               (peek && socket.is_ended());
    });
    if (!tried && received == 0) return std::unexpected(tried.error());
    if (received > 0 || answer) return received;
    socket.told(answer.error().value);
    return std::unexpected(answer.error());
}

Result<void> Sockets::close(int descriptor) {
    const auto found = find(descriptor);
    if (!found) return std::unexpected(found.error());
    Socket& socket = **found;
    if (const auto linger = socket.begin_close())
        static_cast<void>(wait(*linger, [&] { return socket.is_flushed(); }));
    const auto index = static_cast<size_t>(descriptor - MR_DESCRIPTOR_MIN);
    table_[index].reset();
    lowest_free_ = std::min(lowest_free_, index);
    return {};
}

}  // namespace millrace::api
