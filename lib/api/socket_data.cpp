// What goes through a socket: the stream, and the urgent byte beside it.
#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "api/socket.h"
#include "tcp/calls.h"

namespace millrace::api {

using tcp::State;

Result<size_t> Socket::send(std::span<const std::byte> data, bool urgent) {
    if (is_opening()) return error(EAGAIN);
    if (error_ != 0) return error(error_);
    if (tcb() == nullptr || shut_write_) return error(EPIPE);
    if (data.empty()) return 0;
    return urgent ? connection_.send_urgent(data) : connection_.send(data);
}

void Socket::hold(bool more) {
    if (std::exchange(more_, more) == more || options_.cork || !connection_) return;
    static_cast<void>(connection_.set_cork(more));
}

void Socket::take_received() {
    if (!connection_) return;
    const uint32_t ahead = connection_.urgent_remaining();
    if (ahead > 0) note_urgent(read_ + received_.size() + ahead - 1);
    received_.append(connection_.receive());
    if (!urgent_ || urgent_->arrived || read_ + received_.size() <= urgent_->at) return;
    received_.copy_to({&urgent_->value, 1}, urgent_->at - read_);
    urgent_->arrived = true;
}

/// As tcp_check_urg: there is one urgent byte, the newest. One that nobody fetched is part of the
/// stream again, unless the reader stands before it.
void Socket::note_urgent(uint64_t at) {
    if (urgent_ && urgent_->at >= at) return;
    if (skips_urgent() && !received_.empty()) drop_received(1);
    urgent_ = Urgent{.at = at};
}

void Socket::drop_received(size_t bytes) {
    received_.trim_front(bytes);
    read_ += bytes;
    if (urgent_ && read_ > urgent_->at) urgent_.reset();
    if (connection_) static_cast<void>(connection_.consumed(bytes));
}

Result<size_t> Socket::receive(Pieces into, bool peek, bool discard) {
    if (listener_ != nullptr) return error(ENOTCONN);
    take_received();
    size_t skip = skips_urgent() && !received_.empty() ? 1 : 0;
    if (!peek && skip > 0) drop_received(std::exchange(skip, 0));
    size_t here = std::min(received_.size() - skip, into.size());
    if (urgent_ && urgent_->at > read_ + skip) here = std::min(here, urgent_->at - read_ - skip);
    if (received_.size() > skip) {
        if (here > 0 && !discard && into.has_null()) return error(EFAULT);
        for (size_t done = 0; done < here && !discard;) {
            const auto piece = into.front().first(std::min(into.front().size(), here - done));
            received_.copy_to(piece, skip + done);
            into.advance(piece.size());
            done += piece.size();
        }
        if (!peek) drop_received(here);
        return here;
    }
    if (peer_closed()) return 0;
    if (error_ != 0) return error(error_);
    if (shut_read_) return 0;
    if (tcb() == nullptr) return error(ENOTCONN);
    return error(EAGAIN);
}

/// As tcp_recv_urg.
Result<size_t> Socket::receive_urgent(std::span<std::byte> into, bool peek) {
    if (listener_ != nullptr) return error(ENOTCONN);
    take_received();
    if (options_.urgent_inline || !urgent_ || urgent_->told) return error(EINVAL);
    const bool closed = tcb() == nullptr || tcb()->state == State::closed;
    if (closed && !done_) return error(ENOTCONN);
    if (urgent_->arrived) {
        if (into.empty()) return 0;
        into.front() = urgent_->value;
        urgent_->told = !peek;
        return 1;
    }
    if (closed || shut_read_) return 0;
    return error(EAGAIN);
}

bool Socket::is_ended() const {
    const tcp::Connection* c = tcb();
    return c == nullptr || c->state == State::closed || c->fin_received || shut_read_;
}

/// SO_RCVLOWAT counts without the urgent byte (tcp_poll).
bool Socket::is_readable() const {
    return received_.size() >= options_.receive_low_water + (skips_urgent() ? 1 : 0);
}

Result<int> Socket::unread_bytes() {
    if (listener_ != nullptr) return error(EINVAL);
    take_received();
    size_t bytes = received_.size();
    if (urgent_ && !options_.urgent_inline && urgent_->arrived)
        bytes = std::min(bytes, urgent_->at - read_);
    return static_cast<int>(std::min<size_t>(bytes, INT_MAX));
}

/// A FIN counts for one byte, as it takes a sequence number.
Result<int> Socket::unacknowledged_bytes() const {
    if (listener_ != nullptr) return error(EINVAL);
    const tcp::Connection* c = tcb();
    if (c == nullptr || is_opening()) return 0;
    return static_cast<int>(c->queued() + (c->fin_queued && !c->fin_acked ? 1 : 0));
}

Result<int> Socket::unsent_bytes() const {
    if (listener_ != nullptr) return error(EINVAL);
    const tcp::Connection* c = tcb();
    if (c == nullptr || is_opening()) return 0;
    return static_cast<int>(c->unsent() + (c->has_unsent() && c->fin_queued ? 1 : 0));
}

}  // namespace millrace::api
