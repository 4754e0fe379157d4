#include "api/epoll.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <set>

namespace millrace::api {

namespace {

/// Bits that say how to watch, not what for (Linux's EP_PRIVATE_BITS).
constexpr uint32_t modes = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
constexpr uint32_t always = EPOLLERR | EPOLLHUP;
constexpr uint32_t with_exclusive =
    EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
constexpr size_t nests_max = 4;  // Linux's EP_MAX_NESTS

/// Makes a set of the kernel's where there is none.
bool have(int& set) {
    if (set < 0) set = epoll_create1(EPOLL_CLOEXEC);
    return set >= 0;
}

}  // namespace

Pollable::~Pollable() {
    while (!watches_.empty()) {
        Watch& watch = watches_.front();
        static_cast<void>(watch.set.remove(watch.descriptor));
    }
}

void Pollable::wake(uint32_t events) {
    for (Watch& watch : watches_)
        if (watch.set.on_wake(watch, events)) return;
}

Epoll::~Epoll() {
    if (kernel_ >= 0) close(kernel_);
    if (inner_ >= 0) close(inner_);
}

size_t Epoll::levels(const Epoll& from, bool inwards, const Epoll* wanted) {
    // Each set once a level: sets may be reached in many ways.
    std::set<const Epoll*> level{&from};
    for (size_t count = 0; count <= nests_max; ++count) {
        if (level.contains(wanted)) return nests_max + 1;
        std::set<const Epoll*> next;
        for (const Epoll* set : level) {
            if (!inwards)
                for (const Watch& watch : set->watches_) next.insert(&watch.set);
            else
                for (const auto& [descriptor, watch] : set->watched_)
                    if (const auto* inner = dynamic_cast<const Epoll*>(&watch.target))
                        next.insert(inner);
        }
        if (next.empty()) return count;
        level.swap(next);
    }
    return nests_max + 1;
}

Result<void> Epoll::join(Epoll& inner, Watch& watch) {
    if (!have(inner_) || !have(inner.kernel_) || !have(inner.inner_)) return error(errno);
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = &watch}};
    for (const int set : {inner.kernel_, inner.inner_})
        if (epoll_ctl(inner_, EPOLL_CTL_ADD, set, &event) < 0) return error(errno);
    return {};
}

void Epoll::leave(const Epoll& inner) const {
    for (const int set : {inner.kernel_, inner.inner_})
        epoll_ctl(inner_, EPOLL_CTL_DEL, set, nullptr);
}

void Epoll::take_inner() {
    std::array<epoll_event, 16> events;
    int count = inner_ < 0 ? 0 : static_cast<int>(events.size());
    while (count == static_cast<int>(events.size())) {
        count = epoll_wait(inner_, events.data(), static_cast<int>(events.size()), 0);
        for (int i = 0; i < count; ++i)
            make_ready(*static_cast<Watch*>(events[static_cast<size_t>(i)].data.ptr));
    }
}

Result<void> Epoll::add(int descriptor, Pollable& target, const epoll_event& event) {
    auto* const inner = dynamic_cast<Epoll*>(&target);
    const bool exclusive = (event.events & EPOLLEXCLUSIVE) != 0;
    if (exclusive && (inner != nullptr || (event.events & ~with_exclusive) != 0))
        return error(EINVAL);
    if (inner != nullptr &&
        levels(*this, false, nullptr) + 1 + levels(*inner, true, this) > nests_max)
        return error(ELOOP);
    const auto [entry, fresh] = watched_.try_emplace(descriptor, *this, target);
    if (!fresh) return error(EEXIST);
    Watch& watch = entry->second;
    watch.descriptor = descriptor;
    watch.events = event.events | always;
    watch.data = event.data.u64;
    if (inner != nullptr) {
        if (const auto joined = join(*inner, watch); !joined) {
            static_cast<void>(remove(descriptor));  // what has been joined points to the watch
            return joined;
        }
    }
    if (exclusive)
        target.watches_.push_back(watch);
    else
        target.watches_.push_front(watch);
    if ((target.poll_events() & watch.events) != 0) make_ready(watch);
    return {};
}

Result<void> Epoll::modify(int descriptor, const epoll_event& event) {
    if ((event.events & EPOLLEXCLUSIVE) != 0) return error(EINVAL);
    const auto entry = watched_.find(descriptor);
    if (entry == watched_.end()) return error(ENOENT);
    Watch& watch = entry->second;
    if ((watch.events & EPOLLEXCLUSIVE) != 0) return error(EINVAL);
    watch.events = event.events | always;
    watch.data = event.data.u64;
    if ((watch.target.poll_events() & watch.events) != 0) make_ready(watch);
    return {};
}

Result<void> Epoll::remove(int descriptor) {
    const auto entry = watched_.find(descriptor);
    if (entry == watched_.end()) return error(ENOENT);
    if (const auto* inner = dynamic_cast<const Epoll*>(&entry->second.target)) leave(*inner);
    watched_.erase(entry);
    return {};
}

Result<void> Epoll::control_kernel(int operation, int descriptor, epoll_event* event) {
    if (!have(kernel_) || epoll_ctl(kernel_, operation, descriptor, event) < 0) return error(errno);
    return {};
}

void Epoll::make_ready(Watch& watch) {
    if (watch.is_ready()) return;
    ready_.push_back(watch);
    wake(EPOLLIN | EPOLLRDNORM);
}

bool Epoll::on_wake(Watch& watch, uint32_t events) {
    // A one-shot watch that has been told is asleep until it is modified.
    if ((watch.events & ~modes) == 0) return false;
    if (events != 0 && (watch.events & events) == 0) return false;
    make_ready(watch);
    return waiting && (watch.events & EPOLLEXCLUSIVE) != 0;
}

size_t Epoll::collect_ours(std::span<epoll_event> out) {
    // What stays ready goes to another list first: each is asked once.
    Ready again;
    size_t count = 0;
    while (count < out.size() && !ready_.empty()) {
        // It leaves the list after it has been asked: a set that is asked may wake this one.
        Watch& watch = ready_.front();
        const uint32_t events = watch.target.poll_events() & watch.events & ~modes;
        ready_.pop_front();
        if (events == 0) continue;
        out[count++] = {.events = events, .data = {.u64 = watch.data}};
        if ((watch.events & EPOLLONESHOT) != 0)
            watch.events &= modes;
        else if ((watch.events & EPOLLET) == 0)
            again.push_back(watch);
    }
    ready_.splice(ready_.end(), again);
    return count;
}

size_t Epoll::collect_kernel(std::span<epoll_event> out) {
    if (kernel_ < 0 || out.empty()) return 0;
    const auto room = static_cast<int>(std::min<size_t>(out.size(), INT_MAX));
    return static_cast<size_t>(std::max(0, epoll_wait(kernel_, out.data(), room, 0)));
}

size_t Epoll::collect(std::span<epoll_event> out) {
    take_inner();
    kernel_first_ = !kernel_first_;
    size_t count = kernel_first_ ? collect_kernel(out) : 0;
    count += collect_ours(out.subspan(count));
    if (!kernel_first_) count += collect_kernel(out.subspan(count));
    return count;
}

uint32_t Epoll::poll_events() {
    take_inner();
    while (!ready_.empty()) {
        Watch& watch = ready_.front();
        if ((watch.target.poll_events() & watch.events & ~modes) != 0) return EPOLLIN | EPOLLRDNORM;
        ready_.pop_front();  // it is no longer, and will say so when it is again
    }
    // The set itself is asked: looking into it would use up its edges.
    pollfd kernels{.fd = kernel_, .events = POLLIN, .revents = 0};
    if (kernel_ >= 0 && poll(&kernels, 1, 0) == 1) return EPOLLIN | EPOLLRDNORM;
    return 0;
}

}  // namespace millrace::api
