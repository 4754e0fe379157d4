// An echo server: what arrives goes back, without a copy in either direction.
#include <fmt/format.h>

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

int main(int argc, char** argv) {
    CLI::App app("millrace-echo: sends back what it receives");
    apps::CommonOptions options;
    options.add_to(app);
    uint16_t port = 7;
    app.add_option("-p,--port", port, "TCP port")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    const apps::Signals signals;
    Echo echo;  // outlives the loops that call it
    auto runtime = apps::start(options);
    if (!runtime) return apps::fail(runtime.error());
    std::atomic<bool> listening{true};
    const auto running = (*runtime)->run([&](Stack& stack) {
        if (!stack.listen({Address(), port}, echo)) listening = false;
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
