// TLS between two streams in memory.
#include "common/tls.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <unistd.h>

namespace millrace::apps {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Feeds it, and appends what it then says.
bool feed(TlsStream& stream, std::string_view ciphertext, std::string& plain) {
    bool good = stream.receive(bytes(ciphertext));
    while (good) {
        const auto piece = stream.read();
        good = piece.has_value();
        if (!good || piece->empty()) break;
        plain.append(reinterpret_cast<const char*>(piece->data()), piece->size());
    }
    return good;
}
/// At most so much of what it has to send, which is under way thereby.
std::string take(TlsStream& stream, size_t most = SIZE_MAX) {
    const auto all = stream.outgoing();
    std::string part(reinterpret_cast<const char*>(all.data()), std::min(most, all.size()));
    stream.sent(part.size());
    return part;
}

/// A client and a server whose outgoing bytes are carried over in pieces of a size.
struct Pair {
    Pair(TlsContext& of_client, TlsContext& of_server, size_t piece_size = 1 << 20)
        : client(of_client), server(of_server), piece(piece_size) {}

    /// Until nobody has anything to say. False where one of them cannot go on.
    bool carry() {
        bool good = true;
        while (good && !(client.outgoing().empty() && server.outgoing().empty()))
            good = carry_from(client, server, at_server) && carry_from(server, client, at_client);
        return good;
    }
    bool carry_from(TlsStream& from, TlsStream& to, std::string& plain) const {
        bool good = true;
        while (good && !from.outgoing().empty()) good = feed(to, take(from, piece), plain);
        return good;
    }
    bool connect() { return client.begin() && carry(); }

    TlsStream client, server;
    size_t piece;
    std::string at_client, at_server;
};

std::unique_ptr<TlsContext> server() { return std::move(*TlsContext::server({})); }
std::unique_ptr<TlsContext> client(bool resumes = false, TlsVersion version = TlsVersion::any) {
    return std::move(*TlsContext::client({.host = "10.0.0.1", .authority = "", .resumes = resumes,
                                          .version = version}));
}

TEST(Tls, carries_what_is_said_both_ways_however_it_is_cut) {
    const auto of_client = client();
    const auto of_server = server();
    std::string message;
    for (int i = 0; i < 100'000; ++i) message += static_cast<char>(i * 7 >> 3);
    for (const size_t piece : {size_t{1}, size_t{7}, size_t{1460}, size_t{1} << 20}) {
        Pair pair(*of_client, *of_server, piece);
        ASSERT_TRUE(pair.connect()) << pair.client.problem() << pair.server.problem();
        EXPECT_TRUE(pair.client.is_established() && pair.server.is_established());
        EXPECT_FALSE(pair.client.was_resumed());
        for (size_t at = 0; at < message.size(); at += TlsContext::record_max) {
            const auto part = bytes(message).subspan(
                at, std::min(TlsContext::record_max, message.size() - at));
            ASSERT_TRUE(pair.client.send(part) && pair.server.send(part));
        }
        ASSERT_TRUE(pair.carry());
        EXPECT_EQ(pair.at_server, message);
        EXPECT_EQ(pair.at_client, message);
    }
}

TEST(Tls, nothing_is_readable_on_the_way) {
    const auto of_client = client();
    const auto of_server = server();
    Pair pair(*of_client, *of_server);
    ASSERT_TRUE(pair.connect());
    ASSERT_TRUE(pair.client.send(bytes("a secret that nobody should see")));
    const std::string sent = take(pair.client);
    EXPECT_EQ(sent.find("secret"), std::string::npos);
    EXPECT_GT(sent.size(), 31U);
}

TEST(Tls, a_session_is_resumed_where_that_is_wanted) {
    const auto of_server = server();
    const auto forgets = client(false);
    for (int i = 0; i < 2; ++i) {
        Pair pair(*forgets, *of_server);
        ASSERT_TRUE(pair.connect());
        EXPECT_EQ(forgets->sessions(), 0U);
        EXPECT_FALSE(pair.server.was_resumed());
    }
    const auto resumes = client(true);
    EXPECT_EQ(resumes->sessions(), 0U);
    {
        Pair first(*resumes, *of_server);
        ASSERT_TRUE(first.connect());
        EXPECT_FALSE(first.client.was_resumed());
        EXPECT_GT(resumes->sessions(), 0U);
    }
    Pair second(*resumes, *of_server);
    ASSERT_TRUE(second.connect());
    EXPECT_TRUE(second.client.was_resumed());
    EXPECT_TRUE(second.server.was_resumed());
}

TEST(Tls, no_session_is_offered_twice) {
    const auto of_server = server();
    const auto of_client = client(true);
    ASSERT_TRUE(Pair(*of_client, *of_server).connect());
    const size_t offered = of_client->sessions();
    ASSERT_GT(offered, 0U);
    // All at the same time: each takes one away, and those that come later find none.
    std::vector<std::unique_ptr<Pair>> pairs;
    for (size_t i = 0; i < offered + 2; ++i)
        pairs.push_back(std::make_unique<Pair>(*of_client, *of_server));
    EXPECT_EQ(of_client->sessions(), 0U);
    size_t resumed = 0;
    for (const auto& pair : pairs) {
        ASSERT_TRUE(pair->connect());
        resumed += pair->client.was_resumed() ? 1 : 0;
    }
    EXPECT_EQ(resumed, offered);
}

TEST(Tls, a_session_that_the_server_does_not_know_is_a_whole_handshake) {
    const auto of_client = client(true);
    const auto one = server();
    const auto other = server();
    ASSERT_TRUE(Pair(*of_client, *one).connect());
    Pair pair(*of_client, *other);
    ASSERT_TRUE(pair.connect());
    EXPECT_FALSE(pair.client.was_resumed());
    EXPECT_FALSE(pair.server.was_resumed());
}

TEST(Tls, a_session_of_1_2_serves_any_number_until_a_server_does_not_know_it) {
    const auto of_client = client(true, TlsVersion::tls_1_2);
    const auto one = server();
    ASSERT_TRUE(Pair(*of_client, *one).connect());
    std::vector<std::unique_ptr<Pair>> pairs;
    for (int i = 0; i < 5; ++i) pairs.push_back(std::make_unique<Pair>(*of_client, *one));
    for (const auto& pair : pairs) {
        ASSERT_TRUE(pair->connect());
        EXPECT_TRUE(pair->client.was_resumed());
    }
    // Another server: the session is dropped for the one that this server offers.
    const auto other = server();
    for (int i = 0; i < 3; ++i) {
        Pair pair(*of_client, *other);
        ASSERT_TRUE(pair.connect());
        EXPECT_EQ(pair.client.was_resumed(), i > 0);
        EXPECT_EQ(of_client->sessions(), 1U);
    }
    // And for none, where the connection was cut before it offered one.
    const auto third = server();
    Pair cut(*of_client, *third);
    ASSERT_TRUE(cut.client.begin());
    EXPECT_EQ(of_client->sessions(), 1U);
}

TEST(Tls, the_versions_are_those_that_were_asked_for) {
    const auto of_server = server();
    const auto old = client(false, TlsVersion::tls_1_2);
    const auto young = client(false, TlsVersion::tls_1_3);
    for (const auto* context : {&old, &young}) {
        Pair pair(**context, *of_server);
        ASSERT_TRUE(pair.client.begin());
        // Of TLS 1.2 the client speaks a second time before it is established.
        ASSERT_TRUE(pair.carry_from(pair.client, pair.server, pair.at_server));
        ASSERT_TRUE(pair.carry_from(pair.server, pair.client, pair.at_client));
        EXPECT_EQ(pair.client.is_established(), context == &young);
        ASSERT_TRUE(pair.carry());
        EXPECT_TRUE(pair.client.is_established() && pair.server.is_established());
    }
}

TEST(Tls, the_servers_of_other_cores_take_up_what_one_has_begun) {
    const auto of_server = server();
    const auto first = std::move(*of_server->twin());
    const auto second = std::move(*of_server->twin());
    const auto of_client = client(true);
    ASSERT_TRUE(Pair(*of_client, *first).connect());
    Pair pair(*of_client, *second);
    ASSERT_TRUE(pair.connect());
    EXPECT_TRUE(pair.server.was_resumed());
}

TEST(Tls, an_end_is_told) {
    const auto of_client = client();
    const auto of_server = server();
    Pair pair(*of_client, *of_server);
    ASSERT_TRUE(pair.connect());
    ASSERT_TRUE(pair.server.send(bytes("the last")));
    pair.server.finish();
    ASSERT_TRUE(pair.carry());
    EXPECT_TRUE(pair.client.at_end());
    EXPECT_FALSE(pair.server.at_end());
    EXPECT_EQ(pair.at_client, "the last");
    ASSERT_TRUE(pair.client.send(bytes("and an answer")));
    ASSERT_TRUE(pair.carry());
    EXPECT_EQ(pair.at_server, "and an answer");
}

TEST(Tls, what_is_no_tls_is_refused_with_a_reason) {
    const auto of_server = server();
    TlsStream stream(*of_server);
    EXPECT_FALSE(stream.receive(bytes("GET / HTTP/1.1\r\n\r\n")));
    EXPECT_FALSE(stream.problem().empty());
    EXPECT_FALSE(stream.is_established());
    // Once broken, it stays so.
    EXPECT_FALSE(stream.receive(bytes("more")));
    EXPECT_FALSE(stream.read());
    EXPECT_FALSE(stream.send(bytes("more")));
}

TEST(Tls, a_record_that_was_changed_is_refused) {
    const auto of_client = client();
    const auto of_server = server();
    Pair pair(*of_client, *of_server);
    ASSERT_TRUE(pair.connect());
    ASSERT_TRUE(pair.client.send(bytes("hello")));
    std::string record = take(pair.client);
    record.back() = static_cast<char>(record.back() ^ 1);
    EXPECT_FALSE(feed(pair.server, record, pair.at_server));
    EXPECT_EQ(pair.at_server, "");
    EXPECT_FALSE(pair.server.outgoing().empty()) << "an alert";
    // An alert has said it: nothing more does.
    (void)take(pair.server);
    pair.server.finish();
    EXPECT_TRUE(pair.server.outgoing().empty());
}

TEST(Tls, the_end_of_one_connection_is_none_of_anothers) {
    const auto of_client = client();
    const auto of_server = server();
    Pair broken(*of_client, *of_server);
    Pair good(*of_client, *of_server);
    Pair late(*of_client, *of_server);
    ASSERT_TRUE(broken.connect());
    ASSERT_TRUE(good.connect());
    ASSERT_TRUE(broken.client.send(bytes("hello")));
    std::string record = take(broken.client);
    record.back() = static_cast<char>(record.back() ^ 1);
    EXPECT_FALSE(feed(broken.server, record, broken.at_server));
    broken.server.finish();
    // OpenSSL keeps errors by thread, and takes an old one for that of the call in hand.
    const auto leave_an_error = [] { ERR_raise(ERR_LIB_USER, 1); };
    leave_an_error();
    ASSERT_TRUE(good.client.send(bytes("hello")));
    while (!good.client.outgoing().empty()) {
        leave_an_error();
        ASSERT_TRUE(feed(good.server, take(good.client, 5), good.at_server));
    }
    EXPECT_EQ(good.at_server, "hello");
    leave_an_error();
    ASSERT_TRUE(late.client.begin());
    leave_an_error();
    EXPECT_TRUE(late.carry());
}

TEST(Tls, an_alert_behind_the_handshake_ends_it_with_its_reason) {
    const auto of_client = client();
    const auto of_server = server();
    Pair pair(*of_client, *of_server);
    ASSERT_TRUE(pair.connect());
    ASSERT_TRUE(pair.server.send(bytes("hello")));
    std::string record = take(pair.server);
    record.back() = static_cast<char>(record.back() ^ 1);
    EXPECT_FALSE(feed(pair.client, record, pair.at_client));
    EXPECT_FALSE(feed(pair.server, take(pair.client), pair.at_server));
    EXPECT_NE(pair.server.problem().find("alert bad record mac"), std::string::npos)
        << pair.server.problem();
}

/// A path that no other process has.
std::string temporary(const std::string& what) {
    return ::testing::TempDir() + "millrace_tls_" + std::to_string(getpid()) + "." + what;
}

/// A certificate for a name and an address, signed by itself, and its key, as files.
struct Certificate {
    explicit Certificate(const std::string& names) {
        const std::string command =
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
            "/CN=test -addext subjectAltName=" + names + " -keyout " + identity.key + " -out " +
            identity.certificate + " 2>/dev/null";
        made = std::system(command.c_str()) == 0;
    }
    ~Certificate() {
        std::remove(identity.certificate.c_str());
        std::remove(identity.key.c_str());
    }
    TlsIdentity identity{temporary("pem"), temporary("key")};
    bool made = false;
};

TEST(Tls, who_verifies_wants_a_signature_that_it_knows_of_the_host_that_it_asks) {
    const Certificate certificate("DNS:mill.example,IP:10.0.0.1,IP:fd77::1");
    ASSERT_TRUE(certificate.made);
    const auto of_server = std::move(*TlsContext::server(certificate.identity));
    const auto asks = [&](const std::string& host) {
        return TlsContext::client({.host = host, .authority = certificate.identity.certificate});
    };
    for (const char* host : {"mill.example", "10.0.0.1", "fd77::1"}) {
        const auto of_client = std::move(*asks(host));
        Pair pair(*of_client, *of_server);
        EXPECT_TRUE(pair.connect()) << host << ": " << pair.client.problem();
    }
    // The subject is called "test", but it is the names that count.
    for (const char* host : {"other.example", "10.0.0.2", "fd77::2", "example", "test"}) {
        const auto of_client = std::move(*asks(host));
        Pair pair(*of_client, *of_server);
        EXPECT_FALSE(pair.connect()) << host;
        EXPECT_NE(pair.client.problem().find("mismatch"), std::string::npos)
            << pair.client.problem();
        EXPECT_FALSE(pair.client.outgoing().empty() && pair.server.problem().empty());
    }
    // Without a host nothing could be verified: that is no way round.
    EXPECT_FALSE(asks(""));
    // Of a stranger: the names do not matter.
    const auto stranger = server();
    const auto knows = std::move(*asks("mill.example"));
    Pair pair(*knows, *stranger);
    EXPECT_FALSE(pair.connect());
    EXPECT_NE(pair.client.problem().find("self-signed"), std::string::npos)
        << pair.client.problem();
    // Who does not verify takes anything.
    EXPECT_TRUE(Pair(*client(), *of_server).connect());
}

TEST(Tls, files_that_are_wrong_are_named) {
    const auto missing = TlsContext::server({"/nowhere/chain.pem", "/nowhere/key.pem"});
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().what.find("/nowhere/chain.pem"), std::string::npos);
    const Certificate one("DNS:one");
    ASSERT_TRUE(one.made);
    const std::string key = temporary("other");
    for (const std::string algorithm : {"EC -pkeyopt ec_paramgen_curve:P-256", "RSA"}) {
        const std::string command = "openssl genpkey -algorithm " + algorithm + " -out " + key;
        ASSERT_EQ(std::system((command + " 2>/dev/null").c_str()), 0);
        const auto other = TlsContext::server({one.identity.certificate, key});
        ASSERT_FALSE(other) << algorithm;
        EXPECT_NE(other.error().what.find(key + ": not that of"), std::string::npos)
            << other.error().what;
    }
    ASSERT_EQ(std::system(("openssl ec -aes128 -passout pass:secret -in " + one.identity.key +
                           " -out " + key + " 2>/dev/null").c_str()), 0);
    EXPECT_FALSE(TlsContext::server({one.identity.certificate, key})) << "it has a password";
    std::ofstream(key) << "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    EXPECT_FALSE(TlsContext::server({key, one.identity.key}));
    EXPECT_FALSE(TlsContext::client({.host = "one", .authority = key}));
    std::remove(key.c_str());
    const auto authority = TlsContext::client({.host = "one", .authority = "/nowhere/ca.pem"});
    ASSERT_FALSE(authority);
    EXPECT_NE(authority.error().what.find("/nowhere/ca.pem"), std::string::npos);
}

}  // namespace
}  // namespace millrace::apps
