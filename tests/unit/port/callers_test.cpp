#include "port/callers.h"

#include <sys/epoll.h>

#include <fmt/format.h>

#include "unit/port/unix_socket.h"

namespace millrace::port {
namespace {

using testing::Call;

/// A listening socket, and an epoll instance that watches it.
class Listener {
public:
    explicit Listener(int type) : fd_(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        const sockaddr_un address = testing::unix_address(path_);
        unlink(path_.c_str());
        EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        EXPECT_EQ(listen(fd_, 100), 0);
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd_}};
        EXPECT_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event), 0);
    }
    ~Listener() {
        close(fd_);
        close(epoll_);
        unlink(path_.c_str());
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    const std::string& path() const { return path_; }
    int fd() const { return fd_; }
    int epoll() const { return epoll_; }
    /// How many calls wait, and whether the first one's caller is there. Takes them.
    std::pair<int, bool> calls() {
        int count = 0;
        bool there = false;
        for (int call = 0; (call = accept(fd_, nullptr, nullptr)) >= 0; close(call))
            if (++count == 1) there = send(call, "?", 1, MSG_NOSIGNAL) == 1;
        return {count, there};
    }

private:
    const std::string path_ = fmt::format("/tmp/millrace-callers-{}.sock", getpid());
    const int fd_;
    const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
};

TEST(Callers, those_who_have_left_are_taken_from_the_head_of_the_queue) {
    Listener listener(SOCK_SEQPACKET);
    { const Call first(listener.path()), second(listener.path()); }
    const Call waits(listener.path());
    { const Call third(listener.path()); }
    EXPECT_TRUE(settle_calls(listener.epoll()));
    EXPECT_EQ(listener.calls(), (std::pair{2, true})) << "the one who waits, and who is behind him";
}

TEST(Callers, nobody_has_called) {
    Listener listener(SOCK_SEQPACKET);
    EXPECT_TRUE(settle_calls(listener.epoll()));
    EXPECT_EQ(listener.calls().first, 0);
    EXPECT_TRUE(settle_calls(-1));
}

/// Nobody holds the thread up by calling again and again.
TEST(Callers, a_bounded_number_at_a_time) {
    Listener listener(SOCK_SEQPACKET);
    for (int i = 0; i < 100; ++i) { const Call call(listener.path()); }
    EXPECT_FALSE(settle_calls(listener.epoll()));
    EXPECT_TRUE(settle_calls(listener.epoll()));
    EXPECT_EQ(listener.calls().first, 0);
}

TEST(Callers, a_socket_of_another_type_is_somebody_elses) {
    Listener listener(SOCK_STREAM);
    { const Call call(listener.path(), SOCK_STREAM); }
    EXPECT_TRUE(settle_calls(listener.epoll()));
    EXPECT_EQ(listener.calls().first, 1);
}

TEST(Callers, what_an_epoll_instance_watches_is_told) {
    Listener listener(SOCK_SEQPACKET);
    EXPECT_EQ(watched_by(listener.epoll()), std::vector{listener.fd()});
    EXPECT_EQ(watched_by(listener.fd()), std::vector<int>()) << "that is none";
    EXPECT_EQ(watched_by(-1), std::nullopt);
}

}  // namespace
}  // namespace millrace::port
