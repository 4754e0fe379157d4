// rte_pcapng is experimental in DPDK 22.11.
#define ALLOW_EXPERIMENTAL_API

#include "runtime/pcapng.h"

#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <mutex>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_pcapng.h>

#include "runtime/clock.h"
#include "runtime/eal.h"
#include "runtime/world.h"

namespace millrace::runtime {

namespace {

/// The beginning of the blocks that have a time: enhanced packets and interface statistics.
struct TimedBlock {
    uint32_t type, length, interface;
    uint32_t time_high, time_low;  ///< of a packet and of statistics alike
    uint32_t captured, original;   ///< of a packet
};

void set_time(std::byte* block, int64_t ns) {
    TimedBlock head;
    constexpr size_t until_time = offsetof(TimedBlock, captured);
    std::memcpy(&head, block, until_time);
    head.time_high = static_cast<uint32_t>(static_cast<uint64_t>(ns) >> 32);
    head.time_low = static_cast<uint32_t>(ns);
    std::memcpy(block, &head, until_time);
}

std::string system_name() {
    utsname names{};
    return uname(&names) == 0 ? fmt::format("{} {}", names.sysname, names.release) : "Linux";
}

/// Takes the bytes for those of a packet buffer, which is only read.
rte_mbuf over(const CapturedFrame& frame) {
    rte_mbuf mbuf;
    std::memset(static_cast<void*>(&mbuf), 0, sizeof(mbuf));
    mbuf.buf_addr = const_cast<uint8_t*>(frame.bytes());
    mbuf.buf_len = frame.size;
    mbuf.data_len = frame.size;
    mbuf.pkt_len = frame.size;
    mbuf.nb_segs = 1;
    rte_mbuf_refcnt_set(&mbuf, 1);
    return mbuf;
}

}  // namespace

void set_pcapng_clock() {
    // Nothing is copied of an empty packet, but its time is looked at: one after that of first use.
    rte_mbuf nothing;
    std::memset(static_cast<void*>(&nothing), 0, sizeof(nothing));
    const uint64_t soon = rte_rdtsc() + rte_get_tsc_hz() / 2;
    rte_pcapng_copy(0, 0, &nothing, nullptr, 0, soon, RTE_PCAPNG_DIRECTION_UNKNOWN);
}

WallClock WallClock::now() {
    timespec time{};
    WallClock clock;
    clock.tsc = rte_rdtsc();
    clock_gettime(CLOCK_REALTIME, &time);
    clock.ns = time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
    clock.tsc_hz = runtime::tsc_hz();
    return clock;
}

Started<std::unique_ptr<Pcapng>> Pcapng::create(uint16_t snaplen, const WallClock& clock) {
    std::unique_ptr<Pcapng> made(new Pcapng(clock));
    if (auto begun = made->begin(snaplen); !begun) return std::unexpected(begun.error());
    return made;
}

Started<void> Pcapng::begin(uint16_t snaplen) {
    static std::atomic<unsigned> made{0};
    // What stands in front of a packet's bytes goes into the headroom.
    const uint32_t room = RTE_PKTMBUF_HEADROOM + rte_pcapng_mbuf_size(snaplen);
    pool_ = rte_pktmbuf_pool_create(fmt::format("mrpcapng{}", made++).c_str(), waiting_max, 0, 0,
                                    static_cast<uint16_t>(std::min<uint32_t>(room, UINT16_MAX)),
                                    SOCKET_ID_ANY);
    if (pool_ == nullptr)
        return failure(fmt::format("no memory for a capture: {} (raise eal.memory_mb)",
                                   rte_strerror(rte_errno)),
                       rte_errno);
    waiting_.reserve(waiting_max);
    memory_ = memfd_create("millrace-capture", MFD_CLOEXEC);
    if (memory_ < 0)
        return failure(fmt::format("no memory for a capture: {}", Errno{errno}.message()), errno);
    const std::string by = fmt::format("Millrace ({})", dpdk_version());
    const std::lock_guard lock(devices());
    file_ = rte_pcapng_fdopen(memory_, system_name().c_str(), nullptr, by.c_str(), nullptr);
    if (file_ == nullptr)
        return failure(fmt::format("DPDK cannot begin a capture: {}", rte_strerror(rte_errno)),
                       EIO);
    return {};
}

Pcapng::~Pcapng() {
    for (rte_mbuf* mbuf : waiting_) rte_pktmbuf_free(mbuf);
    if (file_ != nullptr)
        rte_pcapng_close(file_);
    else if (memory_ >= 0)
        close(memory_);
    rte_mempool_free(pool_);
}

bool Pcapng::add(const CapturedFrame& frame, uint16_t port) {
    if (waiting_.size() == waiting_max || frame.size == 0) return false;
    const rte_mbuf source = over(frame);
    rte_mbuf* block = rte_pcapng_copy(port, frame.queue, &source, pool_, frame.size, rte_rdtsc(),
                                      frame.direction == Direction::received
                                          ? RTE_PCAPNG_DIRECTION_IN
                                          : RTE_PCAPNG_DIRECTION_OUT);
    if (block == nullptr) return false;
    auto* head = rte_pktmbuf_mtod(block, std::byte*);
    set_time(head, clock_.at(frame.tsc));
    std::memcpy(head + offsetof(TimedBlock, original), &frame.original, sizeof(frame.original));
    waiting_.push_back(block);
    return true;
}

bool Pcapng::write() {
    if (waiting_.empty()) return true;
    const ssize_t written =
        rte_pcapng_write_packets(file_, waiting_.data(), static_cast<uint16_t>(waiting_.size()));
    rte_pktmbuf_free_bulk(waiting_.data(), static_cast<unsigned>(waiting_.size()));
    waiting_.clear();
    return written > 0;
}

bool Pcapng::statistics(uint16_t port, uint64_t seen, uint64_t dropped, uint64_t tsc) {
    const off_t at = lseek(memory_, 0, SEEK_CUR);
    // Without the times of begin and end, which DPDK 22.11 writes with their halves swapped.
    if (at < 0 || rte_pcapng_write_stats(file_, port, nullptr, 0, 0, seen, dropped) <= 0)
        return false;
    std::array<std::byte, sizeof(TimedBlock)> head;
    if (pread(memory_, head.data(), head.size(), at) != static_cast<ssize_t>(head.size()))
        return false;
    set_time(head.data(), clock_.at(tsc));
    return pwrite(memory_, head.data(), head.size(), at) == static_cast<ssize_t>(head.size());
}

std::span<const std::byte> Pcapng::take() {
    taken_.clear();
    const off_t size = lseek(memory_, 0, SEEK_CUR);
    if (size <= 0) return {};
    taken_.resize(static_cast<size_t>(size));
    const ssize_t got = pread(memory_, taken_.data(), taken_.size(), 0);
    lseek(memory_, 0, SEEK_SET);  // its memory is used again
    if (got != size) taken_.clear();
    return taken_;
}

}  // namespace millrace::runtime
