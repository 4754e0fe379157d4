// Once a turn: every connection that may have something to say is asked.
#include "stack/stack.h"
#include "tcp/ecn.h"
#include "tcp/urgent.h"

namespace millrace::stack {

void Stack::egress() {
    while (half_open_due_ != nullptr) {
        tcp::HalfOpen& entry = *half_open_due_;
        half_open_due_ = entry.next_due;
        entry.answer_due = false;
        answer_half_open(entry);
    }
    // What becomes dirty in here (a loopback peer does not: its frames wait) is for the next turn.
    tcp::DirtyList dirty;
    dirty.swap(env_.dirty);
    while (!dirty.empty()) {
        if (host_.congested()) {  // the rest has its turn before the others in the next
            dirty.splice_after(dirty.last(), env_.dirty);
            env_.dirty.swap(dirty);
            break;
        }
        tcp::Connection& c = dirty.front();
        dirty.pop_front();
        egress_connection(c);
    }
    flush();
}

void Stack::egress_connection(tcp::Connection& c) {
    tcp::TransmitPlan plan;
    while (tcp::next_plan(env_, c, plan)) {
        if (transmit(c, plan)) continue;
        // What it acknowledges may free the very buffers that its payload waits for.
        if (plan.payload_size > 0 && tcp::next_ack(env_, c, plan)) transmit(c, plan);
        env_.starve(c);
        return;
    }
    after_egress(c);
}

/// A frame with the next `size` bytes of payload. Many small pieces take a buffer of the payload
/// pool, and the queue itself may hold all of those: then as many as go without, or nothing would
/// ever go; where no reference is left, what can be copied. Null where not even that is there; else
/// `cursor` and `size` say what it holds.
buf::Frame Stack::payload_frame(buf::Cursor& cursor, uint32_t& size) {
    if (size == 0) {
        buf::Frame frame = pools_.control_frame();
        if (!frame) counters_.drop(observe::Drop::no_buffer);
        return frame;
    }
    const auto fill = [&](uint32_t bytes) {
        buf::Frame frame = pools_.frame();
        buf::Cursor next = cursor;
        if (!frame) return frame;
        const auto copied = pools_.append_payload(frame, next, bytes);
        if (!copied) return buf::Frame();
        counters_.payload_copied += *copied;
        cursor = next;
        size = bytes;
        return frame;
    };
    buf::Frame frame = fill(size);
    if (!frame) frame = fill(buf::Pools::size_by_reference(cursor, size));
    if (!frame && (frame = pools_.frame())) {
        size = pools_.append_copied(frame, cursor, size);
        counters_.payload_copied += size;
    }
    if (!frame) counters_.drop(observe::Drop::no_buffer);
    return frame;
}

/// Emits a plan, segment by segment; its header serves for each of them. False where a pool ran
/// dry; what went out is accounted for.
bool Stack::transmit(tcp::Connection& c, tcp::TransmitPlan& plan) {
    buf::Cursor cursor = plan.payload;
    uint32_t done = 0;
    bool dry = false;
    Outgoing way{addresses_[c.key.local].address, c.key.remote};
    way.tos = static_cast<uint8_t>(c.dscp << 2 | (plan.ect ? tcp::ecn::ect0 : tcp::ecn::not_ect));
    way.ttl = c.ttl;
    way.flow_label = c.flow_label;
    wire::Segment& header = plan.header;
    const Seq first = header.seq;
    const uint8_t flags = header.flags;
    do {
        const uint32_t wanted = std::min<uint32_t>(plan.payload_size - done, plan.mss);
        uint32_t size = wanted;
        buf::Frame frame = payload_frame(cursor, size);
        dry = !frame || size < wanted;
        if (!frame) break;
        const bool last = done + size == plan.payload_size;
        header.seq = first + done;
        header.flags = flags;
        if (!last)
            header.flags &= static_cast<uint8_t>(~(wire::TcpFlags::fin | wire::TcpFlags::psh));
        // RFC 3168 section 6.1.2: once, on the first that is new.
        if (done > 0) header.flags &= static_cast<uint8_t>(~wire::TcpFlags::cwr);
        tcp::mark_urgent(c, header);
        emit(way, header, std::move(frame), &c.next_hop);
        done += size;
    } while (!dry && done < plan.payload_size);
    header.seq = first;
    header.flags = flags;
    if (done > 0 || !dry) {
        if (dry) header.flags &= static_cast<uint8_t>(~wire::TcpFlags::fin);
        tcp::sent(env_, c, plan, done, cursor);
    } else {
        // Nothing went out: what asked for this plan asks again.
        if (plan.header.syn()) c.syn_due = true;
        if (plan.header.rst()) c.rst_due = true;
        if (plan.payload_size == 0 && plan.header.has_ack() && !plan.header.rst())
            c.ack_now = true;
        if (plan.loss_probe) c.sending->tlp_due = true;
        if (plan.answer_wanted) c.keepalive_due = true;  // both probes have one form
    }
    return !dry;
}

/// What a connection that has said everything becomes.
void Stack::after_egress(tcp::Connection& c) {
    tcp::settle_sending(env_, c);
    tcp::settle_receiving(env_, c);
    if (c.state == tcp::State::time_wait || tcp::awaits_fin_alone(env_, c)) to_time_wait(c);
    if (c.state == tcp::State::closed) retire(c);
}

void Stack::answer_half_open(tcp::HalfOpen& entry) {
    const Address& local = addresses_[entry.key.local].address;
    tcp::answered(env_, entry);
    Outgoing way{local, entry.key.remote};
    const auto& marks = entry.listener->marks(entry.key.remote);
    way.tos = static_cast<uint8_t>(marks.dscp << 2);
    way.ttl = marks.ttl;
    emit(way, tcp::syn_ack(env_, entry, link_mss(entry.key.remote)),
         pools_.reply_frame(), nullptr);
}

}  // namespace millrace::stack
