// The HTTP server under a virtual clock: clients that are slow, silent, half closed or no clients
// at all, with TLS and without.
#include "httpd/server.h"

#include <millrace/testing.h>

#include <gtest/gtest.h>

#include "common/channel.h"
#include "httpd/session.h"
#include "unit/apps/wire_host.h"

namespace millrace::apps {
namespace {

using namespace literals;
using testing::Network;

/// Says what it is told to, and reads no more than that.
struct Client final : ConnectionHandler {
    void on_connected(Connection c) override {
        channel.open(c);
        if (tls == nullptr) return say();
        EXPECT_TRUE(channel.secure(*tls));
    }
    void on_readable(Connection) override {
        read();
    }
    void on_writable(Connection) override { (void)channel.flush(); }
    void on_closed(Connection, CloseReason why) override {
        reason = why;
        end();
    }
    /// What it has come to; the handle is dead, or given up.
    void end() {
        if (!channel) return;
        ended = channel.at_end() && channel.ended_well();
        (void)channel.release().close();
    }
    void read() {
        while (channel && got.size() < most) {
            const auto piece = channel.input();
            if (!piece) problem = channel.tls()->problem();
            if (!std::exchange(said, channel.tls() == nullptr || channel.tls()->is_established()))
                say();
            if (!piece || piece->empty()) break;
            got.append(reinterpret_cast<const char*>(piece->data()), piece->size());
            channel.used(piece->size());
        }
    }
    void say() {
        said = true;
        for (std::string_view rest = text; !rest.empty();) {
            const auto sent = channel.send(std::as_bytes(std::span(rest)));
            ASSERT_TRUE(sent);
            rest.remove_prefix(*sent);
        }
        if (!half_closes) return;
        EXPECT_TRUE(channel.finish());
        EXPECT_TRUE(channel.connection().shutdown());
    }

    Channel channel;
    TlsContext* tls = nullptr;
    std::string text;
    bool half_closes = false;
    size_t most = SIZE_MAX;  ///< that it reads
    bool said = false;
    std::string got, problem;
    std::optional<CloseReason> reason;
    bool ended = false;
};

class HttpServerTest : public ::testing::TestWithParam<bool> {
protected:
    static constexpr size_t body_size = 8'000'000;  // more than a send buffer holds

    HttpServerTest()
        : server_stack_(**network_.add(wire_host("10.0.0.1/24"))),
          client_stack_(**network_.add(wire_host("10.0.0.2/24"))),
          server_(server_stack_, {.body_size = body_size, .port = 80, .tls_port = 443,
                                  .tls = identity_.get(), .idle_timeout = 60_s}) {
        EXPECT_TRUE(server_.listen());
        if (GetParam()) client_.tls = of_client_.get();
    }
    ~HttpServerTest() override {
        network_.remove(client_stack_);
        network_.remove(server_stack_);
    }
    void connect(Client& client) {
        ASSERT_TRUE(client_stack_.connect(
            {Address::v4(10, 0, 0, 1), static_cast<uint16_t>(GetParam() ? 443 : 80)}, client));
    }
    size_t connections() { return server_stack_.population().connections; }
    /// The server has ended, and has said so.
    bool is_over(Client& client) {
        client.end();
        return client.ended;
    }

    const std::unique_ptr<TlsContext> identity_ = std::move(*TlsContext::server({}));
    const std::unique_ptr<TlsContext> of_client_ = std::move(*TlsContext::client({}));
    Network network_{1};
    Stack& server_stack_;
    Stack& client_stack_;
    Client client_;
    HttpServer server_;
};

INSTANTIATE_TEST_SUITE_P(Each, HttpServerTest, ::testing::Bool(),
                         [](const auto& i) { return i.param ? "tls" : "plain"; });

TEST_P(HttpServerTest, a_client_that_reads_late_gets_everything_and_the_end) {
    client_.text = "GET /body HTTP/1.1\r\nConnection: close\r\n\r\n";
    client_.most = 1000;
    connect(client_);
    network_.advance(20_s);  // buffers and windows are full for long
    EXPECT_LT(client_.got.size(), body_size / 2);
    client_.most = SIZE_MAX;
    client_.read();
    network_.advance(20_s);
    EXPECT_GT(client_.got.size(), body_size);
    EXPECT_EQ(client_.got.substr(client_.got.find("\r\n\r\n") + 4), std::string(body_size, 'x'));
    EXPECT_EQ(client_.channel.take_received(), server_.counters().bytes_out);
    EXPECT_EQ(client_.channel.take_sent(), server_.counters().bytes_in);
    EXPECT_TRUE(is_over(client_));
}

TEST_P(HttpServerTest, requests_that_come_in_one_piece_are_answered_one_after_the_other) {
    client_.text = "GET /1 HTTP/1.1\r\n\r\nHEAD /body HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
    connect(client_);
    network_.advance(1_s);
    EXPECT_EQ(server_.counters().requests, 3U);
    EXPECT_NE(client_.got.find("404", client_.got.find("200 OK")), std::string::npos);
}

TEST_P(HttpServerTest, heads_and_trailers_without_end_are_refused) {
    const std::string line = "X: " + std::string(100, 'x') + "\r\n";
    std::string lines;
    while (lines.size() < 2 * HttpSession::head_max) lines += line;
    const std::string chunked = "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const std::string& text :
         {"GET /body HTTP/1.1\r\n" + lines, "GET /body HTTP/1.1\r\n" + lines + "\r\n",
          chunked + "1\r\nx\r\n0\r\n" + lines, chunked + "1;" + std::string(40'000, 'x')}) {
        Client client;
        client.tls = client_.tls;
        client.text = text;
        connect(client);
        network_.advance(1_s);
        EXPECT_NE(client.got.find("431 "), std::string::npos) << client.got;
        EXPECT_TRUE(is_over(client));
        network_.advance(1_s);
    }
    // Bodies in small chunks are no such thing.
    Client client;
    client.tls = client_.tls;
    client.text = chunked;
    for (int i = 0; i < 10'000; ++i) client.text += "1\r\nx\r\n";
    client.text += "0\r\n\r\n";
    connect(client);
    network_.advance(1_s);
    EXPECT_NE(client.got.find("405 "), std::string::npos) << client.got;
    client.end();
    network_.advance(1_s);
}

TEST_P(HttpServerTest, what_is_no_request_is_refused_and_the_answer_arrives) {
    client_.text = "GET /1 HTTP/1.1\r\n\r\nwhat is this?\r\n\r\n" + std::string(100'000, 'x');
    connect(client_);
    network_.advance(1_s);
    EXPECT_NE(client_.got.find("400 Bad Request"), std::string::npos) << client_.got;
    EXPECT_FALSE(client_.reason);
    EXPECT_TRUE(is_over(client_));
}

TEST_P(HttpServerTest, a_client_that_has_closed_its_side_gets_its_answer_and_the_end) {
    client_.text = "GET /nowhere HTTP/1.1\r\n\r\n";
    client_.half_closes = true;
    connect(client_);
    network_.advance(1_s);
    EXPECT_NE(client_.got.find("404 Not Found"), std::string::npos) << client_.got;
    EXPECT_TRUE(is_over(client_));
    EXPECT_EQ(connections(), 0U);
}

TEST_P(HttpServerTest, a_client_that_asks_for_nothing_is_let_go) {
    connect(client_);
    network_.advance(59_s);
    EXPECT_EQ(connections(), 1U);
    EXPECT_FALSE(client_.channel.at_end());
    network_.advance(2_s);
    EXPECT_TRUE(is_over(client_));
    network_.advance(1_s);
    EXPECT_EQ(connections(), 0U);
}

TEST_P(HttpServerTest, half_a_request_does_not_hold_a_connection_however_slowly_it_comes) {
    client_.text = "GET /body HTTP/1.1\r\nX: ";
    connect(client_);
    for (int i = 0; i < 55; ++i) {
        network_.advance(1_s);
        EXPECT_TRUE(client_.channel.send(std::as_bytes(std::span("a", 1))));
    }
    EXPECT_EQ(connections(), 1U);
    network_.advance(7_s);
    EXPECT_TRUE(client_.reason || client_.channel.at_end());
    EXPECT_EQ(client_.got, "");
    EXPECT_EQ(server_.counters().requests, 0U);
}

TEST_P(HttpServerTest, who_reads_slowly_gets_everything_in_its_time) {
    client_.text = "GET /body HTTP/1.1\r\n\r\n";
    client_.most = 1;
    connect(client_);
    for (int i = 0; i < 400; ++i) {
        network_.advance(1_s);
        client_.most = client_.got.size() + 25'000;
        client_.read();
        ASSERT_FALSE(client_.reason) << i << " s";
    }
    EXPECT_GT(client_.got.size(), body_size);
}

TEST_P(HttpServerTest, whole_requests_keep_a_connection) {
    client_.text = "HEAD /body HTTP/1.1\r\n\r\n";
    connect(client_);
    for (int i = 0; i < 10; ++i) {
        network_.advance(50_s);
        ASSERT_FALSE(client_.channel.at_end()) << i;
        client_.say();
    }
    network_.advance(1_s);
    EXPECT_EQ(server_.counters().requests, 11U);
}

TEST_P(HttpServerTest, who_takes_no_answer_is_cut_off) {
    client_.text = "GET /body HTTP/1.1\r\n\r\n";
    client_.most = 1000;
    connect(client_);
    network_.advance(50_s);
    EXPECT_EQ(connections(), 1U);
    network_.advance(80_s);  // what was under way when it was looked at first counts as progress
    EXPECT_EQ(connections(), 0U);
    EXPECT_EQ(client_.reason, CloseReason::reset);
}

/// A server that ends gracefully.
class HttpServerDrain : public HttpServerTest {
protected:
    static size_t count(const std::string& text, const std::string& what) {
        size_t found = 0;
        for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++found;
        return found;
    }
    void drain() {
        EXPECT_TRUE(server_stack_.stop_listening());
        server_.drain();
    }
    /// It has ended in good order, both sides.
    void expect_gone(Client& client) {
        EXPECT_FALSE(client.reason) << to_string(*client.reason);
        EXPECT_TRUE(is_over(client));
        network_.advance(1_s);
        EXPECT_EQ(connections(), 0U);
    }
    const std::string get_ = "GET /nowhere HTTP/1.1\r\n\r\n";
};
INSTANTIATE_TEST_SUITE_P(Each, HttpServerDrain, ::testing::Bool(),
                         [](const auto& i) { return i.param ? "tls" : "plain"; });

TEST_P(HttpServerDrain, who_is_kept_alive_and_asks_nothing_is_let_go_at_once) {
    client_.text = get_;
    connect(client_);
    network_.advance(1_s);
    EXPECT_EQ(count(client_.got, "404 Not Found"), 1U);
    EXPECT_EQ(count(client_.got, "Connection: close"), 0U);
    drain();
    network_.advance(1_ms);
    expect_gone(client_);
}

TEST_P(HttpServerDrain, nobody_can_connect_any_more) {
    drain();
    connect(client_);
    network_.advance(1_s);
    EXPECT_EQ(client_.reason, CloseReason::refused);
}

TEST_P(HttpServerDrain, half_a_request_is_waited_for_and_answered) {
    client_.text = get_.substr(0, 10);
    connect(client_);
    network_.advance(1_s);
    drain();
    network_.advance(5_s);
    EXPECT_EQ(connections(), 1U);
    client_.text = get_.substr(10);
    client_.say();
    network_.advance(1_s);
    EXPECT_EQ(count(client_.got, "404 Not Found"), 1U);
    EXPECT_EQ(count(client_.got, "Connection: close"), 1U);
    expect_gone(client_);
}

TEST_P(HttpServerDrain, an_answer_under_way_arrives_whole) {
    client_.text = "GET /body HTTP/1.1\r\n\r\n";
    client_.most = 1000;
    connect(client_);
    network_.advance(1_s);
    drain();
    network_.advance(1_s);
    EXPECT_EQ(connections(), 1U);
    client_.most = SIZE_MAX;
    client_.read();
    network_.advance(20_s);
    EXPECT_EQ(client_.got.size() - client_.got.find("\r\n\r\n") - 4, body_size);
    expect_gone(client_);
}

/// All of them were acknowledged before the server knew that it was to end.
TEST_P(HttpServerDrain, every_request_that_has_come_is_answered_and_the_last_says_so) {
    client_.text = "GET /body HTTP/1.1\r\n\r\n" + get_ + get_ + get_;
    client_.most = 1000;
    connect(client_);
    network_.advance(1_s);
    drain();
    client_.most = SIZE_MAX;
    client_.read();
    network_.advance(20_s);
    EXPECT_EQ(count(client_.got, "404 Not Found"), 3U);
    EXPECT_EQ(count(client_.got, "Connection: close"), 1U);
    EXPECT_GT(client_.got.find("Connection: close"), client_.got.rfind("404 Not Found"));
    expect_gone(client_);
}

/// What comes behind the end that was announced is not answered, nor does it reset the answer.
TEST_P(HttpServerDrain, who_asks_on_behind_the_last_answer_has_it_all_the_same) {
    client_.text = get_.substr(0, 10);
    connect(client_);
    network_.advance(1_s);
    drain();
    client_.text = get_.substr(10);
    client_.say();
    network_.advance(120_us);  // the answer is under way
    client_.text = get_;
    client_.say();
    network_.advance(1_s);
    EXPECT_EQ(count(client_.got, "404 Not Found"), 1U);
    EXPECT_EQ(server_.counters().requests, 1U);
    expect_gone(client_);
}

TEST_P(HttpServerDrain, who_has_just_connected_has_a_second_to_ask) {
    Client silent;
    silent.tls = client_.tls;
    connect(silent);
    connect(client_);
    network_.advance(10_ms);
    drain();
    network_.advance(500_ms);
    client_.text = get_;
    client_.say();
    network_.advance(400_ms);
    EXPECT_EQ(count(client_.got, "404 Not Found"), 1U);
    EXPECT_EQ(count(client_.got, "Connection: close"), 1U);
    EXPECT_FALSE(silent.channel.at_end());
    network_.advance(200_ms);
    EXPECT_TRUE(is_over(silent));
    expect_gone(client_);
}

/// The SYN-ACK was under way when the server was told.
TEST_P(HttpServerDrain, a_handshake_under_way_is_served) {
    client_.text = get_;
    connect(client_);
    network_.advance(60_us);
    drain();
    network_.advance(1_s);
    EXPECT_EQ(count(client_.got, "404 Not Found"), 1U);
    EXPECT_EQ(count(client_.got, "Connection: close"), 1U);
    expect_gone(client_);
}

TEST(HttpHead, says_what_it_is_told_whatever_was_before) {
    HeadWriter writer;
    const Head found{.status = 200, .size = 5, .content_type = "text/plain", .extra = {}};
    Head other = found;
    const std::string first(writer.write(found));
    EXPECT_EQ(first, "HTTP/1.1 200 OK\r\nServer: millrace\r\nContent-Type: text/plain\r\n"
                     "Content-Length: 5\r\n\r\n");
    const auto differs = [&](const std::string& word) {
        const std::string text(writer.write(other));
        EXPECT_NE(text.find(word), std::string::npos) << text;
        EXPECT_EQ(writer.write(other), text);
        EXPECT_EQ(writer.write(found), first);
        other = found;
    };
    other.status = 404;
    differs("404 Not Found");
    other.size = 6;
    differs("Content-Length: 6");
    other.content_type = "text/html";
    differs("Content-Type: text/html");
    other.extra = "Allow: GET, HEAD\r\n";
    differs("Allow: GET, HEAD");
    other.persistence = Head::Persistence::close;
    differs("Connection: close");
    other.persistence = Head::Persistence::keep_alive;
    differs("Connection: keep-alive");
}

class HttpsServerTest : public HttpServerTest {};
INSTANTIATE_TEST_SUITE_P(Tls, HttpsServerTest, ::testing::Values(true));

TEST_P(HttpsServerTest, a_handshake_that_does_not_end_holds_nothing) {
    client_.tls = nullptr;  // it connects, and says half a record
    client_.text = std::string("\x16\x03\x01\x02\x00\x01", 6);
    connect(client_);
    network_.advance(50_s);
    EXPECT_EQ(connections(), 1U);
    network_.advance(20_s);
    (void)client_.channel.release().close();
    network_.advance(1_s);
    EXPECT_EQ(connections(), 0U);
}

TEST_P(HttpsServerTest, what_is_no_tls_is_told_so_and_not_cut_off) {
    client_.tls = nullptr;
    client_.text = std::string("\x16\x03\x01\0\5hello", 10);
    connect(client_);
    network_.advance(1_s);
    ASSERT_EQ(client_.got.size(), 7U);  // one alert (RFC 8446 section 6)
    EXPECT_EQ(client_.got[0], 0x15);
    EXPECT_EQ(server_.counters().tls_failures.size(), 1U);
    EXPECT_TRUE(client_.channel.at_end());
    EXPECT_FALSE(client_.reason) << "no reset";
    EXPECT_EQ(server_.counters().handshakes, 0U);
}

}  // namespace
}  // namespace millrace::apps
