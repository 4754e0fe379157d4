// Lets others look into this process: `millrace-ss`, `millrace-nstat`.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "api/interview.h"
#include "api/stop_event.h"

namespace millrace::api {

/// A Unix socket and a thread that waits at it; made and destroyed by the runtime's owner, while
/// the cores' mailboxes stand. Each client has a thread of its own, up to `clients_max`: one that
/// does not read its answer holds up nobody else.
class Inspector {
public:
    static constexpr size_t clients_max = 16;

    /// errno of what could not be made: a program runs as well without.
    static Result<std::unique_ptr<Inspector>> start(Inspected inspected);
    ~Inspector();
    Inspector(const Inspector&) = delete;
    Inspector& operator=(const Inspector&) = delete;

private:
    struct Client {
        std::thread thread;
        std::atomic<bool> over{false};
    };

    explicit Inspector(Inspected inspected) : inspected_(std::move(inspected)) {}
    Result<void> listen_at(const std::string& directory);
    void run();
    void admit(int fd);
    void serve(Client& client, Channel channel);
    /// Joins the threads of those that have gone, or of all.
    void bury(bool all);

    const Inspected inspected_;
    std::string path_;
    int listening_ = -1;
    StopEvent stop_;
    std::list<Client> clients_;
    std::thread thread_;
};

}  // namespace millrace::api
