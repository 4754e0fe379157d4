#include "load/responder.h"

#include <fmt/format.h>

#include "common/program.h"

namespace millrace::apps {

namespace {

Started<void> started(const Result<void>& listening, uint16_t port) {
    if (listening) return {};
    return failure(fmt::format("port {}: {}", port, listening.error().message()),
                   listening.error().value);
}

Served served_by(const HttpCounters& http) {
    return {.connections = http.connections, .handshakes = http.handshakes,
            .requests = http.requests, .bytes_in = http.bytes_in, .bytes_out = http.bytes_out};
}

}  // namespace

Responder::Responder(Runtime& runtime, const Plan& plan)
    : runtime_(runtime), plan_(plan), cores_(runtime.cores()) {}

Started<void> Responder::listen(Stack& stack, uint16_t port) {
    Core& core = cores_[stack.core()];
    switch (plan_.protocol) {
        case Protocol::http:
        case Protocol::https: {
            const bool tls = plan_.protocol == Protocol::https;
            HttpOptions options{.body_size = plan_.served_body, .tls = tls_.get()};
            options.port = tls ? 0 : port;
            options.tls_port = tls ? port : 0;
            core.http = std::make_unique<HttpServer>(stack, options);
            return core.http->listen();
        }
        case Protocol::raw:
            core.raw = std::make_unique<RawServer>(stack, plan_.drop_every);
            return started(core.raw->listen(port), port);
        case Protocol::echo:
        case Protocol::udp:
            core.echo = std::make_unique<EchoServer>(stack, stack.core() == 0);
            return started(core.echo->listen(port), port);
    }
    return {};
}

Started<void> Responder::start(uint16_t port) {
    if (plan_.protocol == Protocol::https) {
        auto tls = TlsContext::server(plan_.identity);
        if (!tls) return std::unexpected(tls.error());
        tls_ = std::move(*tls);
    }
    // By core: each writes its own before it answers below.
    auto failed = std::make_shared<std::vector<Failure>>(runtime_.cores());
    const auto running = runtime_.run([this, port, failed](Stack& stack) {
        if (const auto listening = listen(stack, port); !listening)
            (*failed)[stack.core()] = listening.error();
    });
    if (!running) return running;
    ask_cores<int>(runtime_, [](Stack&) { return 0; });  // each has set up once it answers
    for (const Failure& failure : *failed)
        if (!failure.what.empty()) return std::unexpected(failure);
    return {};
}

Served Responder::served() {
    Served sum;
    for (const Served& served : ask_cores<Served>(runtime_, [this](Stack& stack) {
             const Core& core = cores_[stack.core()];
             Served served = core.http  ? served_by(core.http->counters())
                             : core.raw ? core.raw->served()
                                        : core.echo->served();
             served.busy_cycles = counter(stack, "CoreBusyCycles");
             return served;
         }))
        sum += served;
    return sum;
}

}  // namespace millrace::apps
