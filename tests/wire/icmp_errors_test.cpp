// ICMP errors for a connection: what ends an attempt, what is only told (RFC 9293 section 3.9.2.2,
// RFC 5461).
#include <cstring>

#include "icmp_error.h"

namespace millrace::testing {
namespace {

struct Meaning {
    Family family;
    uint8_t type;
    uint8_t code;
    int error;
};
void PrintTo(const Meaning& meaning, std::ostream* out) { *out << strerrorname_np(meaning.error); }

// Linux's icmp_err_convert and icmpv6_err_convert.
constexpr auto v4 = Family::ipv4;
constexpr auto v6 = Family::ipv6;
const std::vector<Meaning> meanings{
    {v4, 3, 0, ENETUNREACH},   {v4, 3, 1, EHOSTUNREACH},  {v4, 3, 2, ENOPROTOOPT},
    {v4, 3, 3, ECONNREFUSED},  {v4, 3, 5, EOPNOTSUPP},    {v4, 3, 6, ENETUNREACH},
    {v4, 3, 7, EHOSTDOWN},     {v4, 3, 8, ENONET},        {v4, 3, 9, ENETUNREACH},
    {v4, 3, 10, EHOSTUNREACH}, {v4, 3, 11, ENETUNREACH},  {v4, 3, 12, EHOSTUNREACH},
    {v4, 3, 13, EHOSTUNREACH}, {v4, 11, 0, EHOSTUNREACH}, {v4, 11, 1, EHOSTUNREACH},
    {v4, 12, 0, EPROTO},       {v4, 12, 1, EPROTO},       {v6, 1, 0, ENETUNREACH},
    {v6, 1, 1, EACCES},        {v6, 1, 2, EHOSTUNREACH},  {v6, 1, 3, EHOSTUNREACH},
    {v6, 1, 4, ECONNREFUSED},  {v6, 1, 5, EACCES},        {v6, 1, 6, EACCES},
    {v6, 3, 0, EHOSTUNREACH},  {v6, 3, 1, EHOSTUNREACH},  {v6, 4, 0, EPROTO},
    {v6, 4, 1, EPROTO},        {v6, 4, 2, EPROTO},
};

Script::Options options(Family family, uint32_t retries = 15) {
    Script::Options o;
    o.family = family;
    o.config.tcp.tcp_retries2 = retries;
    return o;
}

class Icmp : public ::testing::TestWithParam<Meaning> {};
INSTANTIATE_TEST_SUITE_P(Errors, Icmp, ::testing::ValuesIn(meanings), [](const auto& each) {
    return std::string(each.param.family == v4 ? "v4" : "v6") + "_type" +
           std::to_string(each.param.type) + "_code" + std::to_string(each.param.code);
});

/// What connect() answers; as in Linux an attempt fails whatever the code (RFC 5461 section 4.1).
TEST_P(Icmp, ends_an_attempt_with_linux_errno) {
    Script s(options(GetParam().family));
    s.connect();
    s.next();
    inject_icmp(s, {GetParam().type, GetParam().code});
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, GetParam().error);
    s.expect_silence();
}

/// Soft codes by MUST-56, and the hard ones by the exception that SHLD-26's note allows.
TEST_P(Icmp, never_ends_an_established_connection) {
    Script s(options(GetParam().family));
    s.establish();
    s.tcb().report_errors = true;
    s.send(100);
    s.expect(PA(1, 1).data(100));
    inject_icmp(s, {GetParam().type, GetParam().code});
    EXPECT_FALSE(s.end().closed);
    EXPECT_EQ(s.tcb().state, tcp::State::established);
    EXPECT_EQ(s.end().soft_errors, std::vector<int>{GetParam().error});
    s.expect_silence();
    s.inject(A(1, 101));
    s.send(100);
    s.expect(PA(101, 1).data(100));
}

TEST(MUST_54, an_error_counts_for_the_connection_that_it_quotes) {
    for (const Family family : {v4, v6}) {
        Script s(options(family));
        s.connect();
        s.next();
        const uint8_t type = family == v4 ? 3 : 1;
        inject_icmp(s, {.type = type, .port = 81});
        EXPECT_FALSE(s.end().closed) << "another connection's";
        inject_icmp(s, {.type = type, .offset = 1});
        inject_icmp(s, {.type = type, .offset = -1});
        EXPECT_FALSE(s.end().closed) << "not in flight (RFC 5927 section 4.1)";
        EXPECT_EQ(s.drops(observe::Drop::icmp_unhandled), 3U);
        inject_icmp(s, {.type = type});
        EXPECT_TRUE(s.end().closed);
    }
}

TEST(MUST_55, source_quench_is_ignored) {
    Script s;
    s.establish();
    s.tcb().report_errors = true;
    s.send(5000);
    s.forget_sent();
    const uint32_t cwnd = s.tcb().window.cwnd;
    inject_icmp(s, {.type = wire::icmp4::source_quench});
    EXPECT_EQ(s.tcb().window.cwnd, cwnd);
    EXPECT_TRUE(s.end().soft_errors.empty());
    EXPECT_EQ(s.tcb().soft_error, 0);
    EXPECT_EQ(s.drops(observe::Drop::icmp_unhandled), 1U);
    s.expect_silence();
    Script attempt;
    attempt.connect();
    attempt.next();
    inject_icmp(attempt, {.type = wire::icmp4::source_quench});
    EXPECT_FALSE(attempt.end().closed);
}

TEST(MUST_56, soft_errors_do_not_abort_and_a_flood_of_them_neither) {
    for (const Meaning& soft : std::initializer_list<Meaning>{
             {v4, 3, 0, 0}, {v4, 3, 1, 0}, {v4, 3, 5, 0}, {v4, 11, 0, 0}, {v4, 12, 0, 0},
             {v6, 1, 0, 0}, {v6, 1, 3, 0}, {v6, 3, 0, 0}, {v6, 3, 1, 0}, {v6, 4, 1, 0}}) {
        Script s(options(soft.family));
        s.establish();
        s.send(100);
        for (int i = 0; i < 1000; ++i) inject_icmp(s, {soft.type, soft.code});
        EXPECT_EQ(s.tcb().state, tcp::State::established);
    }
}

TEST(MUST_47, soft_errors_are_told_to_who_asked) {
    Script s;
    s.establish();
    s.tcb().report_errors = true;
    s.send(100);
    inject_icmp(s, {.type = 3, .code = 1});
    inject_icmp(s, {.type = 3, .code = 3});
    EXPECT_EQ(s.end().soft_errors, (std::vector<int>{EHOSTUNREACH, ECONNREFUSED}));
}

TEST(SHLD_20, they_are_not_told_unless_asked_for) {
    Script s;
    s.establish();
    s.send(100);
    inject_icmp(s, {.type = 3, .code = 1});
    EXPECT_TRUE(s.end().soft_errors.empty()) << "off at first";
    s.tcb().report_errors = true;
    inject_icmp(s, {.type = 3, .code = 1});
    s.tcb().report_errors = false;
    inject_icmp(s, {.type = 3, .code = 1});
    EXPECT_EQ(s.end().soft_errors.size(), 1U);
}

TEST(SHLD_25, the_last_soft_error_is_why_a_connection_timed_out) {
    Script s(options(v4, 3));
    s.establish();
    s.send(100);
    inject_icmp(s, {.type = 3, .code = 0});
    inject_icmp(s, {.type = 3, .code = 1});
    s.advance(60_s);
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, EHOSTUNREACH);
}

TEST(SHLD_25, progress_overtakes_a_soft_error) {
    Script s(options(v4, 3));
    s.establish();
    s.send(100);
    inject_icmp(s, {.type = 3, .code = 1});
    s.inject(A(1, 101));
    s.send(100);
    s.advance(60_s);
    EXPECT_TRUE(s.end().closed);
    EXPECT_EQ(s.end().error, ETIMEDOUT);
}

/// Hard errors abort an attempt; in synchronised states they are soft (attack case 39).
TEST(SHLD_26, hard_errors_end_attempts_alone) {
    for (const uint8_t code : {uint8_t{2}, uint8_t{3}}) {
        Script attempt;
        attempt.connect();
        inject_icmp(attempt, {.type = 3, .code = code});
        EXPECT_TRUE(attempt.end().closed);
        for (const bool closing : {false, true}) {
            Script s;
            s.establish();
            s.send(100);
            if (closing) s.shutdown();
            inject_icmp(s, {.type = 3, .code = code});
            EXPECT_FALSE(s.end().closed);
            s.forget_sent();
            s.inject(A(1, closing ? 102 : 101));
            EXPECT_EQ(s.tcb().state,
                      closing ? tcp::State::fin_wait_2 : tcp::State::established);
        }
    }
}

}  // namespace
}  // namespace millrace::testing
