// The asking side of an inspection.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "api/channel.h"
#include "api/inspect_protocol.h"

namespace millrace {

using api::InspectCommand;
using api::InspectReply;
using api::InspectRequest;

namespace {

// The other side gives a core two seconds, and says from time to time that it goes on.
constexpr Duration patience = Duration::from_s(10);

/// -1, with errno.
int connect_to(const std::string& path) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    if (path.size() >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    std::memcpy(address.sun_path, path.c_str(), path.size());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
    const int wrong = errno;
    close(fd);
    errno = wrong;
    return -1;
}

/// Calls `take(kind, bytes)` for each part of the answer.
template <typename Take>
Started<void> ask(api::Channel& there, const InspectRequest& request, Take&& take) {
    const auto gone = [] { return failure("the program that was asked does not answer", EPIPE); };
    if (!there.send(&request, sizeof(request))) return gone();
    std::vector<char> bytes;
    for (;;) {
        InspectReply reply;
        if (!there.receive(&reply, sizeof(reply)) || reply.size > InspectReply::size_max)
            return gone();
        bytes.resize(reply.size);
        if (!there.receive(bytes.data(), bytes.size())) return gone();
        const std::string_view text(bytes.data(), bytes.size());
        switch (reply.kind) {
            case InspectReply::Kind::end: return {};
            case InspectReply::Kind::wait: break;
            case InspectReply::Kind::failure: return failure(std::string(text), EIO);
            default: take(reply.kind, text);
        }
    }
}

Started<std::string> ask_for_text(api::Channel& there, InspectCommand command,
                                  const SocketFilter& filter = {}) {
    std::string text;
    InspectRequest request;
    request.command = command;
    request.filter = filter;
    const auto asked =
        ask(there, request, [&](InspectReply::Kind, std::string_view part) { text += part; });
    if (!asked) return std::unexpected(asked.error());
    return text;
}

}  // namespace

std::vector<std::string> Inspection::running() {
    std::vector<std::string> paths;
    for (const std::string& directory : api::inspected_directories()) {
        std::error_code status;
        std::filesystem::directory_iterator at(directory, status);
        for (; !status && at != std::filesystem::directory_iterator(); at.increment(status)) {
            const std::string path = at->path();
            if (!api::is_inspect_name(at->path().filename().native())) continue;
            const int fd = connect_to(path);
            if (fd >= 0) {
                close(fd);
                paths.push_back(path);
            } else if (errno == ECONNREFUSED) {
                unlink(path.c_str());
            }
        }
    }
    std::ranges::sort(paths);
    return paths;
}

Started<Inspection> Inspection::open(const std::string& path) {
    const int fd = connect_to(path);
    if (fd < 0)
        return failure(fmt::format("{}: {}", path, Errno{errno}.message()), errno);
    return Inspection(std::make_unique<api::Channel>(fd, patience));
}

Inspection::Inspection(std::unique_ptr<api::Channel> there) : there_(std::move(there)) {}
Inspection::Inspection(Inspection&&) noexcept = default;
Inspection::~Inspection() = default;

Started<std::string> Inspection::about() { return ask_for_text(*there_, InspectCommand::about); }

Started<void> Inspection::list(const SocketFilter& filter,
                               const std::function<void(const SocketRecord&)>& visit) {
    InspectRequest request;
    request.command = InspectCommand::list;
    request.filter = filter;
    return ask(*there_, request, [&](InspectReply::Kind, std::string_view records) {
        SocketRecord record;
        for (; records.size() >= sizeof(record); records.remove_prefix(sizeof(record))) {
            std::memcpy(&record, records.data(), sizeof(record));
            visit(record);
        }
    });
}

Started<std::string> Inspection::counters() {
    return ask_for_text(*there_, InspectCommand::counters);
}

Started<std::string> Inspection::drops() { return ask_for_text(*there_, InspectCommand::drops); }

Started<void> Inspection::stories(const SocketFilter& filter,
                                  const std::function<void(const Story&)>& visit) {
    Story story;
    bool begun = false;
    const auto tell = [&] {
        if (begun) visit(story);
        story = {};
        begun = true;
    };
    const auto take = [&](InspectReply::Kind kind, std::string_view bytes) {
        if (kind == InspectReply::Kind::story && bytes.size() == sizeof(api::StoryHead)) {
            tell();
            api::StoryHead head;
            std::memcpy(&head, bytes.data(), sizeof(head));
            story.local = head.local;
            story.remote = head.remote;
            story.core = head.core;
            story.kind = head.kind;
            story.whole = head.whole;
            story.left_out = head.left_out;
        } else if (kind == InspectReply::Kind::events) {
            const size_t count = bytes.size() / sizeof(TraceEvent);
            const size_t before = story.events.size();
            story.events.resize(before + count);
            if (count > 0)
                std::memcpy(&story.events[before], bytes.data(), count * sizeof(TraceEvent));
        }
    };
    InspectRequest request;
    request.command = InspectCommand::stories;
    request.filter = filter;
    const auto asked = ask(*there_, request, take);
    if (asked && begun) visit(story);
    return asked;
}

Started<void> Inspection::follow(const SocketFilter& filter, uint32_t one_in) {
    InspectRequest request;
    request.command = InspectCommand::follow;
    request.filter = filter;
    request.one_in = one_in;
    return ask(*there_, request, [](InspectReply::Kind, std::string_view) {});
}

Started<CaptureCounts> Inspection::capture(
    const CaptureOptions& options, const std::function<bool(std::span<const std::byte>)>& take) {
    InspectRequest request;
    request.command = InspectCommand::capture;
    request.filter = options.filter;
    if (options.port.size() >= request.capture.port.size())
        return failure(fmt::format("no port is {}", options.port), EINVAL);
    std::ranges::copy(options.port, request.capture.port.begin());
    request.capture.count = options.count;
    request.capture.snaplen = options.snaplen;
    request.capture.waiting = options.waiting;
    request.capture.received = options.received ? 1 : 0;
    request.capture.sent = options.sent ? 1 : 0;
    CaptureCounts counts;
    bool wanted = true;
    const auto asked = ask(*there_, request, [&](InspectReply::Kind kind, std::string_view bytes) {
        if (kind == InspectReply::Kind::counts && bytes.size() == sizeof(counts)) {
            std::memcpy(&counts, bytes.data(), sizeof(counts));
        } else if (kind == InspectReply::Kind::capture &&
                   !take(std::as_bytes(std::span(bytes))) && wanted) {
            wanted = false;
            there_->finish();
        }
    });
    if (!asked) return std::unexpected(asked.error());
    return counts;
}

Started<uint64_t> Inspection::abort(const SocketFilter& filter) {
    const auto text = ask_for_text(*there_, InspectCommand::abort, filter);
    if (!text) return std::unexpected(text.error());
    uint64_t count = 0;
    std::from_chars(text->data(), text->data() + text->size(), count);
    return count;
}

}  // namespace millrace
