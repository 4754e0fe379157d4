#include "api/interview.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include <fmt/format.h>

#include "api/capture_session.h"
#include "config/tunables.h"

namespace millrace::api {

namespace {

// A core looks into so many buckets in a turn: some tens of microseconds where all is cold.
constexpr size_t buckets_a_turn = 64;
// What a core collects before it is sent: so many records, or as many as so many turns bring.
constexpr size_t batch_records = 4096;
constexpr size_t batch_turns = 1024;
// Of a last step's buckets that were full.
constexpr size_t batch_slack = 1024;
// Cores that spin take what they need of a processor that they share with us.
constexpr int niceness = 10;
// Of connections that have no beginning in the record any more.
constexpr size_t live_stories = 64;
constexpr size_t stories_followed = 64;

std::string program_name() {
    std::string name;
    std::getline(std::ifstream("/proc/self/comm"), name);
    return name;
}

/// With memory that is there, and not only promised: a core is to take no fault for us.
template <typename T>
std::vector<T> room_for(size_t count) {
    std::vector<T> room(count);
    room.clear();
    return room;
}

}  // namespace

void Interview::run() {
    InspectRequest request;
    while (client_.receive(&request, sizeof(request))) {
        if (!request.is_valid()) {
            fail("of another version of Millrace than the program that is asked");
            return;
        }
        if (!answer(request) || !say(InspectReply::Kind::end, {})) return;
    }
}

bool Interview::answer(const InspectRequest& request) {
    // A capture that is late loses frames; all else can wait. On Linux this is of one thread.
    if (request.command != InspectCommand::capture) setpriority(PRIO_PROCESS, 0, niceness);
    switch (request.command) {
        case InspectCommand::about: return about();
        case InspectCommand::list: return list(request);
        case InspectCommand::counters: return counters();
        case InspectCommand::drops: return drops();
        case InspectCommand::abort: return abort(request);
        case InspectCommand::stories: return stories(request);
        case InspectCommand::follow: return follow(request);
        case InspectCommand::capture: return capture(request);
    }
    return fail("an unknown command");
}

bool Interview::on_core(uint16_t core, std::function<bool(stack::Stack&)> step) {
    const auto outcome = inspected_.on_core(
        core, [step = std::move(step)](runtime::Core& asked) { return step(asked.stack()); },
        stop_);
    switch (outcome) {
        case Inspected::Outcome::answered: return true;
        case Inspected::Outcome::silent: return fail(fmt::format("core {} does not turn", core));
        case Inspected::Outcome::busy: return fail(fmt::format("core {} is busy", core));
        case Inspected::Outcome::unwanted: break;
    }
    return fail("the program ends");
}

/// Until the client has had enough; nothing can be asked behind it.
bool Interview::capture(const InspectRequest& request) {
    CaptureSession(inspected_, client_.fd(), stop_, request).run();
    return false;
}

bool Interview::list(const InspectRequest& request) {
    auto records = room_for<SocketRecord>(batch_records + batch_slack);
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        SocketCursor cursor;
        while (!cursor.at_end()) {
            records.clear();
            size_t turns = 0;
            const auto step = [&](stack::Stack& stack) {
                stack.list(cursor, request.filter, buckets_a_turn, records);
                return cursor.at_end() || records.size() >= batch_records ||
                       ++turns == batch_turns;
            };
            if (!on_core(core, step)) return false;
            if (!say(InspectReply::Kind::records, records.data(),
                     records.size() * sizeof(SocketRecord), sizeof(SocketRecord)))
                return false;
        }
    }
    return true;
}

bool Interview::take_counters(uint16_t core, observe::Counters& counters) {
    return on_core(core, [&](stack::Stack& stack) {
        counters = stack.counters();
        return true;
    });
}

bool Interview::drops() {
    std::string text;
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        observe::Counters counters;
        if (!take_counters(core, counters)) return false;
        for (size_t i = 0; i < observe::drop_count; ++i)
            text += fmt::format("{} {} {} {}\n", core, observe::drop_reasons[i].name,
                                counters.dropped[i], observe::drop_reasons[i].sentence);
    }
    return say(InspectReply::Kind::text, text);
}

bool Interview::counters() {
    std::string text;
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        observe::Counters counters;
        if (!take_counters(core, counters)) return false;
        counters.for_each([&](std::string_view name, uint64_t value) {
            text += fmt::format("core {} {} {}\n", core, name, value);
        });
    }
    for (const InspectedPort& port : inspected_.ports) {
        const port::PortCounters counters = port.counters();
        for (const auto& [name, value] : {std::pair("PortFramesIn", counters.received),
                                          {"PortFramesOut", counters.transmitted},
                                          {"PortMissed", counters.missed},
                                          {"PortNoBuffer", counters.no_buffer},
                                          {"PortErrors", counters.errors}})
            text += fmt::format("port {} {} {}\n", port.device, name, value);
    }
    for (uint16_t core = 0; core < inspected_.cores; ++core)
        if (!levels(core, text)) return false;
    return say(InspectReply::Kind::text, text);
}

bool Interview::levels(uint16_t core, std::string& text) {
    Levels levels;
    const auto take = [&](stack::Stack& stack) {
        levels = Levels::of(stack);
        return true;
    };
    if (!on_core(core, take)) return false;
    levels.for_each([&](std::string_view name, uint64_t number) {
        text += fmt::format("level {} {} {}\n", core, name, number);
    });
    return true;
}

bool Interview::about() {
    std::string text = fmt::format("program {}\npid {}\ncores {}\n", program_name(), getpid(),
                                   inspected_.cores);
    for (const std::string& port : inspected_.descriptions())
        text += fmt::format("port {}\n", port);
    return say(InspectReply::Kind::text, text);
}

bool Interview::abort(const InspectRequest& request) {
    size_t count = 0;
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        SocketCursor cursor;
        while (!cursor.at_end()) {
            size_t turns = 0;
            const auto step = [&](stack::Stack& stack) {
                count += stack.abort_matching(cursor, request.filter, buckets_a_turn);
                return cursor.at_end() || ++turns == batch_turns;
            };
            if (!on_core(core, step) || !say(InspectReply::Kind::wait, {})) return false;
        }
    }
    return say(InspectReply::Kind::text, fmt::format("{}\n", count));
}

/// Connections that are there now: of them the beginning may be gone.
bool Interview::live_connections(uint16_t core, const SocketFilter& filter,
                                 std::vector<SocketRecord>& live) {
    SocketFilter connections = filter;
    connections.kinds = 1U << static_cast<unsigned>(SocketKind::connection);
    SocketCursor cursor;
    while (!cursor.at_end() && live.size() < live_stories) {
        size_t turns = 0;
        const auto step = [&](stack::Stack& stack) {
            stack.list(cursor, connections, buckets_a_turn, live);
            return cursor.at_end() || live.size() >= live_stories || ++turns == batch_turns;
        };
        if (!on_core(core, step) || !say(InspectReply::Kind::wait, {})) return false;
    }
    if (live.size() > live_stories) live.resize(live_stories);
    return true;
}

/// What the core's recorder has of the connections that the filter admits.
bool Interview::stories_of(uint16_t core, const SocketFilter& filter,
                           std::vector<Story>& stories) {
    auto live = room_for<SocketRecord>(live_stories + batch_slack);
    if (!live_connections(core, filter, live)) return false;
    auto events = room_for<TraceEvent>(config::recorder_events_max);
    const auto copy = [&](stack::Stack& stack) {
        stack.recorder().copy(events);
        return true;
    };
    if (!on_core(core, copy)) return false;
    stories = observe::stories_in(events, filter, live);
    return kept_stories(core, filter, stories);
}

/// What it has kept beside its ring, one story a turn.
bool Interview::kept_stories(uint16_t core, const SocketFilter& filter,
                             std::vector<Story>& stories) {
    for (size_t i = 0;; ++i) {
        Story kept;
        kept.events = room_for<TraceEvent>(observe::Followed::events_max);
        bool there = false;
        const auto copy = [&](stack::Stack& stack) {
            there = stack.recorder().copy_kept(i, filter, kept);
            return true;
        };
        if (!on_core(core, copy)) return false;
        if (!there) return true;
        if (!kept.events.empty()) observe::add_kept(stories, std::move(kept));
    }
}

bool Interview::stories(const InspectRequest& request) {
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        std::vector<Story> stories;
        if (!stories_of(core, request.filter, stories)) return false;
        for (const Story& story : stories)
            if (!tell(core, story)) return false;
    }
    return true;
}

bool Interview::tell(uint16_t core, const Story& story) {
    const StoryHead head{.local = story.local,
                         .remote = story.remote,
                         .core = core,
                         .kind = story.kind,
                         .whole = story.whole,
                         .left_out = story.left_out};
    return say(InspectReply::Kind::story, &head, sizeof(head)) &&
           say(InspectReply::Kind::events, story.events.data(),
               story.events.size() * sizeof(TraceEvent), sizeof(TraceEvent));
}

bool Interview::follow(const InspectRequest& request) {
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        // Made and freed here: a core does neither.
        std::unique_ptr<observe::Followed> followed;
        if (request.one_in != 0)
            followed = std::make_unique<observe::Followed>(request.filter, request.one_in,
                                                           stories_followed);
        const auto begin = [&](stack::Stack& stack) {
            stack.recorder().follow(followed);
            return true;
        };
        if (!on_core(core, begin)) return false;
    }
    return true;
}

bool Interview::fail(const std::string& why) {
    say(InspectReply::Kind::failure, why);
    return false;
}

bool Interview::say(InspectReply::Kind kind, const void* data, size_t size, size_t unit) {
    const auto* at = static_cast<const char*>(data);
    const size_t most = InspectReply::size_max / unit * unit;
    do {
        const size_t part = std::min(size, most);
        const InspectReply reply{kind, static_cast<uint32_t>(part)};
        if (!client_.send(&reply, sizeof(reply)) || !client_.send(at, part)) return false;
        at += part;
        size -= part;
    } while (size > 0);
    return true;
}

bool Interview::say(InspectReply::Kind kind, const std::string& text) {
    return say(kind, text.data(), text.size());
}

}  // namespace millrace::api
