#include "httpd/server.h"

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
    bytes += other.bytes;
    bytes_in += other.bytes_in;
    bytes_out += other.bytes_out;
    for (const auto& [status, count] : other.by_status) by_status[status] += count;
    return *this;
}

HttpServer::HttpServer(Stack& stack, const HttpOptions& options)
    : stack_(stack), options_(options), files_(options.root), body_(make_body(options.body_size)) {}

HttpServer::~HttpServer() = default;

Result<void> HttpServer::listen() {
    const auto listener = stack_.listen({Address(), options_.port}, *this, options_.backlog);
    if (!listener) return std::unexpected(listener.error());
    return {};
}

void HttpServer::on_acceptable(Listener listener) {
    while (true) {
        HttpSession* session = sessions_.take(*this);
        const auto connection = listener.accept(*session);
        if (!connection) return sessions_.give_back(session);
        ++counters_.connections;
        session->start(*connection);
    }
}

}  // namespace millrace::apps
