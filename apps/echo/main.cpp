// millrace-echo: sends back what it receives, over TCP and UDP.
#include <atomic>

#include <fmt/format.h>

#include "common/program.h"
#include "common/say.h"
#include "echo/echo.h"

using namespace millrace;

int main(int argc, char** argv) {
    CLI::App app("millrace-echo: sends back what it receives");
    apps::CommonOptions options;
    options.add_to(app);
    uint16_t port = 7;
    app.add_option("-p,--port", port, "TCP and UDP port")->capture_default_str();
    std::vector<std::string> names;
    app.add_option("-g,--group", names, "multicast groups to join on the first port");
    apps::DrainOption drain;
    drain.add_to(app);
    CLI11_PARSE(app, argc, argv);

    std::vector<Address> groups;
    for (const std::string& name : names) {
        const auto group = Address::parse(name);
        if (!group || !group->is_multicast()) return apps::fail({"no multicast group: " + name});
        groups.push_back(*group);
    }
    const apps::Signals signals;
    auto runtime = apps::start(options);
    if (!runtime) return apps::fail(runtime.error());
    // These outlive the loops that call them.
    std::vector<std::unique_ptr<apps::EchoServer>> servers((*runtime)->cores());
    std::atomic<int> failed{0};
    const auto running = (*runtime)->run([&](Stack& stack) {
        auto& server = servers[stack.core()];
        server = std::make_unique<apps::EchoServer>(stack, stack.core() == 0);
        if (const auto listening = server->listen(port, groups); !listening)
            failed = listening.error().value;
    });
    if (!running) return apps::fail(running.error());
    // Every core has set up once it answers.
    apps::ask_cores<int>(**runtime, [](Stack&) { return 0; });
    if (failed == 0) apps::say("listening on port {}\n", port);
    std::fflush(stdout);
    int by = 0;
    while (failed == 0 && by == 0) by = signals.wait(0.5);
    int status = 0;
    if (failed == 0)
        status = drain.end(**runtime, signals, by,
                           [&](Stack& stack) { servers[stack.core()]->drain(); });
    runtime->reset();
    if (failed == 0) return status;
    return apps::fail({fmt::format("port {}: {}", port, Errno{failed}.message()), failed});
}
