#include "load/raw_server.h"

#include <algorithm>
#include <optional>

#include "load/filling.h"

namespace millrace::apps {

/// One connection: requests are answered in their order, one at a time.
class RawSession final : public ConnectionHandler {
public:
    explicit RawSession(RawServer& server) : server_(server) {}

    void start(Connection connection) {
        channel_.open(connection);
        header_got_ = 0;
        request_rest_ = answer_rest_ = answer_at_ = 0;
        flags_ = 0;
    }
    void on_readable(Connection) override { work(); }
    void on_writable(Connection) override { work(); }
    void on_closed(Connection, CloseReason) override {
        channel_.release();
        over();
    }

private:
    bool streams_down() const { return (flags_ & RawHeader::stream_down) != 0; }
    bool streams_up() const { return (flags_ & RawHeader::stream_up) != 0; }

    void work() {
        go_on();
        count_bytes();
    }

    /// Until input or room to send runs out.
    void go_on() {
        while (answer()) {
            if (streams_up() && request_rest_ == 0) (void)channel_.discard();
            const auto piece = channel_.input();
            if (!piece || piece->empty()) {
                if (channel_.at_end()) end(false);
                return;
            }
            const auto taken = take(*piece);
            if (!taken) return end(true);  // nothing that a client of ours would say
            channel_.used(*taken);
        }
    }

    /// False while there is no room for the answer's rest, and when it was the last.
    bool answer() {
        if (streams_down() && request_rest_ == 0 && !channel_.at_end())
            answer_at_ += send_stream(server_.stack_, channel_, answer_at_);
        while (answer_rest_ > 0 && request_rest_ == 0) {
            const auto sent = send_filling(server_.stack_, channel_, answer_at_, answer_rest_);
            if (!sent) return false;
            answer_at_ += *sent;
            answer_rest_ -= *sent;
            if (answer_rest_ == 0 && (flags_ & RawHeader::last) != 0) {
                end(false);
                return false;
            }
        }
        return true;
    }

    /// How much of a piece has been taken, at most up to the end of a header or a request; nothing
    /// where it is no request.
    std::optional<size_t> take(std::span<const std::byte> piece) {
        size_t taken = 0;
        if (request_rest_ == 0) {
            taken = std::min(RawHeader::size - header_got_, piece.size());
            std::ranges::copy(piece.first(taken), &header_[header_got_]);
            header_got_ += taken;
            if (header_got_ < RawHeader::size) return taken;
            header_got_ = 0;
            const RawHeader header = RawHeader::parse(header_);
            if (!header.is_sane()) return std::nullopt;
            flags_ = header.flags;
            answer_at_ = 0;
            answer_rest_ = streams_up() || streams_down() ? 0 : header.answer;
            request_rest_ = header.request - RawHeader::size;
        } else {
            taken = std::min(request_rest_, piece.size());
            request_rest_ -= taken;
        }
        if (request_rest_ == 0) requested();
        return taken;
    }

    void requested() {
        const uint64_t number = ++server_.served_.requests;
        if (server_.drop_every_ != 0 && number % server_.drop_every_ == 0) answer_rest_ = 0;
    }

    void count_bytes() {
        server_.served_.bytes_in += channel_.take_received();
        server_.served_.bytes_out += channel_.take_sent();
    }

    void end(bool reset) {
        Connection c = channel_.release();
        (void)(reset ? c.abort() : c.close());
        over();
    }
    void over() {
        count_bytes();
        server_.sessions_.give_back(this);
    }

    RawServer& server_;
    Channel channel_;
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
