// One look into this process: a client's questions and their answers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/channel.h"
#include "api/inspect_protocol.h"
#include "api/inspected.h"

namespace millrace::api {

/// In a thread of its own. Cores are asked by message, a bounded part of the answer in each of
/// their turns: nothing here touches what they own, and they wait for nothing.
class Interview {
public:
    /// `stop` becomes readable when the answer is not wanted any more.
    Interview(const Inspected& inspected, Channel client, int stop)
        : inspected_(inspected), client_(std::move(client)), stop_(stop) {}
    /// Until the client is gone, has asked what cannot be understood, or `stop`.
    void run();

private:
    bool answer(const InspectRequest& request);
    bool list(const InspectRequest& request);
    bool counters();
    bool drops();
    bool levels(uint16_t core, std::string& text);
    bool take_counters(uint16_t core, observe::Counters& counters);
    bool about();
    bool abort(const InspectRequest& request);
    bool stories(const InspectRequest& request);
    bool stories_of(uint16_t core, const SocketFilter& filter, std::vector<Story>& stories);
    bool live_connections(uint16_t core, const SocketFilter& filter,
                          std::vector<SocketRecord>& live);
    bool kept_stories(uint16_t core, const SocketFilter& filter, std::vector<Story>& stories);
    bool tell(uint16_t core, const Story& story);
    bool follow(const InspectRequest& request);
    bool capture(const InspectRequest& request);
    /// Runs `step` once a turn of the core until it answers true. False: the client has been told
    /// why it did not.
    bool on_core(uint16_t core, std::function<bool(stack::Stack&)> step);
    bool fail(const std::string& why);
    /// In parts of whole units.
    bool say(InspectReply::Kind kind, const void* data, size_t size, size_t unit = 1);
    bool say(InspectReply::Kind kind, const std::string& text);

    const Inspected& inspected_;
    Channel client_;
    const int stop_;
};

}  // namespace millrace::api
