// An echo server in coroutines: echo_coroutines CONFIG PORT
#include <cstdio>
#include <cstdlib>

#include <millrace/coroutine.h>
#include <millrace/millrace.h>

using namespace millrace;
using namespace millrace::literals;
using coro::Task;

static Task<> echo(coro::Connection client) {
    while (true) {
        auto data = co_await client.read().within(600_s);
        if (!data || data->empty()) co_return;  // an error, or the end of the stream
        if (!co_await client.write(std::move(*data))) co_return;
    }
}

static Task<> serve(Stack& stack, coro::Scope& scope, uint16_t port) {
    coro::Listener listener;
    if (const auto done = listener.listen(stack, {Address(), port}); !done) {
        std::fprintf(stderr, "port %d: %s\n", port, done.error().message());
        std::_Exit(1);
    }
    while (auto client = co_await listener.accept()) scope.spawn(echo(std::move(*client)));
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
