#include "load/responder.h"

#include <atomic>

#include <fmt/format.h>

#include "common/program.h"

namespace millrace::apps {

Responder::Responder(Runtime& runtime, const Plan& plan)
    : runtime_(runtime), plan_(plan), cores_(runtime.cores()) {}

Result<void> Responder::listen(Stack& stack, uint16_t port) {
    Core& core = cores_[stack.core()];
    switch (plan_.protocol) {
        case Protocol::http:
            core.http = std::make_unique<HttpServer>(
                stack, HttpOptions{.body_size = plan_.served_body, .port = port});
            return core.http->listen();
        case Protocol::raw:
            core.raw = std::make_unique<RawServer>(stack, plan_.drop_every);
            return core.raw->listen(port);
        case Protocol::echo:
        case Protocol::udp:
            core.echo = std::make_unique<EchoServer>(stack, stack.core() == 0);
            return core.echo->listen(port);
    }
    return error(EINVAL);
}

Started<void> Responder::start(uint16_t port) {
    auto failed = std::make_shared<std::atomic<int>>(0);
    const auto running = runtime_.run([this, port, failed](Stack& stack) {
        if (const auto listening = listen(stack, port); !listening)
            *failed = listening.error().value;
    });
    if (!running) return running;
    ask_cores<int>(runtime_, [](Stack&) { return 0; });  // each has set up once it answers
    if (const int why = *failed)
        return failure(fmt::format("port {}: {}", port, Errno{why}.message()), why);
    return {};
}

Served Responder::served() {
    Served sum;
    for (const Served& served : ask_cores<Served>(runtime_, [this](Stack& stack) {
             const Core& core = cores_[stack.core()];
             if (core.http == nullptr) return core.raw ? core.raw->served() : core.echo->served();
             const HttpCounters& http = core.http->counters();
             return Served{.connections = http.connections, .requests = http.requests,
                           .bytes_in = http.bytes_in, .bytes_out = http.bytes_out};
         }))
        sum += served;
    return sum;
}

}  // namespace millrace::apps
