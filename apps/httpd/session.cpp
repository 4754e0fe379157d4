#include "httpd/session.h"

#include <algorithm>

namespace millrace::apps {

namespace {

// Bodies up to this go into the same copied write as their header: one small frame.
constexpr size_t copied_body_max = 1024;
// Appended to the send queue at a time; the queue's limit is exceeded by less than this.
constexpr size_t file_batch = 256 * 1024;

}  // namespace

HttpSession::HttpSession(HttpServer& server)
    : server_(server), timer_([this] { expired(); }) {}

void HttpSession::start(Connection connection, TlsContext* tls) {
    channel_.open(connection);
    llhttp_init(&parser_, HTTP_REQUEST, &settings());
    parser_.data = this;
    target_.clear();
    pending_.clear();
    head_size_ = body_size_ = file_offset_ = drained_ = 0;
    delivered_ = 0;
    refused_ = 0;
    request_ready_ = close_after_ = draining_ = handshake_counted_ = served_ = false;
    file_.reset();
    progress_ = server_.stack_.now();
    watch();
    if (tls != nullptr && !channel_.secure(*tls)) finish();
}

void HttpSession::on_readable(Connection) { work(); }

void HttpSession::on_writable(Connection) { work(); }

void HttpSession::on_closed(Connection, CloseReason) {
    channel_.release();
    over();
}

void HttpSession::work() {
    go_on();
    count_bytes();
}

/// Until input or room to send runs out; one answer is sent before the next is begun. Only where
/// there is room to answer is more taken: what is not received closes the window, not the pools.
void HttpSession::go_on() {
    while (channel_) {
        if (!channel_.flush()) return;
        if (!pending_.empty()) {
            if (!send_pending()) return;
        } else if (file_ != nullptr) {
            if (!send_file()) return;
        } else if (draining_) {
            return drain();
        } else if (close_after_) {
            return finish();
        } else if (request_ready_) {
            answer();
        } else if (!parse()) {
            if (channel_.at_end() || (server_.draining_ && served_ && is_idle())) finish();
            return;
        }
    }
}

/// Nothing of a request has come, and nothing is left to be said.
bool HttpSession::is_idle() const {
    return !request_ready_ && !close_after_ && !draining_ && pending_.empty() &&
           file_ == nullptr && head_size_ + body_size_ == 0 && !channel_.has_input();
}

void HttpSession::begin_drain() {
    if (!channel_) return;
    if (!served_) return watch();
    if (is_idle()) finish();
}

/// Parses up to the end of one request. False where more input is needed.
bool HttpSession::parse() {
    while (!request_ready_ && !draining_) {  // nothing that follows a bad request is looked at
        const auto input = channel_.input();
        count_handshake();
        if (input && input->empty()) return false;
        if (input) {
            parse(*input);
        } else {
            fail_tls();
        }
    }
    return true;
}

void HttpSession::parse(std::span<const std::byte> bytes) {
    const char* at = reinterpret_cast<const char*>(bytes.data());
    const size_t body_before = body_size_;
    const llhttp_errno_t status = llhttp_execute(&parser_, at, bytes.size());
    size_t parsed = bytes.size();
    if (status == HPE_PAUSED) {
        parsed = static_cast<size_t>(llhttp_get_error_pos(&parser_) - at);
        llhttp_resume(&parser_);
    } else if (status == HPE_PAUSED_UPGRADE) {
        // We upgrade to nothing: the request is answered as if it had not asked.
        parsed = static_cast<size_t>(llhttp_get_error_pos(&parser_) - at);
        llhttp_resume_after_upgrade(&parser_);
    } else if (status != HPE_OK) {
        refuse(refused_ != 0 ? refused_ : 400);
    }
    head_size_ += parsed - std::min(parsed, body_size_ - body_before);
    if (!draining_ && head_size_ > head_max + framing_max * body_size_) {
        request_ready_ = false;
        refuse(431);
    }
    channel_.used(parsed);
}

void HttpSession::count_handshake() {
    const TlsStream* tls = channel_.tls();
    if (handshake_counted_ || tls == nullptr || !tls->is_established()) return;
    handshake_counted_ = true;
    ++server_.counters_.handshakes;
    if (tls->was_resumed()) ++server_.counters_.resumed;
}

void HttpSession::count_bytes() {
    server_.counters_.bytes_in += channel_.take_received();
    server_.counters_.bytes_out += channel_.take_sent();
}

void HttpSession::answer() {
    request_ready_ = false;
    served_ = true;
    close_after_ = llhttp_should_keep_alive(&parser_) == 0;
    // What has come behind it was acknowledged: it is answered, too. What comes from now on is
    // thrown away, since a reset could take the answer along.
    if (server_.draining_ && !close_after_ && !channel_.has_input())
        close_after_ = draining_ = true;
    const bool get = parser_.method == HTTP_GET;
    if (!get && parser_.method != HTTP_HEAD) {
        answer_with(405, nullptr, "Allow: GET, HEAD\r\n");
    } else if (target_ == "/body") {
        answer_with(200, server_.body_, {});
    } else {
        const auto file = server_.files_.find(target_);
        answer_with(file != nullptr ? 200 : 404, file, {});
    }
    target_.clear();
    head_size_ = body_size_ = 0;
}

void HttpSession::refuse(int status) {
    refused_ = status;
    close_after_ = draining_ = true;
    answer_with(status, nullptr, {});
}

/// The answer to a refused request must arrive: closing while its rest is still coming would reset
/// the connection and take the answer along. A bounded amount is thrown away instead.
void HttpSession::drain() {
    if (!channel_.finish()) return;
    (void)channel_.connection().shutdown();
    drained_ += channel_.discard();
    if (channel_.connection().at_end() || drained_ > drain_max) finish();
}

void HttpSession::answer_with(int status, const std::shared_ptr<const MappedFile>& body,
                              std::string_view extra) {
    HttpCounters& counters = server_.counters_;
    ++counters.requests;
    ++counters.by_status[status];
    const std::string_view phrase = reason_phrase(status);
    const size_t size = body != nullptr ? body->size : phrase.size() + 1;
    // Nearly always it is sent at once: one string serves all, and stays in the cache.
    if (pending_.empty() && pending_.capacity() < server_.spare_.capacity())
        pending_.swap(server_.spare_);
    pending_ += server_.heads_.write(
        {.status = status,
         .size = size,
         .content_type = body != nullptr ? body->content_type : "text/plain",
         .extra = extra,
         .persistence = close_after_               ? Head::Persistence::close
                        : parser_.http_minor == 0 ? Head::Persistence::keep_alive
                                                  : Head::Persistence::as_usual});
    if (parser_.method == HTTP_HEAD && refused_ == 0) return;
    counters.bytes += size;
    if (body == nullptr) {
        pending_.append(phrase).append("\n");
    } else if (size <= copied_body_max) {
        const auto memory = body->region.memory();
        pending_.append(reinterpret_cast<const char*>(memory.data()), memory.size());
    } else {
        file_ = body;
        file_offset_ = 0;
    }
}

/// False where there was no room, or the connection is over.
bool HttpSession::sent(const Result<size_t>& sent) {
    if (sent) progress_ = server_.stack_.now();
    if (!sent && channel_.is_broken()) {
        fail_tls();
        drain();
    }
    return sent.has_value();
}

/// There may be an alert, which must arrive.
void HttpSession::fail_tls() {
    ++server_.counters_.tls_failures[channel_.tls()->problem()];
    draining_ = true;
    pending_.clear();
    file_.reset();
}

bool HttpSession::send_pending() {
    const auto size = channel_.send(std::as_bytes(std::span(pending_)));
    if (!sent(size)) return false;
    pending_.erase(0, *size);
    if (pending_.empty()) pending_.swap(server_.spare_);
    return true;
}

/// Appends the file's next part by reference. False where the send buffer is full.
bool HttpSession::send_file() {
    if (channel_.tls() != nullptr) return send_file_copied();
    BufferChain chain;
    while (file_offset_ + chain.size() < file_->size && chain.size() < file_batch) {
        const size_t offset = file_offset_ + chain.size();
        const size_t size = std::min(Buffer::max_size, file_->size - offset);
        auto buffer = server_.stack_.buffer_from(file_->region, offset, size);
        if (!buffer) break;
        chain.append(std::move(*buffer));
    }
    if (chain.empty()) return send_file_copied();  // there was no buffer to refer to it with
    const auto size = channel_.send(chain);
    if (!sent(size)) return false;
    file_offset_ += *size;
    if (file_offset_ == file_->size) file_.reset();
    return true;
}

/// A copy of the file's next piece, or a record of TLS.
bool HttpSession::send_file_copied() {
    const size_t most = channel_.tls() != nullptr ? TlsContext::record_max : 2048;
    const auto rest = file_->region.memory().subspan(file_offset_);
    const auto size = channel_.send(rest.first(std::min(rest.size(), most)));
    if (!sent(size)) return false;
    file_offset_ += *size;
    if (file_offset_ == file_->size) file_.reset();
    return true;
}

/// Closes, once what TLS says of it is under way.
void HttpSession::finish() {
    close_after_ = true;
    if (!channel_.finish()) return;
    (void)channel_.discard();  // what is unread would make it a reset
    (void)channel_.release().close();
    over();
}

void HttpSession::over() {
    count_bytes();
    timer_.cancel();
    file_.reset();
    server_.sessions_.give_back(this);
}

/// The timer is not moved by each request: when it expires, it looks how long nothing has happened.
void HttpSession::watch() {
    const Duration limit =
        server_.draining_ && !served_ ? first_request_max : server_.options_.idle_timeout;
    if (limit > Duration()) (void)timer_.start(server_.stack_, limit);
}

void HttpSession::expired() {
    if (server_.draining_ && is_idle()) return finish();
    const Duration limit = server_.options_.idle_timeout;
    if (limit == Duration()) return;
    const Duration idle = server_.stack_.now() - progress_;
    if (idle < limit) return (void)timer_.start(server_.stack_, limit - idle);
    const ConnectionInfo info = channel_.connection().info();
    // What is queued still reaches a slow peer.
    if (info.send_queued > 0 && std::exchange(delivered_, info.delivered) != info.delivered)
        return watch();
    // Who takes no answer takes no end, either.
    if (info.send_queued > 0 || !pending_.empty() || file_ != nullptr || draining_) {
        (void)channel_.release().abort();
        return over();
    }
    finish();
    if (channel_) watch();  // its close_notify has no room
}

int HttpSession::on_url(llhttp_t* parser, const char* at, size_t size) {
    auto& session = *static_cast<HttpSession*>(parser->data);
    if (session.target_.size() + size > target_max) {
        session.refused_ = 414;
        return -1;
    }
    session.target_.append(at, size);
    return 0;
}

int HttpSession::on_body(llhttp_t* parser, const char*, size_t size) {
    auto& session = *static_cast<HttpSession*>(parser->data);
    session.body_size_ += size;
    if (session.body_size_ <= body_max) return 0;
    session.refused_ = 413;
    return -1;
}

int HttpSession::on_complete(llhttp_t* parser) {
    auto& session = *static_cast<HttpSession*>(parser->data);
    session.request_ready_ = true;
    session.progress_ = session.server_.stack_.now();
    return HPE_PAUSED;  // the next request waits until this one is answered
}

const llhttp_settings_t& HttpSession::settings() {
    static const llhttp_settings_t instance = [] {
        llhttp_settings_t s;
        llhttp_settings_init(&s);
        s.on_url = on_url;
        s.on_body = on_body;
        s.on_message_complete = on_complete;
        return s;
    }();
    return instance;
}

}  // namespace millrace::apps
