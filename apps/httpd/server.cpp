#include "httpd/server.h"

#include <fmt/format.h>

#include "httpd/session.h"

namespace millrace::apps {

namespace {

/// The benchmarks' body: `size` bytes of 'x'.
std::shared_ptr<const MappedFile> make_body(size_t size) {
    auto bytes = std::make_shared<std::vector<std::byte>>(size, std::byte{'x'});
    Region region({bytes->data(), bytes->size()}, [bytes] {});
    return std::make_shared<const MappedFile>(MappedFile{std::move(region), size, "text/plain"});
}

}  // namespace

HttpCounters& HttpCounters::operator+=(const HttpCounters& other) {
    connections += other.connections;
    requests += other.requests;
    handshakes += other.handshakes;
    resumed += other.resumed;
    bytes += other.bytes;
    bytes_in += other.bytes_in;
    bytes_out += other.bytes_out;
    for (const auto& [why, count] : other.tls_failures) tls_failures[why] += count;
    for (const auto& [status, count] : other.by_status) by_status[status] += count;
    return *this;
}

HttpServer::HttpServer(Stack& stack, const HttpOptions& options)
    : stack_(stack), options_(options), files_(options.root), body_(make_body(options.body_size)) {}

HttpServer::~HttpServer() = default;

Started<void> HttpServer::listen() {
    if (options_.tls_port != 0) {
        auto tls = options_.tls->twin();
        if (!tls) return std::unexpected(tls.error());
        tls_ = std::move(*tls);
    }
    for (const uint16_t port : {options_.port, options_.tls_port}) {
        if (port == 0) continue;
        const auto listener = stack_.listen({Address(), port}, *this, options_.backlog);
        if (!listener)
            return failure(fmt::format("port {}: {}", port, listener.error().message()),
                           listener.error().value);
    }
    return {};
}

void HttpServer::drain() {
    draining_ = true;
    sessions_.for_each([](HttpSession& session) { session.begin_drain(); });
}

void HttpServer::on_acceptable(Listener listener) {
    const bool secure = options_.tls_port != 0 && listener.local().port == options_.tls_port;
    while (true) {
        HttpSession* session = sessions_.take(*this);
        const auto connection = listener.accept(*session);
        if (!connection) return sessions_.give_back(session);
        ++counters_.connections;
        session->start(*connection, secure ? tls_.get() : nullptr);
    }
}

}  // namespace millrace::apps
