// An echo server (RFC 862) over TCP and UDP: what arrives goes back, without a copy in either
// direction.
#pragma once

#include <span>
#include <unordered_set>

#include <millrace/millrace.h>
#include <millrace/timer.h>
#include <millrace/udp.h>

#include "common/served.h"

namespace millrace::apps {

class EchoClient;

/// One core's; lives on its core's thread. Must outlive the stack's last turn.
class EchoServer final : public ListenHandler, public UdpHandler {
public:
    /// Of several cores one alone answers what is sent to groups: who joins them.
    EchoServer(Stack& stack, bool answers_groups);
    ~EchoServer() override;

    /// On one port of both protocols; joins the groups on the first port of the configuration.
    Result<void> listen(uint16_t port, std::span<const Address> groups = {});

    void on_acceptable(Listener listener) override;
    void on_readable(UdpSocket socket) override;
    /// A graceful end begins: whoever has back all that he has sent is let go.
    void drain();
    const Served& served() const { return served_; }

private:
    friend class EchoClient;
    Stack& stack_;
    std::unordered_set<EchoClient*> clients_;
    Timer drain_timer_;
    bool draining_ = false;
    const bool answers_groups_;
    Served served_;
};

}  // namespace millrace::apps
