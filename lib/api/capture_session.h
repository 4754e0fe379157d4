// One capture of a program's frames for another process.
#pragma once

#include <memory>
#include <vector>

#include "api/inspect_protocol.h"
#include "api/inspected.h"
#include "runtime/pcapng.h"

namespace millrace::api {

/// Attaches a tap to each core, and writes what they copy to the client as pcapng, until the client
/// shuts down its side, is gone, or the inspector stops. In the thread of the client's interview;
/// nothing here touches what cores own.
class CaptureSession {
public:
    /// The client stays its owner's; `stop` becomes readable when all are to end.
    CaptureSession(const Inspected& inspected, int client, int stop, const InspectRequest& request)
        : inspected_(inspected), client_(client), stop_(stop), request_(request) {}
    CaptureSession(const CaptureSession&) = delete;
    CaptureSession& operator=(const CaptureSession&) = delete;
    /// The whole of it; the client has been told how it ended.
    void run();

private:
    Started<void> prepare();
    Started<void> choose_ports();
    Started<void> attach();
    void detach();
    bool follow();
    bool write_round(size_t& frames);
    bool goes_on(int timeout_ms);
    bool finish();
    bool send(InspectReply::Kind kind, const void* data, size_t size);
    bool send_some(const void* data, size_t size);
    size_t wanted() const;

    const Inspected& inspected_;
    const int client_;
    const int stop_;
    const InspectRequest& request_;
    runtime::TapOptions options_;
    std::vector<std::shared_ptr<runtime::Tap>> taps_;  ///< of each core that has one
    std::unique_ptr<runtime::Pcapng> file_;
    uint64_t captured_ = 0;
};

}  // namespace millrace::api
