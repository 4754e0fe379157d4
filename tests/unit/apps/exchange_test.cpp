// The client's side of each protocol, piece by piece.
#include "load/exchange.h"

#include <cstring>

#include <gtest/gtest.h>

#include "load/raw.h"

namespace millrace::apps {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(const Request& request) {
    return {reinterpret_cast<const char*>(request.head.data()), request.head.size()};
}

/// An exchange after `count` requests.
struct Asked {
    explicit Asked(Plan of, int count = 1) : plan(std::move(of)), shared(plan, 1) {
        exchange = shared.make();
        for (int i = 0; i < count; ++i) request = text_of(exchange->next(false));
    }
    Plan plan;
    Exchanges shared;
    std::unique_ptr<Exchange> exchange;
    std::string request;
};

TEST(HttpExchange, an_answer_is_whole_wherever_it_is_cut) {
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (size_t cut = 1; cut < answer.size(); ++cut) {
        Asked asked({});
        const Taken first = asked.exchange->take(bytes(answer.substr(0, cut)));
        EXPECT_EQ(first.bytes, cut);
        EXPECT_FALSE(first.complete || first.bad) << cut;
        const Taken second = asked.exchange->take(bytes(answer.substr(cut)));
        EXPECT_TRUE(second.complete && !second.bad && second.keep) << cut;
        EXPECT_EQ(second.bytes, answer.size() - cut);
        EXPECT_EQ(second.status, 200);
    }
}

TEST(HttpExchange, of_two_answers_in_one_piece_the_second_is_left) {
    const std::string answer = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "3\r\nabc\r\n0\r\n\r\n";
    Asked asked({}, 2);
    const std::string both = answer + answer;
    for (size_t at = 0; at < both.size(); at += answer.size()) {
        const Taken taken = asked.exchange->take(bytes(both).subspan(at));
        EXPECT_TRUE(taken.complete);
        EXPECT_EQ(taken.bytes, answer.size());
        EXPECT_EQ(taken.status, 404);
    }
}

TEST(HttpExchange, the_end_of_the_stream_ends_a_body_without_a_length) {
    Asked asked({});
    EXPECT_FALSE(asked.exchange->take(bytes("HTTP/1.0 200 OK\r\n\r\nabc")).complete);
    const Taken end = asked.exchange->end();
    EXPECT_TRUE(end.complete && !end.bad && !end.keep);
    EXPECT_EQ(end.status, 200);
    Asked cut({});
    cut.exchange->take(bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"));
    EXPECT_TRUE(cut.exchange->end().bad);
    Asked nothing({});
    EXPECT_TRUE(nothing.exchange->end().bad);
}

TEST(HttpExchange, an_interim_answer_is_not_the_answer) {
    Asked asked({});
    EXPECT_FALSE(asked.exchange->take(bytes("HTTP/1.1 100 Continue\r\n\r\n")).complete);
    EXPECT_TRUE(asked.exchange->take(bytes("HTTP/1.1 204 No Content\r\n\r\n")).complete);
}

TEST(HttpExchange, the_answer_to_head_has_no_body) {
    Plan plan;
    plan.method = "HEAD";
    Asked asked(plan);
    const Taken taken =
        asked.exchange->take(bytes("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"));
    EXPECT_TRUE(taken.complete && taken.keep);
}

TEST(HttpExchange, a_server_that_will_close_says_so) {
    Asked asked({});
    const Taken taken = asked.exchange->take(
        bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    EXPECT_TRUE(taken.complete);
    EXPECT_FALSE(taken.keep);
}

TEST(HttpExchange, what_is_no_http_is_bad) {
    Asked asked({});
    EXPECT_TRUE(asked.exchange->take(bytes("SSH-2.0-OpenSSH_9.2\r\n")).bad);
}

TEST(HttpExchange, a_request_says_what_the_plan_has) {
    EXPECT_EQ(Asked({}).request, "GET /body HTTP/1.1\r\nHost: 10.77.0.1:80\r\n"
                                 "User-Agent: millrace-load\r\n\r\n");
    Plan plan;
    plan.method = "POST";
    plan.path = "/x?y";
    plan.body = 70000;
    plan.headers = {"host: example.org", "Accept: */*"};
    plan.closing = Closing::server;
    Asked asked(plan);
    EXPECT_EQ(asked.request, "POST /x?y HTTP/1.1\r\nUser-Agent: millrace-load\r\n"
                             "Content-Length: 70000\r\nhost: example.org\r\nAccept: */*\r\n\r\n");
    const Request last = asked.exchange->next(true);
    EXPECT_EQ(last.filling, 70000U);
    EXPECT_NE(text_of(last).find("\r\nConnection: close\r\n"), std::string::npos);
}

TEST(RawExchange, counts_the_answers_that_it_has_asked_for) {
    Plan plan;
    plan.protocol = Protocol::raw;
    plan.request_size = *Sizes::parse("12,100", 1, 1000);
    plan.response_size = *Sizes::parse("3,5", 1, 1000);
    Exchanges shared(plan, 1);
    const auto exchange = shared.make();
    const Request first = exchange->next(false);
    const auto header = RawHeader::parse(first.head.first<RawHeader::size>());
    EXPECT_TRUE(header.is_sane());
    EXPECT_EQ(header.request, 12U);
    EXPECT_EQ(header.answer, 3U);
    EXPECT_EQ(header.flags, 0U);
    EXPECT_EQ(first.filling, 0U);
    EXPECT_EQ(exchange->next(false).filling, 100 - RawHeader::size);
    const Taken one = exchange->take(bytes("abcdefgh"));
    EXPECT_TRUE(one.complete);
    EXPECT_EQ(one.bytes, 3U);
    EXPECT_FALSE(exchange->take(bytes("defg")).complete);
    EXPECT_TRUE(exchange->take(bytes("h")).complete);
    EXPECT_TRUE(exchange->take(bytes("x")).bad) << "nobody has asked for it";
}

TEST(RawHeader, strange_ones_are_not_sane) {
    EXPECT_FALSE((RawHeader{.request = 11, .answer = 1}).is_sane());
    EXPECT_FALSE((RawHeader{.request = RawHeader::size_max + 1, .answer = 1}).is_sane());
    EXPECT_FALSE((RawHeader{.request = 12, .answer = RawHeader::size_max + 1}).is_sane());
    EXPECT_FALSE((RawHeader{.request = 12, .answer = 1, .flags = 8}).is_sane());
}

TEST(EchoExchange, takes_back_what_was_sent_and_nothing_else) {
    Plan plan;
    plan.protocol = Protocol::echo;
    plan.request_size = *Sizes::parse("100000", 1, 1 << 20);
    Asked asked(plan, 1);
    std::vector<std::byte> sent(100000);
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = filling()[i % filling_size];
    EXPECT_FALSE(asked.exchange->take(std::span(sent).first(70000)).complete);
    const Taken rest = asked.exchange->take(std::span(sent).subspan(70000));
    EXPECT_TRUE(rest.complete && !rest.bad);
    asked.exchange->next(false);
    sent[99999] ^= std::byte{1};
    EXPECT_TRUE(asked.exchange->take(sent).bad);
}

}  // namespace
}  // namespace millrace::apps
