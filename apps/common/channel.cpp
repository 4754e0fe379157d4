#include "common/channel.h"

#include <algorithm>
#include <utility>

namespace millrace::apps {

namespace {

constexpr uint32_t not_sent_max = 256 * 1024;

}  // namespace

void Channel::open(Connection connection) {
    (void)release();
    connection_ = connection;
    sent_ = received_ = 0;
}

Result<void> Channel::secure(TlsContext& context) {
    tls_ = std::make_unique<TlsStream>(context);
    // What is encrypted in one turn is bounded by it.
    (void)connection_.set_not_sent_low_water_mark(not_sent_max);
    if (!tls_->begin()) return error(EPROTO);
    (void)flush();
    return {};
}

Connection Channel::release() {
    chain_.clear();
    consumed_ = plain_used_ = 0;
    tls_.reset();
    record_ = {};
    std::string().swap(plain_);
    return std::exchange(connection_, {});
}

/// False where nothing has come.
bool Channel::receive() {
    chain_ = connection_.receive();
    received_ += chain_.size();
    return !chain_.empty();
}

/// The stack is told once a chain, not once a piece.
void Channel::consume(size_t bytes) {
    consumed_ += bytes;
    if (chain_.empty()) (void)connection_.consumed(std::exchange(consumed_, 0));
}

Result<std::span<const std::byte>> Channel::input() {
    if (tls_ != nullptr) return decrypted();
    if (chain_.empty()) (void)receive();
    return chain_.front();
}

Result<std::span<const std::byte>> Channel::decrypted() {
    if (plain_used_ < plain_.size()) {
        record_ = std::as_bytes(std::span(plain_)).subspan(plain_used_);
        return record_;
    }
    record_ = {};
    while (flush()) {
        const auto record = tls_->read();
        if (!record) return error(EPROTO);
        record_ = *record;
        if (!record_.empty()) break;
        if (tls_->at_end()) {
            (void)discard();  // nothing may follow
            break;
        }
        const auto fed = feed();
        if (!fed) return std::unexpected(fed.error());
        if (!*fed) break;
    }
    return record_;
}

/// A buffer of ciphertext goes in. False where there is none; EPROTO where it is none.
Result<bool> Channel::feed() {
    if (chain_.empty() && !receive()) return false;
    const Buffer buffer = chain_.pop_front();
    const bool good = tls_->receive(buffer.bytes());
    consume(buffer.size());
    if (!good) return error(EPROTO);
    return true;
}

void Channel::used(size_t bytes) {
    if (tls_ == nullptr) {
        chain_.trim_front(bytes);
        return consume(bytes);
    }
    if (plain_used_ < plain_.size()) {
        plain_used_ += bytes;
        if (plain_used_ < plain_.size()) return;
        std::string().swap(plain_);
        plain_used_ = 0;
    } else if (bytes < record_.size()) {
        const auto rest = record_.subspan(bytes);
        plain_.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
    }
    record_ = {};
}

bool Channel::has_input() const {
    return !chain_.empty() || plain_used_ < plain_.size() ||
           (tls_ != nullptr && tls_->holds_input()) || connection_.info().receive_queued > 0;
}

size_t Channel::discard() {
    size_t dropped = chain_.size();
    chain_.clear();
    if (receive()) {
        dropped += chain_.size();
        chain_.clear();
    }
    consume(dropped);
    std::string().swap(plain_);
    plain_used_ = 0;
    return dropped;
}

bool Channel::at_end() const {
    if (plain_used_ < plain_.size()) return false;
    if (tls_ != nullptr && !tls_->outgoing().empty()) return false;  // nothing was taken meanwhile
    return (tls_ != nullptr && tls_->at_end()) || (chain_.empty() && connection_.at_end());
}

Result<size_t> Channel::counted(Result<size_t> sent) {
    if (sent) sent_ += *sent;
    return sent;
}

Result<size_t> Channel::send(std::span<const std::byte> data) {
    if (tls_ == nullptr) return counted(connection_.send(data));
    if (!flush()) return error(EAGAIN);
    auto sent = tls_->send(data);
    while (!sent && sent.error() == EAGAIN) {
        const auto fed = feed();
        if (!fed) return std::unexpected(fed.error());
        if (!*fed) break;
        sent = tls_->send(data);
    }
    (void)flush();
    return sent;
}

Result<size_t> Channel::send(Buffer&& data) { return counted(connection_.send(std::move(data))); }

Result<size_t> Channel::send(BufferChain& data) { return counted(connection_.send(data)); }

bool Channel::flush() {
    if (tls_ == nullptr) return true;
    while (connection_ && !tls_->outgoing().empty()) {
        const auto sent = counted(connection_.send(tls_->outgoing()));
        if (!sent && (sent.error() == EAGAIN || sent.error() == ENOBUFS)) return false;
        // What can't be sent any more is nobody's business: the connection's end says why.
        tls_->sent(sent ? *sent : tls_->outgoing().size());
    }
    return true;
}

bool Channel::finish() {
    if (tls_ != nullptr) tls_->finish();
    return flush();
}

}  // namespace millrace::apps
