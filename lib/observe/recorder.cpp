#include "observe/recorder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/assert.h"

namespace millrace::observe {

namespace {

// What the end of a connection is worth: so far back it is looked for, so much is kept, and so
// many in a second. Each costs some tens of microseconds.
constexpr size_t end_reach = 8192;
constexpr size_t end_events = 128;
constexpr uint32_t ends_a_second = 100;

std::array<uint32_t, 4> words_of(const Address& address) {
    return std::bit_cast<std::array<uint32_t, 4>>(address.bytes());
}

Story empty_story(size_t room) {
    Story story;
    story.events.reserve(room);
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
                     const SocketAddress& remote) {
    record(TraceKind::remote, 0, remote.port, connection, now, words_of(remote.address));
    record(TraceKind::local, 0, local.port, connection, now, words_of(local.address));
}

void Recorder::keep_end(const void* connection, Instant now, const SocketAddress& local,
                        const SocketAddress& remote) {
    if (ends_.empty()) return;
    const int64_t second = now.ns() / 1'000'000'000;
    if (second != kept_second_) kept_ = 0;
    kept_second_ = second;
    if (kept_++ >= ends_a_second) return;
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
        story.whole = event.kind == TraceKind::local;
        if (story.whole || story.events.size() == end_events) break;
        story.events.push_back(event);
    }
    std::ranges::reverse(story.events);
}

void Recorder::follow(std::unique_ptr<Followed>& followed) {
    passed_on_ = next_;
    followed_.swap(followed);
}

void Recorder::pass_on() {
    while (passed_on_ != next_) {
        followed_->take(*passed_on_);
        passed_on_ = after(passed_on_);
    }
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
    if (!kept.events.empty() && admits(filter, kept.local, kept.remote)) story = kept;
    return true;
}

// --- whole stories

Followed::Followed(const SocketFilter& filter, uint32_t one_in, size_t room)
    : filter_(filter), one_in_(std::max(one_in, 1U)) {
    stories_.assign(room, {});
    for (Story& story : stories_) story.events.reserve(events_max);
    places_.reserve(room);
}

void Followed::take(const TraceEvent& event) {
    switch (event.kind) {
        case TraceKind::remote: remote_ = {event.address(), event.detail}; return;
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
    if (!admits(filter_, local, remote_)) return;
    if (++skipped_ < one_in_) return;
    skipped_ = 0;
    if (stories_.empty()) return;
    // The oldest makes room, also where it goes on.
    const size_t at = std::exchange(next_, (next_ + 1) % stories_.size());
    std::erase_if(places_, [&](const Place& p) { return p.story == at; });
    Story& story = stories_[at];
    story.local = local;
    story.remote = remote_;
    story.kind = StoryKind::followed;
    story.whole = true;
    story.left_out = 0;
    story.events.clear();
    places_.insert(std::ranges::lower_bound(places_, event.connection, {}, &Place::connection),
                   {event.connection, at});
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
    SocketAddress remote;  ///< of an event `remote` whose `local` is next
    Story story;
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
            end(event.connection);
            lives_[event.connection].remote = {event.address(), event.detail};
            return;
        }
        const auto found = lives_.find(event.connection);
        if (found == lives_.end()) return;
        Life& life = found->second;
        if (event.kind == TraceKind::local) {
            life.story.local = {event.address(), event.detail};
            life.story.remote = life.remote;
            life.story.whole = true;
            life.wanted = admits(filter_, life.story.local, life.story.remote);
        } else if (life.wanted) {
            life.story.events.push_back(event);
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
    /// Another begins at its place. What had no beginning was not the one of now.
    void end(uint32_t connection) {
        const auto found = lives_.find(connection);
        if (found == lives_.end()) return;
        if (found->second.wanted && found->second.story.whole)
            stories_.push_back(std::move(found->second.story));
        lives_.erase(found);
    }

    const SocketFilter& filter_;
    std::unordered_map<uint32_t, Life> lives_;
    std::vector<Story> stories_;
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
