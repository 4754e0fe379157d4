// What every C function does on its way in and out: the thread's context, the descriptor, errno.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include <millrace/config.h>
#include <millrace/socket.h>

#include "api/sockets.h"
#include "api/turnstile.h"

struct mr_context {
    /// `host` is what keeps the stack alive.
    mr_context(std::shared_ptr<void> host_, millrace::Stack& stack_)
        : host(std::move(host_)), stack(stack_), sockets(stack_) {}
    std::shared_ptr<void> host;
    millrace::Stack& stack;
    millrace::api::Sockets sockets;
};

namespace millrace::api {

inline thread_local mr_context* current_context = nullptr;

inline int fail(int why) {
    errno = why;
    return -1;
}

inline int answer(const Result<int>& result) {
    return result ? *result : fail(result.error().value);
}
inline int answer(const Result<void>& result) { return result ? 0 : fail(result.error().value); }
inline ssize_t answer(const Result<size_t>& result) {
    return result ? static_cast<ssize_t>(*result) : fail(result.error().value);
}

/// A context of `config`, hosted as `host(config)` does: a pair of what keeps it alive and its
/// stack. Entered; null where it cannot be, and `why` says why.
template <typename Host>
mr_context* make_context(const Started<Config>& config, char* why, size_t why_size, Host&& host) {
    const auto say = [&](std::string_view what) {
        if (why_size > 0) *fmt::format_to_n(why, why_size - 1, "{}", what).out = '\0';
        return static_cast<mr_context*>(nullptr);
    };
    if (!config) return say(config.error().what);
    if (config->cores.size() != 1) return say("a context has one core: one [[core]], no more");
    auto hosted = host(*config);
    if (!hosted) return say(hosted.error().what);
    current_context = new mr_context(std::move(hosted->first), hosted->second);
    return current_context;
}

/// Calls `with(Sockets&)` or `with(Socket&, Sockets&)`, and answers errno for what is not there.
template <typename Call>
auto on_context(Call&& with) -> decltype(answer(with(current_context->sockets))) {
    if (current_context == nullptr) return fail(ENXIO);
    const Turnstile::Visit visit(current_context->sockets.loop().turnstile());
    if (!current_context->sockets.own()) return fail(EPERM);
    current_context->sockets.look_at_clock();
    return answer(with(current_context->sockets));
}
template <typename Call>
auto on_socket(int descriptor, Call&& with) {
    return on_context([&](Sockets& sockets) -> decltype(with(std::declval<Socket&>(), sockets)) {
        const auto socket = sockets.find(descriptor);
        if (!socket) return std::unexpected(socket.error());
        return with(**socket, sockets);
    });
}

/// Of streams alone: EOPNOTSUPP.
template <typename Call>
auto on_stream(int descriptor, Call&& with) {
    return on_socket(descriptor, [&](Socket& socket, Sockets& sockets)
                                     -> decltype(with(std::declval<StreamSocket&>(), sockets)) {
        StreamSocket* const stream = socket.stream();
        if (stream == nullptr) return error(EOPNOTSUPP);
        return with(*stream, sockets);
    });
}

}  // namespace millrace::api
