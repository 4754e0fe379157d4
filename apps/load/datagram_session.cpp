#include <algorithm>
#include <cstring>

#include "load/raw.h"
#include "load/session.h"

namespace millrace::apps {

void DatagramSession::open(Instant) {
    Figures& figures = owner_.figures();
    const Plan& plan = owner_.plan();
    ++figures.attempted;
    finishing_ = false;
    back_.clear();
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
    push(intended, now());
    ++number_;
    back_.push_back(false);
    // One that cannot be sent is lost like one that a router drops.
    if (socket_.send(bytes_)) owner_.figures().bytes_out += size;
    watch();
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
    uint64_t number = 0;
    if (!is_ours(datagram.data, number)) {
        owner_.figures().count(LoadError::bad_answer);
        return false;
    }
    const uint64_t first = number_ - outstanding();
    if (number < first || number >= number_ || back_[number - first]) return false;
    back_[number - first] = true;
    owner_.figures().first_byte.add(now() - asked(number - first).sent);
    answered(number - first, 0);
    return true;
}

/// Whether it can be an echo of ours, and which.
bool DatagramSession::is_ours(const BufferChain& data, uint64_t& number) const {
    std::vector<std::byte> bytes(data.size());
    data.copy_to(bytes);
    if (bytes.size() < datagram_size_min) return false;
    for (size_t i = 0; i < datagram_size_min; ++i)
        number = number << 8 | std::to_integer<uint64_t>(bytes[i]);
    for (size_t at = datagram_size_min; at < bytes.size(); at += filling_size)
        if (std::memcmp(&bytes[at], filling().data(), std::min(bytes.size() - at, filling_size)) !=
            0)
            return false;
    return true;
}

void DatagramSession::pop_settled() {
    while (!back_.empty() && back_.front()) {
        back_.pop_front();
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
    back_.front() = true;
    pop_settled();
    if (outstanding() > 0) watch();
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
    for (const bool back : back_)
        if (!back) owner_.figures().count(LoadError::lost);
    close();
}

void DatagramSession::close() {
    forget_all();
    back_.clear();
    watch_no_more();
    if (!socket_) return;
    (void)std::exchange(socket_, {}).close();
    ++owner_.figures().closed;
}

}  // namespace millrace::apps
