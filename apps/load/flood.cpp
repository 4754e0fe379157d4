#include "load/flood.h"

#include <algorithm>
#include <array>

namespace millrace::apps {

namespace {

constexpr uint8_t syn = 2;
constexpr uint8_t ack = 16;

/// What a schedule of `rate` a second has come to, with at most a burst of it to be made up for.
uint64_t due(double rate, Duration since, uint64_t done, uint64_t burst) {
    const auto all = static_cast<uint64_t>(rate * since.seconds());
    return all > done ? std::min(all - done, burst) : 0;
}

}  // namespace

FloodCounters FloodCounters::operator-(const FloodCounters& other) const {
    return {segments - other.segments, honest_attempted - other.honest_attempted,
            honest_in_time - other.honest_in_time, honest_late - other.honest_late,
            honest_failed - other.honest_failed};
}

Flood::Flood(Stack& stack, const FloodOptions& options)
    : stack_(stack), options_(options), begun_(stack.now()) {}

void Flood::burst(Instant now) {
    const Duration since = now - begun_;
    const uint64_t honest = due(options_.honest_rate, since, due_opened_, burst_size);
    for (uint64_t i = 0; i < honest; ++i) open_honest(now);
    due_opened_ = std::max(due_opened_ + honest,
                           static_cast<uint64_t>(options_.honest_rate * since.seconds()));
    const bool paced = options_.rate > 0;
    const uint64_t segments =
        paced ? due(options_.rate, since, due_sent_, burst_size) : uint64_t{burst_size};
    uint64_t sent = 0;
    while (sent < segments && send_one()) ++sent;
    counters_.segments += sent;
    due_sent_ += sent;
}

bool Flood::send_one() {
    if (options_.kind == FloodKind::udp) return send_datagram();
    const uint64_t dice = random_();
    const bool v4 = options_.sources.address.is_v4();
    std::array<uint8_t, 16> bytes = options_.sources.address.bytes();
    const unsigned fixed = options_.sources.length + (v4 ? 96U : 0U);
    const uint64_t host = random_();
    // The network's bits stay, the others are drawn: at most the last 64.
    for (unsigned bit = std::max(fixed, 64U); bit < 128; ++bit) {
        const auto mask = static_cast<uint8_t>(0x80U >> (bit % 8));
        const bool on = (host >> (bit % 64) & 1) != 0;
        bytes[bit / 8] = static_cast<uint8_t>(on ? bytes[bit / 8] | mask : bytes[bit / 8] & ~mask);
    }
    RawSegment segment;
    segment.source = {Address::v6(bytes.data()),
                      static_cast<uint16_t>(1024 + (dice & 0xffff) % (65536 - 1024))};
    segment.destination = options_.target;
    segment.seq = static_cast<uint32_t>(dice >> 16);
    if (options_.kind == FloodKind::syn) {
        segment.flags = syn;
        segment.mss = 1460;
    } else {
        segment.flags = ack;
        segment.ack = static_cast<uint32_t>(random_());
    }
    return stack_.send_raw(segment).has_value();
}

bool Flood::send_datagram() {
    constexpr size_t socket_count = 64;
    if (sockets_.size() < socket_count) {
        const auto socket =
            UdpSocket::open(stack_, {Address::any(options_.target.address.family()), 0},
                            discard_);
        if (socket) sockets_.push_back(*socket);
    }
    if (sockets_.empty()) return false;
    next_socket_ = (next_socket_ + 1) % sockets_.size();
    return sockets_[next_socket_].send("flood", options_.target).has_value();
}

void Flood::open_honest(Instant now) {
    ++counters_.honest_attempted;
    SocketAddress from{Address::any(options_.target.address.family()), 0};
    if (!options_.honest_from.empty())
        from.address = options_.honest_from[next_address_++ % options_.honest_from.size()];
    const auto made = stack_.connect(options_.target, *this, from);
    if (!made) {
        ++counters_.honest_failed;
        return;
    }
    waiting_.emplace(made->id(), now);
}

void Flood::on_connected(Connection c) {
    if (const auto attempt = waiting_.extract(c.id()))
        ++(stack_.now() - attempt.mapped() <= honest_patience ? counters_.honest_in_time
                                                              : counters_.honest_late);
    (void)c.abort();  // no TIME-WAIT: ports for the next ones
}

void Flood::on_closed(Connection c, CloseReason) {
    if (waiting_.erase(c.id()) != 0) ++counters_.honest_failed;
}

FloodCounters Flood::counters(Instant now) const {
    FloodCounters counters = counters_;
    for (const auto& [connection, since] : waiting_)
        if (now - since > honest_patience) ++counters.honest_late;
    return counters;
}

}  // namespace millrace::apps
