// An HTTP/1.1 server on the native API.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <millrace/millrace.h>

#include "common/session_pool.h"
#include "common/tls.h"
#include "httpd/files.h"
#include "httpd/head.h"

namespace millrace::apps {

struct HttpOptions {
    std::string root;          ///< directory of files; empty: none
    size_t body_size = 128;    ///< bytes that "/body" answers with, for benchmarks
    uint16_t port = 80;        ///< 0: no HTTP without TLS
    uint16_t tls_port = 0;     ///< of HTTPS; 0: none
    /// Who it says it is there: each core has a twin of it. Must outlive the servers.
    const TlsContext* tls = nullptr;
    uint32_t backlog = 4096;
    /// How long a connection may do without a whole request, or its answer stand still;
    /// 0: for ever.
    Duration idle_timeout;
};

/// What one core's server has done; the access counters.
struct HttpCounters {
    uint64_t connections = 0;
    uint64_t requests = 0;
    uint64_t handshakes = 0; ///< of TLS
    uint64_t resumed = 0;    ///< of these, by a session from before
    std::map<std::string, uint64_t> tls_failures;  ///< by OpenSSL's reasons
    uint64_t bytes = 0;      ///< of bodies
    uint64_t bytes_in = 0;   ///< of everything, taken from the stack
    uint64_t bytes_out = 0;  ///< likewise, given to it
    std::map<int, uint64_t> by_status;

    HttpCounters& operator+=(const HttpCounters& other);
};

class HttpSession;

/// One core's server; lives on its core's thread. Must outlive the stack's last turn.
class HttpServer final : public ListenHandler {
public:
    HttpServer(Stack& stack, const HttpOptions& options);
    ~HttpServer() override;

    /// On the ports of the options. An error names the port, or the file that is wrong.
    Started<void> listen();
    void on_acceptable(Listener listener) override;
    /// A graceful end begins: connections on which nothing is under way are closed, and the others
    /// when they have been answered. Who has just connected has a second to ask.
    void drain();
    const HttpCounters& counters() const { return counters_; }

private:
    friend class HttpSession;

    Stack& stack_;
    HttpOptions options_;
    Files files_;
    std::shared_ptr<const MappedFile> body_;
    std::unique_ptr<TlsContext> tls_;
    HttpCounters counters_;
    HeadWriter heads_;
    std::string spare_;  ///< lent to who has an answer to send, empty
    SessionPool<HttpSession> sessions_;
    bool draining_ = false;
};

}  // namespace millrace::apps
