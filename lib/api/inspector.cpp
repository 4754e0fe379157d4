#include "api/inspector.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "config/tunables.h"

namespace millrace::api {

namespace {

// A core looks into so many buckets at a time: some tens of microseconds where all is cold.
constexpr size_t buckets_at_once = 64;
constexpr timeval client_patience{.tv_sec = 5, .tv_usec = 0};
constexpr size_t reply_records = 512;
// Of connections that have no beginning in the record any more.
constexpr size_t live_stories = 64;
constexpr size_t stories_followed = 64;
// Captures that run, and that are about to end or to be refused.
constexpr size_t captures_max = 2 * runtime::Core::taps_max;

std::string program_name() {
    std::string name;
    std::getline(std::ifstream("/proc/self/comm"), name);
    return name;
}

/// Names of several runtimes in one process.
std::string unique_name() {
    static std::atomic<int> count{0};
    return fmt::format("{}.{}", getpid(), count++);
}

}  // namespace

Result<std::unique_ptr<Inspector>> Inspector::start(Inspected inspected) {
    std::unique_ptr<Inspector> made(new Inspector(std::move(inspected)));
    const std::string directory = inspect_directory(true);
    if (directory.empty()) return error(EACCES);
    made->path_ = directory + "/" + unique_name();
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    if (made->path_.size() >= sizeof(address.sun_path)) return error(ENAMETOOLONG);
    std::memcpy(address.sun_path, made->path_.c_str(), made->path_.size());
    unlink(made->path_.c_str());  // of a process of this number, long ago
    made->listening_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    made->stop_ = eventfd(0, EFD_CLOEXEC);
    if (made->listening_ < 0 || made->stop_ < 0 ||
        bind(made->listening_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(made->listening_, 8) != 0)
        return error(errno);
    made->thread_ = std::thread([inspector = made.get()] { inspector->run(); });
    return made;
}

Inspector::~Inspector() {
    const uint64_t one = 1;
    if (thread_.joinable()) {
        while (write(stop_, &one, sizeof(one)) < 0 && errno == EINTR) continue;
        thread_.join();
    }
    if (listening_ >= 0) {
        close(listening_);
        unlink(path_.c_str());
    }
    if (stop_ >= 0) close(stop_);
}

void Inspector::run() {
    sigset_t all;  // the program's signals are the program's
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    for (;;) {
        std::array<pollfd, 2> waiting{{{.fd = stop_, .events = POLLIN, .revents = 0},
                                       {.fd = listening_, .events = POLLIN, .revents = 0}}};
        if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
        if (waiting[0].revents != 0) break;
        const int client = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) continue;
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &client_patience, sizeof(client_patience));
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &client_patience, sizeof(client_patience));
        if (!serve(client)) close(client);
    }
    captures_.clear();  // they see the end, too
}

/// True where the client is somebody else's now.
bool Inspector::serve(int client) {
    InspectRequest request;
    while (receive_all(client, &request, sizeof(request))) {
        if (request.magic != InspectRequest::magic_value ||
            request.record_size != sizeof(SocketRecord)) {
            return fail(client, "of another version of Millrace than the program that is asked");
        }
        bool good = false;
        switch (request.command) {
            case InspectCommand::about: good = about(client); break;
            case InspectCommand::list: good = list(client, request); break;
            case InspectCommand::counters: good = counters(client); break;
            case InspectCommand::drops: good = drops(client); break;
            case InspectCommand::abort: good = abort(client, request); break;
            case InspectCommand::stories: good = stories(client, request); break;
            case InspectCommand::follow: good = follow(client, request); break;
            case InspectCommand::capture: return capture(client, request);
            default: return fail(client, "an unknown command");
        }
        if (!good || !say(client, InspectReply::Kind::end, {})) return false;
    }
    return false;
}

bool Inspector::on_core(uint16_t core, std::function<void(stack::Stack&)> what) {
    return inspected_.on_core(
        core, [what = std::move(what)](runtime::Core& asked) { what(asked.stack()); });
}

/// In a thread of its own, which closes the client.
bool Inspector::capture(int client, const InspectRequest& request) {
    std::erase_if(captures_, [](const auto& capture) { return capture->over(); });
    if (captures_.size() >= captures_max) {
        fail(client, "too many captures run already: end one of them");
        return false;
    }
    captures_.push_back(std::make_unique<CaptureSession>(inspected_, client, stop_, request));
    return true;
}

bool Inspector::list(int client, const InspectRequest& request) {
    std::vector<SocketRecord> records;
    const auto flush = [&] {
        const bool said = say(client, InspectReply::Kind::records, records.data(),
                              records.size() * sizeof(SocketRecord));
        records.clear();
        return said;
    };
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        SocketCursor cursor;
        while (!cursor.at_end()) {
            if (!on_core(core, [&](stack::Stack& stack) {
                    stack.list(cursor, request.filter, buckets_at_once, records);
                }))
                return fail(client, fmt::format("core {} does not turn", core));
            if (records.size() >= reply_records && !flush()) return false;
        }
    }
    return records.empty() || flush();
}

bool Inspector::take_counters(int client, uint16_t core, observe::Counters& counters) {
    return on_core(core, [&](stack::Stack& stack) { counters = stack.counters(); }) ||
           fail(client, fmt::format("core {} does not turn", core));
}

bool Inspector::drops(int client) {
    std::string text;
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        observe::Counters counters;
        if (!take_counters(client, core, counters)) return false;
        for (size_t i = 0; i < observe::drop_count; ++i)
            text += fmt::format("{} {} {} {}\n", core, observe::drop_reasons[i].name,
                                counters.dropped[i], observe::drop_reasons[i].sentence);
    }
    return say(client, InspectReply::Kind::text, text);
}

bool Inspector::counters(int client) {
    std::string text;
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        observe::Counters counters;
        if (!take_counters(client, core, counters)) return false;
        counters.for_each([&](std::string_view name, uint64_t value) {
            text += fmt::format("{} {} {}\n", core, name, value);
        });
    }
    return say(client, InspectReply::Kind::text, text);
}

bool Inspector::about(int client) {
    std::string text = fmt::format("program {}\npid {}\ncores {}\n", program_name(), getpid(),
                                   inspected_.cores);
    for (const std::string& port : inspected_.descriptions()) text += "port " + port + "\n";
    return say(client, InspectReply::Kind::text, text);
}

bool Inspector::abort(int client, const InspectRequest& request) {
    size_t count = 0;
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        SocketCursor cursor;
        while (!cursor.at_end())
            if (!on_core(core, [&](stack::Stack& stack) {
                    count += stack.abort_matching(cursor, request.filter, buckets_at_once);
                }))
                return fail(client, fmt::format("core {} does not turn", core));
    }
    return say(client, InspectReply::Kind::text, fmt::format("{}\n", count));
}

/// What the core's recorder has of the connections that the filter admits.
bool Inspector::stories_of(uint16_t core, const SocketFilter& filter,
                           std::vector<Story>& stories) {
    // Those that are there: of them the beginning may be gone.
    std::vector<SocketRecord> live;
    SocketFilter connections = filter;
    connections.kinds = 1U << static_cast<unsigned>(SocketKind::connection);
    SocketCursor cursor;
    while (!cursor.at_end() && live.size() < live_stories)
        if (!on_core(core, [&](stack::Stack& stack) {
                stack.list(cursor, connections, buckets_at_once, live);
            }))
            return false;
    if (live.size() > live_stories) live.resize(live_stories);
    std::vector<TraceEvent> events;  // with its memory before the core is asked
    events.reserve(config::recorder_events_max);
    if (!on_core(core, [&](stack::Stack& stack) { stack.recorder().copy(events); })) return false;
    stories = observe::stories_in(events, filter, live);
    return kept_stories(core, filter, stories);
}

/// What it has kept beside its ring, one story at a time.
bool Inspector::kept_stories(uint16_t core, const SocketFilter& filter,
                             std::vector<Story>& stories) {
    for (size_t i = 0;; ++i) {
        Story kept;
        kept.events.reserve(observe::Followed::events_max);
        bool there = false;
        if (!on_core(core, [&](stack::Stack& stack) {
                there = stack.recorder().copy_kept(i, filter, kept);
            }))
            return false;
        if (!there) return true;
        if (!kept.events.empty()) observe::add_kept(stories, std::move(kept));
    }
}

bool Inspector::stories(int client, const InspectRequest& request) {
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        std::vector<Story> stories;
        if (!stories_of(core, request.filter, stories))
            return fail(client, fmt::format("core {} does not turn", core));
        for (const Story& story : stories) {
            const StoryHead head{.local = story.local,
                                 .remote = story.remote,
                                 .core = core,
                                 .kind = story.kind,
                                 .whole = story.whole,
                                 .left_out = story.left_out};
            if (!say(client, InspectReply::Kind::story, &head, sizeof(head)) ||
                !say(client, InspectReply::Kind::events, story.events.data(),
                     story.events.size() * sizeof(TraceEvent)))
                return false;
        }
    }
    return true;
}

bool Inspector::follow(int client, const InspectRequest& request) {
    for (uint16_t core = 0; core < inspected_.cores; ++core) {
        // Made and freed here: a core does neither.
        std::unique_ptr<observe::Followed> followed;
        if (request.one_in != 0)
            followed = std::make_unique<observe::Followed>(request.filter, request.one_in,
                                                           stories_followed);
        if (!on_core(core, [&](stack::Stack& stack) { stack.recorder().follow(followed); }))
            return fail(client, fmt::format("core {} does not turn", core));
    }
    return true;
}

bool Inspector::fail(int client, const std::string& why) {
    say(client, InspectReply::Kind::failure, why);
    return false;
}

bool Inspector::say(int client, InspectReply::Kind kind, const void* data, size_t size) {
    const auto* at = static_cast<const char*>(data);
    do {
        const size_t part = std::min<size_t>(size, InspectReply::size_max);
        const InspectReply reply{kind, static_cast<uint32_t>(part)};
        if (!send_all(client, &reply, sizeof(reply)) || !send_all(client, at, part)) return false;
        at += part;
        size -= part;
    } while (size > 0);
    return true;
}

bool Inspector::say(int client, InspectReply::Kind kind, const std::string& text) {
    return say(client, kind, text.data(), text.size());
}

}  // namespace millrace::api
