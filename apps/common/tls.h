// TLS over whatever carries its bytes: OpenSSL between two buffers, no socket.
//
// Purpose: what HTTPS needs on both sides. A `TlsContext` holds what the connections of one core
// share (certificate, key, sessions to resume); a `TlsStream` turns one connection's bytes into
// plain ones and back. It reads no clock of its own and calls nobody. TLS 1.2 and 1.3 (RFC 5246,
// RFC 8446), without renegotiation.
// Owner: one core's thread each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <millrace/error.h>

struct bio_st;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

namespace millrace::apps {

/// Who a server says it is: PEM files; both empty: a certificate made up for the occasion, signed
/// by itself, for tests.
struct TlsIdentity {
    std::string certificate;  ///< the chain, its own first
    std::string key;          ///< not encrypted: nobody is asked for a password
};

/// Which version a client speaks.
enum class TlsVersion : uint8_t { any, tls_1_2, tls_1_3 };

/// What a client wants of the servers that it asks.
struct TlsDemands {
    /// Whom it asks: a name or an address. One, since a session that was begun with a host is taken
    /// up without another look at its certificate.
    std::string host;
    /// PEM file of those who may have signed the certificate, which then is also to be of the host;
    /// empty: any will do.
    std::string authority;
    /// Sessions that the server has offered are taken up by the next connections.
    bool resumes = true;
    TlsVersion version = TlsVersion::any;
};

/// What connections share.
class TlsContext {
public:
    /// The most that one record carries.
    static constexpr size_t record_max = 16384;

    /// For a server. An error names the file.
    static Started<std::unique_ptr<TlsContext>> server(const TlsIdentity& identity);
    /// For a client; likewise.
    static Started<std::unique_ptr<TlsContext>> client(const TlsDemands& demands);
    /// The same server on another core: what this one's clients have begun is resumed there, too.
    /// Any thread, while nobody destroys this one.
    Started<std::unique_ptr<TlsContext>> twin() const;
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    /// How many connections could resume a session now; of TLS 1.3 each session only once
    /// (RFC 8446 appendix C.4).
    size_t sessions() const { return sessions_.size(); }

private:
    friend class TlsStream;
    explicit TlsContext(ssl_ctx_st* context);
    static Started<std::unique_ptr<TlsContext>> make_server();
    static int keep(ssl_st* ssl, ssl_session_st* session);
    ssl_session_st* offer();
    void forget(const ssl_session_st* session);

    /// Tickets that wait; the oldest give way.
    static constexpr size_t sessions_max = 4096;

    ssl_ctx_st* context_;
    std::deque<ssl_session_st*> sessions_;  ///< the latest last
    std::vector<std::byte> record_;         ///< the one in hand
    std::string name_;                      ///< of the host that is asked; an address has none
    bool is_server_ = false;
    bool verifies_ = false;
};

/// One connection. Ciphertext goes in by `receive` and comes out by `outgoing`; what is said comes
/// by `read` and goes by `send`.
class TlsStream {
public:
    explicit TlsStream(TlsContext& context);
    ~TlsStream();
    TlsStream(const TlsStream&) = delete;
    TlsStream& operator=(const TlsStream&) = delete;

    /// A client speaks first. False: it cannot.
    bool begin() { return problem_.empty() && (context_.is_server_ || step()); }
    /// What has come; a handshake goes on. False: it is no TLS, or not of whom it should be:
    /// `outgoing` may hold an alert, `problem` says what. It stays so.
    bool receive(std::span<const std::byte> bytes);
    /// A piece of what the peer says, at most a record: good until any stream of the context reads
    /// again. Empty: nothing before more is received. Nothing at all: as `receive`'s false.
    std::optional<std::span<const std::byte>> read();
    /// Something was received that `read` has not answered, be it a part of a record.
    bool holds_input() const;
    /// The handshake is over.
    bool is_established() const { return established_; }
    /// ... and was one of a session that had been before.
    bool was_resumed() const;
    /// The peer has said that nothing follows (close_notify).
    bool at_end() const { return at_end_; }
    /// Encrypts at most `record_max` bytes, once it is established; answers how many. EAGAIN where
    /// the peer is in the midst of something that has to be received first, EPROTO where it cannot.
    Result<size_t> send(std::span<const std::byte> plain);
    /// Nothing follows from this side (close_notify). Once; where the peer is in the midst of
    /// something, the connection's end alone says so.
    void finish();

    /// What is to go to the peer, in this order.
    std::span<const std::byte> outgoing() const;
    /// So much of it is under way.
    void sent(size_t bytes);
    /// What went wrong, in words; empty where nothing did.
    const std::string& problem() const { return problem_; }

private:
    bool step();
    bool fail();
    void drain();

    TlsContext& context_;
    ssl_st* ssl_;
    bio_st* in_;   ///< ciphertext from the peer; owned by `ssl_`
    bio_st* out_;  ///< likewise to it
    /// That others may take up, too; until it is known whether the server would have it.
    ssl_session_st* offered_ = nullptr;
    std::string outgoing_;
    size_t sent_ = 0;
    std::string problem_;
    bool established_ = false;
    bool at_end_ = false;
    bool finished_ = false;
};

}  // namespace millrace::apps
