#include "echo/echo.h"

#include <memory>

namespace millrace::apps {

/// One client, who deletes itself with its connection.
class EchoClient final : public ConnectionHandler {
public:
    explicit EchoClient(EchoServer& server) : server_(server) {}

    void on_readable(Connection c) override {
        if (held_.empty()) take(c);
        forward(c);
    }
    void on_writable(Connection c) override { forward(c); }
    void on_closed(Connection, CloseReason) override { delete this; }

private:
    void take(Connection c) {
        held_ = c.receive();
        server_.served_.bytes_in += held_.size();
    }
    /// The window opens for what the client's own takes: who reads nothing can send no more.
    void forward(Connection c) {
        while (!held_.empty()) {
            const auto sent = c.send(held_);
            if (!sent) {
                if (sent.error() == EAGAIN) return;
                static_cast<void>(c.abort());
                delete this;
                return;
            }
            server_.served_.bytes_out += *sent;
            static_cast<void>(c.consumed(*sent));
            take(c);
        }
        if (!c.at_end()) return;
        static_cast<void>(c.close());
        delete this;
    }

    EchoServer& server_;
    BufferChain held_;  // what has not gone back yet
};

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
    while (listener.accept(*client)) {
        ++served_.connections;
        static_cast<void>(client.release());  // its own from now on
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
