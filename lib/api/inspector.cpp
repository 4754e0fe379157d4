#include "api/inspector.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

namespace millrace::api {

namespace {

// Where no descriptor is left for a client, others may be given back meanwhile.
constexpr int out_of_descriptors_ms = 100;

/// Names of several runtimes in one process.
std::string unique_name() {
    static std::atomic<int> count{0};
    return fmt::format("{}.{}", getpid(), count++);
}

bool may_look(int client) {
    ucred peer{};
    socklen_t size = sizeof(peer);
    return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

/// The program's signals are the program's.
void leave_signals_alone() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace

Result<std::unique_ptr<Inspector>> Inspector::start(Inspected inspected) {
    std::unique_ptr<Inspector> made(new Inspector(std::move(inspected)));
    const std::string directory = inspect_directory();
    if (directory.empty()) return error(EACCES);
    if (const auto listening = made->listen_at(directory); !listening)
        return std::unexpected(listening.error());
    try {
        made->thread_ = std::thread([inspector = made.get()] { inspector->run(); });
    } catch (const std::system_error&) {
        return error(EAGAIN);
    }
    return made;
}

/// The socket gets its name when it answers: who finds one that does not takes it for a leftover.
Result<void> Inspector::listen_at(const std::string& directory) {
    const std::string path = fmt::format("{}/{}", directory, unique_name());
    const std::string before = path + ".new";
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    if (before.size() >= sizeof(address.sun_path)) return error(ENAMETOOLONG);
    std::memcpy(address.sun_path, before.c_str(), before.size());
    unlink(before.c_str());  // of a process of this number, long ago
    listening_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stop_.wrong() != 0) return error(stop_.wrong());
    if (listening_ < 0 ||
        bind(listening_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
        return error(errno);
    if (chmod(before.c_str(), 0600) != 0 || listen(listening_, clients_max) != 0 ||
        rename(before.c_str(), path.c_str()) != 0) {
        const int wrong = errno;
        unlink(before.c_str());
        return error(wrong);
    }
    path_ = path;
    return {};
}

Inspector::~Inspector() {
    if (thread_.joinable()) {
        stop_.raise();
        thread_.join();
        bury(true);
    }
    if (!path_.empty()) unlink(path_.c_str());
    if (listening_ >= 0) close(listening_);
}

void Inspector::run() {
    leave_signals_alone();
    for (;;) {
        std::array<pollfd, 2> waiting{{{.fd = stop_.fd(), .events = POLLIN, .revents = 0},
                                       {.fd = listening_, .events = POLLIN, .revents = 0}}};
        if (poll(waiting.data(), waiting.size(), -1) < 0) continue;
        if (waiting[0].revents != 0) return;
        bury(false);
        const int client = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
        if (client >= 0)
            admit(client);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            (void)poll(waiting.data(), 1, out_of_descriptors_ms);
    }
}

void Inspector::admit(int fd) {
    Channel channel(fd, Duration::max(), stop_.fd());
    if (!may_look(fd) || clients_.size() >= clients_max) return;
    try {
        Client& client = clients_.emplace_back();
        client.thread = std::thread(
            [this, &client, c = std::move(channel)]() mutable { serve(client, std::move(c)); });
    } catch (const std::exception&) {  // no thread, no memory: nobody looks, the program goes on
        if (!clients_.empty() && !clients_.back().thread.joinable()) clients_.pop_back();
    }
}

void Inspector::serve(Client& client, Channel channel) {
    leave_signals_alone();
    try {
        Interview(inspected_, std::move(channel), stop_.fd()).run();
        client.over = true;
    } catch (const std::exception&) {  // no memory: likewise
        client.over = true;
    }
}

void Inspector::bury(bool all) {
    for (auto client = clients_.begin(); client != clients_.end();) {
        if (!all && !client->over) {
            ++client;
            continue;
        }
        client->thread.join();
        client = clients_.erase(client);
    }
}

}  // namespace millrace::api
