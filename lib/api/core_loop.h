// The loop of a runtime's core.
#pragma once

#include "api/loop.h"
#include "runtime/core.h"

namespace millrace::api {

class CoreLoop final : public Loop {
public:
    explicit CoreLoop(runtime::Core& core) : core_(core) {}

    bool turn(stack::Application& application, uint32_t bursts) override;
    Result<bool> wait(stack::Application& application, Duration limit,
                      const std::function<bool()>& done) override;
    bool is_turning() const override { return turning_; }
    Instant now() const override { return core_.now(); }
    Instant next_deadline() override { return core_.next_deadline(); }
    int wakeup_fd() const override { return core_.mailbox().wakeup_fd(); }
    bool prepare_sleep() override;

private:
    runtime::Core& core_;
    bool turning_ = false;
};

}  // namespace millrace::api
