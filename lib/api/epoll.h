// An epoll set: what is watched, and what of it may be ready.
#pragma once

#include <sys/epoll.h>

#include <span>
#include <unordered_map>

#include <millrace/error.h>

#include "api/pollable.h"

namespace millrace::api {

/// As Linux's eventpoll: wake-ups put a watch on the ready list, and what is on it is asked when
/// the application collects; so an edge is told once, a level as long as it lasts. Kernel
/// descriptors are members of a set of the kernel's that goes with this one.
class Epoll final : public Pollable {
public:
    Epoll() = default;
    ~Epoll() override;

    /// EEXIST, EINVAL (modes that do not go together), ELOOP (sets that watch each other, or are
    /// nested too deep), EMFILE.
    Result<void> add(int descriptor, Pollable& target, const epoll_event& event);
    /// ENOENT, EINVAL.
    Result<void> modify(int descriptor, const epoll_event& event);
    /// ENOENT.
    Result<void> remove(int descriptor);
    /// `epoll_ctl` on the kernel's set; its errors, and EMFILE where that set cannot be made.
    Result<void> control_kernel(int operation, int descriptor, epoll_event* event);

    /// Fills `out` from the front, answers how many.
    size_t collect(std::span<epoll_event> out);
    /// The application waits on this set now: an exclusive wake-up ends here.
    bool waiting = false;

    uint32_t poll_events() override;

private:
    friend class Pollable;
    /// A wake-up. True where an exclusive one has found its waiter.
    bool on_wake(Watch& watch, uint32_t events);
    void make_ready(Watch& watch);
    size_t collect_ours(std::span<epoll_event> out);
    size_t collect_kernel(std::span<epoll_event> out);
    /// How many sets lie behind one another, inwards or outwards; more than may be nested where
    /// `wanted` is among them.
    static size_t levels(const Epoll& from, bool inwards, const Epoll* wanted);
    /// Kernel descriptors in `inner` and in the sets of that are news to this set, too.
    Result<void> join(Epoll& inner, Watch& watch);
    void leave(const Epoll& inner) const;
    void take_inner();

    using Ready = boost::intrusive::list<Watch, boost::intrusive::base_hook<WatchHook<WakeTag>>,
                                         boost::intrusive::constant_time_size<false>>;
    std::unordered_map<int, Watch> watched_;
    Ready ready_;
    int kernel_ = -1;             ///< the kernel's set; -1: there is none yet
    int inner_ = -1;              ///< another, of both sets of each set in this one; likewise
    bool kernel_first_ = false;   ///< they take turns, so that neither starves the other
};

}  // namespace millrace::api
