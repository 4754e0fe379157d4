#include "observe/recorder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/assert.h"

namespace millrace::observe {

namespace {

// What the end of a connection is worth: so far back it is looked for, so much is kept, and so
// many in a turn and in a second. Each costs some tens of microseconds.
constexpr size_t end_reach = 8192;
constexpr size_t end_events = 128;
constexpr uint32_t ends_a_turn = 4;
constexpr uint32_t ends_a_second = 100;

std::array<uint32_t, 4> words_of(const Address& address) {
    return std::bit_cast<std::array<uint32_t, 4>>(address.bytes());
}

/// Its memory is there, and not only promised.
Story empty_story(size_t room) {
    Story story;
    story.events.resize(room);
    story.events.clear();
    return story;
}

}  // namespace

bool admits(const SocketFilter& filter, const SocketAddress& local, const SocketAddress& remote) {
    SocketFilter ends = filter;
    ends.kinds = ends.states = ~0U;
    SocketRecord record;
    record.local = local;
    record.remote = remote;
    return ends.admits(record);
}

Recorder::Recorder(uint32_t events, uint32_t ends) : size_(events) {
    MILLRACE_ASSERT(std::has_single_bit(events));
    const size_t bytes = events * sizeof(TraceEvent);
    events_.reset(static_cast<TraceEvent*>(std::aligned_alloc(2 * bytes, 2 * bytes)));
    MILLRACE_ASSERT(events_ != nullptr);
    std::uninitialized_default_construct_n(events_.get(), events);
    next_ = passed_on_ = events_.get();
    end_bit_ = bytes;
    for (uint32_t i = 0; i < ends; ++i) ends_.push_back(empty_story(end_events));
}

void Recorder::begin(const void* connection, Instant now, const SocketAddress& local,
                     const SocketAddress& remote, bool goes_on) {
    record(TraceKind::remote, 0, remote.port, connection, now, words_of(remote.address));
    record(TraceKind::local, goes_on ? 1 : 0, local.port, connection, now,
           words_of(local.address));
}

void Recorder::keep_end(const void* connection, Instant now, const SocketAddress& local,
                        const SocketAddress& remote) {
    if (ends_.empty()) return;
    const int64_t second = now.ns() / 1'000'000'000;
    if (second != kept_second_) kept_ = 0;
    if (now != kept_at_) kept_now_ = 0;
    kept_second_ = second;
    kept_at_ = now;
    if (kept_ >= ends_a_second || kept_now_ >= ends_a_turn) return;
    ++kept_;
    ++kept_now_;
    Story& story = ends_[next_end_];
    next_end_ = (next_end_ + 1) % ends_.size();
    story.local = local;
    story.remote = remote;
    story.kind = StoryKind::ended;
    story.whole = false;
    story.events.clear();
    const uint32_t name = name_of(connection);
    const size_t mask = size_ - 1;
    const auto last = static_cast<size_t>(next_ - events_.get()) + mask;
    for (size_t back = 0; back < std::min<size_t>(end_reach, size_); ++back) {
        const TraceEvent& event = events_[(last - back) & mask];
        if (event.kind == TraceKind::none) break;
        if (event.connection != name) continue;
        const bool beginning = event.kind == TraceKind::local;
        story.whole = beginning && event.what == 0;
        if (beginning || story.events.size() == end_events) break;
        story.events.push_back(event);
    }
    std::ranges::reverse(story.events);
}

void Recorder::follow(std::unique_ptr<Followed>& followed) {
    passed_on_ = next_;
    last_passed_ = *before(next_);
    followed_.swap(followed);
}

void Recorder::pass_on() {
    if (passed_on_ == next_) return;
    // Where a turn had more events than the ring has room, the one before ours is another now.
    if (*before(passed_on_) != last_passed_) {
        followed_->lost();
        passed_on_ = next_;
        followed_->take(*passed_on_);
        passed_on_ = after(passed_on_);
    }
    for (; passed_on_ != next_; passed_on_ = after(passed_on_)) followed_->take(*passed_on_);
    last_passed_ = *before(next_);
}

void Recorder::copy(std::vector<TraceEvent>& events) const {
    const std::span<const TraceEvent> ring(events_.get(), size_);
    const auto at = static_cast<size_t>(next_ - events_.get());
    const auto older = ring.subspan(at);
    const auto newer = ring.first(at);
    if (older.front().kind != TraceKind::none)
        events.insert(events.end(), older.begin(), older.end());
    events.insert(events.end(), newer.begin(), newer.end());
}

bool Recorder::copy_kept(size_t index, const SocketFilter& filter, Story& story) const {
    const size_t followed = followed_ != nullptr ? followed_->stories().size() : 0;
    if (index >= ends_.size() + followed) return false;
    const Story& kept =
        index < ends_.size() ? ends_[index] : followed_->stories()[index - ends_.size()];
    if (kept.events.empty() || !admits(filter, kept.local, kept.remote)) return true;
    story.local = kept.local;
    story.remote = kept.remote;
    story.kind = kept.kind;
    story.whole = kept.whole;
    story.left_out = kept.left_out;
    story.events.assign(kept.events.begin(), kept.events.end());
    return true;
}

// --- whole stories

Followed::Followed(const SocketFilter& filter, uint32_t one_in, size_t room)
    : filter_(filter), one_in_(std::max(one_in, 1U)) {
    for (size_t i = 0; i < room; ++i) stories_.push_back(empty_story(events_max));
    places_.reserve(room);
}

void Followed::lost() {
    for (const Place& place : places_) {
        stories_[place.story].whole = false;
        ++stories_[place.story].left_out;
    }
    remote_.reset();
}

void Followed::take(const TraceEvent& event) {
    switch (event.kind) {
        case TraceKind::remote: remote_ = SocketAddress{event.address(), event.detail}; return;
        case TraceKind::local: begin(event); return;
        default: break;
    }
    Story* story = of(event.connection);
    if (story == nullptr) return;
    if (story->events.size() < events_max)
        story->events.push_back(event);
    else
        ++story->left_out;
}

void Followed::begin(const TraceEvent& event) {
    // Who was there before is over: its last events (a RST) are in its story already.
    std::erase_if(places_, [&](const Place& p) { return p.connection == event.connection; });
    const SocketAddress local{event.address(), event.detail};
    if (!remote_ || !admits(filter_, local, *remote_)) return;
    if (event.what != 0) return go_on(event.connection, local);
    if (++skipped_ < one_in_) return;
    skipped_ = 0;
    if (stories_.empty()) return;
    // The oldest makes room, also where it goes on.
    const size_t at = std::exchange(next_, (next_ + 1) % stories_.size());
    std::erase_if(places_, [&](const Place& p) { return p.story == at; });
    Story& story = stories_[at];
    story.local = local;
    story.remote = *remote_;
    story.kind = StoryKind::followed;
    story.whole = true;
    story.left_out = 0;
    story.events.clear();
    enter({event.connection, at});
}

/// In TIME-WAIT, in the story of the connection that it was, where that is still there.
void Followed::go_on(uint32_t connection, const SocketAddress& local) {
    for (size_t back = 1; back <= stories_.size(); ++back) {
        const size_t at = (next_ + stories_.size() - back) % stories_.size();
        if (stories_[at].local != local || stories_[at].remote != *remote_) continue;
        std::erase_if(places_, [&](const Place& p) { return p.story == at; });
        return enter({connection, at});
    }
}

void Followed::enter(const Place& place) {
    places_.insert(std::ranges::lower_bound(places_, place.connection, {}, &Place::connection),
                   place);
}

Story* Followed::of(uint32_t connection) {
    const auto place = std::ranges::lower_bound(places_, connection, {}, &Place::connection);
    const bool found = place != places_.end() && place->connection == connection;
    return found ? &stories_[place->story] : nullptr;
}

// --- what the ring has

namespace {

/// Events of one connection, while it is not known which of those at its place it is.
struct Life {
    Story story;
    bool begun = false;   ///< its first event is there
    bool wanted = false;
};

class Sorter {
public:
    Sorter(const SocketFilter& filter, std::span<const SocketRecord> live) : filter_(filter) {
        for (const SocketRecord& record : live) {
            Life& life = lives_[Recorder::name_at(record.id)];
            life.story.local = record.local;
            life.story.remote = record.remote;
            life.wanted = true;
        }
    }
    void take(const TraceEvent& event) {
        if (event.kind == TraceKind::none) return;
        if (event.kind == TraceKind::remote) {
            remote_ = SocketAddress{event.address(), event.detail};
        } else if (event.kind == TraceKind::local) {
            // Of the ring's oldest, the event before this one may be gone.
            if (remote_) begin(event, {event.address(), event.detail}, *remote_);
        } else if (const auto found = lives_.find(event.connection);
                   found != lives_.end() && found->second.wanted) {
            found->second.story.events.push_back(event);
        }
    }
    std::vector<Story> stories() {
        for (auto& [name, life] : lives_)
            if (life.wanted) stories_.push_back(std::move(life.story));
        std::ranges::sort(stories_, {}, [](const Story& story) {
            return story.events.empty() ? INT64_MAX : story.events.front().time_ns;
        });
        return std::move(stories_);
    }

private:
    /// What was at its place is over, unless it goes on; and was not the one that is there now.
    void begin(const TraceEvent& event, const SocketAddress& local, const SocketAddress& remote) {
        const bool goes_on = event.what != 0;
        Life& life = lives_[event.connection];
        if (goes_on && life.begun && life.story.local == local && life.story.remote == remote)
            return;
        if (life.wanted && life.begun) stories_.push_back(std::move(life.story));
        life = {};
        life.story.local = local;
        life.story.remote = remote;
        life.story.whole = !goes_on;
        life.begun = true;
        life.wanted = admits(filter_, local, remote);
    }

    const SocketFilter& filter_;
    std::unordered_map<uint32_t, Life> lives_;
    std::vector<Story> stories_;
    std::optional<SocketAddress> remote_;  ///< of the `remote` event that was seen last
};

}  // namespace

std::vector<Story> stories_in(std::span<const TraceEvent> events, const SocketFilter& filter,
                              std::span<const SocketRecord> live) {
    Sorter sorter(filter, live);
    for (const TraceEvent& event : events) sorter.take(event);
    return sorter.stories();
}

void add_kept(std::vector<Story>& stories, Story kept) {
    const auto same = [&](const Story& story) {
        return story.local == kept.local && story.remote == kept.remote &&
               !story.events.empty() &&
               story.events.front().time_ns <= kept.events.back().time_ns &&
               story.events.back().time_ns >= kept.events.front().time_ns;
    };
    const auto known = std::ranges::find_if(stories, same);
    if (known == stories.end())
        stories.push_back(std::move(kept));
    else if (known->events.size() < kept.events.size())
        *known = std::move(kept);
}

}  // namespace millrace::observe
