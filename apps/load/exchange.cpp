#include "load/exchange.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>

#include <fmt/format.h>
#include <llhttp.h>

#include "load/raw.h"

namespace millrace::apps {

namespace {

/// HTTP/1.1 as llhttp reads it.
class HttpExchange final : public Exchange {
public:
    explicit HttpExchange(Exchanges& shared) : shared_(shared) { restart(); }
    ~HttpExchange() override {
        if (file_ != nullptr) std::fclose(file_);
    }
    HttpExchange(const HttpExchange&) = delete;
    HttpExchange& operator=(const HttpExchange&) = delete;

    void restart() override {
        llhttp_init(&parser_, HTTP_RESPONSE, &settings());
        parser_.data = this;
        complete_ = false;
    }
    Request next(bool last) override {
        return {.head = std::as_bytes(std::span(shared_.http_head(last))),
                .filling = shared_.plan().body};
    }
    Taken take(std::span<const std::byte> piece) override {
        const char* at = reinterpret_cast<const char*>(piece.data());
        const llhttp_errno_t status = llhttp_execute(&parser_, at, piece.size());
        if (!complete_) return {.bytes = piece.size(), .bad = status != HPE_OK};
        // Paused behind the answer: what follows is the next one's.
        complete_ = false;
        size_t used = piece.size();
        if (status == HPE_PAUSED || status == HPE_PAUSED_UPGRADE)
            used = static_cast<size_t>(llhttp_get_error_pos(&parser_) - at);
        const Taken taken = whole(used);
        restart();
        return taken;
    }
    /// A body may be as long as the connection lasts (RFC 9112 section 6.3).
    Taken end() override {
        (void)llhttp_finish(&parser_);  // calls back where that makes it whole
        if (!std::exchange(complete_, false)) return {.bad = true};
        return whole(0);
    }

private:
    Taken whole(size_t used) {
        write({});  // an answer without a body makes an empty file
        const bool written = file_ == nullptr || std::fflush(file_) == 0;
        return {.bytes = used, .complete = true, .bad = !written || failed_, .status = status_,
                .keep = keep_};
    }
    void write(std::string_view body) {
        const auto& path = shared_.plan().output;
        if (!path || failed_) return;
        if (file_ == nullptr) file_ = std::fopen(path->c_str(), "wb");
        failed_ = file_ == nullptr ||
                  std::fwrite(body.data(), 1, body.size(), file_) != body.size();
    }
    static const llhttp_settings_t& settings();

    Exchanges& shared_;
    llhttp_t parser_{};
    bool complete_ = false;
    bool keep_ = false;
    int status_ = 0;
    std::FILE* file_ = nullptr;  ///< the plan's `output`
    bool failed_ = false;
};

const llhttp_settings_t& HttpExchange::settings() {
    static const llhttp_settings_t instance = [] {
        llhttp_settings_t s;
        llhttp_settings_init(&s);
        s.on_headers_complete = [](llhttp_t* parser) {
            auto& self = *static_cast<HttpExchange*>(parser->data);
            return self.shared_.plan().method == "HEAD" ? 1 : 0;  // 1: there is no body
        };
        s.on_body = [](llhttp_t* parser, const char* at, size_t size) {
            static_cast<HttpExchange*>(parser->data)->write({at, size});
            return 0;
        };
        s.on_message_complete = [](llhttp_t* parser) -> int {
            // Only here does the parser know: it forgets when it goes on.
            auto& self = *static_cast<HttpExchange*>(parser->data);
            if (parser->status_code < 200) return 0;  // 100 Continue and its like: not the answer
            self.complete_ = true;
            self.status_ = parser->status_code;
            self.keep_ = llhttp_should_keep_alive(parser) != 0;
            return HPE_PAUSED;
        };
        return s;
    }();
    return instance;
}

/// Requests that name the size of their answer.
class RawExchange final : public Exchange {
public:
    explicit RawExchange(Exchanges& shared) : shared_(shared) {}
    void restart() override { wanted_.clear(); }
    Request next(bool last) override {
        const Plan& plan = shared_.plan();
        RawHeader header{.request = shared_.request_size(), .answer = shared_.response_size()};
        if (last && plan.closing == Closing::server) header.flags |= RawHeader::last;
        if (plan.mode == Mode::throughput) {
            if (plan.direction != Direction::down) header.flags |= RawHeader::stream_up;
            if (plan.direction != Direction::up) header.flags |= RawHeader::stream_down;
        }
        wanted_.push_back(header.answer);
        header_ = header.emit();
        return {.head = header_, .filling = header.request - RawHeader::size};
    }
    Taken take(std::span<const std::byte> piece) override {
        if (wanted_.empty()) return {.bad = true};
        const size_t used = std::min<size_t>(piece.size(), wanted_.front());
        wanted_.front() -= static_cast<uint32_t>(used);
        if (wanted_.front() != 0) return {.bytes = used};
        wanted_.pop_front();
        return {.bytes = used, .complete = true};
    }

private:
    Exchanges& shared_;
    std::array<std::byte, RawHeader::size> header_{};
    std::deque<uint32_t> wanted_;  ///< of each answer that is not whole
};

/// What was sent comes back.
class EchoExchange final : public Exchange {
public:
    explicit EchoExchange(Exchanges& shared) : shared_(shared) {}
    void restart() override { wanted_.clear(); at_ = 0; }
    Request next(bool) override {
        const uint32_t size = shared_.request_size();
        wanted_.push_back(size);
        return {.head = {}, .filling = size};
    }
    Taken take(std::span<const std::byte> piece) override {
        if (wanted_.empty()) return {.bad = true};
        const size_t used = std::min<size_t>(piece.size(), wanted_.front() - at_);
        for (size_t done = 0; done < used;) {
            const size_t place = (at_ + done) % filling_size;
            const size_t part = std::min(used - done, filling_size - place);
            if (std::memcmp(&piece[done], &filling()[place], part) != 0) return {.bad = true};
            done += part;
        }
        at_ += static_cast<uint32_t>(used);
        if (at_ < wanted_.front()) return {.bytes = used};
        wanted_.pop_front();
        at_ = 0;
        return {.bytes = used, .complete = true};
    }

private:
    Exchanges& shared_;
    std::deque<uint32_t> wanted_;  ///< the size of each message that is not back
    uint32_t at_ = 0;              ///< of the oldest, how much is
};

std::string http_request(const Plan& plan, bool last) {
    std::string text = fmt::format("{} {} HTTP/1.1\r\n", plan.method, plan.path);
    const auto has = [&](std::string_view name) {
        return std::ranges::any_of(plan.headers, [&](const std::string& header) {
            return header.size() > name.size() && header[name.size()] == ':' &&
                   strncasecmp(header.data(), name.data(), name.size()) == 0;
        });
    };
    if (!has("Host")) text += fmt::format("Host: {}\r\n", plan.target.to_string());
    if (!has("User-Agent")) text += "User-Agent: millrace-load\r\n";
    if (plan.body > 0) text += fmt::format("Content-Length: {}\r\n", plan.body);
    // Told to close, the server does so first.
    if (last && plan.closing == Closing::server) text += "Connection: close\r\n";
    for (const std::string& header : plan.headers) text += header + "\r\n";
    return text + "\r\n";
}

}  // namespace

Exchanges::Exchanges(const Plan& plan, uint64_t seed)
    : plan_(plan),
      request_size_(plan.request_size),
      response_size_(plan.response_size),
      random_(seed),
      http_heads_{http_request(plan, false), http_request(plan, true)} {}

std::unique_ptr<Exchange> Exchanges::make() {
    switch (plan_.protocol) {
        case Protocol::http:
        case Protocol::https: return std::make_unique<HttpExchange>(*this);
        case Protocol::raw: return std::make_unique<RawExchange>(*this);
        case Protocol::echo: return std::make_unique<EchoExchange>(*this);
        case Protocol::udp: break;  // no stream
    }
    return nullptr;
}

}  // namespace millrace::apps
