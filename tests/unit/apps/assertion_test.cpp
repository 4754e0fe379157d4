// Assertions about a run.
#include "load/assertion.h"

#include <gtest/gtest.h>

namespace millrace::apps {
namespace {

using namespace literals;

Results results() {
    Results results;
    results.seconds = 2;
    results.counted.completed = 1000;
    results.counted.established = 10;
    results.counted.bytes_in = 250'000'000;
    results.whole.asked = 1000;
    results.whole.unsent = 4;
    results.whole.established = 12;
    results.whole.handshakes = 11;
    results.whole.resumed = 9;
    for (int i = 1; i <= 1000; ++i) results.counted.request.add(Duration::from_us(i));
    results.counted.connect.add(30_us);
    results.whole.count(LoadError::reset);
    results.whole.count(LoadError::timed_out);
    results.counters["TcpRetransSegs"] = 7;
    results.port_missed = 3;
    return results;
}

bool holds(std::string_view text) {
    const auto assertion = Assertion::parse(text);
    EXPECT_TRUE(assertion) << assertion.error().what;
    return assertion && assertion->check(results()).holds;
}

TEST(Assertion, compares_latencies_in_any_unit) {
    EXPECT_TRUE(holds("p50<=500.5us"));
    EXPECT_FALSE(holds("p50<400us"));
    EXPECT_TRUE(holds("p99.9 > 0.9 ms"));
    EXPECT_TRUE(holds("max==1000us"));
    EXPECT_TRUE(holds("max==1ms"));
    EXPECT_TRUE(holds("max<1s"));
    EXPECT_TRUE(holds("min>=1000ns"));
    EXPECT_TRUE(holds("mean>500us"));
    EXPECT_TRUE(holds("mean<501us"));
    EXPECT_TRUE(holds("request.p50>400us"));
    EXPECT_TRUE(holds("connect.p99<31us"));
    EXPECT_FALSE(holds("connect.p99<29us"));
}

TEST(Assertion, of_nothing_no_latency_holds) {
    EXPECT_FALSE(holds("first_byte.p99<1s"));
    EXPECT_FALSE(holds("uncorrected.max>0us"));
    EXPECT_FALSE(holds("handshake.p50<1s"));
    EXPECT_FALSE(holds("lag.p99!=5us"));
}

TEST(Assertion, compares_counts_and_rates) {
    EXPECT_TRUE(holds("requests==1000"));
    EXPECT_TRUE(holds("requests>=1k"));
    EXPECT_TRUE(holds("rps==500"));
    EXPECT_TRUE(holds("cps<=5"));
    EXPECT_TRUE(holds("gbps_in==1"));
    EXPECT_TRUE(holds("gbps_out<1"));
    EXPECT_TRUE(holds("connections==12"));
    EXPECT_TRUE(holds("handshakes==11"));
    EXPECT_TRUE(holds("resumed==9"));
    EXPECT_TRUE(holds("errors==2"));
    EXPECT_TRUE(holds("errors!=0"));
    EXPECT_TRUE(holds("reset==1"));
    EXPECT_TRUE(holds("timed-out==1"));
    EXPECT_TRUE(holds("refused==0"));
    EXPECT_TRUE(holds("error_rate<=0.2%"));
    EXPECT_FALSE(holds("error_rate<0.2%"));
    EXPECT_TRUE(holds("unsent<5"));
    EXPECT_TRUE(holds("retransmissions==7"));
    EXPECT_TRUE(holds("drops<1M"));
}

TEST(Assertion, says_what_the_value_is) {
    EXPECT_EQ(Assertion::parse("max<1us")->check(results()).value, "1000.0 us");
    EXPECT_EQ(Assertion::parse("errors==0")->check(results()).value, "2");
    EXPECT_EQ(Assertion::parse("lag.max<1s")->check(results()).value, "unknown");
}

TEST(Assertion, what_is_none_is_refused_with_the_reason) {
    for (const auto& [text, why] : {std::pair{"p99", "no comparison"},
                                    {"p99=5us", "no comparison"},
                                    {"p99!5us", "no comparison"},
                                    {"p101<5us", "no such metric"},
                                    {"px<5us", "no such metric"},
                                    {"latency<5us", "no such metric"},
                                    {"connect<5us", "no such metric"},
                                    {"<5us", "no such metric"},
                                    {"p99<", "no number"},
                                    {"p99<us", "no number"},
                                    {"p99<5", "a time is in"},
                                    {"p99<5m", "a time is in"},
                                    {"errors<5us", "a number is followed by"},
                                    {"errors<1.2.3", "no number"}}) {
        const auto assertion = Assertion::parse(text);
        ASSERT_FALSE(assertion) << text;
        EXPECT_NE(assertion.error().what.find(why), std::string::npos) << assertion.error().what;
        EXPECT_NE(assertion.error().what.find(text), std::string::npos);
    }
}

}  // namespace
}  // namespace millrace::apps
