// Options that matter before anyone accepts: what they do on the wire.
#include <fcntl.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>

#include <cstring>
#include <vector>

#include "unit/api/network_fixture.h"

namespace millrace {
namespace {

class ListeningOptions : public TestingC {
protected:
    struct Segment {
        int64_t at_ms;
        tcphdr header;
    };
    static int set(int socket, int level, int name, int value) {
        return mr_setsockopt(socket, level, name, &value, sizeof(value));
    }
    /// What a host has sent since it was asked last, by time from `start`.
    static std::vector<Segment> sent(mr_context* from, int64_t start_ms) {
        std::vector<Segment> segments;
        unsigned char packet[2048];
        int64_t at = 0;
        while (mr_test_take(from, packet, sizeof(packet), &at) > 0) {
            Segment segment{at / 1'000'000 - start_ms, {}};
            std::memcpy(&segment.header, packet + (packet[0] & 0xf) * 4, sizeof(tcphdr));
            segments.push_back(segment);
        }
        return segments;
    }
    static std::vector<int64_t> syn_acks(const std::vector<Segment>& segments) {
        std::vector<int64_t> times;
        for (const Segment& segment : segments)
            if (segment.header.syn != 0 && segment.header.ack != 0)
                times.push_back(segment.at_ms);
        return times;
    }
    int client() {
        mr_context_enter(a_);
        const int socket = mr_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        EXPECT_EQ(connect(socket, "10.0.0.2"), -1);
        EXPECT_EQ(errno, EINPROGRESS);
        return socket;
    }
    int accepted(int server) {
        mr_context_enter(b_);
        return mr_accept4(server, nullptr, nullptr, SOCK_NONBLOCK);
    }
    int server() {
        mr_context_enter(b_);
        const int socket = listener();
        mr_fcntl(socket, F_SETFL, O_NONBLOCK);
        return socket;
    }
};

/// The SYN-ACK goes again at the end of the time alone, and the ACK that it provokes is let in.
TEST_F(ListeningOptions, who_defers_waits_for_data_and_not_for_ever) {
    const int listening = server();
    ASSERT_EQ(set(listening, IPPROTO_TCP, TCP_DEFER_ACCEPT, 7), 0);  // 1, 2 and 4 s
    const int64_t start = now_ms();
    client();
    advance_ms(6'900);
    EXPECT_EQ(syn_acks(sent(b_, start)), (std::vector<int64_t>{0}));
    EXPECT_EQ(accepted(listening), -1);
    advance_ms(200);
    EXPECT_EQ(syn_acks(sent(b_, start)), (std::vector<int64_t>{7'000}));
    const int socket = accepted(listening);
    ASSERT_GE(socket, MR_DESCRIPTOR_MIN);
    // The wait was no round trip, nor a loss.
    tcp_info info{};
    socklen_t size = sizeof(info);
    ASSERT_EQ(mr_getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    EXPECT_LT(info.tcpi_rtt, 1'000'000U);
    EXPECT_EQ(info.tcpi_snd_cwnd, 10U);
}

TEST_F(ListeningOptions, who_defers_answers_lost_handshakes_as_ever) {
    const int listening = server();
    ASSERT_EQ(set(listening, IPPROTO_TCP, TCP_DEFER_ACCEPT, 7), 0);
    mr_test_set_filter(network_, [](void* b, const mr_context* from, const void*, size_t) {
        return from != b;  // what the server says is lost
    }, b_);
    const int64_t start = now_ms();
    const int socket = client();
    advance_ms(3'500);
    EXPECT_GE(syn_acks(sent(b_, start)).size(), 3U);
    mr_test_set_filter(network_, nullptr, nullptr);
    advance_ms(10'000);
    mr_context_enter(a_);
    EXPECT_EQ(mr_send(socket, "x", 1, 0), 1);
    advance_ms(10);
    EXPECT_GE(accepted(listening), MR_DESCRIPTOR_MIN);
}

TEST_F(ListeningOptions, who_is_too_far_away_does_not_even_begin) {
    const int listening = server();
    ASSERT_EQ(set(listening, IPPROTO_IP, IP_MINTTL, 65), 0);
    const int64_t start = now_ms();
    client();
    advance_ms(100);
    EXPECT_TRUE(sent(b_, start).empty());
    EXPECT_EQ(mr_counter("TcpExtTCPMinTTLDrop"), 0) << "that is the client's";
    mr_context_enter(b_);
    EXPECT_EQ(mr_counter("TcpExtTCPMinTTLDrop"), 1);
    EXPECT_EQ(mr_counter("tcp_min_ttl"), 1);
}

/// What nobody has accepted yet is protected as what somebody has.
TEST_F(ListeningOptions, the_queue_is_protected_too) {
    const int listening = server();
    ASSERT_EQ(set(listening, IPPROTO_IP, IP_MINTTL, 64), 0);
    const int socket = client();
    advance_ms(10);
    mr_context_enter(a_);
    ASSERT_EQ(set(socket, IPPROTO_IP, IP_TTL, 63), 0);
    EXPECT_EQ(mr_send(socket, "x", 1, 0), 1);
    advance_ms(10);
    const int peer = accepted(listening);
    ASSERT_GE(peer, MR_DESCRIPTOR_MIN);
    char byte = 0;
    EXPECT_EQ(mr_recv(peer, &byte, 1, 0), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(mr_counter("TcpExtTCPMinTTLDrop"), 1);
}

TEST_F(ListeningOptions, a_clamped_window_is_never_larger_and_never_stays_closed) {
    const int listening = server();
    mr_context_enter(a_);
    const int socket = mr_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ASSERT_EQ(set(socket, IPPROTO_TCP, TCP_WINDOW_CLAMP, 1200), 0);  // less than a segment
    const int64_t start = now_ms();
    EXPECT_EQ(connect(socket, "10.0.0.2"), -1);
    advance_ms(10);
    const int peer = accepted(listening);
    ASSERT_GE(peer, MR_DESCRIPTOR_MIN);
    const std::string text(20'000, 'x');
    EXPECT_EQ(mr_send(peer, text.data(), text.size(), 0), ssize_t(text.size()));
    advance_ms(5'000);
    mr_context_enter(a_);
    size_t got = 0;
    char some[4096];
    for (ssize_t n = 0; (n = mr_recv(socket, some, sizeof(some), 0)) > 0;) {
        got += static_cast<size_t>(n);
        advance_ms(1'000);
    }
    EXPECT_EQ(got, text.size());
    const auto segments = sent(a_, start);
    ASSERT_GT(segments.size(), 3U);
    EXPECT_EQ(ntohs(segments[0].header.window), 1200);
    const int scale = 10;  // no smaller unit says 1200 exactly: a unit more at the most
    for (size_t i = 1; i < segments.size(); ++i)
        EXPECT_LE(ntohs(segments[i].header.window) << scale, 1200 + (1 << scale));
}

}  // namespace
}  // namespace millrace
