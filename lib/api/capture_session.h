// One capture of a program's frames for another process.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "api/inspect_protocol.h"
#include "api/inspected.h"
#include "runtime/pcapng.h"

namespace millrace::api {

/// A thread that attaches a tap to each core, and writes what they copy to the client as pcapng,
/// until the client shuts down its side, is gone, or the inspector stops. Made and destroyed by the
/// inspector; nothing here touches what cores own.
class CaptureSession {
public:
    /// The client is closed at the end; `stop` becomes readable when all are to end, and lives
    /// longer than this.
    CaptureSession(const Inspected& inspected, int client, int stop, const InspectRequest& request);
    /// Waits for the end.
    ~CaptureSession();
    CaptureSession(const CaptureSession&) = delete;
    CaptureSession& operator=(const CaptureSession&) = delete;
    bool over() const { return over_.load(std::memory_order_acquire); }

private:
    void run();
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
    const InspectRequest request_;
    runtime::TapOptions options_;
    std::vector<std::shared_ptr<runtime::Tap>> taps_;  ///< of each core that has one
    std::unique_ptr<runtime::Pcapng> file_;
    uint64_t captured_ = 0;
    std::atomic<bool> over_{false};
    std::thread thread_;
};

}  // namespace millrace::api
