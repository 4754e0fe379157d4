// What poll and epoll can wait for, and who waits for it.
#pragma once

#include <cstdint>

#include <boost/intrusive/list.hpp>

namespace millrace::api {

class Epoll;
class Pollable;

struct WatchesTag;
struct WakeTag;
template <typename Tag>
using WatchHook = boost::intrusive::list_base_hook<
    boost::intrusive::tag<Tag>, boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// One descriptor in one epoll set (Linux's epitem). Owned by the set; leaves both lists when it
/// goes.
struct Watch : WatchHook<WatchesTag>, WatchHook<WakeTag> {
    Watch(Epoll& epoll, Pollable& pollable) : set(epoll), target(pollable) {}

    Epoll& set;
    Pollable& target;
    int descriptor = -1;
    uint32_t events = 0;  ///< asked for, with EPOLLET and the other modes
    uint64_t data = 0;    ///< the application's
    bool is_ready() const { return WatchHook<WakeTag>::is_linked(); }
};

/// What a descriptor stands for. Belongs to one context's thread, as all here.
class Pollable {
public:
    Pollable() = default;
    Pollable(const Pollable&) = delete;
    Pollable& operator=(const Pollable&) = delete;
    /// Whoever watches it watches it no more.
    virtual ~Pollable();

    /// What is so now, in the bits of poll and epoll. What is not will be told by `wake`.
    virtual uint32_t poll_events() = 0;

protected:
    /// Something of `events` has happened; 0: anything may have.
    void wake(uint32_t events);

private:
    friend class Epoll;
    using Watches =
        boost::intrusive::list<Watch, boost::intrusive::base_hook<WatchHook<WatchesTag>>,
                               boost::intrusive::constant_time_size<false>>;
    Watches watches_;  ///< those that share the wake-up, then the exclusive ones
};

}  // namespace millrace::api
