#include "httpd/session.h"

#include <algorithm>

#include <fmt/format.h>

namespace millrace::apps {

namespace {

std::string_view reason_phrase(int status) {
    switch (status) {
        case 200: return "OK";
        case 400: return "Bad Request";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 431: return "Request Header Fields Too Large";
        default: return "Error";
    }
}

// Bodies up to this go into the same copied write as their header: one small frame.
constexpr size_t copied_body_max = 1024;
// Appended to the send queue at a time; the queue's limit is exceeded by less than this.
constexpr size_t file_batch = 256 * 1024;

}  // namespace

HttpSession::HttpSession(HttpServer& server) : server_(server) {}

void HttpSession::start(Connection connection) {
    connection_ = connection;
    llhttp_init(&parser_, HTTP_REQUEST, &settings());
    parser_.data = this;
    target_.clear();
    pending_.clear();
    header_size_ = body_size_ = file_offset_ = drained_ = 0;
    refused_ = 0;
    request_ready_ = close_after_ = draining_ = false;
    file_.reset();
}

void HttpSession::on_readable(Connection) { work(); }

/// Only when there is room to answer: what is not received closes the window, not the pools.
void HttpSession::take_input() {
    if (blocked() || !input_.empty()) return;
    input_ = connection_.receive();
    server_.counters_.bytes_in += input_.size();
}

void HttpSession::on_writable(Connection) { work(); }

void HttpSession::on_closed(Connection, CloseReason) {
    connection_ = {};
    finish();
}

/// Goes on until input or room to send runs out; one answer is sent before the next is begun.
void HttpSession::work() {
    while (connection_) {
        if (!pending_.empty()) {
            const auto sent = connection_.send(pending_);
            if (!sent) return;
            server_.counters_.bytes_out += *sent;
            pending_.erase(0, *sent);
            continue;
        }
        if (file_ != nullptr) {
            if (!send_file()) return;
            continue;
        }
        if (draining_) return drain();
        if (close_after_) return finish();
        if (request_ready_) {
            answer();
            continue;
        }
        take_input();
        if (!parse()) break;
    }
    if (connection_ && connection_.at_end() && input_.empty()) finish();
}

/// Parses up to the end of one request. False where more input is needed.
bool HttpSession::parse() {
    while (!input_.empty() && !request_ready_) {
        const auto bytes = input_.front();
        const char* at = reinterpret_cast<const char*>(bytes.data());
        const llhttp_errno_t status = llhttp_execute(&parser_, at, bytes.size());
        size_t used = bytes.size();
        if (status == HPE_PAUSED) {
            used = static_cast<size_t>(llhttp_get_error_pos(&parser_) - at);
            llhttp_resume(&parser_);
        } else if (status == HPE_PAUSED_UPGRADE) {
            // We upgrade to nothing: the request is answered as if it had not asked.
            used = static_cast<size_t>(llhttp_get_error_pos(&parser_) - at);
            llhttp_resume_after_upgrade(&parser_);
        } else if (status != HPE_OK) {
            refuse(refused_ != 0 ? refused_ : 400);
        }
        input_.trim_front(used);
        connection_.consumed(used);
        if (draining_) return true;  // nothing that follows a bad request is looked at
    }
    return request_ready_;
}

void HttpSession::answer() {
    request_ready_ = false;
    close_after_ = llhttp_should_keep_alive(&parser_) == 0;
    const bool get = parser_.method == HTTP_GET;
    if (!get && parser_.method != HTTP_HEAD) {
        answer_with(405, nullptr, "Allow: GET, HEAD\r\n");
    } else {
        auto file = target_ == "/body" ? server_.body_ : server_.files_.find(target_);
        const int status = file != nullptr ? 200 : 404;
        answer_with(status, std::move(file), {});
    }
    target_.clear();
    header_size_ = body_size_ = 0;
}

void HttpSession::refuse(int status) {
    refused_ = status;
    close_after_ = draining_ = true;
    answer_with(status, nullptr, {});
}

/// The answer to a refused request must arrive: closing while its rest is still coming would reset
/// the connection and take the answer along. A bounded amount is thrown away instead.
void HttpSession::drain() {
    connection_.shutdown();
    BufferChain more = connection_.receive();
    server_.counters_.bytes_in += more.size();
    input_.append(std::move(more));
    drained_ += input_.size();
    connection_.consumed(input_.size());
    input_.clear();
    if (connection_.at_end() || drained_ > drain_max) finish();
}

void HttpSession::answer_with(int status, std::shared_ptr<const MappedFile> body,
                              std::string_view extra) {
    HttpCounters& counters = server_.counters_;
    ++counters.requests;
    ++counters.by_status[status];
    const std::string_view phrase = reason_phrase(status);
    const size_t size = body != nullptr ? body->size : phrase.size() + 1;
    const bool head = parser_.method == HTTP_HEAD && refused_ == 0;
    fmt::format_to(std::back_inserter(pending_),
                   "HTTP/1.1 {} {}\r\nServer: millrace\r\nContent-Type: {}\r\n"
                   "Content-Length: {}\r\n{}{}\r\n",
                   status, phrase, body != nullptr ? body->content_type : "text/plain", size, extra,
                   close_after_ ? "Connection: close\r\n"
                   : parser_.http_minor == 0 ? "Connection: keep-alive\r\n"
                                             : "");
    if (head) return;
    counters.bytes += size;
    if (body == nullptr) {
        pending_.append(phrase).append("\n");
    } else if (size <= copied_body_max) {
        const auto memory = body->region.memory();
        pending_.append(reinterpret_cast<const char*>(memory.data()), memory.size());
    } else {
        file_ = std::move(body);
        file_offset_ = 0;
    }
}

/// Appends the file's next part by reference. False where the send buffer is full.
bool HttpSession::send_file() {
    BufferChain chain;
    size_t offset = file_offset_;
    while (offset < file_->size && chain.size() < file_batch) {
        const size_t size = std::min(Buffer::max_size, file_->size - offset);
        auto buffer = server_.stack_.buffer_from(file_->region, offset, size);
        if (!buffer) break;
        chain.append(std::move(*buffer));
        offset += size;
    }
    if (chain.empty()) {
        // No buffer to refer to the file with: a copy of the next piece moves things on.
        const auto rest = file_->region.memory().subspan(offset, std::min<size_t>(
                                                                     2048, file_->size - offset));
        const auto sent = connection_.send(rest);
        if (!sent) return false;
        offset = file_offset_ + *sent;
    } else if (!connection_.send(chain)) {
        return false;
    }
    server_.counters_.bytes_out += offset - file_offset_;
    file_offset_ = offset;
    if (file_offset_ == file_->size) file_.reset();
    return true;
}

void HttpSession::finish() {
    if (connection_) {
        connection_.consumed(input_.size());
        connection_.close();
        connection_ = {};
    }
    input_.clear();
    file_.reset();
    server_.sessions_.give_back(this);
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

int HttpSession::on_header(llhttp_t* parser, const char*, size_t size) {
    auto& session = *static_cast<HttpSession*>(parser->data);
    session.header_size_ += size;
    if (session.header_size_ <= header_max) return 0;
    session.refused_ = 431;
    return -1;
}

int HttpSession::on_body(llhttp_t* parser, const char*, size_t size) {
    auto& session = *static_cast<HttpSession*>(parser->data);
    session.body_size_ += size;
    if (session.body_size_ <= body_max) return 0;
    session.refused_ = 413;
    return -1;
}

int HttpSession::on_complete(llhttp_t* parser) {
    static_cast<HttpSession*>(parser->data)->request_ready_ = true;
    return HPE_PAUSED;  // the next request waits until this one is answered
}

const llhttp_settings_t& HttpSession::settings() {
    static const llhttp_settings_t instance = [] {
        llhttp_settings_t s;
        llhttp_settings_init(&s);
        s.on_url = on_url;
        s.on_header_field = on_header;
        s.on_header_value = on_header;
        s.on_body = on_body;
        s.on_message_complete = on_complete;
        return s;
    }();
    return instance;
}

}  // namespace millrace::apps
