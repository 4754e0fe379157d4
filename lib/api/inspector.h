// Answers who looks into this process: `millrace-ss`, `millrace-nstat`.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/capture_session.h"
#include "api/inspect_protocol.h"
#include "api/inspected.h"

namespace millrace::api {

/// A thread of its own and a Unix socket; made and destroyed by the runtime's owner, while the
/// cores' mailboxes stand. One client at a time, each with a time limit; captures have threads of
/// their own. Cores are asked by message, for a bounded part each time: nothing here touches what
/// they own.
class Inspector {
public:
    /// errno of what could not be made: a program runs as well without.
    static Result<std::unique_ptr<Inspector>> start(Inspected inspected);
    ~Inspector();
    Inspector(const Inspector&) = delete;
    Inspector& operator=(const Inspector&) = delete;
    const std::string& path() const { return path_; }

private:
    explicit Inspector(Inspected inspected) : inspected_(std::move(inspected)) {}
    void run();
    bool serve(int client);
    bool capture(int client, const InspectRequest& request);
    bool list(int client, const InspectRequest& request);
    bool counters(int client);
    bool drops(int client);
    bool take_counters(int client, uint16_t core, observe::Counters& counters);
    bool about(int client);
    bool abort(int client, const InspectRequest& request);
    bool stories(int client, const InspectRequest& request);
    bool stories_of(uint16_t core, const SocketFilter& filter, std::vector<Story>& stories);
    bool kept_stories(uint16_t core, const SocketFilter& filter, std::vector<Story>& stories);
    bool follow(int client, const InspectRequest& request);
    bool on_core(uint16_t core, std::function<void(stack::Stack&)> what);
    bool fail(int client, const std::string& why);
    static bool say(int client, InspectReply::Kind kind, const void* data, size_t size);
    static bool say(int client, InspectReply::Kind kind, const std::string& text);

    const Inspected inspected_;
    std::string path_;
    int listening_ = -1;
    int stop_ = -1;  ///< an eventfd
    std::vector<std::unique_ptr<CaptureSession>> captures_;  ///< of the thread, while it runs
    std::thread thread_;
};

}  // namespace millrace::api
