#include "common/tls.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <openssl/buffer.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509err.h>
#include <openssl/x509v3.h>

#include <millrace/address.h>

namespace millrace::apps {

namespace {

constexpr size_t kept_max = 2048;

/// What OpenSSL has to say; it forgets thereby. The first error is the cause of the others.
std::string openssl_says() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return "no reason given";
    if (ERR_SYSTEM_ERROR(code)) return Errno{ERR_GET_REASON(code)}.message();
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : fmt::format("OpenSSL's error {:x}", code);
}

/// A key, and a certificate for it that nobody but itself has signed.
bool make_up_identity(SSL_CTX* context) {
    constexpr int64_t days = 24 * 3600;
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    bool made = key != nullptr && certificate != nullptr;
    if (made) {
        X509_set_version(certificate, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
        X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 7 * days);
        X509_set_pubkey(certificate, key);
        X509_NAME* name = X509_get_subject_name(certificate);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>("millrace"), -1, -1, 0);
        X509_set_issuer_name(certificate, name);
        made = X509_sign(certificate, key, EVP_sha256()) > 0 &&
               SSL_CTX_use_certificate(context, certificate) == 1 &&
               SSL_CTX_use_PrivateKey(context, key) == 1;
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made;
}

/// Whose certificate it is to be.
bool expect_host(SSL_CTX* context, const std::string& host) {
    X509_VERIFY_PARAM* expected = SSL_CTX_get0_param(context);
    if (Address::parse(host)) return X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str()) == 1;
    X509_VERIFY_PARAM_set_hostflags(expected,
                                    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);  // RFC 9525 section 2
    return !host.empty() && X509_VERIFY_PARAM_set1_host(expected, host.c_str(), host.size()) == 1;
}

}  // namespace

TlsContext::TlsContext(ssl_ctx_st* context) : context_(context), record_(record_max) {
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

TlsContext::~TlsContext() {
    for (SSL_SESSION* session : sessions_) SSL_SESSION_free(session);
    SSL_CTX_free(context_);
}

Started<std::unique_ptr<TlsContext>> TlsContext::make_server() {
    ERR_clear_error();
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    if (context == nullptr) return failure("TLS: " + openssl_says());
    std::unique_ptr<TlsContext> made(new TlsContext(context));
    made->is_server_ = true;
    // Tickets carry the session: nothing of clients that are gone is kept.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    // Nobody sits at a terminal.
    SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return -1; });
    return made;
}

Started<std::unique_ptr<TlsContext>> TlsContext::server(const TlsIdentity& identity) {
    auto made = make_server();
    if (!made) return made;
    SSL_CTX* context = (*made)->context_;
    if (identity.certificate.empty() && identity.key.empty()) {
        if (!make_up_identity(context)) return failure("TLS: no certificate: " + openssl_says());
        return made;
    }
    const auto wrong = [](std::string_view option, const std::string& path) {
        return failure(fmt::format("{} {}: {}", option, path, openssl_says()));
    };
    if (SSL_CTX_use_certificate_chain_file(context, identity.certificate.c_str()) != 1)
        return wrong("--certificate", identity.certificate);
    // One of another kind is not compared when it is loaded.
    const bool loaded =
        SSL_CTX_use_PrivateKey_file(context, identity.key.c_str(), SSL_FILETYPE_PEM) == 1;
    if (loaded && SSL_CTX_check_private_key(context) == 1) return made;
    const unsigned long code = ERR_peek_last_error();
    const bool differs =
        ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;
    if (!loaded && !differs) return wrong("--key", identity.key);
    ERR_clear_error();
    return failure(fmt::format("--key {}: not that of --certificate {}", identity.key,
                               identity.certificate));
}

Started<std::unique_ptr<TlsContext>> TlsContext::twin() const {
    auto made = make_server();
    if (!made) return made;
    SSL_CTX* context = (*made)->context_;
    std::array<unsigned char, 128> keys{};
    const long size = SSL_CTX_get_tlsext_ticket_keys(context_, nullptr, 0);
    STACK_OF(X509)* chain = nullptr;
    const bool same =
        size > 0 && size <= static_cast<long>(keys.size()) &&
        SSL_CTX_get_tlsext_ticket_keys(context_, keys.data(), size) == 1 &&
        SSL_CTX_set_tlsext_ticket_keys(context, keys.data(), size) == 1 &&
        SSL_CTX_get0_chain_certs(context_, static_cast<void*>(&chain)) == 1 &&
        SSL_CTX_use_cert_and_key(context, SSL_CTX_get0_certificate(context_),
                                 SSL_CTX_get0_privatekey(context_), chain, 1) == 1;
    if (!same) return failure("TLS: no context for another core: " + openssl_says());
    return made;
}

Started<std::unique_ptr<TlsContext>> TlsContext::client(const TlsDemands& demands) {
    ERR_clear_error();
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    if (context == nullptr) return failure("TLS: " + openssl_says());
    std::unique_ptr<TlsContext> made(new TlsContext(context));
    if (demands.version == TlsVersion::tls_1_2)
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    if (demands.version == TlsVersion::tls_1_3)
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    if (demands.resumes) {
        SSL_CTX_set_session_cache_mode(context,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_set_app_data(context, made.get());
        SSL_CTX_sess_set_new_cb(context, keep);
    }
    if (!Address::parse(demands.host)) made->name_ = demands.host;
    if (demands.authority.empty()) return made;
    made->verifies_ = true;
    if (!expect_host(context, demands.host))
        return failure("TLS: \"" + demands.host + "\" can't be whom a certificate names");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (SSL_CTX_load_verify_file(context, demands.authority.c_str()) != 1)
        return failure(fmt::format("--authority {}: {}", demands.authority, openssl_says()));
    return made;
}

/// A session has come. Of TLS 1.2, whose sessions serve any number of connections, the latest does.
int TlsContext::keep(SSL* ssl, SSL_SESSION* session) {
    auto& self = *static_cast<TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    const bool once = SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION;
    while (!self.sessions_.empty() && (!once || self.sessions_.size() >= sessions_max)) {
        SSL_SESSION_free(self.sessions_.front());
        self.sessions_.pop_front();
    }
    self.sessions_.push_back(session);
    return 1;  // it is ours now
}

/// The session that a connection takes up, with a reference of its own; or none.
SSL_SESSION* TlsContext::offer() {
    while (!sessions_.empty()) {
        SSL_SESSION* session = sessions_.back();
        const bool good = SSL_SESSION_is_resumable(session) == 1;
        if (good && SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
            SSL_SESSION_up_ref(session);
            return session;
        }
        sessions_.pop_back();
        if (good) return session;
        SSL_SESSION_free(session);
    }
    return nullptr;
}

/// The server would not have it.
void TlsContext::forget(const SSL_SESSION* session) {
    const auto found = std::ranges::find(sessions_, session);
    if (found == sessions_.end()) return;
    SSL_SESSION_free(*found);
    sessions_.erase(found);
}

TlsStream::TlsStream(TlsContext& context)
    : context_(context),
      ssl_(SSL_new(context.context_)),
      in_(BIO_new(BIO_s_mem())),
      out_(BIO_new(BIO_s_mem())) {
    if (ssl_ == nullptr || in_ == nullptr || out_ == nullptr) {
        problem_ = "no memory";
        SSL_free(std::exchange(ssl_, nullptr));
        BIO_free(std::exchange(in_, nullptr));
        BIO_free(std::exchange(out_, nullptr));
        return;
    }
    SSL_set_bio(ssl_, in_, out_);
    if (context.is_server_) {
        SSL_set_accept_state(ssl_);
        return;
    }
    SSL_set_connect_state(ssl_);
    if (!context.name_.empty() && SSL_set_tlsext_host_name(ssl_, context.name_.c_str()) != 1)
        problem_ = "the host's name is too long: " + context.name_;
    if (SSL_SESSION* session = context.offer()) {
        SSL_set_session(ssl_, session);
        if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION)
            offered_ = session;
        else
            SSL_SESSION_free(session);  // the connection has its own reference
    }
}

TlsStream::~TlsStream() {
    // Sessions of connections that were cut off may be resumed all the same.
    if (ssl_ != nullptr) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl_);
    SSL_SESSION_free(offered_);
}

bool TlsStream::holds_input() const {
    return ssl_ != nullptr && (BIO_pending(in_) != 0 || SSL_has_pending(ssl_) == 1);
}

bool TlsStream::was_resumed() const { return ssl_ != nullptr && SSL_session_reused(ssl_) == 1; }

/// Goes on with the handshake as far as it can.
bool TlsStream::step() {
    if (!problem_.empty()) return false;
    // Errors are the thread's: one that another connection has left would be taken for ours.
    ERR_clear_error();
    const int status = SSL_do_handshake(ssl_);
    const int why = SSL_get_error(ssl_, status);
    drain();
    if (status == 1) {
        established_ = true;
        if (offered_ != nullptr && !was_resumed()) context_.forget(offered_);
        SSL_SESSION_free(std::exchange(offered_, nullptr));
        return true;
    }
    if (why == SSL_ERROR_ZERO_RETURN) problem_ = "closed by the peer in the handshake";
    if (!problem_.empty()) return false;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE || fail();
}

bool TlsStream::fail() {
    const long verified = SSL_get_verify_result(ssl_);
    problem_ = openssl_says();
    if (verified != X509_V_OK && context_.verifies_)
        problem_ = X509_verify_cert_error_string(verified);
    drain();
    return false;
}

bool TlsStream::receive(std::span<const std::byte> bytes) {
    if (!problem_.empty()) return false;
    ERR_clear_error();
    const auto size = static_cast<int>(bytes.size());
    if (size > 0 && BIO_write(in_, bytes.data(), size) != size) return fail();
    return established_ || step();
}

std::optional<std::span<const std::byte>> TlsStream::read() {
    if (!problem_.empty()) return std::nullopt;
    if (!established_ || at_end_) return std::span<const std::byte>();
    ERR_clear_error();
    const int got = SSL_read(ssl_, context_.record_.data(), TlsContext::record_max);
    const int why = SSL_get_error(ssl_, got);
    drain();  // it may have had to answer: that it does not negotiate again, say
    if (got > 0) return std::span(context_.record_).first(static_cast<size_t>(got));
    if (why == SSL_ERROR_ZERO_RETURN) at_end_ = true;
    if (why == SSL_ERROR_ZERO_RETURN || why == SSL_ERROR_WANT_READ)
        return std::span<const std::byte>();
    fail();
    return std::nullopt;
}

Result<size_t> TlsStream::send(std::span<const std::byte> plain) {
    if (!problem_.empty() || !established_) return error(EPROTO);
    if (plain.empty()) return 0;
    ERR_clear_error();
    const auto size = static_cast<int>(std::min(plain.size(), TlsContext::record_max));
    const int written = SSL_write(ssl_, plain.data(), size);
    const int why = SSL_get_error(ssl_, written);
    drain();
    if (written > 0) return static_cast<size_t>(written);
    if (why == SSL_ERROR_WANT_READ) return error(EAGAIN);
    fail();
    return error(EPROTO);
}

void TlsStream::finish() {
    // After an error there was an alert, which says as much (RFC 8446 section 6.2).
    if (!established_ || !problem_.empty() || std::exchange(finished_, true)) return;
    ERR_clear_error();
    (void)SSL_shutdown(ssl_);
    ERR_clear_error();
    drain();
}

/// Takes over what OpenSSL wants to send.
void TlsStream::drain() {
    const size_t size = BIO_pending(out_);
    if (size == 0) return;
    const size_t before = outgoing_.size();
    outgoing_.resize_and_overwrite(before + size, [&](char* at, size_t) {
        const int got = BIO_read(out_, at + before, static_cast<int>(size));
        return before + static_cast<size_t>(std::max(got, 0));
    });
}

std::span<const std::byte> TlsStream::outgoing() const {
    return std::as_bytes(std::span(outgoing_)).subspan(sent_);
}

void TlsStream::sent(size_t bytes) {
    sent_ += bytes;
    if (sent_ < outgoing_.size()) return;
    sent_ = 0;
    if (outgoing_.capacity() <= kept_max) return outgoing_.clear();
    // An idle connection keeps no record's room: neither here nor where OpenSSL has written it.
    std::string().swap(outgoing_);
    if (BIO_pending(out_) != 0) return;
    if (BUF_MEM* fresh = BUF_MEM_new()) BIO_set_mem_buf(out_, fresh, BIO_CLOSE);
}

}  // namespace millrace::apps
