// The server's side of the generator's own protocol (`raw.h`).
#pragma once

#include <memory>
#include <vector>

#include <millrace/millrace.h>

#include "common/served.h"
#include "common/session_pool.h"
#include "load/raw.h"

namespace millrace::apps {

class RawSession;

/// One core's; lives on its core's thread. Must outlive the stack's last turn.
class RawServer final : public ListenHandler {
public:
    /// Of each `drop_every` requests the last is not answered; 0: all are.
    explicit RawServer(Stack& stack, uint32_t drop_every = 0);
    ~RawServer() override;

    Result<void> listen(uint16_t port);
    void on_acceptable(Listener listener) override;
    const Served& served() const { return served_; }

private:
    friend class RawSession;

    Stack& stack_;
    const uint32_t drop_every_;
    Served served_;
    SessionPool<RawSession> sessions_;
};

}  // namespace millrace::apps
