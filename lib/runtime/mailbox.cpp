#include "runtime/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include <fmt/format.h>
#include <rte_errno.h>

namespace millrace::runtime {

Started<std::unique_ptr<Mailbox>> Mailbox::create(const std::string& name) {
    std::unique_ptr<Mailbox> box(new Mailbox());
    box->frames_ =
        rte_ring_create((name + "_fr").c_str(), frames_max, SOCKET_ID_ANY, RING_F_SC_DEQ);
    box->letters_ =
        rte_ring_create((name + "_le").c_str(), letters_max, SOCKET_ID_ANY, RING_F_SC_DEQ);
    box->wakeup_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->frames_ == nullptr || box->letters_ == nullptr || box->wakeup_fd_ < 0)
        return failure(fmt::format("cannot make the mailbox {}: {}", name,
                                   rte_strerror(rte_errno != 0 ? rte_errno : errno)),
                       ENOMEM);
    return box;
}

Mailbox::~Mailbox() {
    if (frames_ != nullptr) {
        buf::FrameBatch batch;
        do take(batch);
        while (!batch.empty() && (batch.clear(), true));
        rte_ring_free(frames_);
    }
    if (letters_ != nullptr) {
        while (read(letters_max, [](Letter&) {}) > 0) {
        }
        rte_ring_free(letters_);
    }
    if (wakeup_fd_ >= 0) close(wakeup_fd_);
}

bool Mailbox::post(buf::Frame frame) {
    happens_before(frame.get());
    if (rte_ring_mp_enqueue(frames_, frame.get()) != 0) return false;
    frame.release();
    wake();
    return true;
}

bool Mailbox::post(Letter letter) {
    auto item = std::make_unique<Letter>(std::move(letter));
    happens_before(item.get());
    if (rte_ring_mp_enqueue(letters_, item.get()) != 0) return false;
    (void)item.release();  // the ring owns it now
    wake();
    return true;
}

void Mailbox::take(buf::FrameBatch& batch) {
    const unsigned n = rte_ring_sc_dequeue_burst(
        frames_, reinterpret_cast<void**>(batch.raw()), buf::FrameBatch::capacity, nullptr);
    batch.filled(n);
}

void Mailbox::wake() {
    // Pairs with prepare_sleep: either it sees the post, or this sees the sleeper.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!asleep_.load(std::memory_order_relaxed)) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wakeup_fd_, &one, sizeof(one));
}

bool Mailbox::prepare_sleep() {
    asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (empty()) return true;
    asleep_.store(false, std::memory_order_relaxed);
    return false;
}

void Mailbox::awake() {
    asleep_.store(false, std::memory_order_relaxed);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(wakeup_fd_, &count, sizeof(count));
}

}  // namespace millrace::runtime
