// An echo server (RFC 862) over TCP and UDP: what arrives goes back, without a copy in either
// direction.
#include <algorithm>

#include <fmt/format.h>

#include <millrace/udp.h>

#include "common/program.h"

using namespace millrace;

/// One client, who deletes itself with its connection.
class Client final : public ConnectionHandler {
public:
    void on_readable(Connection c) override {
        if (held_.empty()) held_ = c.receive();
        forward(c);
    }
    void on_writable(Connection c) override { forward(c); }
    void on_closed(Connection, CloseReason) override { delete this; }

private:
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
            static_cast<void>(c.consumed(*sent));
            held_ = c.receive();
        }
        if (!c.at_end()) return;
        static_cast<void>(c.close());
        delete this;
    }

    BufferChain held_;  // what has not gone back yet
};

struct Echo final : ListenHandler {
    void on_acceptable(Listener listener) override {
        auto client = std::make_unique<Client>();
        while (listener.accept(*client)) {
            static_cast<void>(client.release());  // its own from now on
            client = std::make_unique<Client>();
        }
    }
};

/// Answers datagrams from the address that they were sent to; those to a group from any, on one
/// core alone.
class DatagramEcho final : public UdpHandler {
public:
    explicit DatagramEcho(bool answers_groups) : answers_groups_(answers_groups) {}

    void on_readable(UdpSocket socket) override {
        const uint16_t own_port = socket.local().port;
        while (auto datagram = socket.receive()) {
            if (datagram->source.port == own_port) continue;  // another echo: without an end
            OutgoingDatagram back;
            back.destination = datagram->source;
            back.source = datagram->destination;
            back.data = std::move(datagram->data);
            // One that cannot go back is lost, as datagrams are; but a group has no address.
            const auto sent = socket.send(back);
            if (sent || sent.error() == EAGAIN || !answers_groups_) continue;
            back.source.reset();
            static_cast<void>(socket.send(back));
        }
    }

private:
    const bool answers_groups_;
};

/// What one core listens on; false where it cannot.
bool listen(Stack& stack, uint16_t port, const std::vector<Address>& groups, Echo& echo,
            DatagramEcho& datagrams) {
    if (!stack.listen({Address(), port}, echo)) return false;
    auto socket = UdpSocket::open(stack, {Address(), port}, datagrams);
    if (!socket || stack.core() != 0) return socket.has_value();
    return std::ranges::all_of(groups, [&](const Address& group) {
        return socket->join(group, 1).has_value();
    });
}

int main(int argc, char** argv) {
    CLI::App app("millrace-echo: sends back what it receives");
    apps::CommonOptions options;
    options.add_to(app);
    uint16_t port = 7;
    app.add_option("-p,--port", port, "TCP and UDP port")->capture_default_str();
    std::vector<std::string> names;
    app.add_option("-g,--group", names, "multicast groups to join on the first port");
    CLI11_PARSE(app, argc, argv);

    std::vector<Address> groups;
    for (const std::string& name : names) {
        const auto group = Address::parse(name);
        if (!group || !group->is_multicast()) return apps::fail({"no multicast group: " + name});
        groups.push_back(*group);
    }
    const apps::Signals signals;
    Echo echo;  // these outlive the loops that call them
    DatagramEcho first{true}, others{false};
    auto runtime = apps::start(options);
    if (!runtime) return apps::fail(runtime.error());
    std::atomic<bool> listening{true};
    const auto running = (*runtime)->run([&](Stack& stack) {
        if (!listen(stack, port, groups, echo, stack.core() == 0 ? first : others))
            listening = false;
    });
    if (!running) return apps::fail(running.error());
    // Every core has set up once it answers.
    apps::ask_cores<int>(**runtime, [](Stack&) { return 0; });
    if (listening) fmt::print("listening on port {}\n", port);
    std::fflush(stdout);
    while (listening && !signals.wait(0.5)) {
    }
    return listening ? 0 : apps::fail({"cannot listen on port " + std::to_string(port)});
}
