// The generator through TLS: requests, handshakes as a mode, and every way to end.
#include "httpd/server.h"
#include "unit/apps/generator_fixture.h"

namespace millrace::apps {
namespace {

class GeneratorTlsTest : public GeneratorTest {
protected:
    GeneratorTlsTest() {
        plan_.protocol = Protocol::https;
        plan_.target.port = 443;
    }
    /// Our server's HTTPS, and HTTP where a port is given.
    HttpServer& serve(size_t body_size, uint16_t port = 0) {
        http_ = std::make_unique<HttpServer>(
            server_, HttpOptions{.body_size = body_size, .port = port, .tls_port = 443,
                                 .tls = identity_.get()});
        EXPECT_TRUE(http_->listen());
        return *http_;
    }

    const std::unique_ptr<TlsContext> identity_ = std::move(*TlsContext::server({}));
    std::unique_ptr<HttpServer> http_;
};

TEST_F(GeneratorTlsTest, https_is_http_with_tls_around_it) {
    const HttpServer& server = serve(20'000);
    for (const auto& [closing, requests] : {std::pair{Closing::client, 0}, {Closing::server, 3},
                                            {Closing::client, 3}}) {
        const auto before = server.counters();
        plan_.closing = closing;
        plan_.requests_per_connection = static_cast<uint64_t>(requests);
        begin();
        run(20_ms);
        const Figures& figures = stop();
        expect_errors(figures, LoadError::reset, 0);
        const auto& after = server.counters();
        EXPECT_GT(figures.completed, 100U);
        EXPECT_EQ(figures.asked, figures.completed);
        EXPECT_EQ(figures.handshakes, figures.established);
        EXPECT_EQ(figures.handshake.count(), figures.handshakes);
        EXPECT_EQ(after.requests - before.requests, figures.completed);
        EXPECT_EQ(after.handshakes - before.handshakes, figures.handshakes);
        EXPECT_EQ(after.resumed - before.resumed, figures.resumed);
        EXPECT_EQ(after.bytes_in - before.bytes_in, figures.bytes_out);
        EXPECT_EQ(after.bytes_out - before.bytes_out, figures.bytes_in)
            << name_of(closing) << " after " << requests;
        if (requests > 0) {
            EXPECT_GT(figures.resumed, 0U);
        }
    }
}

TEST_F(GeneratorTlsTest, handshakes_are_counted_with_and_without_what_was_before) {
    const HttpServer& server = serve(10);
    plan_.mode = Mode::handshakes;
    for (const auto& [version, resume] :
         {std::pair{TlsVersion::any, false}, {TlsVersion::any, true}, {TlsVersion::tls_1_2, true}})
        for (const Closing closing : {Closing::server, Closing::client, Closing::reset}) {
            plan_.tls.version = version;
            const auto before = server.counters();
            plan_.tls.resumes = resume;
            plan_.closing = closing;
            begin();
            run(10_ms);
            const Figures& figures = stop();
            const auto& after = server.counters();
            SCOPED_TRACE(name_of(closing));
            expect_errors(figures, LoadError::reset, 0);
            EXPECT_GT(figures.completed, 32U);
            EXPECT_EQ(figures.completed, figures.handshakes);
            EXPECT_EQ(figures.completed, figures.asked);
            // Each is one for the server, too, and every byte has met somebody.
            EXPECT_EQ(after.connections - before.connections, figures.established);
            EXPECT_EQ(after.handshakes - before.handshakes, figures.handshakes);
            EXPECT_EQ(after.resumed - before.resumed, figures.resumed);
            EXPECT_EQ(after.bytes_in - before.bytes_in, figures.bytes_out);
            EXPECT_EQ(after.bytes_out - before.bytes_out, figures.bytes_in);
            if (resume) {
                EXPECT_GT(figures.resumed, figures.handshakes / 2);
            } else {
                EXPECT_EQ(figures.resumed, 0U);
            }
        }
}

TEST_F(GeneratorTlsTest, a_server_that_ends_by_its_answer_is_not_talked_to_any_more) {
    const HttpServer& server = serve(100);
    plan_.closing = Closing::client;
    plan_.headers = {"Connection: close"};
    begin();
    run(10_ms);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_GT(figures.completed, 30U);
    EXPECT_EQ(figures.completed, figures.established);
    EXPECT_EQ(server.counters().bytes_in, figures.bytes_out);
    EXPECT_EQ(server.counters().bytes_out, figures.bytes_in);
}

/// Answers with a body that lasts as long as the connection, and ends as it is told.
class EndlessServer final : public ConnectionHandler, public ListenHandler {
public:
    EndlessServer(bool says_so, bool closes)
        : says_so_(says_so), closes_(closes), tls_(std::move(*TlsContext::server({}))) {}
    void on_acceptable(Listener listener) override {
        while (const auto connection = listener.accept(*this)) {
            channel_.open(*connection);
            EXPECT_TRUE(channel_.secure(*tls_));
        }
    }
    void on_readable(Connection) override {
        const auto input = channel_.input();
        if (channel_.at_end()) return (void)channel_.release().close();
        if (!input || input->empty()) return;
        channel_.used(input->size());
        const std::string_view answer = "HTTP/1.0 200 OK\r\n\r\nhalf of what there ";
        EXPECT_TRUE(channel_.send(std::as_bytes(std::span(answer))));
        if (says_so_) {
            EXPECT_TRUE(channel_.finish());
        }
        if (closes_) (void)channel_.release().close();
    }
    void on_closed(Connection, CloseReason) override { channel_.release(); }

private:
    const bool says_so_;
    const bool closes_;
    const std::unique_ptr<TlsContext> tls_;
    Channel channel_;
};

TEST_F(GeneratorTlsTest, what_ends_without_a_word_of_tls_has_been_cut_off) {
    plan_.connections = 1;
    plan_.requests_per_connection = 1;
    for (const bool says_so : {true, false}) {
        plan_.target.port = says_so ? 443 : 444;
        EndlessServer server(says_so, true);
        listen(server);
        begin();
        run(5_ms);
        const Figures& figures = stop();
        if (says_so) {
            EXPECT_GT(figures.completed, 3U);
            expect_errors(figures, LoadError::closed_early, 0);
        } else {
            EXPECT_EQ(figures.completed, 0U);
            expect_errors(figures, LoadError::closed_early, figures.asked);
        }
    }
}

TEST_F(GeneratorTlsTest, who_says_within_tls_that_he_ends_need_not_do_so_first) {
    plan_.connections = 1;
    plan_.requests_per_connection = 1;
    EndlessServer server(true, false);
    listen(server);
    begin();
    run(1200_ms, 1_ms);  // twice the plan's timeout, and a third connection that waits for it
    EXPECT_EQ(generator_->open_now(), 1U);
    generator_->stop();
    generator_->abandon();
    all_ = generator_->exchange(std::make_unique<Figures>());
    EXPECT_EQ(all_->completed, 3U);
    EXPECT_EQ(all_->established, all_->closed);
    expect_errors(*all_, LoadError::timed_out, 0);
}

TEST_F(GeneratorTlsTest, a_server_without_tls_is_told_from_one_with_it) {
    const HttpServer& server = serve(10, 80);
    plan_.target.port = 80;
    plan_.connections = 2;
    make();
    generator_->open();
    run(20_ms);
    generator_->stop();
    run(100_ms);
    auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_GT(figures->errors[static_cast<size_t>(LoadError::bad_tls)], 0U);
    EXPECT_EQ(figures->errors_total(),
              figures->errors[static_cast<size_t>(LoadError::bad_tls)]);
    EXPECT_EQ(figures->handshakes, 0U);
    // And the other way round: our server says what it thinks of it, and closes.
    plan_.protocol = Protocol::http;
    plan_.target.port = 443;
    make();
    generator_->open();
    run(20_ms);
    generator_->begin();
    run(20_ms);
    generator_->stop();
    run(100_ms);
    figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_EQ(figures->completed, 0U);
    EXPECT_GT(figures->errors_total(), 0U);
    EXPECT_EQ(server.counters().handshakes, 0U);
    run(1_s, 1_ms);
    EXPECT_EQ(server_.population().connections, 0U);
}

}  // namespace
}  // namespace millrace::apps
