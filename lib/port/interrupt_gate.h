// Keeps drivers' interrupt handlers out of bursts. net_memif's, run by EAL's interrupt thread,
// unmaps the rings when the peer leaves, in the middle of whatever burst is under way (DPDK 22.11):
// the loop would end by SIGSEGV.
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

struct rte_intr_handle;

namespace millrace::port {

/// The interrupt thread waits in a handler of the gate's for an event of any other handler, and
/// goes on to that only while nobody bursts. Until then a burst stores twice and loads once: the
/// fence between them is the interrupt thread's, where the kernel has membarrier.
class InterruptGate {
public:
    /// A queue in one direction: who bursts on it stands here meanwhile.
    class alignas(64) Place {
    public:
        Place() = default;
        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;

    private:
        friend class InterruptGate;
        std::atomic<bool> taken_{false};
    };

    /// The one of this process. It is there to its end, as EAL's thread is.
    static InterruptGate& instance();

    /// Makes the interrupt thread come here. Whenever EAL has made its list of handlers anew, it
    /// comes here before it goes to those that are registered from now on. `add` does it, too.
    void stand();
    /// Places are known from `add` to `remove`.
    void add(Place& place);
    void remove(Place& place);

    /// False while handlers run: no burst then. Whoever gets true leaves.
    bool enter(Place& place) {
        place.taken_.store(true, std::memory_order_relaxed);
        fence();
        if (!handling_.load(std::memory_order_acquire)) [[likely]]
            return true;
        leave(place);
        return false;
    }
    void leave(Place& place) { place.taken_.store(false, std::memory_order_release); }
    /// False where it could not be set up (no /proc, say): handlers run whenever they like. Waits
    /// for the interrupt thread to come, once there are places.
    bool works();
    /// How many are known.
    size_t places();

private:
    InterruptGate();
    void fence() const {
        if (!asymmetric_)
            std::atomic_thread_fence(std::memory_order_seq_cst);
        else
            std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    void start();
    void hold();
    void wait_for_places();
    static void on_interrupt(void* gate) { static_cast<InterruptGate*>(gate)->hold(); }

    std::atomic<bool> handling_{false};
    bool asymmetric_ = false;
    std::atomic<bool> broken_{false};
    int event_ = -1;  ///< an eventfd: readable to have the interrupt thread come back
    int epoll_ = -1;  ///< what EAL waits at, as last seen by its thread
    rte_intr_handle* handle_ = nullptr;
    std::mutex mutex_;  // what follows
    std::vector<Place*> places_;
    bool started_ = false;
};

}  // namespace millrace::port
