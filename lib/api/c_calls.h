// What every C function does on its way in and out: the thread's context, the descriptor, errno.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <utility>

#include <millrace/runtime.h>
#include <millrace/socket.h>

#include "api/sockets.h"

struct mr_context {
    explicit mr_context(std::unique_ptr<millrace::Runtime> r)
        : runtime(std::move(r)), sockets(runtime->core(0)) {}
    std::unique_ptr<millrace::Runtime> runtime;
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

/// Calls `with(Sockets&)` or `with(Socket&, Sockets&)`, and answers errno for what is not there.
template <typename Call>
auto on_context(Call&& with) -> decltype(answer(with(current_context->sockets))) {
    if (current_context == nullptr) return fail(ENXIO);
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

}  // namespace millrace::api
