// A capture in pcapng, made by DPDK's library, piece by piece.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <rte_mempool.h>

#include <millrace/error.h>

#include "runtime/tap.h"

struct rte_pcapng;

namespace millrace::runtime {

/// Which moment of the world's time the TSC stands for.
struct WallClock {
    uint64_t tsc = 0;      ///< at this
    int64_t ns = 0;        ///< so long after 1970
    uint64_t tsc_hz = 0;   ///< cycles a second

    static WallClock now();
    int64_t at(uint64_t cycles) const {
        const auto passed = static_cast<__int128>(static_cast<int64_t>(cycles - tsc));
        return ns + static_cast<int64_t>(passed * 1'000'000'000 / tsc_hz);
    }
};

/// Sets the clock of rte_pcapng in this process, by which `dpdk-dumpcap` has its times: DPDK 22.11
/// sets it on first use, and takes whatever was before that for centuries later. Once, early.
void set_pcapng_clock();

/// Owned by one thread. rte_pcapng writes to a file in memory, from which `take` reads: so a reader
/// that is slow, or gone, never leaves half a block. Times are written here: those of DPDK 22.11
/// come from a global that is not made for threads, and its first is centuries off.
class Pcapng {
public:
    /// Copies that `add` takes before they must be written.
    static constexpr size_t waiting_max = 63;

    /// `snaplen` is the most that a copy has. Begins the file, with all ports of the process.
    static Started<std::unique_ptr<Pcapng>> create(uint16_t snaplen, const WallClock& clock);
    ~Pcapng();
    Pcapng(const Pcapng&) = delete;
    Pcapng& operator=(const Pcapng&) = delete;

    /// A frame of the ethdev `port`. False where it could not be made, or `waiting_max` wait.
    bool add(const CapturedFrame& frame, uint16_t port);
    /// Writes what was added. False where the system has no memory for it.
    bool write();
    /// How many frames of a port were seen, and lost by the capture.
    bool statistics(uint16_t port, uint64_t seen, uint64_t dropped, uint64_t tsc);
    /// Whole blocks, of all that was written since the last; they stay until the next call.
    std::span<const std::byte> take();

private:
    explicit Pcapng(const WallClock& clock) : clock_(clock) {}
    Started<void> begin(uint16_t snaplen);

    const WallClock clock_;
    rte_mempool* pool_ = nullptr;
    rte_pcapng* file_ = nullptr;
    int memory_ = -1;  ///< closed by `file_` once there is one
    std::vector<rte_mbuf*> waiting_;
    std::vector<std::byte> taken_;
};

}  // namespace millrace::runtime
