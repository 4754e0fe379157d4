// The generator under a virtual clock: what it intends, sends, counts, and how it ends.
#include "load/generator.h"

#include <deque>

#include "echo/echo.h"
#include "httpd/server.h"
#include "load/assertion.h"
#include "load/raw_server.h"
#include "load/results.h"
#include "unit/apps/generator_fixture.h"

namespace millrace::apps {
namespace {

/// Takes requests of so many bytes and answers each by as many, unless it is told to be silent,
/// late, wrong or gone.
class Server final : public ConnectionHandler, public ListenHandler {
public:
    explicit Server(size_t size) : size_(size) {}
    void on_acceptable(Listener listener) override {
        while (listener.accept(*this)) continue;
    }
    void on_readable(Connection c) override {
        if (stopped) {
            waiting_.push_back(c);
            return;
        }
        serve(c);
    }
    void on_closed(Connection c, CloseReason) override { std::erase(waiting_, c); }
    void go_on() {
        stopped = false;
        for (const Connection c : std::exchange(waiting_, {})) serve(c);
    }

    bool stopped = false;
    uint64_t requests = 0;
    uint64_t answered_max = UINT64_MAX;  ///< then it is silent
    uint64_t close_after = UINT64_MAX;   ///< requests of all
    uint64_t reset_after = UINT64_MAX;
    bool wrong = false;

private:
    void serve(Connection c) {
        const BufferChain data = c.receive();
        (void)c.consumed(data.size());
        for (size_t got = 0; got < data.size(); got += size_) {
            if (++requests > answered_max) continue;
            if (requests > reset_after) {
                (void)c.abort();
                return;
            }
            std::string answer(reinterpret_cast<const char*>(filling().data()), size_);
            if (wrong) answer.back() ^= 1;
            (void)c.send(answer);
        }
        if (c.at_end() || requests >= close_after) (void)c.close();
    }

    const size_t size_;
    std::vector<Connection> waiting_;
};
TEST_F(GeneratorTest, closed_each_connection_asks_as_soon_as_it_is_answered) {
    Server server(100);
    listen(server);
    begin();
    run(200_ms);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_EQ(figures.attempted, 16U);
    EXPECT_EQ(figures.established, 16U);
    EXPECT_EQ(figures.asked, figures.completed);
    EXPECT_EQ(figures.asked, server.requests);
    EXPECT_EQ(figures.bytes_in, figures.completed * 100);
    EXPECT_EQ(figures.bytes_out, figures.completed * 100);
    // One after the other, a round trip each.
    EXPECT_EQ(figures.request.min(), one_way * 2);
    EXPECT_EQ(figures.request.percentile(0.99), one_way * 2);
    EXPECT_EQ(figures.request.count(), figures.completed);
    EXPECT_EQ(figures.first_byte.count(), figures.completed);
    EXPECT_EQ(figures.connect.count(), 16U);
    EXPECT_EQ(figures.connect.max(), one_way * 2);
    EXPECT_NEAR(static_cast<double>(figures.completed), 16 * 2'000, 16 * 20);
}

TEST_F(GeneratorTest, pipelined_requests_are_answered_in_their_order) {
    Server server(100);
    listen(server);
    plan_.connections = 1;
    plan_.pipeline = 8;
    begin();
    run(100_ms);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_EQ(figures.asked, figures.completed);
    EXPECT_NEAR(static_cast<double>(figures.completed), 8 * 1000, 50);
}

TEST_F(GeneratorTest, thinking_takes_its_time) {
    Server server(100);
    listen(server);
    plan_.think_ms = 10;
    begin();
    run(1_s);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    // 10.1 ms each, and up to 65.5 us of the wheel's tick.
    EXPECT_NEAR(static_cast<double>(figures.completed), 16 * 99, 16 * 2);
    EXPECT_EQ(figures.request.percentile(0.5), one_way * 2);
}

TEST_F(GeneratorTest, a_rate_is_kept_to_the_request_whatever_the_answers_do) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::rps;
    plan_.rate = 5000;
    plan_.duration = 2;
    begin();
    run(3_s);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_EQ(figures.asked, 10'000U);
    EXPECT_EQ(figures.completed, 10'000U);
    EXPECT_EQ(figures.lag.count(), 10'000U);
    // Late by no more than the generator's own turn.
    EXPECT_LE(figures.lag.max(), turn);
    EXPECT_EQ(figures.uncorrected.max(), one_way * 2);
    EXPECT_LE(figures.request.max(), one_way * 2 + turn);
}

/// Issue: the server is stopped for 500 ms in 10 s at half of its capacity.
TEST_F(GeneratorTest, a_stopped_server_shows_in_the_corrected_latency_alone) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::rps;
    plan_.connections = 1;  // which can do 10,000 a second
    plan_.rate = 4000;
    plan_.timeout = 2;
    begin();
    run(4_s);
    server.stopped = true;
    run(500_ms);
    server.go_on();
    run(6_s);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_EQ(figures.completed, 40'000U);
    EXPECT_GT(figures.request.percentile(0.99), 300_ms);
    EXPECT_GE(figures.request.max(), 499_ms);
    EXPECT_LT(figures.uncorrected.percentile(0.99), 1_ms);
    EXPECT_LT(figures.uncorrected.percentile(0.999), 1_ms);
    EXPECT_GE(figures.uncorrected.max(), 499_ms) << "the one that was under way";
    // It was not the generator that was late, and so the run is valid.
    EXPECT_LE(figures.lag.max(), turn);
    Results results;
    results.seconds = 10;
    results.counted += figures;
    results.whole += figures;
    judge_schedule(results, plan_);
    EXPECT_TRUE(results.invalid.empty());
}

TEST_F(GeneratorTest, a_generator_that_is_asked_too_seldom_says_so) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::rps;
    plan_.rate = 1000;
    plan_.duration = 1;
    begin();
    run(2_s, 20_ms);
    const Figures& figures = stop();
    EXPECT_EQ(figures.completed, 1000U);
    EXPECT_GT(figures.lag.percentile(0.99), 15_ms);
    Results results;
    results.seconds = 1;
    results.counted += figures;
    results.whole += figures;
    judge_schedule(results, plan_);
    ASSERT_EQ(results.invalid.size(), 1U);
    EXPECT_NE(results.invalid[0].find("could not keep up"), std::string::npos);
}

TEST_F(GeneratorTest, what_a_slow_server_left_undone_is_counted_and_makes_the_run_invalid) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::rps;
    plan_.connections = 1;
    plan_.rate = 20'000;  // twice what one connection can
    plan_.duration = 1;
    begin();
    run(1_s);
    generator_->stop();
    EXPECT_NEAR(static_cast<double>(generator_->behind()), 10'000, 100);
    Results results;
    results.behind = generator_->behind();
    // For as long as the drain lasts, it goes on.
    run(100_ms);
    EXPECT_FALSE(generator_->is_finished());
    generator_->abandon();
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_NEAR(static_cast<double>(figures->unsent), 9'000, 100);
    EXPECT_EQ(figures->asked + figures->unsent, 20'000U);
    results.seconds = 1;
    results.counted += *figures;
    judge_schedule(results, plan_);
    ASSERT_EQ(results.invalid.size(), 1U);
    EXPECT_NE(results.invalid[0].find("the target could not keep up"), std::string::npos);
}

TEST_F(GeneratorTest, what_had_to_wait_is_served_when_the_schedule_is_over) {
    Server server(100);
    listen(server);
    plan_.connections = 1;
    plan_.duration = 1;
    for (const Mode mode : {Mode::rps, Mode::cps}) {
        plan_.mode = mode;
        plan_.rate = 1000;
        begin();
        run(900_ms);
        server.stopped = true;
        run(100_ms);
        generator_->stop();
        EXPECT_GE(generator_->behind(), 98U);
        server.go_on();
        run(1_s);
        EXPECT_TRUE(generator_->is_finished());
        generator_->abandon();
        const auto figures = generator_->exchange(std::make_unique<Figures>());
        EXPECT_EQ(figures->completed, 1000U);
        EXPECT_EQ(figures->unsent, 0U);
        EXPECT_GT(figures->request.percentile(0.95), 50_ms);
        EXPECT_EQ(figures->errors_total(), 0U);
    }
}

TEST_F(GeneratorTest, one_request_in_a_thousand_without_an_answer_is_caught) {
    RawServer server(server_, 1000);
    ASSERT_TRUE(server.listen(80));
    plan_.protocol = Protocol::raw;
    plan_.mode = Mode::rps;
    plan_.rate = 5000;
    plan_.duration = 2;
    plan_.timeout = 0.1;
    begin();
    run(3_s);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::timed_out, 10);
    EXPECT_EQ(figures.completed, 9990U);
    Results results;
    results.whole += figures;
    EXPECT_FALSE(Assertion::parse("errors==0")->check(results).holds);
    EXPECT_TRUE(Assertion::parse("timed-out==10")->check(results).holds);
    EXPECT_EQ(figures.attempted, 26U) << "a new connection for each";
}

TEST_F(GeneratorTest, connections_of_a_rate_end_by_whoever_is_to_close_first) {
    RawServer server(server_);
    ASSERT_TRUE(server.listen(80));
    plan_.protocol = Protocol::raw;
    plan_.mode = Mode::cps;
    plan_.rate = 1000;
    plan_.duration = 1;
    plan_.response_size = *Sizes::parse("uniform:1:5000", 1, 5000);
    for (const Closing closing : {Closing::client, Closing::server, Closing::reset}) {
        SCOPED_TRACE(static_cast<int>(closing));
        plan_.closing = closing;
        const uint64_t before = server.served().requests;
        const size_t waits_here = client_.population().time_wait;
        const size_t waits_there = server_.population().time_wait;
        begin();
        run(2_s);
        const Figures& figures = stop();
        expect_errors(figures, LoadError::reset, 0);
        EXPECT_EQ(figures.attempted, 1000U);
        EXPECT_EQ(figures.completed, 1000U);
        EXPECT_EQ(server.served().requests - before, 1000U);
        EXPECT_EQ(figures.request.count(), 1000U);
        // From the intended instant of the connection on: two round trips.
        EXPECT_GE(figures.request.min(), one_way * 4);
        EXPECT_EQ(client_.population().time_wait - waits_here,
                  closing == Closing::client ? 1000U : 0U);
        EXPECT_EQ(server_.population().time_wait - waits_there,
                  closing == Closing::server ? 1000U : 0U);
        EXPECT_EQ(server_.population().connections, 0U);
    }
}

TEST_F(GeneratorTest, more_connections_than_there_may_be_at_a_time_wait_for_their_turn) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::cps;
    plan_.rate = 1000;
    plan_.duration = 1;
    plan_.connections = 1;  // 200 us each: enough, but for a stop
    begin();
    run(500_ms);
    server.stopped = true;
    run(100_ms);
    server.go_on();
    run(2_s);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_EQ(figures.completed, 1000U);
    EXPECT_GE(figures.request.max(), 99_ms);
    EXPECT_GT(figures.request.percentile(0.95), 50_ms);
    EXPECT_LT(figures.uncorrected.percentile(0.95), 1_ms);
}

TEST_F(GeneratorTest, concurrent_connections_come_at_their_rate_and_stay) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::concurrent;
    plan_.connections = 500;
    plan_.rate = 1000;
    plan_.trickle = 200;
    plan_.duration = 1;
    make();
    generator_->open();
    run(250_ms);
    EXPECT_NEAR(static_cast<double>(generator_->open_now()), 250, 2);
    EXPECT_FALSE(generator_->is_open());
    run(300_ms);
    EXPECT_EQ(generator_->open_now(), 500U);
    EXPECT_TRUE(generator_->is_open());
    EXPECT_EQ(server.requests, 0U);
    generator_->begin();
    run(2_s);
    EXPECT_EQ(generator_->open_now(), 500U);
    const Figures& figures = stop();
    expect_errors(figures, LoadError::reset, 0);
    EXPECT_EQ(figures.completed, 200U);
}

TEST_F(GeneratorTest, streams_carry_as_much_as_goes_and_end_in_order) {
    RawServer server(server_);
    ASSERT_TRUE(server.listen(80));
    plan_.protocol = Protocol::raw;
    plan_.mode = Mode::throughput;
    plan_.connections = 2;
    // 1 Gbit/s each way: without an end to it, what goes in 200 ms is what memory gives.
    for (const Stack* from : {&server_, &client_})
        network_.impair(*from, {.delay = one_way, .bits_per_second = 1'000'000'000,
                                .queue_bytes = 1 << 20});
    Served before;
    for (const Direction direction : {Direction::down, Direction::up, Direction::both}) {
        SCOPED_TRACE(static_cast<int>(direction));
        plan_.direction = direction;
        begin();
        run(200_ms);
        const Figures& figures = stop();
        expect_errors(figures, LoadError::reset, 0);
        const Served served = server.served();
        EXPECT_EQ(figures.bytes_out, served.bytes_in - before.bytes_in);
        EXPECT_EQ(figures.bytes_in, served.bytes_out - before.bytes_out);
        before = served;
        if (direction != Direction::up) {
            EXPECT_GT(figures.bytes_in, 10'000'000U);
            EXPECT_LT(figures.bytes_in, 60'000'000U);
        }
        if (direction != Direction::down) {
            EXPECT_GT(figures.bytes_out, 10'000'000U);
        }
        if (direction == Direction::down) {
            EXPECT_LT(figures.bytes_out, 1000U);
        }
        if (direction == Direction::up) {
            EXPECT_EQ(figures.bytes_in, 0U);
        }
    }
}

TEST_F(GeneratorTest, many_failures_do_not_keep_connections_from_opening_again) {
    RawServer server(server_, 20);
    ASSERT_TRUE(server.listen(80));
    plan_.protocol = Protocol::raw;
    plan_.timeout = 0.002;
    begin();
    run(1_s);
    EXPECT_GE(generator_->open_now(), 12U) << "of 16, some of which open again just now";
    const Figures& figures = stop();
    EXPECT_GT(figures.unanswered, 1000U);
    EXPECT_EQ(figures.asked, figures.completed + figures.unanswered);
    expect_errors(figures, LoadError::timed_out, figures.unanswered);
}

TEST_F(GeneratorTest, connections_of_a_rate_that_cannot_be_opened_do_not_burn_what_waits) {
    Server server(100);
    listen(server);
    plan_.mode = Mode::cps;
    plan_.rate = 10'000;
    plan_.duration = 1;
    plan_.connections = 16;
    begin();
    run(100_ms);
    server.stopped = true;
    run(400_ms);
    // No route, no port, no memory: whatever it is, it is so at once.
    plan_.target.port = 0;
    server.go_on();
    run(10_ms);
    plan_.target.port = 80;
    generator_->stop();
    EXPECT_GT(generator_->behind(), 3000U);
    run(3_s);
    EXPECT_TRUE(generator_->is_finished());
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_GT(figures->errors_total(), 0U);
    EXPECT_LT(figures->errors_total(), 1000U);
    EXPECT_GT(figures->completed, 4000U);
    generator_->abandon();
}

TEST_F(GeneratorTest, an_early_answer_does_not_end_the_use_of_a_connection) {
    // Answers by the first segment of each request that is larger than the send buffer.
    struct Hasty final : ConnectionHandler, ListenHandler {
        void on_acceptable(Listener listener) override {
            while (listener.accept(*this)) continue;
        }
        void on_readable(Connection c) override {
            const size_t size = c.receive().size();
            (void)c.consumed(size);
            if (got == 0) (void)c.send("HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n");
            got += size;
            if (got >= 8'000'000) got = 0;
        }
        size_t got = 0;
    } server;
    listen(server);
    plan_.protocol = Protocol::http;
    plan_.method = "POST";
    plan_.status = 405;
    plan_.connections = 1;
    plan_.timeout = 10;
    plan_.body = 8'000'000 - 105;
    plan_.headers = {"Host: x"};
    {
        Exchanges exchanges(plan_, 1);
        plan_.body = static_cast<uint32_t>(8'000'000 - exchanges.http_head(false).size());
    }
    network_.impair(client_, {.delay = one_way, .bits_per_second = 10'000'000'000});
    begin();
    run(100_ms, 1_ms);
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_GT(figures->completed, 5U);
    EXPECT_EQ(figures->errors_total(), 0U);
    generator_->abandon();
}

TEST_F(GeneratorTest, nobody_who_listens_is_told_and_not_asked_all_the_time) {
    make();
    generator_->open();
    run(1_s);
    EXPECT_TRUE(generator_->is_open()) << "each has failed once";
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_EQ(figures->established, 0U);
    EXPECT_EQ(figures->attempted, figures->errors[static_cast<size_t>(LoadError::refused)]);
    // A pause after each failure: all sixteen a hundred times at the most.
    EXPECT_GE(figures->attempted, 100U);
    EXPECT_LE(figures->attempted, 16 * 101U);
    stop();
}

TEST_F(GeneratorTest, silence_times_out_and_another_connection_takes_over) {
    Server server(100);
    server.answered_max = 0;
    listen(server);
    plan_.connections = 2;
    plan_.pipeline = 3;
    begin();
    run(490_ms);
    auto figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_EQ(figures->errors_total(), 0U);
    EXPECT_EQ(figures->asked, 6U);
    run(20_ms);
    figures = generator_->exchange(std::make_unique<Figures>());
    expect_errors(*figures, LoadError::timed_out, 6);
    EXPECT_EQ(figures->closed, 2U);
    server.answered_max = UINT64_MAX;
    run(20_ms);
    figures = generator_->exchange(std::make_unique<Figures>());
    EXPECT_EQ(figures->established, 2U);
    EXPECT_GT(figures->completed, 6U);
    generator_->stop();
    run(1_s, 1_ms);
    EXPECT_TRUE(generator_->is_finished());
}

TEST_F(GeneratorTest, a_connection_that_never_stands_times_out) {
    network_.set_filter([](const Stack&, std::span<const std::byte>) { return false; });
    plan_.connections = 3;
    make();
    generator_->open();
    run(490_ms);
    EXPECT_FALSE(generator_->is_open());
    run(30_ms);
    EXPECT_TRUE(generator_->is_open());
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    expect_errors(*figures, LoadError::timed_out, 3);
    generator_->stop();
    generator_->abandon();
}

TEST_F(GeneratorTest, a_wrong_echo_is_a_bad_answer) {
    Server server(100);
    listen(server);
    plan_.connections = 1;
    begin();
    run(50_ms);
    server.wrong = true;
    run(5_ms);
    server.wrong = false;
    run(5_ms);
    const Figures& figures = stop();
    EXPECT_GT(figures.unanswered, 0U);
    expect_errors(figures, LoadError::bad_answer, figures.unanswered);
    EXPECT_EQ(figures.asked, figures.completed + figures.unanswered);
}

TEST_F(GeneratorTest, a_reset_and_an_early_close_count_what_had_no_answer) {
    for (const bool resets : {true, false}) {
        Server server(100);
        (resets ? server.reset_after : server.close_after) = 10;
        Listener listener = *server_.listen({Address(), 80}, server);
        plan_.connections = 1;
        plan_.pipeline = 4;
        begin();
        run(5_ms);
        generator_->stop();
        run(1_s, 1_ms);
        generator_->abandon();
        const auto figures = generator_->exchange(std::make_unique<Figures>());
        EXPECT_GE(figures->completed, 6U);
        EXPECT_GT(figures->unanswered, 0U);
        EXPECT_EQ(figures->asked, figures->completed + figures->unanswered);
        const LoadError kind = resets ? LoadError::reset : LoadError::closed_early;
        EXPECT_GE(figures->errors[static_cast<size_t>(kind)] +
                      figures->errors[static_cast<size_t>(LoadError::reset)],
                  1U);
        ASSERT_TRUE(listener.close());
        run(1_s, 1_ms);
    }
}

TEST_F(GeneratorTest, what_is_under_way_at_the_end_may_be_given_up) {
    Server server(100);
    server.answered_max = 0;
    listen(server);
    begin();
    run(10_ms);
    generator_->stop();
    run(10_ms);
    EXPECT_FALSE(generator_->is_finished());
    generator_->abandon();
    EXPECT_TRUE(generator_->is_finished());
    const auto figures = generator_->exchange(std::make_unique<Figures>());
    expect_errors(*figures, LoadError::timed_out, 16);
    EXPECT_EQ(figures->asked, 16U);
    EXPECT_EQ(figures->closed, figures->established);
    run(10_ms);
    EXPECT_EQ(client_.population().connections, 0U);
}

TEST_F(GeneratorTest, http_is_asked_of_our_own_server_and_its_counters_agree) {
    HttpServer server(server_, {.body_size = 3000});
    ASSERT_TRUE(server.listen());
    plan_.protocol = Protocol::http;
    for (const char* path : {"/body", "/missing"}) {
        SCOPED_TRACE(path);
        const auto before = server.counters();
        plan_.path = path;
        begin();
        run(100_ms);
        const Figures& figures = stop();
        const auto& after = server.counters();
        const int status = plan_.path == "/body" ? 200 : 404;
        EXPECT_EQ(figures.statuses[static_cast<size_t>(status)], figures.completed);
        expect_errors(figures, LoadError::status, status == 200 ? 0 : figures.completed);
        EXPECT_GT(figures.completed, 16 * 900U);
        EXPECT_EQ(after.requests - before.requests, figures.completed);
        EXPECT_EQ(after.bytes_in - before.bytes_in, figures.bytes_out);
        EXPECT_EQ(after.bytes_out - before.bytes_out, figures.bytes_in);
    }
}

TEST_F(GeneratorTest, a_server_that_closes_a_kept_connection_when_it_says_so_is_no_error) {
    HttpServer server(server_, {.body_size = 10});
    ASSERT_TRUE(server.listen());
    plan_.protocol = Protocol::http;
    plan_.headers = {"Connection: close"};
    for (const Closing closing : {Closing::client, Closing::server}) {
        plan_.closing = closing;
        begin();
        run(100_ms);
        const Figures& figures = stop();
        expect_errors(figures, LoadError::closed_early, 0);
        EXPECT_GT(figures.completed, 1000U);
        EXPECT_EQ(figures.completed, figures.established);
    }
}

TEST_F(GeneratorTest, shares_of_several_cores_are_the_whole) {
    plan_.connections = 10;
    plan_.mode = Mode::rps;
    plan_.rate = 1000;
    plan_.duration = 1;
    Server server(100);
    listen(server);
    ASSERT_TRUE(complete(plan_));
    Figures sum;
    for (uint16_t core = 0; core < 3; ++core) {
        generator_ = std::make_unique<Generator>(client_, plan_, core, 3);
        generator_->open();
        run(10_ms);
        generator_->begin();
        run(2_s);
        sum += stop();
    }
    EXPECT_EQ(sum.attempted, 10U);
    EXPECT_EQ(sum.completed, 1000U);
}

}  // namespace
}  // namespace millrace::apps
