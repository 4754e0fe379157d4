#include <algorithm>
#include <cstring>

#include "load/raw.h"
#include "load/session.h"

namespace millrace::apps {

void DatagramSession::open(Instant) {
    Figures& figures = owner_.figures();
    const Plan& plan = owner_.plan();
    ++figures.attempted;
    finishing_ = useful = false;
    sent_.clear();
    auto socket = UdpSocket::open(owner_.stack(), owner_.next_source(), *this);
    if (socket) {
        socket_ = *socket;
        if (const auto connected = socket_.connect(plan.target); !connected)
            socket = std::unexpected(connected.error());
    }
    if (!socket) {
        const int why = socket.error().value;
        count_failure(why == EADDRINUSE || why == EADDRNOTAVAIL ? LoadError::no_port
                      : why == ENOBUFS                          ? LoadError::no_memory
                                                                : LoadError::unreachable);
        close();
        return owner_.on_end(*this, true);
    }
    if (plan.dscp != 0) (void)socket_.set_tos(static_cast<uint8_t>(plan.dscp << 2));
    ++figures.established;
    owner_.on_open(*this);
}

bool DatagramSession::has_room() const {
    return socket_ && !finishing_ && outstanding() < owner_.plan().pipeline;
}

void DatagramSession::ask(Instant intended) {
    const size_t size = owner_.exchanges().request_size();
    bytes_.resize(size);
    for (size_t i = 0; i < datagram_size_min; ++i)
        bytes_[i] = static_cast<std::byte>(number_ >> (56 - 8 * i));
    for (size_t at = datagram_size_min; at < size; at += filling_size)
        std::memcpy(&bytes_[at], filling().data(), std::min(size - at, filling_size));
    const Instant at = now();
    push({.intended = intended, .begun = at, .sent = at});
    ++number_;
    sent_.push_back({.size = size});
    if (socket_.send(bytes_)) {
        owner_.figures().bytes_out += size;
        return watch();
    }
    // It never left: that is not the network's doing.
    owner_.figures().count(LoadError::no_memory);
    ++owner_.figures().unanswered;
    sent_.back().settled = true;
    pop_settled();
}

void DatagramSession::on_readable(UdpSocket socket) {
    while (socket_ == socket) {
        const auto datagram = socket.receive();
        if (!datagram) return;
        owner_.figures().bytes_in += datagram->data.size();
        if (!take(*datagram)) continue;
        pop_settled();
        go_on();
    }
}

/// True for the first answer to something under way; duplicates and late ones count for nothing.
bool DatagramSession::take(const Datagram& datagram) {
    bytes_.resize(datagram.data.size());
    datagram.data.copy_to(bytes_);
    uint64_t number = 0;
    for (size_t i = 0; i < datagram_size_min && bytes_.size() >= datagram_size_min; ++i)
        number = number << 8 | std::to_integer<uint64_t>(bytes_[i]);
    if (bytes_.size() < datagram_size_min || number >= number_ || !is_filled()) {
        owner_.figures().count(LoadError::bad_answer);
        return false;
    }
    const uint64_t first = number_ - sent_.size();
    if (number < first || sent_[number - first].settled) return false;
    if (bytes_.size() != sent_[number - first].size) {
        owner_.figures().count(LoadError::bad_answer);
        return false;
    }
    sent_[number - first].settled = true;
    owner_.figures().first_byte.add(now() - asked(number - first).sent);
    answered(number - first, 0);
    return true;
}

/// Behind its number, the datagram in hand is filled as ours are.
bool DatagramSession::is_filled() const {
    for (size_t at = datagram_size_min; at < bytes_.size(); at += filling_size)
        if (std::memcmp(&bytes_[at], filling().data(),
                        std::min(bytes_.size() - at, filling_size)) != 0)
            return false;
    return true;
}

void DatagramSession::pop_settled() {
    while (!sent_.empty() && sent_.front().settled) {
        sent_.pop_front();
        pop();
    }
}

/// ICMP's word is about one of those under way; which, nobody knows.
void DatagramSession::on_error(UdpSocket socket, int error) {
    (void)socket.take_error();
    if (outstanding() > 0)
        lose(error == ECONNREFUSED ? LoadError::refused : LoadError::unreachable);
}

void DatagramSession::on_timeout() { lose(LoadError::lost); }

/// The oldest will have no answer.
void DatagramSession::lose(LoadError error) {
    owner_.figures().count(error);
    ++owner_.figures().unanswered;
    sent_.front().settled = true;
    pop_settled();
    go_on();
}

void DatagramSession::go_on() {
    if (finishing_ && outstanding() == 0) {
        close();
        return owner_.on_end(*this, false);
    }
    if (has_room()) owner_.on_room(*this);
}

Instant DatagramSession::waiting_since() const {
    return outstanding() > 0 ? asked(0).sent : Instant::never();
}

void DatagramSession::finish() {
    finishing_ = true;
    if (!socket_ || outstanding() > 0) return;
    close();
    owner_.on_end(*this, false);
}

void DatagramSession::abandon() {
    if (!socket_) return;
    for (const Sent& sent : sent_) {
        if (sent.settled) continue;
        owner_.figures().count(LoadError::lost);
        ++owner_.figures().unanswered;
    }
    close();
}

void DatagramSession::close() {
    forget_all();
    sent_.clear();
    watch_no_more();
    if (!socket_) return;
    (void)std::exchange(socket_, {}).close();
    ++owner_.figures().closed;
}

}  // namespace millrace::apps
