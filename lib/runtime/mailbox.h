// How cores speak to each other: by message, never by shared state.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <variant>

#include <rte_ring.h>

#include <millrace/error.h>

#include "buf/frame.h"
#include "stack/host.h"

namespace millrace::runtime {

/// A message between stacks, or a function to be run on the receiving core.
using Letter = std::variant<stack::Message, std::function<void()>>;

/// Owned by one core, which alone empties it; anybody may post. Frames go through a ring of their
/// own, without an allocation.
class Mailbox {
public:
    static constexpr unsigned frames_max = 4096;
    static constexpr unsigned letters_max = 16384;

    static Started<std::unique_ptr<Mailbox>> create(const std::string& name);
    ~Mailbox();
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;

    /// False (and the frame is freed) where the ring is full.
    bool post(buf::Frame frame);
    /// False where the ring is full.
    bool post(Letter letter);

    /// Up to a batch of frames.
    void take(buf::FrameBatch& batch);
    /// Calls `open(Letter&)` for at most `budget` of the letters that are there, not for those that
    /// this causes; answers how many.
    template <typename Open>
    size_t read(size_t budget, Open&& open) {
        budget = std::min<size_t>(budget, rte_ring_count(letters_));
        size_t count = 0;
        void* item = nullptr;
        while (count < budget && rte_ring_sc_dequeue(letters_, &item) == 0) {
            happens_after(item);
            const std::unique_ptr<Letter> letter(static_cast<Letter*>(item));
            open(*letter);
            ++count;
        }
        return count;
    }
    bool empty() const { return rte_ring_empty(frames_) != 0 && rte_ring_empty(letters_) != 0; }

    /// A descriptor that becomes readable when something is posted to a core that sleeps.
    int wakeup_fd() const { return wakeup_fd_; }
    /// The owner is about to sleep; true if it may (nothing is waiting).
    bool prepare_sleep();
    void awake();

private:
    Mailbox() = default;
    void wake();

    rte_ring* frames_ = nullptr;
    rte_ring* letters_ = nullptr;
    int wakeup_fd_ = -1;
    std::atomic<bool> asleep_{false};
};

}  // namespace millrace::runtime
