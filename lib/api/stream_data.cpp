// What goes through a socket: the stream, and the urgent byte beside it.
#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "api/stream_socket.h"
#include "tcp/calls.h"

namespace millrace::api {

using tcp::State;

Result<void> StreamSocket::check_sending() const {
    if (is_opening()) return error(EAGAIN);
    if (error_ != 0) return error(error_);
    if (tcb() == nullptr || shut_write_) return error(EPIPE);
    return {};
}

Result<size_t> StreamSocket::send(std::span<const std::byte> data, bool urgent) {
    if (const auto can = check_sending(); !can) return std::unexpected(can.error());
    if (data.empty()) return 0;
    return urgent ? connection_.send_urgent(data) : connection_.send(data);
}

Result<size_t> StreamSocket::send(Buffer&& data) {
    if (const auto can = check_sending(); !can) return std::unexpected(can.error());
    if (data.empty()) return 0;
    return connection_.send(std::move(data));
}

void StreamSocket::wait_for_buffers() {
    tcp::Connection* const c = tcb();
    if (c == nullptr || is_opening()) return;
    c->want_writable = true;
    stack().env().starve(*c);
}

void StreamSocket::hold(bool more) {
    if (std::exchange(more_, more) == more || options_.cork || !connection_) return;
    static_cast<void>(connection_.set_cork(more));
}

/// What can be read. It stays in TCP's queue, and counts for against its bounds, until somebody
/// reads.
size_t StreamSocket::available() const {
    return received_.size() + (tcb() != nullptr ? tcb()->unread() : 0);
}

void StreamSocket::copy_available(std::span<std::byte> out, size_t skip) const {
    const size_t copied = received_.copy_to(out, skip);
    if (copied == out.size()) return;
    const size_t behind = skip > received_.size() ? skip - received_.size() : 0;
    tcb()->receiving->queue.copy_to(out.subspan(copied), behind);
}

/// At most what is available.
void StreamSocket::drop_received(size_t bytes) {
    read_ += bytes;
    if (urgent_ && read_ > urgent_->at) urgent_.reset();
    if (bytes > received_.size()) received_.append(connection_.receive());
    received_.trim_front(bytes);
    if (connection_) static_cast<void>(connection_.consumed(bytes));
}

/// As tcp_check_urg: there is one urgent byte, the newest. One that nobody fetched is part of the
/// stream again, unless the reader stands before it.
void StreamSocket::look_for_urgent() {
    const uint32_t ahead = connection_ ? connection_.urgent_remaining() : 0;
    if (ahead == 0) return;
    const uint64_t at = read_ + received_.size() + ahead - 1;
    if (urgent_ && urgent_->at >= at) return;
    if (skips_urgent() && available() > 0) drop_received(1);
    urgent_ = Urgent{.at = at};
}

bool StreamSocket::is_urgent_here() const { return urgent_ && urgent_->at < read_ + available(); }

Result<size_t> StreamSocket::receive(Pieces into, bool peek, bool discard) {
    if (listener_ != nullptr) return error(ENOTCONN);
    look_for_urgent();
    if (const size_t all = available(); all > 0) {
        size_t skip = skips_urgent() ? 1 : 0;
        size_t here = std::min(all - skip, into.size());
        if (urgent_ && !is_at_mark() && here > 0) here = std::min(here, urgent_->at - read_);
        if (here > 0 && !discard && into.has_null()) return error(EFAULT);
        if (!peek) drop_received(std::exchange(skip, 0));
        for (size_t done = 0; done < here;) {
            // Taken first, so that each piece begins at the chain's.
            if (!peek && received_.empty()) received_ = connection_.receive();
            const size_t room = discard ? here - done : into.front().size();
            const size_t size = std::min({room, here - done, peek ? here : received_.size()});
            if (!discard) {
                copy_available(into.front().first(size), peek ? skip + done : 0);
                into.advance(size);
            }
            if (!peek) drop_received(size);
            done += size;
        }
        // The urgent byte alone: there is nothing, once it has been passed.
        if (here > 0 || into.empty()) return here;
    }
    return nothing_received();
}

/// What a call that finds nothing to be read answers.
Result<size_t> StreamSocket::nothing_received() const {
    if (peer_closed()) return 0;
    if (error_ != 0) return error(error_);
    if (shut_read_) return 0;
    if (tcb() == nullptr) return error(ENOTCONN);
    return error(EAGAIN);
}

Result<size_t> StreamSocket::receive_slices(std::span<Buffer> into, size_t& count) {
    count = 0;
    if (listener_ != nullptr) return error(ENOTCONN);
    look_for_urgent();
    if (skips_urgent() && available() > 0) drop_received(1);
    if (received_.empty() && connection_) received_ = connection_.receive();
    size_t here = received_.size();
    if (urgent_ && !is_at_mark()) here = std::min(here, urgent_->at - read_);
    size_t done = 0;
    while (done < here && count < into.size()) {
        Buffer& slice = into[count];
        const size_t left = here - done;
        slice = received_.front().size() <= left ? received_.pop_front() : copy_received(left);
        if (slice.empty()) break;
        done += slice.size();
        ++count;
    }
    read_ += done;
    if (urgent_ && read_ > urgent_->at) urgent_.reset();
    lent_ += done;
    if (done > 0) return done;
    return here > 0 ? error(EAGAIN) : nothing_received();  // no buffer for what ends at the mark
}

/// The urgent mark lies within a buffer: what is before it has to be one of its own. Empty where
/// there is none.
Buffer StreamSocket::copy_received(size_t bytes) {
    BufferChain copy;
    stack().pools().append_copy(copy, received_.front().first(bytes));
    Buffer first = copy.pop_front();
    stack().env().counters.payload_copied += first.size();
    received_.trim_front(first.size());
    return first;
}

Result<void> StreamSocket::consumed(size_t bytes) {
    if (bytes > lent_) return error(EINVAL);
    lent_ -= bytes;
    if (connection_) return connection_.consumed(bytes);
    return {};
}

/// As tcp_recv_urg.
Result<size_t> StreamSocket::receive_urgent(Pieces into, bool peek, bool discard) {
    if (listener_ != nullptr) return error(ENOTCONN);
    look_for_urgent();
    if (options_.urgent_inline || !urgent_ || urgent_->told) return error(EINVAL);
    const bool closed = tcb() == nullptr || tcb()->state == State::closed;
    if (closed && !done_) return error(ENOTCONN);
    if (is_urgent_here()) {
        if (!discard && into.has_null()) return error(EFAULT);
        if (!discard && !into.empty()) copy_available(into.front().first(1), urgent_->at - read_);
        urgent_->told = !peek;
        return into.empty() ? 0 : 1;
    }
    if (is_ended()) return 0;
    return error(EAGAIN);
}

bool StreamSocket::is_ended() const {
    const tcp::Connection* c = tcb();
    return c == nullptr || c->state == State::closed || c->fin_received || shut_read_;
}

/// SO_RCVLOWAT counts without the urgent byte (tcp_poll); a closed window brings no more of it
/// (tcp_stream_is_readable).
bool StreamSocket::is_readable() const {
    const size_t besides = skips_urgent() ? 1 : 0;
    const size_t here = available();
    if (here >= options_.receive_low_water + besides) return true;
    const tcp::Connection* c = tcb();
    return here > besides && c != nullptr && c->rcv_window() <= c->rcv_mss;
}

Result<int> StreamSocket::unread_bytes() const {
    if (listener_ != nullptr) return error(EINVAL);
    size_t bytes = available();
    if (!options_.urgent_inline && is_urgent_here())
        bytes = std::min(bytes, urgent_->at - read_);
    return static_cast<int>(std::min<size_t>(bytes, INT_MAX));
}

/// A FIN counts for one byte, as it takes a sequence number.
Result<int> StreamSocket::unacknowledged_bytes() const {
    if (listener_ != nullptr) return error(EINVAL);
    const tcp::Connection* c = tcb();
    if (c == nullptr || is_opening()) return 0;
    return static_cast<int>(c->queued() + (c->fin_queued && !c->fin_acked ? 1 : 0));
}

Result<int> StreamSocket::unsent_bytes() const {
    if (listener_ != nullptr) return error(EINVAL);
    const tcp::Connection* c = tcb();
    if (c == nullptr || is_opening()) return 0;
    return static_cast<int>(c->unsent() + (c->has_unsent() && c->fin_queued ? 1 : 0));
}

}  // namespace millrace::api
