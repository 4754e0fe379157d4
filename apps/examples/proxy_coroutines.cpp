// An HTTP proxy in coroutines: proxy_coroutines CONFIG PORT
#include <cstdio>
#include <cstdlib>
#include <string>

#include <millrace/coroutine.h>
#include <millrace/millrace.h>

#include "proxy_request.h"

using namespace millrace;
using namespace millrace::literals;
using coro::Task;

/// One direction, to its end. Nothing is copied.
static Task<> relay(coro::Connection& from, coro::Connection& to) {
    while (true) {
        auto data = co_await from.read();  // the other direction may go on for long
        if (data && data->empty()) break;
        if (!data || !co_await to.write(std::move(*data))) {
            from.abort();
            to.abort();
            co_return;
        }
    }
    static_cast<void>(to.shutdown());
}

static Task<> serve_one(Stack& stack, coro::Connection client) {
    std::string head;
    proxy_request request;
    int complete = 0;
    while ((complete = read_proxy_request(head.data(), head.size(), &request)) == 0) {
        const auto data = co_await client.read().within(10_s);
        if (!data || data->empty()) co_return;
        const size_t before = head.size();
        head.resize(before + data->size());
        data->copy_to(std::as_writable_bytes(std::span(head).subspan(before)));
    }
    const auto target = complete > 0 ? SocketAddress::parse(request.authority) : error(EINVAL);
    if (!target) {
        static_cast<void>(co_await client.write(PROXY_BAD_REQUEST));
        co_return;
    }
    auto server = co_await coro::connect(stack, *target).within(10_s);
    if (!server) {
        static_cast<void>(co_await client.write(PROXY_BAD_GATEWAY));
        co_return;
    }
    if (request.is_tunnel && !co_await client.write(PROXY_ESTABLISHED)) co_return;
    if (!co_await server->write(request.head + head.substr(request.taken))) co_return;
    coro::Scope both;
    both.spawn(relay(client, *server));
    both.spawn(relay(*server, client));
    static_cast<void>(co_await both.join(stack));
}

static Task<> serve(Stack& stack, coro::Scope& scope, uint16_t port) {
    coro::Listener listener;
    if (const auto done = listener.listen(stack, {Address(), port}); !done) {
        std::fprintf(stderr, "port %d: %s\n", port, done.error().message());
        std::_Exit(1);
    }
    while (auto c = co_await listener.accept()) scope.spawn(serve_one(stack, std::move(*c)));
}

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: %s CONFIG PORT\n", argv[0]), 2;
    const auto config = load_config(argv[1]);
    auto runtime = config ? Runtime::create(*config) : std::unexpected(config.error());
    if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().what.c_str()), 1;
    const auto running = (*runtime)->run([&](Stack& stack) {
        static thread_local coro::Scope scope;  // of this core
        scope.spawn(serve(stack, scope, static_cast<uint16_t>(std::atoi(argv[2]))));
    });
    if (!running) return std::fprintf(stderr, "%s\n", running.error().what.c_str()), 1;
    (*runtime)->join();
}
