// What others see of a stack: its sockets as records, from within and from another process' side.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include <millrace/millrace.h>

#include "api/channel.h"
#include "api/inspect_protocol.h"
#include "unit/api/looked_into.h"

namespace millrace {
namespace {

using namespace literals;

/// Accepts, reads nothing, and remembers how it ended.
struct Idle : ConnectionHandler, ListenHandler {
    std::vector<Connection> accepted;
    int error = 0;
    void on_acceptable(Listener listener) override {
        while (auto c = listener.accept(*this)) accepted.push_back(*c);
    }
    void on_closed(Connection c, CloseReason) override { error = c.socket_error(); }
};

class Inspect : public LookedInto {
protected:
    void SetUp() override {
        LookedInto::SetUp();
        ASSERT_TRUE(server_->core(0).listen({Address(), 80}, server_handler_, 32));
    }
    /// So many connections to the server, established on both sides.
    void open(size_t count) {
        for (size_t i = 1; i <= count; ++i) {
            connections_.push_back(
                *client_->core(0).connect({server_address_, 80}, client_handler_));
            ASSERT_TRUE(turn_until([&] { return server_handler_.accepted.size() == i; }));
        }
    }
    static std::vector<SocketRecord> listed(Stack& stack, const SocketFilter& filter = {}) {
        std::vector<SocketRecord> records;
        for (SocketCursor cursor; !cursor.at_end();) stack.sockets(cursor, filter, records);
        return records;
    }
    /// A client of the server's that says what it likes.
    static api::Channel raw_client() {
        const std::string path = server_path();
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        return api::Channel(fd, 5_s);
    }
    /// One that has been answered, and so has its place. Looking for where the server answers takes
    /// a place for a moment, too.
    static api::Channel admitted_client() {
        for (int i = 0; i < 100; ++i) {
            api::Channel channel = raw_client();
            const api::InspectRequest request;
            api::InspectReply reply;
            if (channel.send(&request, sizeof(request)) && channel.receive(&reply, sizeof(reply)))
                return channel;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        ADD_FAILURE() << "there is no room for a client";
        return raw_client();
    }
    /// What is answered at once, with nobody turning: its kind and, where it is one, its text.
    static std::pair<api::InspectReply::Kind, std::string> answer(
        const api::InspectRequest& request) {
        api::Channel channel = raw_client();
        api::InspectReply reply;
        EXPECT_TRUE(channel.send(&request, sizeof(request)));
        EXPECT_TRUE(channel.receive(&reply, sizeof(reply)));
        std::string text(reply.size, ' ');
        EXPECT_TRUE(channel.receive(text.data(), text.size()));
        return {reply.kind, text};
    }

    Idle server_handler_, client_handler_;
    std::vector<Connection> connections_;
};

TEST_F(Inspect, a_listener_and_its_connections_are_listed_once_each) {
    open(300);
    const auto records = listed(server_->core(0));
    ASSERT_EQ(records.size(), 301U);
    std::vector<uint16_t> ports;
    for (const SocketRecord& r : records) {
        if (r.kind == SocketKind::listener) {
            EXPECT_EQ(r.state, SocketState::listen);
            EXPECT_EQ(r.send_queue, 32U);
            EXPECT_EQ(r.local, (SocketAddress{Address(), 80}));
            continue;
        }
        EXPECT_EQ(r.kind, SocketKind::connection);
        EXPECT_EQ(r.state, SocketState::established);
        EXPECT_EQ(r.local, (SocketAddress{server_address_, 80}));
        ports.push_back(r.remote.port);
    }
    std::ranges::sort(ports);
    EXPECT_EQ(std::ranges::adjacent_find(ports), ports.end());
    EXPECT_EQ(ports.size(), 300U);
}

TEST_F(Inspect, a_record_says_what_the_handle_does) {
    open(1);
    Connection& c = connections_.front();
    ASSERT_TRUE(c.send("some bytes"));
    ASSERT_TRUE(turn_until([&] { return c.info().delivered == 10; }));
    const auto mine = listed(client_->core(0), {.states = 1U << 1});
    ASSERT_EQ(mine.size(), 1U);
    const ConnectionInfo info = c.info();
    EXPECT_EQ(mine[0].local, c.local());
    EXPECT_EQ(mine[0].remote, c.remote());
    EXPECT_EQ(mine[0].cwnd, info.snd_cwnd);
    EXPECT_EQ(mine[0].snd_mss, info.snd_mss);
    EXPECT_EQ(mine[0].snd_wnd, info.snd_wnd);
    EXPECT_EQ(mine[0].bytes_acked, 10U);
    EXPECT_EQ(mine[0].rtt_us, static_cast<uint32_t>(info.rtt.us()));
    EXPECT_EQ(mine[0].congestion_control(), "cubic");
    EXPECT_TRUE(mine[0].timestamps && mine[0].sack && mine[0].window_scaling);
    const auto theirs = listed(server_->core(0), {.states = 1U << 1});
    ASSERT_EQ(theirs.size(), 1U);
    EXPECT_EQ(theirs[0].receive_queue, 10U) << "nobody has read it";
}

TEST_F(Inspect, filters_admit_what_agrees_with_every_part) {
    open(3);
    Stack& server = server_->core(0);
    const uint16_t port = connections_[1].local().port;
    EXPECT_EQ(listed(server, {.remote_port = port}).size(), 1U);
    EXPECT_EQ(listed(server, {.local_port = 80}).size(), 4U);
    EXPECT_EQ(listed(server, {.local_port = 81}).size(), 0U);
    EXPECT_EQ(listed(server, {.kinds = 1U << static_cast<int>(SocketKind::listener)}).size(), 1U);
    EXPECT_EQ(listed(server, {.remote = *Prefix::parse("10.6.0.0/24")}).size(), 3U);
    EXPECT_EQ(listed(server, {.remote = *Prefix::parse("10.7.0.0/24")}).size(), 0U);
    EXPECT_EQ(listed(server, {.remote_port = port, .remote = *Prefix::parse("10.6.0.1/32")}).size(),
              0U);
}

TEST_F(Inspect, what_ends_is_seen_in_time_wait) {
    open(2);
    ASSERT_TRUE(connections_[0].close());
    ASSERT_TRUE(turn_until([&] {
        return std::ranges::any_of(listed(server_->core(0)), [](const SocketRecord& r) {
            return r.state == SocketState::close_wait;
        });
    }));
    for (Connection& c : server_handler_.accepted)
        if (c.at_end()) (void)c.close();
    const SocketFilter gone{.states = 1U << static_cast<int>(SocketState::time_wait)};
    ASSERT_TRUE(turn_until([&] { return listed(client_->core(0), gone).size() == 1; }));
    const SocketRecord r = listed(client_->core(0), gone).front();
    EXPECT_EQ(r.kind, SocketKind::time_wait);
    EXPECT_EQ(r.timer, SocketTimer::timewait);
    EXPECT_GT(r.timer_ms, 50'000U);
    EXPECT_LE(r.timer_ms, 60'500U);
}

TEST_F(Inspect, another_process_sees_the_same) {
    open(300);
    meanwhile([&] {
        auto there = inspection();
        ASSERT_TRUE(there) << there.error().what;
        const auto about = there->about();
        ASSERT_TRUE(about);
        EXPECT_NE(about->find("pid " + std::to_string(getpid())), std::string::npos);
        EXPECT_NE(about->find("cores 1"), std::string::npos);
        size_t count = 0;
        EXPECT_TRUE(there->list({}, [&](const SocketRecord&) { ++count; }));
        EXPECT_EQ(count, 301U);
        const auto counters = there->counters();
        ASSERT_TRUE(counters);
        for (const char* row : {"core 0 TcpPassiveOpens 300\n", "level 0 Connections 300\n",
                                "port ring:looked", ":0 PortFramesIn 602\n"})
            EXPECT_NE(counters->find(row), std::string::npos) << row << " in\n" << *counters;
    });
}

TEST_F(Inspect, connections_are_reset_by_filter_and_the_application_is_told) {
    open(3);
    const SocketFilter one{.remote_port = connections_[2].local().port};
    meanwhile([&] {
        auto there = inspection();
        ASSERT_TRUE(there);
        EXPECT_EQ(*there->abort(one), 1U);
        EXPECT_EQ(*there->abort(one), 0U);
    });
    EXPECT_EQ(server_handler_.error, ECONNABORTED);
    EXPECT_TRUE(turn_until([&] { return client_handler_.error == ECONNRESET; }));
    EXPECT_EQ(listed(server_->core(0), {.local_port = 80}).size(), 3U);
}

TEST_F(Inspect, stories_are_told_to_others) {
    open(3);
    const uint16_t port = connections_[1].local().port;
    meanwhile([&] {
        auto there = inspection();
        ASSERT_TRUE(there);
        size_t count = 0;
        ASSERT_TRUE(there->stories({}, [&](const Story& story) {
            ++count;
            EXPECT_TRUE(story.whole);
            EXPECT_EQ(story.kind, StoryKind::recorded);
            EXPECT_EQ(story.local, (SocketAddress{server_address_, 80}));
            ASSERT_FALSE(story.events.empty());
            EXPECT_EQ(story.events.front().kind, TraceKind::opened);
        }));
        EXPECT_EQ(count, 3U);
        // One of them, which ends: kept, and told once.
        SocketFilter one;
        one.remote_port = port;
        EXPECT_EQ(*there->abort(one), 1U);
        std::vector<Story> told;
        ASSERT_TRUE(there->stories(one, [&](const Story& story) { told.push_back(story); }));
        ASSERT_EQ(told.size(), 1U);
        EXPECT_EQ(told[0].remote.port, one.remote_port);
        const auto ended = [](const TraceEvent& event) {
            return event.kind == TraceKind::ended && event.what == ECONNABORTED;
        };
        EXPECT_EQ(std::ranges::count_if(told[0].events, ended), 1);
    });
}

TEST_F(Inspect, whole_stories_are_kept_of_whom_a_filter_names) {
    meanwhile([&] {
        auto there = inspection();
        ASSERT_TRUE(there);
        SocketFilter port;
        port.local_port = 80;
        ASSERT_TRUE(there->follow(port, 50));
    });
    open(300);  // five events each: the ring has some two hundred
    meanwhile([&] {
        auto there = inspection();
        ASSERT_TRUE(there);
        size_t followed = 0;
        const auto count = [&](const Story& story) {
            if (story.kind != StoryKind::followed) return;
            ++followed;
            EXPECT_TRUE(story.whole);
            EXPECT_EQ(story.events.front().kind, TraceKind::opened);
        };
        ASSERT_TRUE(there->stories({}, count));
        EXPECT_EQ(followed, 1U);
        ASSERT_TRUE(there->follow({}, 0));
        followed = 0;
        ASSERT_TRUE(there->stories({}, count));
        EXPECT_EQ(followed, 0U);
    });
}

TEST_F(Inspect, a_core_that_does_not_turn_is_said_to) {
    auto there = inspection();
    ASSERT_TRUE(there);
    const auto counters = there->counters();  // nobody turns meanwhile
    ASSERT_FALSE(counters);
    EXPECT_EQ(counters.error().what, "core 0 does not turn");
}

TEST_F(Inspect, who_does_not_read_the_answer_holds_up_nobody) {
    open(100);
    // Asks again and again without reading: more than the socket takes.
    api::Channel stuck = raw_client();
    api::InspectRequest request;
    request.command = api::InspectCommand::list;
    for (int i = 0; i < 64; ++i) ASSERT_TRUE(stuck.send(&request, sizeof(request)));
    meanwhile([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        auto there = inspection();
        ASSERT_TRUE(there);
        size_t count = 0;
        EXPECT_TRUE(there->list({}, [&](const SocketRecord&) { ++count; }));
        EXPECT_EQ(count, 101U);
    });
    const auto begun = std::chrono::steady_clock::now();
    server_.reset();  // does not wait for it either
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
    connections_.clear();
}

TEST_F(Inspect, more_clients_than_there_is_room_for_are_turned_away_and_the_room_comes_back) {
    std::vector<api::Channel> clients;
    for (int i = 0; i < 16; ++i) clients.push_back(admitted_client());
    const auto is_answered = [] {
        auto there = inspection();
        return there && there->about();
    };
    EXPECT_FALSE(is_answered());
    clients.clear();
    bool answered = false;
    for (int i = 0; i < 100 && !answered; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        answered = is_answered();
    }
    EXPECT_TRUE(answered);
}

TEST_F(Inspect, what_no_tool_of_this_build_would_say_is_refused) {
    using api::InspectReply;
    api::InspectRequest request;
    EXPECT_EQ(answer(request).first, InspectReply::Kind::text);
    request.magic[0] = 'x';
    EXPECT_EQ(answer(request).first, InspectReply::Kind::failure);
    request = {};
    request.record_size = 1;
    EXPECT_EQ(answer(request).first, InspectReply::Kind::failure);
    request = {};
    request.filter.remote.length = 200;
    EXPECT_EQ(answer(request).first, InspectReply::Kind::failure);
    request = {};
    request.command = static_cast<api::InspectCommand>(99);
    EXPECT_EQ(answer(request).second, "an unknown command");
}

TEST_F(Inspect, its_socket_is_for_its_user_alone_and_goes_with_the_runtime) {
    const std::string path = server_path();
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_NE(stat((path + ".new").c_str(), &status), 0);
    server_.reset();
    EXPECT_NE(stat(path.c_str(), &status), 0);
}

TEST(InspectNames, others_lie_beside_them) {
    EXPECT_TRUE(api::is_inspect_name("1234.0"));
    for (const char* name : {"", ".", "1.", ".1", "1234.0.new", "httpd.sock", "-1.0"})
        EXPECT_FALSE(api::is_inspect_name(name)) << name;
}

TEST(InspectOff, nobody_looks_in_where_it_is_switched_off) {
    Config config = end_of_link("inspect_off", 0);
    config.inspect.enabled = false;
    const auto runtime = Runtime::create(config);
    ASSERT_TRUE(runtime);
    const std::string ours = "/" + std::to_string(getpid()) + ".";
    for (const std::string& path : Inspection::running())
        EXPECT_FALSE(path.contains(ours)) << path;
}

}  // namespace
}  // namespace millrace
