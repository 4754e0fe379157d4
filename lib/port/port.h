// A DPDK ethdev port: queues and offloads, negotiated from what the driver reports.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <millrace/config.h>

#include "buf/pools.h"
#include "ip/interface.h"
#include "port/interrupt_gate.h"

namespace millrace::port {

/// Steering that a NIC is asked to follow: hash key and indirection table. Without a key: none.
struct Rss {
    std::span<const uint8_t> key;
    std::vector<uint16_t> table;  ///< receive queue per entry
};

/// For any thread. Frames are counted here: some drivers forget theirs when a peer goes. The rest
/// is as the driver says.
struct PortCounters {
    uint64_t received = 0;
    uint64_t transmitted = 0;
    uint64_t missed = 0;     ///< the receive ring was full
    uint64_t errors = 0;
    uint64_t no_buffer = 0;  ///< the receive pool was dry
};

/// Opened and closed by one thread; each queue is then polled by one core. Closing gives back what
/// the driver holds; a link made here (`ring:`) ends with its second end.
class Port {
public:
    /// `pools[i]` fills the receive queues that core i polls; `cores` of them poll this port.
    static Started<std::unique_ptr<Port>> open(const PortConfig& config,
                                               const std::vector<buf::Pools*>& pools,
                                               const Rss& rss);
    ~Port();
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    /// Fills `batch`, which is empty, from one queue. False where nothing came.
    bool receive(uint16_t queue, buf::FrameBatch& batch) const;
    /// Sends from the batch what the queue takes; the rest stays in it. `pools` serves ports that
    /// cannot send frames in pieces.
    void transmit(uint16_t queue, buf::FrameBatch& batch, buf::Pools& pools) const;

    /// As DPDK numbers them.
    uint16_t id() const { return id_; }
    uint16_t receive_queues() const { return receive_queues_; }
    uint16_t transmit_queues() const { return transmit_queues_; }
    const wire::MacAddress& mac() const { return mac_; }
    uint16_t mtu() const { return mtu_; }
    const ip::Offloads& offloads() const { return offloads_; }
    /// What is done by the port and what by software, in one line.
    const std::string& description() const { return description_; }
    PortCounters counters() const;

private:
    Port() = default;
    Started<void> configure(const PortConfig& config, const std::vector<buf::Pools*>& pools,
                            const Rss& rss);
    Started<void> set_up_queues(const PortConfig& config, const std::vector<buf::Pools*>& pools);
    Started<void> choose_mac(const PortConfig& config);
    bool program_rss(const Rss& rss, uint16_t table_size);
    bool needs_copy(const buf::Frame& frame) const;
    void linearise(buf::FrameBatch& batch, buf::Pools& pools) const;
    void keep_interrupts_out();
    size_t places() const { return size_t{receive_queues_} + transmit_queues_; }
    void describe(const PortConfig& config, uint64_t receive_offloads, uint64_t transmit_offloads);

    /// Frames of one queue. Written by its core, read by anybody.
    struct alignas(64) Count {
        std::atomic<uint64_t> frames{0};
        void add(uint64_t n) {
            frames.store(frames.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
        }
    };

    uint16_t id_ = UINT16_MAX;
    std::string device_;
    bool started_ = false;
    bool multi_segment_ = false;
    bool reads_by_dma_ = false;
    bool steered_ = false;
    uint16_t receive_queues_ = 1;
    uint16_t transmit_queues_ = 1;
    uint16_t mtu_ = 1500;
    wire::MacAddress mac_;
    ip::Offloads offloads_;
    std::string description_;
    InterruptGate* gate_ = nullptr;  ///< where the driver needs it
    /// Of receive queues, then of transmit queues.
    std::unique_ptr<InterruptGate::Place[]> places_;
    std::unique_ptr<Count[]> counts_;
};

}  // namespace millrace::port
