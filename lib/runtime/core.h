// One run-to-completion loop with everything that it owns: stack, pools, queues, mailbox.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include <rte_cycles.h>

#include "port/port.h"
#include "runtime/clock.h"
#include "runtime/mailbox.h"
#include "runtime/tap.h"
#include "stack/stack.h"

namespace millrace::runtime {

class World;

/// Every function but `mailbox()` is called by the one thread that runs this core.
class Core final : public stack::Host {
public:
    /// Frames that may wait behind a full transmit ring.
    static constexpr size_t waiting_max = 4096;
    /// Captures at a time.
    static constexpr size_t taps_max = 4;

    Core(World& world, uint16_t index, buf::Pools pools, std::unique_ptr<Mailbox> mailbox);
    ~Core();

    /// One turn of the loop, at most `bursts` from each queue. True if there was anything to do.
    bool turn(stack::Application& application, uint32_t bursts = 4);
    /// When the next turn is worth making without a frame; now if something waits.
    Instant next_deadline();

    Instant now() const { return clock_.now(); }
    stack::Stack& stack() { return *stack_; }
    Mailbox& mailbox() { return *mailbox_; }
    buf::Pools& pools() { return pools_; }
    uint16_t index() const { return index_; }
    /// From now on the tap is given copies of the frames that pass this core's queues. False where
    /// there are `taps_max` already. Taps that were closed go to `gone`, which has room for them:
    /// what they held is freed by whoever owns that.
    bool attach(std::shared_ptr<Tap> tap, std::vector<std::shared_ptr<Tap>>& gone);
    /// No longer; it is moved to `gone`.
    void detach(const Tap& tap, std::vector<std::shared_ptr<Tap>>& gone);
    /// Frames that the ports' transmit rings had no room for.
    /// Any thread.
    uint64_t transmit_dropped() const { return transmit_dropped_.load(std::memory_order_relaxed); }

private:
    friend class World;
    struct ReceiveQueue {
        port::Port* port;
        uint16_t interface;
        uint16_t queue;
    };
    /// What the transmit ring of a port had no room for yet.
    struct Outlet {
        port::Port* port = nullptr;
        uint16_t queue = 0;
        uint16_t via = 0;  ///< which core sends for this one, where it has no queue of the port's
        std::vector<buf::Frame> waiting;
    };

    /// A phase of the turn has ended in which there was something to do; what one without took
    /// counts with what follows. The lower half of the TSC does, which comes around after more than
    /// a second, for half of the instructions: five.
    void ended(uint64_t observe::Counters::*phase,
               uint32_t now = static_cast<uint32_t>(rte_rdtsc())) {
        stack_->account(phase, now - phase_began_);
        phase_began_ = now;
    }
    /// Something was transmitted since `began`, within whichever phase has filled the batch: its
    /// time is not that one's. Between turns, when the application may send, nothing is counted.
    void transmission_ended(uint32_t began) {
        if (!turning_) return;
        const uint32_t took = static_cast<uint32_t>(rte_rdtsc()) - began;
        stack_->account(&observe::Counters::transmit_cycles, took);
        phase_began_ += took;
    }
    /// Somebody captures: copies for each tap.
    void capture(uint16_t interface, uint16_t queue, Direction direction,
                 std::span<rte_mbuf* const> frames);
    bool read_mailbox();
    bool receive(uint32_t bursts);
    void send_waiting(Outlet& outlet);
    void send_via(uint16_t interface, uint16_t core, buf::Frame frame);
    void send_for_another(uint16_t interface, buf::Frame frame);
    void drop_unsent();

    void transmit(uint16_t interface, buf::FrameBatch& batch) override;
    bool congested() const override;
    bool hand_over(uint16_t core, uint16_t interface, buf::Frame frame, bool settled) override;
    void tell(uint16_t core, const stack::Message& message) override;

    World& world_;
    const uint16_t index_;
    Clock clock_;
    buf::Pools pools_;
    std::unique_ptr<Mailbox> mailbox_;
    std::unique_ptr<stack::Stack> stack_;
    std::vector<ReceiveQueue> receive_queues_;
    std::vector<Outlet> outlets_;  // by interface
    std::vector<std::shared_ptr<Tap>> taps_;  // nearly always none
    buf::FrameBatch batch_;
    uint32_t phase_began_ = 0;  ///< the lower half of the TSC
    bool turning_ = false;
    bool transmitted_ = false;  ///< in this turn
    std::atomic<uint64_t> transmit_dropped_{0};
};

}  // namespace millrace::runtime
