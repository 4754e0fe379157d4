// The words and lines of millrace-ss.
#include <gtest/gtest.h>

#include "ss/filter.h"
#include "ss/json.h"
#include "ss/line.h"

namespace millrace::apps {
namespace {

constexpr uint32_t bit(SocketState state) { return 1U << static_cast<unsigned>(state); }

SocketFilter filter(const std::vector<std::string>& words, const StateChoice& choice = {}) {
    const auto parsed = parse_filter(words, choice);
    EXPECT_TRUE(parsed) << parsed.error().what;
    return parsed.value_or(SocketFilter());
}
std::string wrong(const std::vector<std::string>& words) {
    const auto parsed = parse_filter(words, {});
    return parsed ? "nothing" : parsed.error().what;
}

TEST(SsFilter, without_words_what_is_connected) {
    const SocketFilter f = filter({});
    EXPECT_NE(f.states & bit(SocketState::established), 0U);
    EXPECT_NE(f.states & bit(SocketState::close_wait), 0U);
    EXPECT_EQ(f.states & bit(SocketState::listen), 0U);
    EXPECT_EQ(f.states & bit(SocketState::time_wait), 0U);
    EXPECT_NE(filter({}, {.all = true}).states & bit(SocketState::time_wait), 0U);
    EXPECT_NE(filter({}, {.listening = true}).states & bit(SocketState::listen), 0U);
    EXPECT_EQ(filter({}, {.listening = true}).states & bit(SocketState::established), 0U);
}

TEST(SsFilter, states_add_up_and_exclude_takes_away) {
    EXPECT_EQ(filter({"state", "established"}).states, bit(SocketState::established));
    EXPECT_EQ(filter({"state", "time-wait", "state", "last-ack"}).states,
              bit(SocketState::time_wait) | bit(SocketState::last_ack));
    EXPECT_EQ(filter({"exclude", "established"}).states & bit(SocketState::established), 0U);
    EXPECT_NE(filter({"exclude", "established"}).states & bit(SocketState::listen), 0U);
}

TEST(SsFilter, ports_and_addresses_in_every_form) {
    EXPECT_EQ(filter({"sport", "=", ":80"}).local_port, 80);
    EXPECT_EQ(filter({"dport", "443", "and", "sport", ":1"}).remote_port, 443);
    EXPECT_EQ(filter({"src", "10.0.0.1"}).local, *Prefix::parse("10.0.0.1/32"));
    EXPECT_EQ(filter({"dst", "10.0.0.0/8:80"}).remote, *Prefix::parse("10.0.0.0/8"));
    EXPECT_EQ(filter({"dst", "10.0.0.0/8:80"}).remote_port, 80);
    EXPECT_EQ(filter({"dst", "[fd00::1]:80"}).remote, *Prefix::parse("fd00::1/128"));
    EXPECT_EQ(filter({"src", "fd00::/64"}).local, *Prefix::parse("fd00::/64"));
}

TEST(SsFilter, what_is_wrong_is_named) {
    EXPECT_EQ(wrong({"state", "open"}), "filter: no state is open");
    EXPECT_EQ(wrong({"sport", "http"}), "filter: no port is http");
    EXPECT_EQ(wrong({"sport", "0"}), "filter: no port is 0");
    EXPECT_EQ(wrong({"dst", "here"}), "filter: no address is here");
    EXPECT_EQ(wrong({"port", "80"}), "filter: unknown word port");
    EXPECT_EQ(wrong({"and"}), "filter: 'and' stands between two parts");
    EXPECT_EQ(wrong({"sport", "80", "and"}), "filter: 'and' stands between two parts");
    EXPECT_EQ(wrong({"dst"}), "filter: dst wants a value");
}

TEST(SsLine, timers_read_as_those_of_ss) {
    EXPECT_EQ(timer_text(0), "000ms");
    EXPECT_EQ(timer_text(200), "200ms");
    EXPECT_EQ(timer_text(7200), "7.200ms");
    EXPECT_EQ(timer_text(12'345), "12sec");
    EXPECT_EQ(timer_text(119'000), "1min59sec");
    EXPECT_EQ(timer_text(7'200'000), "120min");
}

SocketRecord example() {
    SocketRecord r;
    r.local = {Address::v4(10, 0, 0, 1), 80};
    r.remote = {Address::v4(10, 0, 0, 2), 40000};
    r.state = SocketState::established;
    r.timer = SocketTimer::on;
    r.timer_ms = 204;
    r.send_queue = 1448;
    r.timestamps = r.sack = r.window_scaling = true;
    r.snd_wscale = 7;
    r.rcv_wscale = 8;
    r.algorithm = 1;
    r.rto_us = 204'000;
    r.rtt_us = 125;
    r.rttvar_us = 50;
    r.snd_mss = 1448;
    r.path_mtu = 1500;
    r.rcv_mss = 536;
    r.advmss = 1448;
    r.cwnd = 14'480;
    r.ssthresh = UINT32_MAX;
    r.outstanding = 1448;
    r.snd_wnd = 65'535;
    r.rcv_wnd = 131'072;
    return r;
}

TEST(SsLine, a_connection_with_all_that_is_known) {
    EXPECT_EQ(line(example(), {.timers = true, .details = true}),
              "ESTAB           0   1448                  10.0.0.1:80               10.0.0.2:40000"
              " timer:(on,204ms,0)\n"
              "\t ts sack cubic wscale:7,8 rto:204 rtt:0.125/0.05 mss:1448 pmtu:1500 rcvmss:536"
              " advmss:1448 cwnd:10 send 926.7Mbps lastsnd:0 lastrcv:0 lastack:0 unacked:1"
              " rcv_ssthresh:131072 snd_wnd:65535\n");
}

TEST(SsLine, rates_are_those_of_whole_segments_and_of_what_arrived) {
    SocketRecord r = example();
    r.cwnd += 1447;
    r.delivery_rate = 1'250'000;
    r.delivery_app_limited = true;
    const std::string text = line(r, {.details = true});
    EXPECT_NE(text.find(" cwnd:10 send 926.7Mbps "), std::string::npos) << text;
    EXPECT_NE(text.find(" delivery_rate 10.0Mbps app_limited "), std::string::npos) << text;
    EXPECT_EQ(to_json(r)["delivery_rate"], 1'250'000);
}

TEST(SsLine, a_listener_and_a_udp_socket) {
    SocketRecord r;
    r.kind = SocketKind::listener;
    r.state = SocketState::listen;
    r.local = {Address(), 80};
    r.send_queue = 4096;
    EXPECT_EQ(line(r, {.details = true, .kinds = true}),
              "tcp   LISTEN          0   4096                         *:80"
              "                          *:*\n");
    r.kind = SocketKind::udp;
    r.state = SocketState::closed;
    r.local = {*Address::parse("fd00::1"), 53};
    EXPECT_EQ(line(r, {.kinds = true}).substr(0, 12), "udp   UNCONN");
}

TEST(SsJson, names_are_those_of_ss_and_numbers_are_exact) {
    const auto json = to_json(example());
    EXPECT_EQ(json["state"], "ESTAB");
    EXPECT_EQ(json["peer"], "10.0.0.2:40000");
    EXPECT_EQ(json["rtt_us"], 125);
    EXPECT_EQ(json["congestion_control"], "cubic");
    EXPECT_EQ(json["cwnd"], 14'480);
}

}  // namespace
}  // namespace millrace::apps
