#include "echo/echo.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace millrace::apps {

/// One client, who deletes itself with its connection.
class EchoClient final : public ConnectionHandler {
public:
    explicit EchoClient(EchoServer& server) : server_(server) {}
    ~EchoClient() override { server_.clients_.erase(this); }
    EchoClient(const EchoClient&) = delete;
    EchoClient& operator=(const EchoClient&) = delete;

    void begin(Connection c) {
        connection_ = c;
        server_.clients_.insert(this);
        static_cast<void>(c.set_keepalive(true));  // who is gone without a word is not kept
    }
    /// Closes where its client has everything back: then the FIN leaves in this turn, and what he
    /// says from now on is not acknowledged. Deletes itself then.
    void end_if_idle() {
        if (ending_) return;
        const ConnectionInfo info = connection_.info();
        if (info.send_queued > 0 || info.receive_queued > 0) return;
        static_cast<void>(connection_.close());
        delete this;
    }

    void on_readable(Connection c) override {
        if (ending_) return discard(c);
        const bool last = server_.draining_ && held_.empty() && c.info().send_queued == 0;
        if (held_.empty()) take(c);
        if (forward(c) && last) end_behind(c);
    }
    void on_writable(Connection c) override { forward(c); }
    void on_closed(Connection, CloseReason) override { delete this; }

private:
    void take(Connection c) {
        held_ = c.receive();
        server_.served_.bytes_in += held_.size();
    }
    /// Who says one thing after the other is never idle: he ends behind an answer, if that and the
    /// FIN can leave at once. What he says behind the FIN is thrown away.
    void end_behind(Connection c) {
        const ConnectionInfo info = c.info();
        if (!held_.empty() || info.send_queued > std::min(info.snd_cwnd, info.snd_wnd)) return;
        ending_ = c.shutdown().has_value();
    }
    void discard(Connection c) {
        static_cast<void>(c.consumed(c.receive().size()));
        if (!c.at_end()) return;
        static_cast<void>(c.close());
        delete this;
    }
    /// The window opens for what the client's own takes: who reads nothing can send no more. False
    /// where it has come to its end, and is gone.
    bool forward(Connection c) {
        while (!held_.empty()) {
            const auto sent = c.send(held_);
            if (!sent) {
                if (sent.error() == EAGAIN) return true;
                static_cast<void>(c.abort());
                delete this;
                return false;
            }
            server_.served_.bytes_out += *sent;
            static_cast<void>(c.consumed(*sent));
            take(c);
        }
        if (!c.at_end()) return true;
        static_cast<void>(c.close());
        delete this;
        return false;
    }

    EchoServer& server_;
    Connection connection_;
    BufferChain held_;  // what has not gone back yet
    bool ending_ = false;
};

EchoServer::EchoServer(Stack& stack, bool answers_groups)
    : stack_(stack), drain_timer_([this] { drain(); }), answers_groups_(answers_groups) {}

EchoServer::~EchoServer() {
    while (!clients_.empty()) delete *clients_.begin();
}

void EchoServer::drain() {
    draining_ = true;
    const std::vector<EchoClient*> clients(clients_.begin(), clients_.end());
    for (EchoClient* client : clients) client->end_if_idle();
    // Who is still being answered, or has not come yet.
    static_cast<void>(drain_timer_.start(stack_, Duration::from_ms(10)));
}

Result<void> EchoServer::listen(uint16_t port, std::span<const Address> groups) {
    const auto listener = stack_.listen({Address(), port}, *this);
    if (!listener) return std::unexpected(listener.error());
    auto socket = UdpSocket::open(stack_, {Address(), port}, *this);
    if (!socket) return std::unexpected(socket.error());
    if (!answers_groups_) return {};
    for (const Address& group : groups)
        if (const auto joined = socket->join(group, 1); !joined) return joined;
    return {};
}

void EchoServer::on_acceptable(Listener listener) {
    auto client = std::make_unique<EchoClient>(*this);
    while (const auto connection = listener.accept(*client)) {
        ++served_.connections;
        client.release()->begin(*connection);  // its own from now on
        client = std::make_unique<EchoClient>(*this);
    }
}

/// Answers datagrams from the address that they were sent to; those to a group from any.
void EchoServer::on_readable(UdpSocket socket) {
    const uint16_t own_port = socket.local().port;
    while (auto datagram = socket.receive()) {
        if (datagram->source.port == own_port) continue;  // another echo: without an end
        ++served_.requests;
        served_.bytes_in += datagram->data.size();
        const size_t size = datagram->data.size();
        OutgoingDatagram back;
        back.destination = datagram->source;
        back.source = datagram->destination;
        back.data = std::move(datagram->data);
        // One that cannot go back is lost, as datagrams are; but a group has no address.
        auto sent = socket.send(back);
        if (!sent && sent.error() != EAGAIN && answers_groups_) {
            back.source.reset();
            sent = socket.send(back);
        }
        if (sent) served_.bytes_out += size;
    }
}

}  // namespace millrace::apps
