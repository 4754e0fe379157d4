// A connection with or without TLS around what it carries.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>

#include <millrace/millrace.h>

#include "common/tls.h"

namespace millrace::apps {

/// Belongs to the connection's handler. Without TLS it is the connection itself, for a branch.
class Channel {
public:
    /// Of a connection that begins; what was before is forgotten.
    void open(Connection connection);
    /// From now on everything goes through TLS. EPROTO where that cannot begin.
    Result<void> secure(TlsContext& context);
    /// The connection is over, or another's. What came and was not used is dropped.
    Connection release();

    Connection connection() const { return connection_; }
    explicit operator bool() const { return static_cast<bool>(connection_); }
    /// Null without TLS.
    const TlsStream* tls() const { return tls_.get(); }

    /// The first piece of what has come and was not used; empty where nothing has. It is good until
    /// `used`, or until another channel of the same context is asked. While TLS has something to
    /// say itself and no room for it, nothing is taken: `on_writable` follows. EPROTO where TLS
    /// failed: an alert may want to `flush`.
    Result<std::span<const std::byte>> input();
    /// So much of the piece is done with; the window may open.
    void used(size_t bytes);
    /// Something has come that was not used, be it a part of a record.
    bool has_input() const;
    /// Drops what has come, unread; answers how much.
    size_t discard();
    /// The peer has ended, by FIN or close_notify, and everything before that has been used.
    bool at_end() const;
    /// It has said so within TLS, where there is TLS: nobody has cut it off (RFC 8446 section 6.1).
    bool ended_well() const { return tls_ == nullptr || tls_->at_end(); }
    /// TLS has failed; `tls()->problem()` says why.
    bool is_broken() const { return tls_ != nullptr && !tls_->problem().empty(); }

    /// As `Connection::send`; through TLS at most a record; EAGAIN also before TLS has received
    /// what it needs for that (`on_readable` follows), and an error where it `is_broken`.
    Result<size_t> send(std::span<const std::byte> data);
    /// By reference; without TLS only.
    Result<size_t> send(Buffer&& data);
    /// All of it, likewise.
    Result<size_t> send(BufferChain& data);
    /// What TLS has to send goes out, as far as that is possible at all. False while there is no
    /// room: `on_writable` follows.
    bool flush();
    /// Nothing follows from this side; TLS says so. Answers as `flush`: before true, neither
    /// `shutdown` nor `close` may follow.
    bool finish();

    /// Bytes of TCP that have been given to the stack since the last time.
    uint64_t take_sent() { return std::exchange(sent_, 0); }
    /// Bytes of TCP that have been taken from it since then.
    uint64_t take_received() { return std::exchange(received_, 0); }

private:
    bool receive();
    Result<bool> feed();
    void consume(size_t bytes);
    Result<std::span<const std::byte>> decrypted();
    Result<size_t> counted(Result<size_t> sent);

    Connection connection_;
    BufferChain chain_;      ///< received; of TLS, not decrypted yet
    size_t consumed_ = 0;    ///< used, and the stack has not been told
    std::unique_ptr<TlsStream> tls_;
    std::span<const std::byte> record_;  ///< what `input` has decrypted
    std::string plain_;      ///< of it what was not used at once
    size_t plain_used_ = 0;
    uint64_t sent_ = 0;
    uint64_t received_ = 0;
};

}  // namespace millrace::apps
