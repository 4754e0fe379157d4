#include "runtime/core.h"

#include <algorithm>

#include "runtime/world.h"

namespace millrace::runtime {

using observe::Counters;

namespace {

// News of who owns a tuple must not fall behind the tuple's frames: all letters, then frames.
// So much behind a full transmit ring, and connections wait instead.
constexpr size_t congested_at = 256;
// A handed-over frame's tag: its interface, whether its new core is to keep it, or to send it.
constexpr uint16_t settled_bit = 0x8000;
constexpr uint16_t send_bit = 0x4000;
constexpr uint16_t interface_mask = 0x3fff;

}  // namespace

Core::Core(World& world, uint16_t index, buf::Pools pools, std::unique_ptr<Mailbox> mailbox)
    : world_(world), index_(index), pools_(std::move(pools)), mailbox_(std::move(mailbox)) {
    taps_.reserve(taps_max);
}

Core::~Core() = default;

/// DESIGN.md's loop turn: mailbox, receive and ingress, timers, application, egress, transmit.
bool Core::turn(stack::Application& application, uint32_t bursts) {
    stack::Stack& stack = *stack_;
    const uint64_t begun = rte_rdtsc();
    phase_began_ = static_cast<uint32_t>(begun);
    turning_ = true;
    transmitted_ = false;
    stack.set_time(clock_.at(begun));
    bool busy = read_mailbox();
    if (busy) ended(&Counters::ingress_cycles);
    busy |= receive(bursts);
    stack.receive_loopback();
    if (busy) ended(&Counters::ingress_cycles);
    const bool due = stack.run_timers();
    if (due) ended(&Counters::timer_cycles);
    bool application_busy = stack.has_work();
    application_busy |= stack.run_application(application);
    if (application_busy) ended(&Counters::application_cycles);
    stack.egress();
    stack.end_turn();
    for (Outlet& outlet : outlets_)
        if (!outlet.waiting.empty()) send_waiting(outlet);
    busy |= due | application_busy | transmitted_;
    const uint64_t end = rte_rdtsc();
    stack.account_turn(busy, end - begun, static_cast<uint32_t>(end) - phase_began_);
    turning_ = false;
    return busy;
}

bool Core::read_mailbox() {
    if (mailbox_->empty()) return false;
    mailbox_->read(Mailbox::letters_max, [this](Letter& letter) {
        if (auto* message = std::get_if<stack::Message>(&letter))
            stack_->receive_message(*message);
        else
            std::get<std::function<void()>>(letter)();
    });
    mailbox_->take(batch_);
    for (size_t i = 0; i < batch_.size(); ++i) {
        buf::Frame frame = batch_.take(i);
        const uint16_t tag = frame.tag();
        const uint16_t interface = tag & interface_mask;
        if ((tag & send_bit) != 0)
            send_for_another(interface, std::move(frame));
        else
            stack_->receive_handed_over(interface, std::move(frame), (tag & settled_bit) != 0);
    }
    batch_.shrink(0);
    return true;
}

bool Core::receive(uint32_t bursts) {
    bool any = false;
    for (const ReceiveQueue& queue : receive_queues_) {
        for (uint32_t i = 0; i < bursts; ++i) {
            if (any) ended(&Counters::ingress_cycles);
            if (!queue.port->receive(queue.queue, batch_)) break;
            any = true;
            if (!taps_.empty()) [[unlikely]]
                capture(queue.interface, queue.queue, Direction::received, batch_.frames());
            const uint64_t now = rte_rdtsc();
            ended(&Counters::receive_cycles, static_cast<uint32_t>(now));
            // No frame of the burst came later than this: where this core was kept from running
            // since its turn began, no round trip is taken for shorter than it was.
            stack_->set_time(clock_.at(now));
            const bool full = batch_.full();
            stack_->receive(queue.interface, batch_);
            if (!full) break;
        }
    }
    return any;
}

void Core::transmit(uint16_t interface, buf::FrameBatch& batch) {
    const auto began = static_cast<uint32_t>(rte_rdtsc());
    Outlet& outlet = outlets_[interface];
    if (!taps_.empty() && outlet.port != nullptr) [[unlikely]]
        capture(interface, outlet.queue, Direction::sent, batch.frames());
    if (outlet.port != nullptr && outlet.waiting.empty())
        outlet.port->transmit(outlet.queue, batch, pools_);
    for (size_t i = 0; i < batch.size(); ++i) {
        buf::Frame frame = batch.take(i);
        if (outlet.port == nullptr)
            send_via(interface, outlet.via, std::move(frame));
        else if (outlet.waiting.size() < waiting_max)
            outlet.waiting.push_back(std::move(frame));
        else
            drop_unsent();
    }
    batch.shrink(0);
    transmitted_ = true;
    transmission_ended(began);
}

/// This core has no transmit queue of the port's: one that has sends for it.
void Core::send_via(uint16_t interface, uint16_t core, buf::Frame frame) {
    frame.set_tag(interface | send_bit);
    if (!world_.core(core).mailbox().post(std::move(frame))) drop_unsent();
}

void Core::send_for_another(uint16_t interface, buf::Frame frame) {
    Outlet& outlet = outlets_[interface];
    if (!taps_.empty()) [[unlikely]] {
        rte_mbuf* const one = frame.get();
        capture(interface, outlet.queue, Direction::sent, {&one, 1});
    }
    if (outlet.waiting.size() < waiting_max)
        outlet.waiting.push_back(std::move(frame));
    else
        drop_unsent();
}

/// The frame that is in hand is dropped: for its port's losses, and for who asks this core.
void Core::drop_unsent() {
    ++transmit_dropped_;
    stack_->env().counters.drop(observe::Drop::transmit_full);
}

/// Once a frame, when it gets into line for its queue: a full transmit ring may send it later, and
/// a line that is full may lose it.
void Core::capture(uint16_t interface, uint16_t queue, Direction direction,
                   std::span<rte_mbuf* const> frames) {
    const uint64_t now = rte_rdtsc();
    for (const auto& tap : taps_) tap->take(interface, queue, direction, frames, now);
}

bool Core::attach(std::shared_ptr<Tap> tap, std::vector<std::shared_ptr<Tap>>& gone) {
    for (auto& old : taps_)
        if (old->closed()) gone.push_back(std::move(old));
    std::erase(taps_, nullptr);
    if (taps_.size() == taps_max) return false;
    taps_.push_back(std::move(tap));
    return true;
}

void Core::detach(const Tap& tap, std::vector<std::shared_ptr<Tap>>& gone) {
    for (auto& one : taps_)
        if (one.get() == &tap) gone.push_back(std::move(one));
    std::erase(taps_, nullptr);
}

bool Core::congested() const {
    return std::ranges::any_of(
        outlets_, [](const Outlet& outlet) { return outlet.waiting.size() > congested_at; });
}

void Core::send_waiting(Outlet& outlet) {
    transmitted_ = true;
    const auto began = static_cast<uint32_t>(rte_rdtsc());
    size_t sent = 0;
    while (sent < outlet.waiting.size()) {
        while (!batch_.full() && sent + batch_.size() < outlet.waiting.size())
            batch_.push(std::move(outlet.waiting[sent + batch_.size()]));
        const size_t offered = batch_.size();
        outlet.port->transmit(outlet.queue, batch_, pools_);
        const size_t left = batch_.size();
        sent += offered - left;
        for (size_t i = 0; i < left; ++i) outlet.waiting[sent + i] = batch_.take(i);
        batch_.shrink(0);
        if (left > 0) break;
    }
    outlet.waiting.erase(outlet.waiting.begin(),
                         outlet.waiting.begin() + static_cast<ptrdiff_t>(sent));
    transmission_ended(began);
}

bool Core::hand_over(uint16_t core, uint16_t interface, buf::Frame frame, bool settled) {
    frame.set_tag(static_cast<uint16_t>(interface | (settled ? settled_bit : 0)));
    return world_.core(core).mailbox().post(std::move(frame));
}

void Core::tell(uint16_t core, const stack::Message& message) {
    // A full mailbox loses news. Neighbours are learned again; what a lost claim costs is a
    // connection that times out; both need 16384 unread letters.
    if (!world_.core(core).mailbox().post(Letter(message))) stack_->count_lost_letter();
}

Instant Core::next_deadline() {
    if (!mailbox_->empty()) return now();
    for (const Outlet& outlet : outlets_)
        if (!outlet.waiting.empty()) return now();
    return stack_->next_deadline();
}

}  // namespace millrace::runtime
