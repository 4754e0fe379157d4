// What answers the load, where the generator is the server, too.
#pragma once

#include <memory>
#include <vector>

#include "common/served.h"
#include "echo/echo.h"
#include "httpd/server.h"
#include "load/plan.h"
#include "load/raw_server.h"

namespace millrace::apps {

/// The servers of a runtime's cores, one of the plan's protocol on each. Must outlive the runtime's
/// loops.
class Responder {
public:
    Responder(Runtime& runtime, const Plan& plan);

    /// Starts the loops and listens; an error names the port.
    Started<void> start(uint16_t port);
    /// What has been done up to now; asks the cores.
    Served served();

private:
    struct Core {
        std::unique_ptr<HttpServer> http;
        std::unique_ptr<RawServer> raw;
        std::unique_ptr<EchoServer> echo;
    };
    Started<void> listen(Stack& stack, uint16_t port);

    Runtime& runtime_;
    const Plan& plan_;
    std::unique_ptr<TlsContext> tls_;
    std::vector<Core> cores_;
};

}  // namespace millrace::apps
