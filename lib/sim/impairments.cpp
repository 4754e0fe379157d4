#include "sim/impairments.h"

#include <algorithm>
#include <cstring>

#include "wire/checksum.h"
#include "wire/ethernet.h"
#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::sim {

namespace {

struct Contents {
    bool tcp = false;
    bool payload = false;
};

/// Whether a frame carries TCP, and data in it; by its headers alone, right or wrong.
Contents contents_of(std::span<const uint8_t> frame) {
    const auto ethernet = wire::Ethernet::parse(frame);
    if (!ethernet) return {};
    const auto rest = frame.subspan(ethernet->size);
    const auto ip = wire::Ip::parse(rest, rest.size(), false);
    if (!ip || ip->protocol != wire::Protocol::tcp || ip->is_fragment()) return {};
    const auto upper = rest.subspan(ip->header_size, ip->payload_size);
    const auto segment = wire::Segment::parse(upper, upper.size());
    return {true, segment && segment->payload_size > 0};
}

/// Sets CE where the IP header says ECT, and repairs IPv4's checksum. False where it says not.
bool mark_congestion(std::vector<uint8_t>& frame) {
    const auto ethernet = wire::Ethernet::parse(frame);
    if (!ethernet || frame.size() < ethernet->size + wire::Ip::v4_size) return false;
    uint8_t* ip = frame.data() + ethernet->size;
    if (ethernet->type == wire::EtherType::ipv4) {
        if ((ip[1] & 3) == 0) return false;
        std::array<uint16_t, 2> words{};  // the header's first two bytes before, its checksum
        std::memcpy(&words[0], ip, 2);
        std::memcpy(&words[1], ip + 10, 2);
        ip[1] |= 3;
        uint16_t after = 0;
        std::memcpy(&after, ip, 2);
        const uint16_t checksum = wire::update_checksum(words[1], words[0], after);
        std::memcpy(ip + 10, &checksum, 2);
        return true;
    }
    if (ethernet->type != wire::EtherType::ipv6 || (ip[1] & 0x30) == 0) return false;
    ip[1] |= 0x30;  // the traffic class straddles two bytes
    return true;
}

}  // namespace

std::string_view name(Fate fate) {
    constexpr std::array<std::string_view, fate_count> names{
        "sent",      "lost",      "overflowed", "too-big",    "tail-lost",
        "marked",    "corrupted", "truncated",  "duplicated", "reordered"};
    return names[static_cast<size_t>(fate)];
}

Line::Line(uint64_t seed, const Impairments& impairments, Observer observer)
    : random_(seed), impairments_(impairments), observer_(std::move(observer)) {}

void Line::set(const Impairments& impairments) {
    impairments_ = impairments;
    in_burst_ = false;
    pause_from_.reset();
}

void Line::note(Fate fate, std::span<const uint8_t> frame) {
    ++counts_[static_cast<size_t>(fate)];
    if (observer_) observer_(fate, frame);
}

void Line::send(Instant now, std::vector<uint8_t> frame) {
    settle_tail(now);
    if (impairments_.mtu != 0 && frame.size() > impairments_.mtu + wire::Ethernet::untagged_size)
        return note(Fate::too_big, frame);
    const auto leaves = enqueue(now, frame);
    if (!leaves) return note(Fate::overflowed, frame);
    const auto [tcp, payload] = contents_of(frame);
    if (is_lost(tcp, payload)) return note(Fate::lost, frame);
    damage(frame);
    note(Fate::sent, frame);
    if (happens(impairments_.duplicate_ppm)) {
        note(Fate::duplicated, frame);
        put_in_flight(*leaves, frame);
    }
    const Key key = put_in_flight(*leaves, std::move(frame));
    if (payload) add_to_tail(now, key);
}

/// Through the queue and the transmitter: when the frame has left it. Nothing where it overflows.
std::optional<Instant> Line::enqueue(Instant now, std::vector<uint8_t>& frame) {
    while (!queue_.empty() && queue_.front().leaves <= now) {
        queued_bytes_ -= queue_.front().size;
        queue_.pop_front();
    }
    if (free_ <= now) {
        free_ = now;
        remainder_ = 0;
    }
    const Instant start = after_pause(free_);
    if (start - now > impairments_.queue_max) return std::nullopt;
    const size_t size = frame.size();
    if (impairments_.queue_bytes != 0 && !queue_.empty() &&
        queued_bytes_ + size > impairments_.queue_bytes)
        return std::nullopt;
    if (impairments_.mark_bytes != 0 && queued_bytes_ > impairments_.mark_bytes &&
        mark_congestion(frame))
        note(Fate::marked, frame);
    free_ = transmitted(start, size);
    queue_.push_back({free_, size});
    queued_bytes_ += size;
    return free_;
}

/// `at`, or the end of the pause in which it lies. Pauses follow from the seed alone.
Instant Line::after_pause(Instant at) {
    if (impairments_.pause_for <= Duration()) return at;
    const auto span = static_cast<uint64_t>(2 * impairments_.pause_every.ns() + 1);
    if (!pause_from_) {
        pause_from_ = at + Duration::from_ns(static_cast<int64_t>(random_.below(span)));
        pause_until_ = *pause_from_ + impairments_.pause_for;
    }
    while (pause_until_ <= at) {
        pause_from_ = pause_until_ + Duration::from_ns(static_cast<int64_t>(random_.below(span)));
        pause_until_ = *pause_from_ + impairments_.pause_for;
    }
    return at < *pause_from_ ? at : pause_until_;
}

Instant Line::transmitted(Instant start, size_t size) {
    if (impairments_.bits_per_second == 0) return start;
    const uint64_t scaled = uint64_t{size} * 8 * 1'000'000'000 + remainder_;
    remainder_ = scaled % impairments_.bits_per_second;
    return start + Duration::from_ns(static_cast<int64_t>(scaled / impairments_.bits_per_second));
}

bool Line::is_lost(bool tcp, bool payload) {
    ++frames_;
    if (impairments_.lose_every != 0 && frames_ % impairments_.lose_every == 0) return true;
    if (impairments_.burst_enter_ppm != 0) {
        in_burst_ = in_burst_ ? !happens(impairments_.burst_leave_ppm)
                              : happens(impairments_.burst_enter_ppm);
        if (in_burst_ && happens(impairments_.burst_loss_ppm)) return true;
    }
    if (tcp && !payload && happens(impairments_.ack_loss_ppm)) return true;
    return happens(impairments_.loss_ppm);
}

void Line::damage(std::vector<uint8_t>& frame) {
    if (happens(impairments_.corrupt_ppm)) {
        const uint64_t bit = random_.below(frame.size() * 8);
        frame[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
        note(Fate::corrupted, frame);
    }
    if (frame.size() > 1 && happens(impairments_.truncate_ppm)) {
        frame.resize(1 + random_.below(frame.size() - 1));
        note(Fate::truncated, frame);
    }
}

Line::Key Line::put_in_flight(Instant leaves, std::vector<uint8_t> frame) {
    const auto range = static_cast<uint64_t>(impairments_.jitter.ns());
    Duration under_way = impairments_.delay;
    if (range != 0) under_way += Duration::from_ns(static_cast<int64_t>(random_.below(range + 1)));
    if (happens(impairments_.reorder_ppm)) {
        under_way += impairments_.reorder_by;
        note(Fate::reordered, frame);
    }
    const Key key{leaves + under_way, order_++};
    in_flight_.emplace(key, std::move(frame));
    return key;
}

void Line::add_to_tail(Instant now, const Key& key) {
    if (impairments_.tail_loss_ppm == 0) return;
    if (tail_.empty()) tail_doomed_ = happens(impairments_.tail_loss_ppm);
    tail_.push_back(key);
    if (tail_.size() > impairments_.tail_frames) tail_.pop_front();
    last_payload_ = now;
}

/// Time has passed: the flight may have ended, and with it the hope of its last frames.
void Line::settle_tail(Instant now) {
    if (tail_.empty() || now - last_payload_ <= impairments_.tail_quiet) return;
    for (const Key& key : tail_) {
        const auto frame = in_flight_.find(key);
        if (!tail_doomed_ || frame == in_flight_.end()) continue;
        note(Fate::tail_lost, frame->second);
        in_flight_.erase(frame);
    }
    tail_.clear();
}

Instant Line::next_arrival() const {
    return in_flight_.empty() ? Instant::never() : in_flight_.begin()->first.at;
}

std::optional<std::vector<uint8_t>> Line::receive(Instant now) {
    while (!in_flight_.empty() && in_flight_.begin()->first.at <= now) {
        const auto first = in_flight_.begin();
        const Key key = first->first;
        settle_tail(key.at);
        if (in_flight_.empty() || in_flight_.begin()->first != key) continue;  // it was of the tail
        std::vector<uint8_t> frame = std::move(first->second);
        in_flight_.erase(first);
        return frame;
    }
    return std::nullopt;
}

}  // namespace millrace::sim
