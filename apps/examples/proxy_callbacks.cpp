// An HTTP proxy in callbacks: proxy_callbacks CONFIG PORT
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>

#include <millrace/millrace.h>

#include "proxy_request.h"

using namespace millrace;

namespace {

class Proxy;

/// A client and its server: what one sends goes to the other, as fast as that takes it.
class Session final : public ConnectionHandler {
public:
    Session(Proxy& proxy, Stack& stack) : proxy_(proxy), stack_(stack) {}

    void on_connected(Connection) override {
        const std::string first = request_.head + head_.substr(request_.taken);
        if (request_.is_tunnel && !client_.open.send(PROXY_ESTABLISHED)) return give_up();
        // The first that is sent: there is room, unless buffers are short.
        if (!first.empty() && server_.open.send(first) != first.size()) return give_up();
        connected_ = true;
        forward(client_, server_);
    }
    void on_readable(Connection c) override {
        // What follows the head waits until the server is there.
        if (!connected_) return c == client_.open && !server_.open ? read_head() : void();
        c == client_.open ? forward(client_, server_) : forward(server_, client_);
    }
    void on_writable(Connection c) override {
        if (!connected_) return;
        c == client_.open ? forward(server_, client_) : forward(client_, server_);
    }
    void on_closed(Connection c, CloseReason why) override {
        Side& side = c == client_.open ? client_ : server_;
        Side& other = c == client_.open ? server_ : client_;
        side.waiting.append(c.receive());
        side.ended = true;
        if (&side == &server_ && !connected_) answer(PROXY_BAD_GATEWAY);
        if (connected_ && other.open) forward(side, other);
        side.open = {};
        if (why != CloseReason::closed && other.open) other.open.abort();
        leave_if_over();
    }
    void begin(Connection client) { client_.open = client; }

private:
    struct Side {
        Connection open;
        BufferChain waiting;   // what it has sent and the other has not taken
        bool ended = false;    // it will send no more
        bool told = false;     // and the other knows
    };

    void read_head() {
        const BufferChain data = client_.open.receive();
        const size_t before = head_.size();
        head_.resize(before + data.size());
        data.copy_to(std::as_writable_bytes(std::span(head_).subspan(before)));
        static_cast<void>(client_.open.consumed(data.size()));
        const int complete = read_proxy_request(head_.data(), head_.size(), &request_);
        if (complete == 0) return client_.open.at_end() ? give_up() : void();
        const auto target = complete > 0 ? SocketAddress::parse(request_.authority) : error(EINVAL);
        if (!target) return answer(PROXY_BAD_REQUEST);
        const auto server = stack_.connect(*target, *this);
        if (!server) return answer(PROXY_BAD_GATEWAY);
        server_.open = *server;
    }
    void answer(std::string_view text) {
        if (!client_.open) return;
        static_cast<void>(client_.open.send(text));
        static_cast<void>(client_.open.close());
        client_.open = {};
        leave_if_over();
    }
    /// All that `from` has, while `to` takes it; the window of `from` opens only then.
    void forward(Side& from, Side& to) {
        if (from.open && from.waiting.empty()) from.waiting = from.open.receive();
        while (!from.waiting.empty()) {
            const auto taken = to.open.send(from.waiting);
            if (!taken && taken.error() != EAGAIN) return give_up();
            if (!taken) return;
            if (!from.open) break;
            static_cast<void>(from.open.consumed(*taken));
            from.waiting = from.open.receive();
        }
        if ((from.ended || from.open.at_end()) && !std::exchange(from.told, true))
            static_cast<void>(to.open.shutdown());
    }
    void give_up() {
        for (Side* side : {&client_, &server_}) {
            if (side->open) static_cast<void>(side->open.abort());
            side->open = {};
        }
        leave_if_over();
    }
    void leave_if_over();

    Proxy& proxy_;
    Stack& stack_;
    Side client_, server_;
    bool connected_ = false;
    std::string head_;
    proxy_request request_{};
};

/// The sessions of one core.
class Proxy final : public ListenHandler {
public:
    explicit Proxy(Stack& stack) : stack_(stack) {}
    void on_acceptable(Listener listener) override {
        ended_.clear();
        auto session = std::make_shared<Session>(*this, stack_);
        while (const auto client = listener.accept(*session)) {
            session->begin(*client);
            sessions_.insert(std::move(session));
            session = std::make_shared<Session>(*this, stack_);
        }
    }
    /// It is still on its way out of a callback: it goes when the next begins.
    void leave(Session& session) {
        for (auto at = sessions_.begin(); at != sessions_.end(); ++at)
            if (at->get() == &session) {
                ended_.push_back(*at);
                sessions_.erase(at);
                return;
            }
    }

private:
    Stack& stack_;
    std::set<std::shared_ptr<Session>> sessions_;
    std::vector<std::shared_ptr<Session>> ended_;
};

void Session::leave_if_over() {
    if (!client_.open && !server_.open) proxy_.leave(*this);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: %s CONFIG PORT\n", argv[0]), 2;
    const auto port = static_cast<uint16_t>(std::atoi(argv[2]));
    const auto config = load_config(argv[1]);
    auto runtime = config ? Runtime::create(*config) : std::unexpected(config.error());
    if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().what.c_str()), 1;
    const auto running = (*runtime)->run([&](Stack& stack) {
        static thread_local std::unique_ptr<Proxy> proxy = std::make_unique<Proxy>(stack);
        if (const auto made = stack.listen({Address(), port}, *proxy); !made) {
            std::fprintf(stderr, "port %d: %s\n", port, made.error().message());
            std::_Exit(1);
        }
    });
    if (!running) return std::fprintf(stderr, "%s\n", running.error().what.c_str()), 1;
    (*runtime)->join();
}
