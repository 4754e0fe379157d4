// EAL's handles for interrupts of one's own, as DPDK 22.11 has them.
#define ALLOW_EXPERIMENTAL_API

#include "port/interrupt_gate.h"

#include <linux/membarrier.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include <rte_interrupts.h>

#include "base/happens_before.h"
#include "port/backlog.h"

namespace millrace::port {

namespace {

bool membarrier(int command) { return syscall(SYS_membarrier, command, 0U, 0) == 0; }

/// Whether `epoll` watches `fd`; nothing where nobody says.
std::optional<bool> watches(int epoll, int fd) {
    const auto watched = watched_by(epoll);
    if (!watched) return std::nullopt;
    return std::ranges::find(*watched, fd) != watched->end();
}

/// EAL keeps the instance that it waits at to itself; the kernel says which one watches `fd`.
std::optional<int> who_watches(int fd) {
    std::error_code status;
    std::filesystem::directory_iterator entries("/proc/self/fd", status);
    for (; !status && entries != std::filesystem::directory_iterator();
         entries.increment(status)) {
        std::error_code gone;
        if (std::filesystem::read_symlink(entries->path(), gone) != "anon_inode:[eventpoll]")
            continue;
        const std::string name = entries->path().filename();
        int number = -1;
        std::from_chars(name.data(), name.data() + name.size(), number);
        if (number >= 0 && watches(number, fd).value_or(false)) return number;
    }
    return std::nullopt;
}

}  // namespace

InterruptGate& InterruptGate::instance() {
    static InterruptGate& gate = *new InterruptGate;
    return gate;
}

InterruptGate::InterruptGate() {
#ifndef MILLRACE_TSAN  // which knows nothing of the other kind of fence
    asymmetric_ = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
#endif
}

void InterruptGate::add(Place& place) {
    const std::lock_guard lock(mutex_);
    places_.push_back(&place);
    start();
}

void InterruptGate::stand() {
    const std::lock_guard lock(mutex_);
    start();
}

void InterruptGate::remove(Place& place) {
    const std::lock_guard lock(mutex_);
    std::erase(places_, &place);
}

bool InterruptGate::works() {
    using namespace std::chrono_literals;
    for (int i = 0; i < 1000 && handling_.load(std::memory_order_acquire); ++i)
        std::this_thread::sleep_for(1ms);
    if (handling_.load(std::memory_order_acquire)) {  // it does not come: bursts go on all the same
        broken_.store(true, std::memory_order_relaxed);
        handling_.store(false, std::memory_order_release);
    }
    return !broken_.load(std::memory_order_relaxed);
}

size_t InterruptGate::places() {
    const std::lock_guard lock(mutex_);
    return places_.size();
}

void InterruptGate::start() {
    if (started_) return;
    started_ = true;
    event_ = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    handle_ = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
    // Until the interrupt thread is here for the first time it may be in any handler.
    handling_.store(true, std::memory_order_relaxed);
    if (event_ >= 0 && handle_ != nullptr && rte_intr_fd_set(handle_, event_) == 0 &&
        rte_intr_type_set(handle_, RTE_INTR_HANDLE_EXT) == 0 &&
        rte_intr_callback_register(handle_, on_interrupt, this) == 0)
        return;
    broken_.store(true, std::memory_order_relaxed);
    handling_.store(false, std::memory_order_release);
}

/// The interrupt thread, in its handler for `event_`. What makes it leave is an event for another
/// one, or a change of the list of those; `event_` then brings it back.
void InterruptGate::hold() {
    uint64_t count = 0;
    if (read(event_, &count, sizeof(count)) < 0) count = 0;
    // Nobody says: the one of before then, which nearly always it is.
    if (epoll_ < 0 || !watches(epoll_, event_).value_or(true))
        epoll_ = who_watches(event_).value_or(-1);
    if (epoll_ < 0) broken_.store(true, std::memory_order_relaxed);
    handling_.store(false, std::memory_order_release);
    if (epoll_ < 0) return;  // and `event_` stays silent: handlers run as without a gate
    const std::vector<int> next = wait_for_event(epoll_);
    handling_.store(true, std::memory_order_seq_cst);
    if (asymmetric_)
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    else
        std::atomic_thread_fence(std::memory_order_seq_cst);
    wait_for_places();
    drop_dead_heads(epoll_, next);
    count = 1;
    if (write(event_, &count, sizeof(count)) < 0) handling_.store(false);
}

void InterruptGate::wait_for_places() {
    const std::lock_guard lock(mutex_);
    for (const Place* place : places_)
        for (uint32_t turns = 0; place->taken_.load(std::memory_order_acquire); ++turns)
            // A loop that this thread has preempted must go on.
            if (turns > 100) std::this_thread::sleep_for(std::chrono::microseconds(20));
}

}  // namespace millrace::port
