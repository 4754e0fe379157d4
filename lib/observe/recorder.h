// The flight recorder of one core: what its connections did last.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include <millrace/inspect.h>
#include <millrace/story.h>
#include <millrace/time.h>

namespace millrace::observe {

/// Stories that are kept whole, of the connections that a filter admits from their beginning on.
/// Made by who asks, then owned by the core: all its memory is there at its beginning.
class Followed {
public:
    /// `room`: how many stories; each has up to `events_max`.
    Followed(const SocketFilter& filter, uint32_t one_in, size_t room);
    void take(const TraceEvent& event);
    /// Events were missed: whose story goes on has them no more.
    void lost();
    const std::vector<Story>& stories() const { return stories_; }
    static constexpr size_t events_max = 2048;

private:
    struct Place {
        uint32_t connection;
        size_t story;
    };
    void begin(const TraceEvent& local);
    void go_on(uint32_t connection, const SocketAddress& local);
    void enter(const Place& place);
    Story* of(uint32_t connection);

    SocketFilter filter_;
    uint32_t one_in_;
    uint32_t skipped_ = 0;
    std::optional<SocketAddress> remote_;  ///< of the `remote` event that was seen last
    std::vector<Story> stories_;  ///< as many as there is room for
    std::vector<Place> places_;   ///< of those that go on
    size_t next_ = 0;             ///< the story that is given up next, unless it goes on
};

/// Owned by one core, which alone calls it. One event costs its stores and four instructions more;
/// the oldest ones are overwritten. Nothing is allocated after its making.
class Recorder {
public:
    /// `events`: a power of two. `ends`: how many stories of connections that ended badly are kept.
    Recorder(uint32_t events, uint32_t ends);

    /// How events name a connection: where it lies, which the next one there will share.
    static uint32_t name_of(const void* connection) {
        return name_at(reinterpret_cast<uintptr_t>(connection));
    }
    static uint32_t name_at(uintptr_t place) { return static_cast<uint32_t>(place >> 5); }
    void record(TraceKind kind, uint8_t what, uint16_t detail, const void* connection, Instant now,
                std::array<uint32_t, 4> words) {
        *next_ = {now.ns(), kind, what, detail, name_of(connection), words};
        next_ = after(next_);
    }
    /// What nobody looks into further.
    void record(TraceKind kind, uint8_t what, uint16_t detail, const void* connection,
                Instant now) {
        record(kind, what, detail, connection, now, {});
    }
    /// The two ends of a connection that begins, or `goes_on` in another place.
    void begin(const void* connection, Instant now, const SocketAddress& local,
               const SocketAddress& remote, bool goes_on = false);
    /// A connection ended badly: what the ring still has of it is kept, unless there were many in
    /// this turn or second.
    void keep_end(const void* connection, Instant now, const SocketAddress& local,
                  const SocketAddress& remote);

    /// Whole stories from now on; null: no more. Gives back what followed before.
    void follow(std::unique_ptr<Followed>& followed);
    /// Once a turn: hands what was recorded since to who follows.
    void end_turn() {
        if (followed_ != nullptr) pass_on();
    }

    /// All that is there, the oldest first; at most `events`.
    void copy(std::vector<TraceEvent>& events) const;
    /// The `index`-th story that is kept beside them, where the filter admits it, without making
    /// room in `story`. False: there are not so many.
    bool copy_kept(size_t index, const SocketFilter& filter, Story& story) const;

private:
    struct Free {
        void operator()(TraceEvent* events) const { std::free(events); }
    };
    /// The ring is aligned to twice its size: one bit tells its end.
    TraceEvent* after(TraceEvent* event) const {
        const uintptr_t beyond = reinterpret_cast<uintptr_t>(event + 1) & end_bit_;
        return event + 1 - beyond / sizeof(TraceEvent);
    }
    const TraceEvent* before(const TraceEvent* event) const {
        return event == events_.get() ? event + size_ - 1 : event - 1;
    }
    void pass_on();

    TraceEvent* next_ = nullptr;
    uintptr_t end_bit_ = 0;
    std::unique_ptr<Followed> followed_;
    TraceEvent* passed_on_ = nullptr;  ///< up to here `followed_` has had them
    TraceEvent last_passed_;           ///< the one before that, as it was
    uint32_t size_;
    std::unique_ptr<TraceEvent[], Free> events_;
    std::vector<Story> ends_;
    size_t next_end_ = 0;
    int64_t kept_second_ = -1;
    uint32_t kept_ = 0;      ///< in that second
    Instant kept_at_;        ///< the turn of the last one
    uint32_t kept_now_ = 0;  ///< in that turn
};

/// The stories in a copy of a recorder's events, of the connections that the filter admits. `live`
/// are connections that are there now: of them the beginning may be gone.
std::vector<Story> stories_in(std::span<const TraceEvent> events, const SocketFilter& filter,
                              std::span<const SocketRecord> live);
/// Adds a story that was kept, instead of what the ring had of the same connection where it knows
/// more.
void add_kept(std::vector<Story>& stories, Story kept);
/// As `SocketFilter::admits`, by the two ends alone.
bool admits(const SocketFilter& filter, const SocketAddress& local, const SocketAddress& remote);

}  // namespace millrace::observe
