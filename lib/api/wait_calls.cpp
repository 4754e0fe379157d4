// C functions of `millrace/socket.h` that wait for several descriptors: poll and epoll.
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <climits>
#include <functional>

#include "api/c_calls.h"

using namespace millrace;
using namespace millrace::api;

namespace {

/// Of `timeout` in ms, negative for none, as `Sockets::wait` understands it.
Duration limit_of(int timeout) { return Duration::from_ms(std::max(timeout, 0)); }

Result<int> poll_once(Sockets& table, std::span<pollfd> entries) {
    int ready = 0;
    for (pollfd& entry : entries) {
        entry.revents = 0;
        if (entry.fd < 0) continue;
        const auto found = table.find_any(entry.fd);
        constexpr uint32_t always = POLLERR | POLLHUP | POLLNVAL;
        const uint32_t events = found ? (*found)->pollable->poll_events() : POLLNVAL;
        entry.revents = static_cast<short>(events & (static_cast<uint32_t>(entry.events) | always));
        if (entry.revents != 0) ++ready;
    }
    return ready;
}

}  // namespace

extern "C" {

int mr_poll(pollfd* sockets, nfds_t count, int timeout) {
    return on_context([&](Sockets& table) -> Result<int> {
        if (sockets == nullptr && count > 0) return error(EFAULT);
        int ready = 0;
        const auto look = [&] {
            ready = *poll_once(table, {sockets, count});
            return ready > 0;
        };
        // A program that always finds something ready must not starve the stack.
        if (const auto turned = table.turn(); !turned) return std::unexpected(turned.error());
        if (look() || timeout == 0) return ready;
        const auto over = table.wait(limit_of(timeout), std::ref(look));
        if (!over) return std::unexpected(over.error());
        return ready;
    });
}

int mr_epoll_create1(int flags) {
    return on_context([&](Sockets& table) -> Result<int> {
        if ((flags & ~EPOLL_CLOEXEC) != 0) return error(EINVAL);
        return table.open_epoll();
    });
}

int mr_epoll_create(int size) {
    if (size <= 0) return fail(EINVAL);
    return mr_epoll_create1(0);
}

/// Errors in Linux's order.
int mr_epoll_ctl(int set, int operation, int descriptor, epoll_event* event) {
    return on_context([&](Sockets& table) -> Result<void> {
        if (operation != EPOLL_CTL_DEL && event == nullptr) return error(EFAULT);
        const auto found = table.find_any(set);
        if (!found) return std::unexpected(found.error());
        const bool ours = descriptor < 0 || descriptor >= MR_DESCRIPTOR_MIN;
        const auto target = ours ? table.find_any(descriptor) : Result<const Descriptor*>(nullptr);
        if (!target) return std::unexpected(target.error());
        Epoll* const epoll = (*found)->epoll;
        if (epoll == nullptr || set == descriptor) return error(EINVAL);
        if (!ours) return epoll->control_kernel(operation, descriptor, event);
        switch (operation) {
            case EPOLL_CTL_ADD: return epoll->add(descriptor, *(*target)->pollable, *event);
            case EPOLL_CTL_MOD: return epoll->modify(descriptor, *event);
            case EPOLL_CTL_DEL: return epoll->remove(descriptor);
            default: return error(EINVAL);
        }
    });
}

int mr_epoll_wait(int set, epoll_event* events, int count, int timeout) {
    return on_context([&](Sockets& table) -> Result<int> {
        if (count <= 0 || static_cast<size_t>(count) > INT_MAX / sizeof(epoll_event))
            return error(EINVAL);
        if (events == nullptr) return error(EFAULT);
        const auto found = table.find_any(set);
        if (!found) return std::unexpected(found.error());
        Epoll* const epoll = (*found)->epoll;
        if (epoll == nullptr) return error(EINVAL);
        size_t ready = 0;
        const auto look = [&] {
            ready = epoll->collect({events, static_cast<size_t>(count)});
            return ready > 0;
        };
        epoll->waiting = true;
        const auto turned = table.turn();
        const bool enough = !turned || look() || timeout == 0;
        const auto over = enough ? turned : table.wait(limit_of(timeout), std::ref(look));
        epoll->waiting = false;
        if (!over) return std::unexpected(over.error());
        return static_cast<int>(ready);
    });
}

}  // extern "C"
