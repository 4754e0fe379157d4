// An echo server: what arrives goes back, without a copy in either direction.
#include <fmt/format.h>

#include "common/program.h"

using namespace millrace;

struct Echo final : ConnectionHandler, ListenHandler {
    void on_acceptable(Listener listener) override {
        while (listener.accept(*this)) {
        }
    }
    void on_readable(Connection c) override {
        BufferChain data = c.receive();
        const size_t size = data.size();
        if (size > 0 && !c.send(data)) c.abort();  // more is in flight than a send buffer holds
        c.consumed(size);
        if (c.at_end()) c.close();
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
