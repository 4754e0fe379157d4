#include "load/raw_server.h"

#include <algorithm>

#include "load/filling.h"

namespace millrace::apps {

/// One connection: requests are answered in their order, one at a time.
class RawSession final : public ConnectionHandler {
public:
    explicit RawSession(RawServer& server) : server_(server) {}

    void start(Connection connection) {
        connection_ = connection;
        header_got_ = 0;
        request_rest_ = answer_rest_ = answer_at_ = 0;
        flags_ = 0;
    }
    void on_readable(Connection) override { work(); }
    void on_writable(Connection) override { work(); }
    void on_closed(Connection, CloseReason) override {
        connection_ = {};
        rest_.clear();
        over();
    }

private:
    bool streams_down() const { return (flags_ & RawHeader::stream_down) != 0; }
    bool streams_up() const { return (flags_ & RawHeader::stream_up) != 0; }

    /// Goes on until input or room to send runs out.
    void work() {
        while (true) {
            if (!answer()) return;
            if (rest_.empty()) {
                rest_ = connection_.receive();
                server_.served_.bytes_in += rest_.size();
            }
            if (rest_.empty()) break;
            if (!take()) return end(true);  // nothing that a client of ours would say
        }
        if (connection_.at_end()) end(false);
    }

    /// False while there is no room for the answer's rest.
    bool answer() {
        Served& served = server_.served_;
        if (streams_down() && request_rest_ == 0 && !connection_.at_end()) {
            const size_t sent = send_stream(server_.stack_, connection_, answer_at_);
            answer_at_ += sent;
            served.bytes_out += sent;
        }
        while (answer_rest_ > 0 && request_rest_ == 0) {
            const auto sent =
                send_filling(server_.stack_, connection_, answer_at_, answer_rest_);
            if (!sent) return false;
            answer_at_ += *sent;
            answer_rest_ -= *sent;
            served.bytes_out += *sent;
            if (answer_rest_ == 0 && (flags_ & RawHeader::last) != 0) {
                end(false);
                return false;
            }
        }
        return true;
    }

    /// Takes what has come, at most up to the end of one request.
    bool take() {
        if (streams_up() && request_rest_ == 0) {
            consume(rest_.size());
            return true;
        }
        if (request_rest_ == 0) {
            const size_t want = RawHeader::size - header_got_;
            const size_t got = rest_.copy_to(std::span(header_).subspan(header_got_, want));
            header_got_ += got;
            consume(got);
            if (header_got_ < RawHeader::size) return true;
            header_got_ = 0;
            const RawHeader header = RawHeader::parse(header_);
            if (!header.is_sane()) return false;
            flags_ = header.flags;
            answer_at_ = 0;
            const bool streams = streams_up() || streams_down();
            answer_rest_ = streams ? 0 : header.answer;
            request_rest_ = header.request - RawHeader::size;
        } else {
            const size_t part = std::min(request_rest_, rest_.size());
            request_rest_ -= part;
            consume(part);
        }
        if (request_rest_ == 0) requested();
        return true;
    }

    void requested() {
        const uint64_t number = ++server_.served_.requests;
        if (server_.drop_every_ != 0 && number % server_.drop_every_ == 0) answer_rest_ = 0;
    }

    void consume(size_t bytes) {
        rest_.trim_front(bytes);
        (void)connection_.consumed(bytes);
    }

    void end(bool reset) {
        rest_.clear();
        Connection c = std::exchange(connection_, {});
        (void)(reset ? c.abort() : c.close());
        over();
    }
    void over() { server_.sessions_.give_back(this); }

    RawServer& server_;
    Connection connection_;
    BufferChain rest_;             ///< received, not looked at yet
    std::array<std::byte, RawHeader::size> header_{};
    size_t header_got_ = 0;
    size_t request_rest_ = 0;      ///< of the request under way
    size_t answer_rest_ = 0;       ///< of its answer
    size_t answer_at_ = 0;
    uint32_t flags_ = 0;
};

RawServer::RawServer(Stack& stack, uint32_t drop_every)
    : stack_(stack), drop_every_(drop_every) {}
RawServer::~RawServer() = default;

Result<void> RawServer::listen(uint16_t port) {
    const auto listener = stack_.listen({Address(), port}, *this);
    if (!listener) return std::unexpected(listener.error());
    return {};
}

void RawServer::on_acceptable(Listener listener) {
    while (true) {
        RawSession* session = sessions_.take(*this);
        const auto connection = listener.accept(*session);
        if (!connection) return sessions_.give_back(session);
        ++served_.connections;
        (void)Connection(*connection).set_no_delay(true);
        session->start(*connection);
    }
}

}  // namespace millrace::apps
