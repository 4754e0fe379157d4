#include "load/generator.h"

#include <cstdio>

#include <fmt/format.h>
#include <llhttp.h>

namespace millrace::apps {

std::string_view name(LoadError error) {
    constexpr std::array<std::string_view, load_error_count> names{
        "refused",      "reset",      "timed-out", "unreachable",
        "closed-early", "bad-answer", "status",    "no-port"};
    return names[static_cast<size_t>(error)];
}

uint64_t LoadCounters::errors_total() const {
    uint64_t sum = 0;
    for (const uint64_t n : errors) sum += n;
    return sum;
}

LoadCounters& LoadCounters::operator+=(const LoadCounters& other) {
    attempted += other.attempted;
    established += other.established;
    requests += other.requests;
    bytes += other.bytes;
    for (size_t i = 0; i < errors.size(); ++i) errors[i] += other.errors[i];
    latency += other.latency;
    return *this;
}

/// One of the N connections: connects, asks, checks the answer, asks again.
class LoadConnection final : public ConnectionHandler {
public:
    explicit LoadConnection(Generator& generator) : generator_(generator) {}
    ~LoadConnection() override {
        if (file_ != nullptr) std::fclose(file_);
    }

    /// The first time; the generator is told how it went.
    void open_first() {
        first_ = true;
        open();
    }
    void open() {
        requests_ = 0;
        generator_.count([](LoadCounters& c) { ++c.attempted; });
        auto connection =
            generator_.stack_.connect(generator_.options_.target, *this);
        if (!connection) {
            connection_ = {};
            retry_ = true;
            generator_.failed(connection.error() == EADDRNOTAVAIL ? LoadError::no_port
                                                                  : LoadError::unreachable);
            return;
        }
        retry_ = false;
        connection_ = *connection;
    }
    /// Opens again what could not be opened for want of a port.
    void retry() {
        if (retry_) open();
    }
    void close() {
        if (connection_) connection_.close();
        connection_ = {};
        asked_ = false;
    }

    void on_connected(Connection c) override {
        generator_.count([](LoadCounters& counters) { ++counters.established; });
        if (std::exchange(first_, false)) generator_.opened_or_failed();
        c.set_no_delay(true);
        ask();
    }
    void on_readable(Connection c) override {
        BufferChain data = c.receive();
        const size_t size = data.size();
        generator_.count([&](LoadCounters& counters) { counters.bytes += size; });
        for (Buffer buffer = data.pop_front(); !buffer.empty(); buffer = data.pop_front()) {
            if (!take(buffer.bytes())) return again(LoadError::bad_answer);
            if (connection_ != c) return;  // done with it, and on to the next
        }
        c.consumed(size);
        if (!c.at_end()) return;
        // A body may be as long as the connection lasts (RFC 9112 section 6.3).
        if (http() && asked_ && llhttp_finish(&parser_) == HPE_OK && complete_) {
            if (status_ != 200) generator_.failed(LoadError::status);
            return completed(false);
        }
        again(LoadError::closed_early);
    }
    void on_writable(Connection) override { send_rest(); }
    void on_closed(Connection, CloseReason reason) override {
        connection_ = {};
        if (std::exchange(first_, false)) generator_.opened_or_failed();
        switch (reason) {
            case CloseReason::closed: return again(LoadError::closed_early);
            case CloseReason::reset: return again(LoadError::reset);
            case CloseReason::refused: return again(LoadError::refused);
            case CloseReason::timed_out: return again(LoadError::timed_out);
            case CloseReason::unreachable: return again(LoadError::unreachable);
        }
    }

private:
    bool http() const { return generator_.options_.mode == LoadMode::http; }

    void ask() {
        asked_ = true;
        asked_at_ = generator_.stack_.now();
        unsent_ = generator_.request_;
        expected_ = generator_.request_.size();
        if (http()) {
            llhttp_init(&parser_, HTTP_RESPONSE, &settings());
            parser_.data = this;
            complete_ = false;
        }
        send_rest();
    }
    void send_rest() {
        while (connection_ && !unsent_.empty()) {
            const auto sent = connection_.send(unsent_);
            if (!sent) return;
            unsent_.remove_prefix(*sent);
        }
    }

    /// Checks a piece of the answer. False where it is not what was asked for.
    bool take(std::span<const std::byte> bytes) {
        if (!asked_) return false;
        if (!http()) {
            // The echo of our own message, byte for byte.
            const size_t at = generator_.request_.size() - expected_;
            if (bytes.size() > expected_ ||
                std::memcmp(bytes.data(), generator_.request_.data() + at, bytes.size()) != 0)
                return false;
            expected_ -= bytes.size();
            if (expected_ == 0) completed(true);
            return true;
        }
        const char* at = reinterpret_cast<const char*>(bytes.data());
        if (llhttp_execute(&parser_, at, bytes.size()) != HPE_OK) return false;
        if (complete_) {
            if (status_ != 200) generator_.failed(LoadError::status);
            completed(keep_alive_);
        }
        return true;
    }

    void completed(bool keep) {
        asked_ = false;
        ++requests_;
        const Duration latency = generator_.stack_.now() - asked_at_;
        generator_.count([&](LoadCounters& c) {
            ++c.requests;
            c.latency.add(latency);
        });
        if (generator_.options_.output) {
            if (file_ != nullptr && std::fflush(file_) != 0)
                generator_.failed(LoadError::bad_answer);
            generator_.done_ = true;
            return close();
        }
        const uint64_t limit = generator_.options_.requests_per_connection;
        if (generator_.stopping_) return close();
        if (keep && (limit == 0 || requests_ < limit)) return ask();
        close();
        open();
    }

    void again(LoadError error) {
        close();
        if (generator_.stopping_) return;
        generator_.failed(error);
        if (generator_.options_.output)
            generator_.done_ = true;
        else
            open();
    }

    void write(const char* at, size_t size) {
        if (!generator_.options_.output) return;
        if (file_ == nullptr) file_ = std::fopen(generator_.options_.output->c_str(), "wb");
        if (file_ == nullptr || std::fwrite(at, 1, size, file_) != size)
            generator_.failed(LoadError::bad_answer);
    }

    static const llhttp_settings_t& settings() {
        static const llhttp_settings_t instance = [] {
            llhttp_settings_t s;
            llhttp_settings_init(&s);
            s.on_body = [](llhttp_t* parser, const char* at, size_t size) {
                static_cast<LoadConnection*>(parser->data)->write(at, size);
                return 0;
            };
            s.on_message_complete = [](llhttp_t* parser) {
                // Only here does the parser know: it forgets when it goes on.
                auto& self = *static_cast<LoadConnection*>(parser->data);
                self.complete_ = true;
                self.status_ = parser->status_code;
                self.keep_alive_ = llhttp_should_keep_alive(parser) != 0;
                return 0;
            };
            return s;
        }();
        return instance;
    }

    Generator& generator_;
    Connection connection_;
    llhttp_t parser_{};
    std::string_view unsent_;
    size_t expected_ = 0;
    uint64_t requests_ = 0;
    Instant asked_at_;
    bool asked_ = false;
    bool complete_ = false;
    bool keep_alive_ = false;
    int status_ = 0;
    bool retry_ = false;
    bool first_ = false;
    std::FILE* file_ = nullptr;
};

Generator::Generator(Stack& stack, const LoadOptions& options, uint32_t share)
    : stack_(stack), options_(options) {
    if (options.mode == LoadMode::http) {
        request_ = fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: millrace-load\r\n{}\r\n",
                               options.path, options.target.to_string(),
                               options.requests_per_connection == 1 ? "Connection: close\r\n" : "");
    } else {
        for (uint32_t i = 0; i < options.size; ++i)
            request_ += static_cast<char>('a' + i % 26);
    }
    for (uint32_t i = 0; i < share; ++i)
        connections_.push_back(std::make_unique<LoadConnection>(*this));
}

Generator::~Generator() = default;

void Generator::start() {
    while (!stopping_ && next_ < connections_.size() && opening_ < opening_max) {
        ++opening_;
        connections_[next_++]->open_first();
    }
}

/// One of the first openings has its answer: the next may follow.
void Generator::opened_or_failed() {
    --opening_;
    start();
}

void Generator::stop() {
    stopping_ = true;
    for (auto& connection : connections_) connection->close();
}

LoadCounters Generator::take_interval() {
    for (auto& connection : connections_)
        if (!stopping_) connection->retry();
    return std::exchange(interval_, LoadCounters());
}

void Generator::failed(LoadError error) {
    count([&](LoadCounters& c) { ++c.errors[static_cast<size_t>(error)]; });
}

}  // namespace millrace::apps
